import { invalid } from "../errors.ts";
import type { BrownoutId, RotationId } from "../ids.ts";
import type { Instant, Seconds } from "../time.ts";

/** A short announced window in which the old key of a rotation is refused, to find the callers nobody knew of. */
export interface Brownout {
  readonly id: BrownoutId;
  readonly rotationId: RotationId;
  readonly startsAt: Instant;
  readonly endsAt: Instant;
  readonly stopAfterCallers: number;
  readonly stopAfterRefusals: number;
  /** When and why it was over; both null while it is coming or running. */
  readonly stoppedAt: Instant | null;
  readonly stopReason: BrownoutStop | null;
  readonly refusals: number;
  /** The callers that were refused, by name (unnamed ones by address and agent). */
  readonly callersHit: readonly string[];
}

export type BrownoutStop = "ended" | "callers" | "refusals" | "rotation" | "stop" | "unclean_stop";

const BROWNOUT_DEFAULT_SECONDS = 300;
const BROWNOUT_LONGEST_SECONDS = 3600;
/** How long before its start verdicts on the old key announce it. */
export const BROWNOUT_NOTICE_SECONDS = 900;
const FURTHEST_START_SECONDS = 30 * 86_400;

export function brownoutNow(brownout: Brownout, now: Instant): "coming" | "running" | "over" {
  if (brownout.stoppedAt !== null || now >= brownout.endsAt) return "over";
  return now < brownout.startsAt ? "coming" : "running";
}

/** The window that was asked for. Throws `invalid_input`. */
export function planBrownout(
  asked: {
    readonly startsAt?: Instant | undefined;
    readonly durationSeconds?: Seconds | undefined;
    readonly stopAfterCallers?: number | undefined;
    readonly stopAfterRefusals?: number | undefined;
  },
  now: Instant,
): Pick<Brownout, "startsAt" | "endsAt" | "stopAfterCallers" | "stopAfterRefusals"> {
  const startsAt = asked.startsAt ?? now;
  if (startsAt < now) throw invalid("starts_at", "must not lie in the past");
  if (startsAt > now + FURTHEST_START_SECONDS * 1000) throw invalid("starts_at", "must lie within 30 days");
  const duration = asked.durationSeconds ?? BROWNOUT_DEFAULT_SECONDS;
  if (duration > BROWNOUT_LONGEST_SECONDS) throw invalid("duration", "must be at most 1h");
  return {
    startsAt,
    endsAt: startsAt + duration * 1000,
    stopAfterCallers: asked.stopAfterCallers ?? 3,
    stopAfterRefusals: asked.stopAfterRefusals ?? 100,
  };
}
