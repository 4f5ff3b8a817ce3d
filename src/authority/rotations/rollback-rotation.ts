import type { RotationId } from "../ids.ts";
import { lift } from "../keys/key.ts";
import type { Operation } from "../operation.ts";
import { replaceKey, replaceRotation } from "./end-rotation.ts";
import { findRotation } from "./gather-evidence.ts";
import { type Rotation, rollback } from "./rotation.ts";

/** `POST /v1/rotations/{id}/rollback`: within the undo window, the old key is good again. */
export const rollbackRotation: Operation<{ readonly id: RotationId }, Rotation> = {
  name: "rotations.rollback",
  permission: "keyturn:rotations.manage",
  async run(change, input) {
    const rotation = await findRotation(change.tx, change.account(), input.id);
    const rolledBack = await replaceRotation(change, rotation, rollback(rotation, change.now));
    await replaceKey(change, rotation, rotation.oldKeyId, (key) => lift(key, "rotation"));
    return rolledBack;
  },
};
