import { Refusal } from "../errors.ts";
import { newId, type RotationId } from "../ids.ts";
import type { Operation } from "../operation.ts";
import { formatInstant, type Instant, type Seconds } from "../time.ts";
import { type Brownout, brownoutNow, planBrownout } from "./brownout.ts";
import { findRotation, gatherEvidence } from "./gather-evidence.ts";
import { inOverlap, type Rotation } from "./rotation.ts";

export interface AnnounceBrownout {
  readonly id: RotationId;
  readonly startsAt?: Instant | undefined;
  readonly durationSeconds?: Seconds | undefined;
  readonly stopAfterCallers?: number | undefined;
  readonly stopAfterRefusals?: number | undefined;
}

/** `POST /v1/rotations/{id}/brownouts`: only once the successor was used, one at a time. */
export const announceBrownout: Operation<AnnounceBrownout, Rotation> = {
  name: "rotations.brownout",
  permission: "keyturn:rotations.manage",
  needsEvidence: true,
  async run(change, input) {
    const rotation = await findRotation(change.tx, change.account(), input.id);
    const evidence = await gatherEvidence(change.authority, change.tx, rotation);
    if (!inOverlap(rotation.state) || evidence.successorFirstUsedAt === null) {
      throw new Refusal(
        "rotation_state",
        inOverlap(rotation.state)
          ? "The successor was never used; refusing the old key now would find nobody who could move."
          : `The rotation is ${rotation.state}; the old key is not in use.`,
      );
    }
    const others = await change.tx.rotations.brownouts(rotation.id);
    if (others.some((one) => brownoutNow(one, change.now) !== "over")) {
      throw new Refusal("rotation_state", "Another brownout of this rotation is coming or running.");
    }
    const brownout: Brownout = {
      id: newId("bro"),
      rotationId: rotation.id,
      ...planBrownout(input, change.now),
      stoppedAt: null,
      stopReason: null,
      refusals: 0,
      callersHit: [],
    };
    await change.tx.rotations.addBrownout(brownout);
    change.record({
      kind: "brownout",
      id: brownout.id,
      before: null,
      after: {
        rotation_id: rotation.id,
        starts_at: formatInstant(brownout.startsAt),
        ends_at: formatInstant(brownout.endsAt),
      },
    });
    // The keys are named, so that every process takes the brownout to heart.
    change.record({ kind: "key", id: rotation.oldKeyId, before: null, after: { brownout_id: brownout.id } });
    return rotation;
  },
};
