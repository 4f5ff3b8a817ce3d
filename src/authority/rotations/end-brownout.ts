import type { BrownoutId } from "../ids.ts";
import type { Operation } from "../operation.ts";
import type { BrownoutStop } from "./brownout.ts";
import { stopBrownout } from "./end-rotation.ts";

export interface EndBrownout {
  readonly id: BrownoutId;
  readonly reason: BrownoutStop;
}

/** The worker's: stores what a brownout found, and that it is over. */
export const endBrownout: Operation<EndBrownout, void> = {
  name: "rotations.end-brownout",
  permission: "system",
  mayBeIdle: true,
  async run(change, input) {
    const brownout = await change.tx.rotations.brownoutById(input.id);
    if (brownout === null || brownout.stoppedAt !== null) return;
    const rotation = await change.tx.rotations.byIdAnywhere(brownout.rotationId);
    if (rotation === null) return;
    change.inAccount(rotation.accountId);
    await stopBrownout(change, brownout, input.reason);
    change.record({ kind: "key", id: rotation.oldKeyId, before: { brownout_id: brownout.id }, after: null });
  },
};
