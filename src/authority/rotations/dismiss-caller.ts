import { isUnnamed } from "../callers/caller.ts";
import { notFound, Refusal } from "../errors.ts";
import type { RotationId } from "../ids.ts";
import type { Operation } from "../operation.ts";
import { formatInstant } from "../time.ts";
import { describeRotation } from "./describe.ts";
import { quietMilliseconds, watchedSince } from "./evidence.ts";
import { findRotation, judgeRotation } from "./gather-evidence.ts";
import { inOverlap, type Rotation } from "./rotation.ts";

export interface DismissCaller {
  readonly id: RotationId;
  /** As the rotation lists it. */
  readonly caller: string;
  readonly reason: string;
}

/** `POST /v1/rotations/{id}/dismissals`: a person vouches that a caller gone quiet need not be waited for. */
export const dismissCaller: Operation<DismissCaller, Rotation> = {
  name: "rotations.dismiss",
  permission: "keyturn:rotations.manage",
  needsEvidence: true,
  async run(change, input) {
    const rotation = await findRotation(change.tx, change.account(), input.id);
    if (!inOverlap(rotation.state))
      throw new Refusal("rotation_state", `The rotation is ${rotation.state}; nobody is waited for.`);
    const { evidence, assessment } = await judgeRotation(change.authority, change.tx, rotation, change.now);
    // A name may read like the address and agent of an unnamed caller: then the one that is in the way is meant.
    const called = assessment.callers.filter((one) => one.name === input.caller);
    const caller = called.find((one) => one.blocking) ?? called[0];
    if (caller === undefined) throw notFound("caller of the old key");
    if (
      caller.lastSeenOldAt >= rotation.startedAt &&
      watchedSince(evidence.watches, caller.lastSeenOldAt) < quietMilliseconds(rotation, evidence)
    ) {
      throw new Refusal(
        "caller_active",
        `The caller used the old key at ${formatInstant(caller.lastSeenOldAt)}, within the quiet period. Move it, or complete with force.`,
      );
    }
    await change.tx.rotations.addDismissal(rotation.id, {
      caller: caller.id,
      reason: input.reason,
      at: change.now,
    });
    change.detail("caller", isUnnamed(caller.id) ? change.hide(caller.name) : caller.name);
    change.detail("reason", input.reason);
    change.record({ kind: "rotation", id: rotation.id, before: null, after: describeRotation(rotation) });
    return rotation;
  },
};
