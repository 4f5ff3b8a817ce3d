import { Refusal } from "../errors.ts";
import type { RotationId } from "../ids.ts";
import { suspend } from "../keys/key.ts";
import { keepingRoots } from "../keys/root-keys.ts";
import type { Change, Operation } from "../operation.ts";
import { replaceKey, replaceRotation, stopBrownouts } from "./end-rotation.ts";
import type { Assessment, Reason } from "./evidence.ts";
import { findRotation, type Judged, judgeRotation } from "./gather-evidence.ts";
import { complete, type Rotation, startAdopting } from "./rotation.ts";

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
    const judged = await judgeRotation(change.authority, change.tx, rotation, change.now);
    const { assessment } = judged;
    const force = input.force ?? false;
    // The state first: nobody should be told of callers when there is nothing to complete.
    complete(rotation, false, change.now);
    if (assessment.blocking.length > 0 && !force) throw notSafe(assessment);
    return keepingRoots(change, force, () => applyCompletion(change, rotation, judged));
  },
};

/** Suspends the old key until the undo window is over. With callers in the way, the entry says that it was forced. */
export async function applyCompletion(change: Change, rotation: Rotation, judged: Judged): Promise<Rotation> {
  const forced = judged.assessment.blocking.length > 0;
  if (forced) tellForced(change, judged.assessment);
  const { successorFirstUsedAt } = judged.evidence;
  // Whoever completes before the worker came by must not lose when the successor was first used.
  const used =
    rotation.state === "issued" && successorFirstUsedAt !== null
      ? startAdopting(rotation, successorFirstUsedAt)
      : rotation;
  const completed = await replaceRotation(change, rotation, complete(used, forced, change.now));
  await stopBrownouts(change, rotation);
  await replaceKey(change, rotation, rotation.oldKeyId, (key) => suspend(key, "rotation"));
  return completed;
}

/** The entry says against what evidence. Unnamed callers are addresses, so they stand as salted hashes. */
function tellForced(change: Change, assessment: Assessment): void {
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
