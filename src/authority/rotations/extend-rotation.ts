import type { RotationId } from "../ids.ts";
import type { Operation } from "../operation.ts";
import { replaceRotation } from "./end-rotation.ts";
import { findRotation } from "./gather-evidence.ts";
import { extend, type Rotation, type RotationExtension } from "./rotation.ts";

/** `PATCH /v1/rotations/{id}`: later, never sooner; and another way of completing. */
export const extendRotation: Operation<
  { readonly id: RotationId; readonly by: RotationExtension },
  Rotation
> = {
  name: "rotations.extend",
  permission: "keyturn:rotations.manage",
  async run(change, input) {
    const rotation = await findRotation(change.tx, change.account(), input.id);
    return replaceRotation(change, rotation, extend(rotation, input.by, change.now));
  },
};
