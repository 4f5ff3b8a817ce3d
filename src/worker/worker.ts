import { SYSTEM } from "../authority/audit/entry.ts";
import type { Authority } from "../authority/authority.ts";
import type { RotationId } from "../authority/ids.ts";
import { perform } from "../authority/operation.ts";
import { advanceRotation } from "../authority/rotations/advance-rotation.ts";
import type { Brownout, BrownoutStop } from "../authority/rotations/brownout.ts";
import { endBrownout } from "../authority/rotations/end-brownout.ts";
import { judgeRotation } from "../authority/rotations/gather-evidence.ts";
import { nextStep, type Rotation, type Step } from "../authority/rotations/rotation.ts";
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
  let after: RotationId | null = null;
  for (;;) {
    const page: readonly Rotation[] = await authority.storage.read.rotations.open(after, PAGE);
    for (const rotation of page) {
      after = rotation.id;
      try {
        steps.push(...(await advance(authority, rotation)));
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
async function advance(authority: Authority, rotation: Rotation): Promise<readonly Taken[]> {
  const now = authority.time.now();
  const { assessment, evidence } = await judgeRotation(authority, authority.storage.read, rotation, now);
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
    const reason = endOf(brownout, authority, now);
    if (reason !== null) await perform(authority, endBrownout, SYSTEM, { id: brownout.id, reason });
  }
}

function endOf(brownout: Brownout, authority: Authority, now: number): BrownoutStop | null {
  const spent = authority.verifier.tallyOf(brownout.id)?.spent;
  if (spent != null) return spent;
  return now >= brownout.endsAt ? "ended" : null;
}

/**
 * For the start: what a brownout counted is lost with an unclean stop, so its threshold can't hold any more and it is
 * over. To be called when the recorder has started.
 */
export async function endLostBrownouts(authority: Authority): Promise<void> {
  const { restartedAt } = await authority.storage.evidence.watches();
  if (restartedAt !== null) await endRunningBrownouts(authority, "unclean_stop", restartedAt);
}

/** For a clean stop: brownouts that are running end, with what they found, because nobody would be counting. */
export async function endBrownoutsAtStop(authority: Authority): Promise<void> {
  if (!authority.health.writable()) return;
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
