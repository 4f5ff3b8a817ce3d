import { type Caller, type CallerId, callerLabel, isUnnamed, OVERFLOW } from "../callers/caller.ts";
import type { Instant, Seconds } from "../time.ts";
import type { Rotation } from "./rotation.ts";
import type { Watch } from "./watch.ts";

/** A person's word that a caller which is silent need not be waited for. Void once it is seen on the old key again. */
export interface Dismissal {
  readonly caller: CallerId;
  readonly reason: string;
  readonly at: Instant;
}

/** All that is known of the use of both keys, up to the last flush. */
export interface Evidence {
  readonly oldCallers: readonly Caller[];
  readonly successorCallers: readonly Caller[];
  /** The successor's first valid use, null while it has none. */
  readonly successorFirstUsedAt: Instant | null;
  /** Ascending and apart, only what lies after the last unclean stop. */
  readonly watches: readonly Watch[];
  /** When the watch began anew after the last unclean stop, null if there was none. */
  readonly watchRestartedAt: Instant | null;
  readonly dismissals: readonly Dismissal[];
  /** Two of these are the shortest quiet period. */
  readonly flushSeconds: Seconds;
}

export type CallerStatus = "moved" | "still_on_old" | "silent" | "dismissed";

/** How far one caller of the old key has come. */
export interface CallerProgress {
  readonly id: CallerId;
  readonly name: string;
  readonly unnamed: boolean;
  readonly status: CallerStatus;
  readonly blocking: boolean;
  readonly lastSeenOldAt: Instant;
  readonly firstSeenNewAt: Instant | null;
  readonly lastSeenNewAt: Instant | null;
  /** When it will count as off the old key if it stays off and the watch goes on; null if it already does. */
  readonly quietAt: Instant | null;
  readonly address: string | null;
  readonly agent: string | null;
}

export type ReasonCode =
  | "successor_unused"
  | "successor_not_active"
  | "still_on_old"
  | "silent"
  | "too_many_callers"
  | "watching"
  | "no_evidence";

/** Why completing isn't safe. `callers` are labels, as in the list of callers. */
export interface Reason {
  readonly code: ReasonCode;
  readonly message: string;
  readonly callers: readonly string[];
}

export interface Assessment {
  readonly callers: readonly CallerProgress[];
  /** Callers of the successor that the old key never saw. */
  readonly newCallers: readonly string[];
  readonly reasons: readonly Reason[];
  /** What `complete` would be refused for. `no_evidence` alone isn't among it, and isn't safe either. */
  readonly blocking: readonly Reason[];
  readonly safeToComplete: boolean;
  /** Safe, and one quiet period was watched. Without evidence only a person can say that it is time. */
  readonly adopted: boolean;
}

const UNNAMED_QUIET_SECONDS = 7 * 86_400;

/** Milliseconds after `since` that every verifying process has reported on. Watches ascend by their start. */
export function watchedSince(watches: readonly Watch[], since: Instant): number {
  let total = 0;
  let counted = since;
  for (const watch of watches) {
    // A clock that was set back makes watches overlap; no moment is watched twice.
    total += Math.max(0, watch.until - Math.max(watch.from, counted));
    counted = Math.max(counted, watch.until);
  }
  return total;
}

/** Never less than two flush intervals: what was seen a moment ago is still in memory. */
export function quietMilliseconds(rotation: Rotation, evidence: Evidence): number {
  return Math.max(rotation.quietPeriodSeconds, 2 * evidence.flushSeconds) * 1000;
}

/** What the evidence says of a rotation at `now`. Pure: the same evidence gives the same answer. */
export function assess(
  rotation: Rotation,
  evidence: Evidence,
  successorActive: boolean,
  now: Instant,
): Assessment {
  // From the start, not from now: a silent caller must not drop out of sight because the rotation takes its time.
  const lookBackFrom = rotation.startedAt - rotation.lookBackSeconds * 1000;
  const known = evidence.oldCallers.filter((caller) => caller.lastSeenAt >= lookBackFrom);
  const onSuccessor = new Map(evidence.successorCallers.map((caller) => [caller.id, caller]));
  const told = known.filter((caller) => caller.id !== OVERFLOW);
  const callers = told.map((caller) => progress(rotation, evidence, caller, onSuccessor.get(caller.id), now));
  const oldIds = new Set(evidence.oldCallers.map((caller) => caller.id));
  const newCallers = evidence.successorCallers
    .filter((caller) => caller.lastValidAt !== null && !oldIds.has(caller.id))
    .map((caller) => callerLabel(caller.id));

  const blocking: Reason[] = [];
  if (evidence.successorFirstUsedAt === null) {
    blocking.push(reason("successor_unused", "The successor has not been used yet."));
  }
  if (!successorActive) {
    blocking.push(
      reason("successor_not_active", "The successor itself is refused; completing would leave no good key."),
    );
  }
  const stillOnOld = labels(callers, "still_on_old");
  if (stillOnOld.length > 0) {
    blocking.push(reason("still_on_old", `Still using the old key: ${stillOnOld.join(", ")}.`, stillOnOld));
  }
  const silent = labels(callers, "silent");
  if (silent.length > 0) {
    blocking.push(
      reason(
        "silent",
        `Known from the old key and not yet known to have moved: ${silent.join(", ")}. Dismiss by name.`,
        silent,
      ),
    );
  }
  if (known.length > told.length) {
    blocking.push(reason("too_many_callers", "The old key has more callers than can be told apart."));
  }
  const quiet = quietMilliseconds(rotation, evidence);
  const watched = watchedSince(evidence.watches, rotation.startedAt) >= quiet;
  const restarted = evidence.watchRestartedAt !== null && evidence.watchRestartedAt > rotation.startedAt;
  if (restarted && !watched) {
    blocking.push(
      reason("watching", "An unclean stop lost evidence; a whole quiet period must be watched again."),
    );
  }
  const noEvidence = known.length === 0;
  const reasons = [...blocking];
  if (noEvidence) {
    reasons.push(
      reason(
        "no_evidence",
        "Nobody was seen using the old key in the look-back. That isn't proof of safety.",
      ),
    );
  }
  return {
    callers,
    newCallers,
    reasons,
    blocking,
    safeToComplete: blocking.length === 0 && !noEvidence,
    adopted: blocking.length === 0 && !noEvidence && watched,
  };
}

function progress(
  rotation: Rotation,
  evidence: Evidence,
  old: Caller,
  successor: Caller | undefined,
  now: Instant,
): CallerProgress {
  const unnamed = isUnnamed(old.id);
  const quiet = quietMilliseconds(rotation, evidence);
  const offFor = watchedSince(evidence.watches, old.lastSeenAt);
  const usedSuccessor = successor?.lastValidAt != null;
  const dismissed = evidence.dismissals.some((one) => one.caller === old.id && old.lastSeenAt <= one.at);
  let status: CallerStatus;
  if (!unnamed && usedSuccessor && offFor >= quiet) status = "moved";
  else if (dismissed) status = "dismissed";
  else if (old.lastSeenAt >= rotation.startedAt) status = "still_on_old";
  else status = "silent";
  // Nobody can say that an unnamed caller has moved, only that it has been gone for long.
  const gone = unnamed && offFor >= Math.max(quiet, UNNAMED_QUIET_SECONDS * 1000);
  const wanted = unnamed ? Math.max(quiet, UNNAMED_QUIET_SECONDS * 1000) : quiet;
  return {
    id: old.id,
    name: callerLabel(old.id),
    unnamed,
    status: gone && status === "still_on_old" ? "silent" : status,
    blocking: (status === "still_on_old" || status === "silent") && !gone,
    lastSeenOldAt: old.lastSeenAt,
    firstSeenNewAt: successor?.firstValidAt ?? null,
    lastSeenNewAt: successor?.lastValidAt ?? null,
    quietAt: offFor >= wanted ? null : now + (wanted - offFor),
    address: old.address,
    agent: old.agent,
  };
}

function labels(callers: readonly CallerProgress[], status: CallerStatus): readonly string[] {
  return callers.filter((caller) => caller.blocking && caller.status === status).map((caller) => caller.name);
}

function reason(code: ReasonCode, message: string, callers: readonly string[] = []): Reason {
  return { code, message, callers };
}
