import type { Authority } from "../authority.ts";
import { notFound } from "../errors.ts";
import type { AccountId, RotationId } from "../ids.ts";
import { findKey } from "../keys/find-key.ts";
import { stateOf } from "../keys/key.ts";
import type { Reader } from "../storage.ts";
import type { Instant } from "../time.ts";
import { type Assessment, assess, type Evidence } from "./evidence.ts";
import type { Rotation } from "./rotation.ts";
import type { Watched } from "./watch.ts";

export async function findRotation(
  tx: Pick<Reader, "rotations">,
  account: AccountId,
  id: RotationId,
): Promise<Rotation> {
  const rotation = await tx.rotations.byId(account, id);
  if (rotation === null) throw notFound("rotation");
  return rotation;
}

/**
 * All that was stored of the use of both keys. Whoever must see the last second flushes first. `known` is what an earlier
 * question about the watch was answered.
 */
export async function gatherEvidence(
  authority: Authority,
  tx: Pick<Reader, "rotations">,
  rotation: Rotation,
  known: Watched | null = null,
): Promise<Evidence> {
  const { evidence } = authority.storage;
  // Before the callers: a report that comes in between must not say that time was watched in which its callers are missing.
  const watched = known ?? (await evidence.watched());
  const [oldCallers, successorCallers, uses, dismissals] = [
    await evidence.callersOf(rotation.oldKeyId),
    await evidence.callersOf(rotation.successorKeyId),
    await evidence.useOf([rotation.successorKeyId]),
    await tx.rotations.dismissals(rotation.id),
  ];
  return {
    oldCallers,
    successorCallers,
    successorFirstUsedAt: uses.get(rotation.successorKeyId)?.firstValidAt ?? null,
    watches: watched.watches,
    watchRestartedAt: watched.restartedAt,
    dismissals,
    flushSeconds: authority.settings.flushSeconds,
  };
}

export interface Judged {
  readonly evidence: Evidence;
  readonly assessment: Assessment;
}

/** The evidence and what it says at `now`. */
export async function judgeRotation(
  authority: Authority,
  tx: Pick<Reader, "rotations" | "keys">,
  rotation: Rotation,
  now: Instant,
  known: Watched | null = null,
): Promise<Judged> {
  const evidence = await gatherEvidence(authority, tx, rotation, known);
  const { key, owner } = await findKey(tx, rotation.accountId, rotation.successorKeyId);
  const successorActive = stateOf(key, owner, now) === "active" && owner.disabledAt === null;
  return { evidence, assessment: assess(rotation, evidence, successorActive, now) };
}
