import { Refusal } from "../errors.ts";
import { suspend } from "../keys/key.ts";
import type { RotationId } from "../ids.ts";
import type { Change, Operation } from "../operation.ts";
import { replaceKey, replaceRotation } from "./end-rotation.ts";
import type { Assessment, Reason } from "./evidence.ts";
import { findRotation, judgeRotation } from "./gather-evidence.ts";
import { complete, type Rotation } from "./rotation.ts";

export interface CompleteRotation {
  readonly id: RotationId;
  readonly force?: boolean | undefined;
}

/** `POST /v1/rotations/{id}/complete`: suspends the old key, on evidence or, by name, against it. */
export const completeRotation: Operation<CompleteRotation, Rotation> = {
  name: "rotations.complete",
  permission: "keyturn:rotations.manage",
  needsEvidence: true,
  async run(change, input) {
    const rotation = await findRotation(change.tx, change.account(), input.id);
    const { assessment } = await judgeRotation(change.authority, change.tx, rotation, change.now);
    const force = input.force ?? false;
    // The state first: nobody should be told of callers when there is nothing to complete.
    complete(rotation, false, change.now);
    if (assessment.blocking.length > 0 && !force) throw notSafe(assessment);
    const forced = assessment.blocking.length > 0;
    if (forced) tellForced(change, assessment);
    return applyCompletion(change, rotation, forced);
  },
};

/** Suspends the old key until the undo window is over. */
export async function applyCompletion(change: Change, rotation: Rotation, forced: boolean): Promise<Rotation> {
  const completed = await replaceRotation(change, rotation, complete(rotation, forced, change.now));
  await replaceKey(change, rotation, rotation.oldKeyId, (key) => suspend(key, "rotation"));
  return completed;
}

/** The entry says against what evidence. Unnamed callers are addresses, so they stand as salted hashes. */
export function tellForced(change: Change, assessment: Assessment): void {
  change.detail("forced", true);
  const unnamed = new Set(assessment.callers.filter((caller) => caller.unnamed).map((caller) => caller.name));
  change.detail(
    "against",
    assessment.blocking.map(({ code, callers }) => ({
      code,
      callers: callers.map((name) => (unnamed.has(name) ? change.hide(name) : name)),
    })),
  );
}

function notSafe(assessment: Assessment): Refusal {
  return new Refusal("not_safe_to_complete", assessment.blocking.map((reason) => reason.message).join(" "), {
    extensions: { reasons: assessment.blocking, callers: callersOf(assessment.blocking) },
  });
}

function callersOf(reasons: readonly Reason[]): readonly string[] {
  return [...new Set(reasons.flatMap((reason) => reason.callers))];
}
