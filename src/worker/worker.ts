import { SYSTEM } from "../authority/audit/entry.ts";
import type { Authority } from "../authority/authority.ts";
import type { RotationId } from "../authority/ids.ts";
import { perform } from "../authority/operation.ts";
import { advanceRotation } from "../authority/rotations/advance-rotation.ts";
import type { Brownout, BrownoutStop } from "../authority/rotations/brownout.ts";
import { endBrownout } from "../authority/rotations/end-brownout.ts";
import { judgeRotation } from "../authority/rotations/gather-evidence.ts";
import { nextStep, type Rotation, type Step } from "../authority/rotations/rotation.ts";

const PAGE = 100;
const DAY = 86_400_000;
const IDEMPOTENCY_KEPT_MS = DAY;

/** What the worker did in one round, for the log. */
export interface Round {
  readonly steps: readonly Taken[];
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
  if (authority.time.trouble() !== null || !authority.health.writable()) return { steps: [], paused: true };
  await authority.recorder.flush();
  await endSpentBrownouts(authority);
  const steps: Taken[] = [];
  let after: RotationId | null = null;
  for (;;) {
    const page: readonly Rotation[] = await authority.storage.read.rotations.open(after, PAGE);
    for (const rotation of page) {
      steps.push(...(await advance(authority, rotation)));
      after = rotation.id;
    }
    if (page.length < PAGE) return { steps, paused: false };
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

/** After an unclean stop the count of a running brownout is lost, so its threshold can't hold: it is over. */
export async function endLostBrownouts(authority: Authority): Promise<void> {
  const now = authority.time.now();
  for (const brownout of await authority.storage.read.rotations.openBrownouts()) {
    if (brownout.startsAt > now) continue;
    await perform(authority, endBrownout, SYSTEM, { id: brownout.id, reason: "unclean_stop" });
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
