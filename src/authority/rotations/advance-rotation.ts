import type { RotationId } from "../ids.ts";
import { findKey } from "../keys/find-key.ts";
import { revoke } from "../keys/revoke-key.ts";
import type { Change, Operation } from "../operation.ts";
import { applyCompletion } from "./complete-rotation.ts";
import { closed, replaceRotation } from "./end-rotation.ts";
import { type Judged, judgeRotation } from "./gather-evidence.ts";
import {
  adopt,
  nextStep,
  type Rotation,
  raiseOverdue,
  type Step,
  startAdopting,
  unadopt,
} from "./rotation.ts";

/**
 * The worker's: takes the one step that is due, if any. What is due is judged anew inside the transaction, so two
 * workers, or a worker and a person, never do a thing twice.
 */
export const advanceRotation: Operation<{ readonly id: RotationId }, Step | null> = {
  name: "rotations.advance",
  permission: "system",
  mayBeIdle: true,
  async run(change, input) {
    const rotation = await change.tx.rotations.byIdAnywhere(input.id);
    if (rotation === null) return null;
    change.inAccount(rotation.accountId);
    let judged = await judgeRotation(change.authority, change.tx, rotation, change.now);
    let step = nextStep(rotation, judged.assessment, judged.evidence.successorFirstUsedAt, change.now);
    if (step === "complete") {
      // Whoever used the old key a moment ago is still in memory only, and must count.
      await change.authority.recorder.flush();
      judged = await judgeRotation(change.authority, change.tx, rotation, change.now);
      step = nextStep(rotation, judged.assessment, judged.evidence.successorFirstUsedAt, change.now);
    }
    if (step === null) return null;
    change.detail("step", step);
    await take(change, rotation, step, judged);
    return step;
  },
};

async function take(change: Change, rotation: Rotation, step: Step, judged: Judged): Promise<void> {
  switch (step) {
    case "start_adopting":
      await replaceRotation(
        change,
        rotation,
        startAdopting(rotation, judged.evidence.successorFirstUsedAt ?? change.now),
      );
      return;
    case "adopt":
      await replaceRotation(change, rotation, adopt(rotation, change.now));
      return;
    case "unadopt":
      await replaceRotation(change, rotation, unadopt(rotation));
      return;
    case "raise_overdue":
      await replaceRotation(change, rotation, raiseOverdue(rotation, change.now));
      return;
    case "complete":
      // Only `at_deadline` gets here with callers in the way, and that was somebody's choice by name.
      await applyCompletion(change, rotation, judged);
      return;
    case "close": {
      await closed(change, rotation);
      const { key } = await findKey(change.tx, rotation.accountId, rotation.oldKeyId);
      await revoke(change, key);
      return;
    }
  }
}
