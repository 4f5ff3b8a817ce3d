import { invalid, Refusal } from "../errors.ts";
import type { AccountId, KeyId, LineageId, OwnerId, RotationId } from "../ids.ts";
import { formatInstant, type Instant, type Seconds } from "../time.ts";
import type { Assessment } from "./evidence.ts";

export const ROTATION_STATES = ["issued", "adopting", "adopted", "completed", "closed", "cancelled"] as const;
export type RotationState = (typeof ROTATION_STATES)[number];

export const COMPLETIONS = ["when_adopted", "manual", "at_deadline"] as const;
export type Completion = (typeof COMPLETIONS)[number];

/** The hand-over from a key to its successor. It knows ids only, never a secret or a digest. */
export interface Rotation {
  readonly id: RotationId;
  readonly accountId: AccountId;
  readonly ownerId: OwnerId;
  readonly lineageId: LineageId;
  readonly oldKeyId: KeyId;
  readonly successorKeyId: KeyId;
  readonly state: RotationState;
  readonly completion: Completion;
  readonly reason: string | null;
  readonly overlapSeconds: Seconds;
  readonly quietPeriodSeconds: Seconds;
  readonly lookBackSeconds: Seconds;
  readonly undoWindowSeconds: Seconds;
  readonly deadlineAt: Instant;
  /** The old key's own end, as it was at the start or cut since; null for never. */
  readonly oldKeyEndsAt: Instant | null;
  readonly startedAt: Instant;
  readonly firstUsedAt: Instant | null;
  readonly adoptedAt: Instant | null;
  readonly overdueAt: Instant | null;
  readonly completedAt: Instant | null;
  readonly undoUntil: Instant | null;
  readonly endedAt: Instant | null;
  /** Somebody insisted against the evidence. */
  readonly forced: boolean;
}

const DAY = 86_400;
const ROTATION_DEFAULTS = {
  overlapSeconds: 7 * DAY,
  deadlineSeconds: 30 * DAY,
  quietPeriodSeconds: DAY,
  lookBackSeconds: 30 * DAY,
  undoWindowSeconds: DAY,
} as const;

/** Callers unseen for this long are dropped, so no look-back can reach further. */
const LONGEST_LOOK_BACK_SECONDS = 400 * DAY;

/** How long before the old key's own end `overdue` is raised when that end cuts the overlap short. */
const EARLY_WARNING_SECONDS = DAY;

export interface RotationPlan {
  readonly completion?: Completion | undefined;
  readonly reason?: string | undefined;
  readonly overlapSeconds?: Seconds | undefined;
  readonly quietPeriodSeconds?: Seconds | undefined;
  readonly lookBackSeconds?: Seconds | undefined;
  readonly undoWindowSeconds?: Seconds | undefined;
  readonly deadlineAt?: Instant | undefined;
}

/** The rotation's own settings, with the defaults filled in. Throws `invalid_input`. */
export function planRotation(plan: RotationPlan, now: Instant) {
  const lookBackSeconds = plan.lookBackSeconds ?? ROTATION_DEFAULTS.lookBackSeconds;
  if (lookBackSeconds > LONGEST_LOOK_BACK_SECONDS) throw invalid("look_back", "must be at most 400d");
  const deadlineAt = plan.deadlineAt ?? now + ROTATION_DEFAULTS.deadlineSeconds * 1000;
  if (deadlineAt <= now) throw invalid("deadline", "must lie in the future");
  return {
    completion: plan.completion ?? "when_adopted",
    reason: plan.reason ?? null,
    overlapSeconds: plan.overlapSeconds ?? ROTATION_DEFAULTS.overlapSeconds,
    quietPeriodSeconds: plan.quietPeriodSeconds ?? ROTATION_DEFAULTS.quietPeriodSeconds,
    lookBackSeconds,
    undoWindowSeconds: plan.undoWindowSeconds ?? ROTATION_DEFAULTS.undoWindowSeconds,
    deadlineAt,
  };
}

/** Its keys are still in each other's hands; the undo window counts. */
export function isOpen(state: RotationState): boolean {
  return state !== "closed" && state !== "cancelled";
}

/** Both keys are good. */
export function inOverlap(state: RotationState): boolean {
  return state === "issued" || state === "adopting" || state === "adopted";
}

/** The first use plus the overlap or the deadline, whichever is earlier, and never after the old key's own end. */
export function dueAt(rotation: Rotation): Instant {
  const planned = plannedDueAt(rotation);
  return rotation.oldKeyEndsAt === null ? planned : Math.min(planned, rotation.oldKeyEndsAt);
}

/** The old key dies of age before the overlap is over. */
export function isCutShort(rotation: Rotation): boolean {
  return rotation.oldKeyEndsAt !== null && rotation.oldKeyEndsAt < plannedDueAt(rotation);
}

function plannedDueAt(rotation: Rotation): Instant {
  if (rotation.firstUsedAt === null) return rotation.deadlineAt;
  return Math.min(rotation.firstUsedAt + rotation.overlapSeconds * 1000, rotation.deadlineAt);
}

/** From when the rotation is overdue: at its due instant, but before the old key's end when that comes first. */
export function overdueFrom(rotation: Rotation): Instant {
  const due = dueAt(rotation);
  if (!isCutShort(rotation)) return due;
  const left = due - rotation.startedAt;
  return due - Math.min(EARLY_WARNING_SECONDS * 1000, Math.floor(left / 4));
}

export function isOverdue(rotation: Rotation, now: Instant): boolean {
  return inOverlap(rotation.state) && now >= overdueFrom(rotation);
}

/** What is due to happen by itself. One step at a time; the worker asks again after each. */
export type Step = "start_adopting" | "adopt" | "unadopt" | "raise_overdue" | "complete" | "close";

export function nextStep(
  rotation: Rotation,
  assessment: Assessment,
  firstUsedAt: Instant | null,
  now: Instant,
): Step | null {
  if (rotation.state === "completed") {
    return rotation.undoUntil !== null && now >= rotation.undoUntil ? "close" : null;
  }
  if (!inOverlap(rotation.state)) return null;
  if (rotation.state === "issued" && firstUsedAt !== null) return "start_adopting";
  if (rotation.state === "adopting" && assessment.adopted) return "adopt";
  if (rotation.state === "adopted" && assessment.blocking.length > 0) return "unadopt";
  if (rotation.overdueAt === null && isOverdue(rotation, now)) return "raise_overdue";
  if (rotation.state === "adopted" && rotation.completion === "when_adopted") return "complete";
  if (completesAtDeadline(rotation, assessment, now)) return "complete";
  return null;
}

/** Only by name, and never while the successor is unused or itself refused. */
function completesAtDeadline(rotation: Rotation, assessment: Assessment, now: Instant): boolean {
  if (rotation.completion !== "at_deadline" || now < dueAt(rotation) || rotation.state === "issued")
    return false;
  return !assessment.blocking.some(
    (reason) => reason.code === "successor_unused" || reason.code === "successor_not_active",
  );
}

export function startAdopting(rotation: Rotation, firstUsedAt: Instant): Rotation {
  return { ...rotation, state: "adopting", firstUsedAt };
}

export function adopt(rotation: Rotation, now: Instant): Rotation {
  return { ...rotation, state: "adopted", adoptedAt: now };
}

export function unadopt(rotation: Rotation): Rotation {
  return { ...rotation, state: "adopting", adoptedAt: null };
}

export function raiseOverdue(rotation: Rotation, now: Instant): Rotation {
  return { ...rotation, overdueAt: now };
}

/** The old key is suspended until `undoUntil`. Throws `rotation_state` from any state without overlap. */
export function complete(rotation: Rotation, forced: boolean, now: Instant): Rotation {
  if (!inOverlap(rotation.state)) throw wrongState(rotation, "completed", "complete");
  return {
    ...rotation,
    state: "completed",
    completedAt: now,
    undoUntil: now + rotation.undoWindowSeconds * 1000,
    forced: rotation.forced || forced,
  };
}

/**
 * Back to both keys being good. Completion is manual from then on: the evidence that was not enough for the person
 * who rolled back must not complete it again by itself. Throws `rotation_state`.
 */
export function rollback(rotation: Rotation, now: Instant): Rotation {
  if (rotation.state !== "completed") throw wrongState(rotation, "rolled back", "roll back");
  if (rotation.undoUntil !== null && now >= rotation.undoUntil) {
    throw new Refusal("rotation_state", `The undo window ended at ${formatInstant(rotation.undoUntil)}.`);
  }
  return {
    ...rotation,
    // One that was forced through before anybody used the successor is where it was.
    state: rotation.firstUsedAt === null ? "issued" : "adopting",
    completion: "manual",
    adoptedAt: null,
    completedAt: null,
    undoUntil: null,
  };
}

/** The successor is given up. Throws `rotation_state` once the old key is suspended: roll back first. */
export function cancel(rotation: Rotation, forced: boolean, now: Instant): Rotation {
  if (!inOverlap(rotation.state)) {
    throw new Refusal(
      "rotation_state",
      rotation.state === "completed"
        ? "A completed rotation can't be cancelled: roll it back first."
        : `The rotation is ${rotation.state}; there is nothing left to cancel.`,
    );
  }
  return { ...rotation, state: "cancelled", endedAt: now, forced: rotation.forced || forced };
}

/** The end: the old key is revoked (by the worker after the undo window, or by somebody at once). */
export function close(rotation: Rotation, now: Instant): Rotation {
  return { ...rotation, state: "closed", endedAt: now };
}

export interface RotationExtension {
  readonly overlapSeconds?: Seconds | undefined;
  readonly deadlineAt?: Instant | undefined;
  readonly completion?: Completion | undefined;
}

/** Later, never sooner: `PATCH` extends. Throws `invalid_input` or `rotation_state`. */
export function extend(rotation: Rotation, by: RotationExtension, now: Instant): Rotation {
  if (!inOverlap(rotation.state)) throw wrongState(rotation, "extended", "extend");
  if (by.overlapSeconds !== undefined && by.overlapSeconds < rotation.overlapSeconds) {
    throw invalid("overlap", "can be extended, not shortened");
  }
  if (by.deadlineAt !== undefined && by.deadlineAt < rotation.deadlineAt) {
    throw invalid("deadline", `can be extended, not shortened (it is ${formatInstant(rotation.deadlineAt)})`);
  }
  const extended = {
    ...rotation,
    overlapSeconds: by.overlapSeconds ?? rotation.overlapSeconds,
    deadlineAt: by.deadlineAt ?? rotation.deadlineAt,
    completion: by.completion ?? rotation.completion,
  };
  return { ...extended, overdueAt: isOverdue(extended, now) ? rotation.overdueAt : null };
}

function wrongState(rotation: Rotation, done: string, verb: string): Refusal {
  return new Refusal("rotation_state", `The rotation is ${rotation.state} and can't be ${done}.`, {
    extensions: { state: rotation.state, tried: verb },
  });
}
