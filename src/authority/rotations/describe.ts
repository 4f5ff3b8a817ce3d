import { formatInstant } from "../time.ts";
import { dueAt, type Rotation } from "./rotation.ts";

/** A rotation as the audit log tells of it: what can change, in the API's spelling. */
export function describeRotation(rotation: Rotation): Readonly<Record<string, unknown>> {
  return {
    state: rotation.state,
    completion: rotation.completion,
    old_key_id: rotation.oldKeyId,
    successor_key_id: rotation.successorKeyId,
    overlap_seconds: rotation.overlapSeconds,
    due_at: formatInstant(dueAt(rotation)),
    overdue: rotation.overdueAt !== null,
    undo_until: rotation.undoUntil === null ? null : formatInstant(rotation.undoUntil),
    forced: rotation.forced,
  };
}
