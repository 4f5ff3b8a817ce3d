import { SYSTEM } from "../authority/audit/entry.ts";
import type { Authority } from "../authority/authority.ts";
import { LONGEST_FLUSH_SECONDS } from "../authority/callers/recorder.ts";
import type { ReporterId, RotationId } from "../authority/ids.ts";
import { perform } from "../authority/operation.ts";
import { advanceRotation } from "../authority/rotations/advance-rotation.ts";
import type { Brownout, BrownoutStop } from "../authority/rotations/brownout.ts";
import { endBrownout } from "../authority/rotations/end-brownout.ts";
import { judgeRotation } from "../authority/rotations/gather-evidence.ts";
import { nextStep, type Rotation, type Step } from "../authority/rotations/rotation.ts";
import type { Watched } from "../authority/rotations/watch.ts";
import type { LivingReporter } from "../authority/storage.ts";
import type { Instant } from "../authority/time.ts";

const PAGE = 100;
const DAY = 86_400_000;
const IDEMPOTENCY_KEPT_MS = DAY;

/** What the worker did in one round, for the log. */
export interface Round {
  readonly steps: readonly Taken[];
  /** Why rotations could not go on. They are tried again in the next round. */
  readonly failures: readonly unknown[];
  /** Nothing happens by itself while the clock can't be trusted or the disk is at fault. */
  readonly paused: boolean;
}

/** A step that a rotation took by itself. */
export interface Taken {
  readonly rotation: RotationId;
  readonly step: Step;
}

/**
 * One round: takes every step that is due. Each is judged anew inside its transaction, so a stop at any point and a
 * second worker do no harm.
 */
export async function workOnce(authority: Authority): Promise<Round> {
  if (authority.time.trouble() !== null || !authority.health.writable())
    return { steps: [], failures: [], paused: true };
  await authority.recorder.flush();
  await endSpentBrownouts(authority);
  const steps: Taken[] = [];
  const failures: unknown[] = [];
  // Once for all: it can't say too much of what is read later, and what is due is judged by a fresh one.
  const watched = await authority.storage.evidence.watched();
  let after: RotationId | null = null;
  for (;;) {
    const page: readonly Rotation[] = await authority.storage.read.rotations.open(after, PAGE);
    for (const rotation of page) {
      after = rotation.id;
      try {
        steps.push(...(await advance(authority, rotation, watched)));
      } catch (error) {
        if (!authority.health.writable()) throw error;
        // One that can't go on must not hold up all that were started after it.
        failures.push(error);
      }
    }
    if (page.length < PAGE) return { steps, failures, paused: false };
    // A long list must not keep verification waiting.
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Looks before it asks the gate: a rotation that has nothing due costs no write transaction. */
async function advance(
  authority: Authority,
  rotation: Rotation,
  watched: Watched,
): Promise<readonly Taken[]> {
  const now = authority.time.now();
  const { read } = authority.storage;
  const { assessment, evidence } = await judgeRotation(authority, read, rotation, now, watched);
  if (nextStep(rotation, assessment, evidence.successorFirstUsedAt, now) === null) return [];
  const taken: Taken[] = [];
  for (;;) {
    const { output: step } = await perform(authority, advanceRotation, SYSTEM, { id: rotation.id });
    if (step === null) return taken;
    taken.push({ rotation: rotation.id, step });
  }
}

async function endSpentBrownouts(authority: Authority): Promise<void> {
  const now = authority.time.now();
  for (const brownout of await authority.storage.read.rotations.openBrownouts()) {
    const reason = await endOf(brownout, authority, now);
    if (reason !== null) await perform(authority, endBrownout, SYSTEM, { id: brownout.id, reason });
  }
}

/** Whichever processes refused: the one that works need not be among them. */
async function endOf(brownout: Brownout, authority: Authority, now: number): Promise<BrownoutStop | null> {
  if (now < brownout.startsAt) return null;
  const { spent } = await authority.brownouts.total(brownout);
  if (spent !== null) return spent;
  return now >= brownout.endsAt ? "ended" : null;
}

/**
 * For the start: what a brownout counted is lost with an unclean stop, so its threshold can't hold any more and it is
 * over. To be called when the recorder has started. Where no change is accepted, `createLossWatch` makes up for it later.
 */
export async function endLostBrownouts(authority: Authority): Promise<void> {
  if (!authority.health.writable()) return;
  const { restartedAt } = await authority.storage.evidence.watched();
  if (restartedAt !== null) await endRunningBrownouts(authority, "unclean_stop", restartedAt);
}

/** For a clean stop: brownouts that are running end, with what they found, where nobody would be counting. */
export async function endBrownoutsAtStop(authority: Authority): Promise<void> {
  if (!authority.health.writable()) return;
  const processes = await authority.storage.cluster.processes();
  if (processes.some(({ id }) => id !== authority.process.id)) return;
  await endSpentBrownouts(authority);
  await endRunningBrownouts(authority, "stop", authority.time.now());
}

async function endRunningBrownouts(
  authority: Authority,
  reason: BrownoutStop,
  startedBefore: Instant,
): Promise<void> {
  for (const brownout of await authority.storage.read.rotations.openBrownouts()) {
    if (brownout.startsAt > startedBefore) continue;
    await perform(authority, endBrownout, SYSTEM, { id: brownout.id, reason });
  }
}

/**
 * A process that has told nothing of what it saw for so long is gone, with what it saw at last: three of the longest flush
 * intervals, for this process doesn't know those of the others. By this process' monotonic clock, and by what others tell
 * and not by when: nobody's wall clock has a say in it.
 */
const REPORTER_LOST_MS = 3 * LONGEST_FLUSH_SECONDS * 1000;
/** After a pause as long nobody is judged by what was known before: the database may have been away for all. */
const LOOKS_APART_MS = 30_000;

/** Gives up the reports of processes that are gone, and the brownouts whose count went with them. */
export function createLossWatch(authority: Authority): () => Promise<void> {
  const { clock, health, storage, time } = authority;
  /** The newest batch of each session, and when this process first knew of it. */
  const newest = new Map<ReporterId, { readonly batchSeq: number; readonly since: number }>();

  let lookedAt = Number.NEGATIVE_INFINITY;

  function isLost({ id, batchSeq }: LivingReporter): boolean {
    const known = newest.get(id);
    if (known?.batchSeq === batchSeq) return clock.monotonic() - known.since > REPORTER_LOST_MS;
    newest.set(id, { batchSeq, since: clock.monotonic() });
    return false;
  }

  return async () => {
    if (time.trouble() !== null || !health.writable()) return;
    const living = await storage.evidence.living();
    if (clock.monotonic() - lookedAt > LOOKS_APART_MS) newest.clear();
    lookedAt = clock.monotonic();
    const lost = living.filter(isLost);
    for (const id of newest.keys()) if (!living.some((one) => one.id === id)) newest.delete(id);
    if (lost.length > 0) await storage.evidence.endReporters(lost, time.now());
    await endLostBrownouts(authority);
  };
}

/** Drops what has aged out: minutes of usage after two days; hours, and callers unseen, after 400; retry records. */
export async function dropAged(authority: Authority): Promise<void> {
  const now = authority.time.now();
  if (authority.time.trouble() !== null || !authority.health.writable()) return;
  await authority.storage.evidence.dropBefore({
    minutes: now - 2 * DAY,
    hours: now - 400 * DAY,
    callers: now - 400 * DAY,
  });
  await authority.storage.change((tx) => tx.idempotency.dropBefore(now - IDEMPOTENCY_KEPT_MS));
}
