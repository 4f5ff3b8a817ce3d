import { callerLabel } from "../callers/caller.ts";
import { Refusal } from "../errors.ts";
import type { RotationId } from "../ids.ts";
import { findKey } from "../keys/find-key.ts";
import { revoke } from "../keys/revoke-key.ts";
import { keepingSomeRoot } from "../keys/root-keys.ts";
import type { Operation } from "../operation.ts";
import { cancelled } from "./end-rotation.ts";
import { findRotation, gatherEvidence } from "./gather-evidence.ts";
import { cancel, type Rotation } from "./rotation.ts";

export interface CancelRotation {
  readonly id: RotationId;
  readonly force?: boolean | undefined;
}

/** `POST /v1/rotations/{id}/cancel`: gives the successor up. Once somebody uses it, only with `force`. */
export const cancelRotation: Operation<CancelRotation, Rotation> = {
  name: "rotations.cancel",
  permission: "keyturn:rotations.manage",
  needsEvidence: true,
  async run(change, input) {
    const rotation = await findRotation(change.tx, change.account(), input.id);
    const evidence = await gatherEvidence(change.authority, change.tx, rotation);
    const used = evidence.successorFirstUsedAt !== null;
    const force = input.force ?? false;
    const ended = cancel(rotation, used && force, change.now);
    if (used && !force) {
      const callers = evidence.successorCallers
        .filter((caller) => caller.lastValidAt !== null)
        .map((caller) => callerLabel(caller.id));
      throw new Refusal(
        "successor_in_use",
        `The successor is in use by ${callers.join(", ")}. Insist with force.`,
        {
          extensions: { callers },
        },
      );
    }
    if (used) change.detail("forced", true);
    return keepingSomeRoot(change, force, async () => {
      await cancelled(change, rotation, ended.forced);
      const { key } = await findKey(change.tx, rotation.accountId, rotation.successorKeyId);
      await revoke(change, key);
      return ended;
    });
  },
};
