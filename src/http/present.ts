import type { z } from "@hono/zod-openapi";
import { ownerRights } from "../authority/access/rights.ts";
import type { Account } from "../authority/accounts/account.ts";
import { type Caller, callerLabel, isUnnamed } from "../authority/callers/caller.ts";
import { freshnessOfKey } from "../authority/cluster/await-all.ts";
import type { ClusterView } from "../authority/cluster/read-cluster.ts";
import { ceilingOf, type Freshness, leaseOf } from "../authority/freshness.ts";
import type { InUse } from "../authority/keys/in-use.ts";
import { type Key, type Owner, rightsOf, stateOf } from "../authority/keys/key.ts";
import type { KeyView } from "../authority/keys/read-keys.ts";
import { type Brownout, brownoutNow } from "../authority/rotations/brownout.ts";
import type { RotationView } from "../authority/rotations/read-rotations.ts";
import { dueAt, inOverlap, isCutShort, isOverdue } from "../authority/rotations/rotation.ts";
import type { ServiceAccount } from "../authority/service-accounts/service-account.ts";
import type { ServingProcess } from "../authority/storage.ts";
import { formatInstant, type Instant, type Seconds } from "../authority/time.ts";
import type {
  accountAnswer,
  callerAnswer,
  ceilingsAnswer,
  clusterAnswer,
  keyAnswer,
  rotationAnswer,
  serviceAccountAnswer,
  verdictAnswer,
} from "./schemas.ts";

// The resources as the API spells them. Each function's type is the schema in the document.

const instant = (at: Instant | null): string | null => (at === null ? null : formatInstant(at));

export function presentAccount(account: Account): z.infer<typeof accountAnswer> {
  return {
    id: account.id,
    name: account.name,
    operator: account.operator,
    suspended: account.suspendedAt !== null,
    created_at: formatInstant(account.createdAt),
  };
}

export function presentServiceAccount(one: ServiceAccount): z.infer<typeof serviceAccountAnswer> {
  const rights = ownerRights(one.own);
  return {
    id: one.id,
    account_id: one.accountId,
    name: one.name,
    role: rights.role,
    scopes: [...rights.scopes],
    allowed_ips: rights.allowedIps === null ? null : [...rights.allowedIps],
    disabled: one.disabledAt !== null,
    deleted: one.deletedAt !== null,
    created_at: formatInstant(one.createdAt),
  };
}

/** What a verification tells of a key: nothing that changes from one moment to the next but its state. */
export function presentKnownKey(
  key: Key,
  owner: Owner,
  now: Instant,
): NonNullable<z.infer<typeof verdictAnswer>["key"]> {
  const rights = rightsOf(key, owner);
  const inherits: ("role" | "scopes" | "allowed_ips")[] = [];
  if (key.own.role === null) inherits.push("role");
  if (key.own.scopes === null) inherits.push("scopes");
  if (key.own.allowedIps === null) inherits.push("allowed_ips");
  return {
    id: key.id,
    lineage_id: key.lineageId,
    account_id: key.accountId,
    owner_id: key.ownerId,
    kind: key.kind,
    name: key.name,
    state: stateOf(key, owner, now),
    hint: key.hint,
    role: rights.role,
    scopes: [...rights.scopes],
    allowed_ips: rights.allowedIps === null ? null : [...rights.allowedIps],
    inherits,
    metadata: key.metadata,
    freshness: freshnessOfKey(key, owner),
    created_at: formatInstant(key.createdAt),
    expires_at: instant(key.expiresAt),
    rotation_id: key.rotationId,
  };
}

export function presentKey({ key, owner, use, now }: KeyView): z.infer<typeof keyAnswer> {
  return {
    ...presentKnownKey(key, owner, now),
    expires_in_seconds: key.expiresAt === null ? null : Math.max(0, (key.expiresAt - now) / 1000),
    last_used_at: instant(use?.lastValidAt ?? null),
  };
}

export function presentInUse(users: readonly InUse[]) {
  return users.map((user) => ({
    name: user.name,
    unnamed: user.unnamed,
    last_seen_at: formatInstant(user.lastSeenAt),
  }));
}

export function presentCaller(caller: Caller): z.infer<typeof callerAnswer> {
  return {
    name: callerLabel(caller.id),
    unnamed: isUnnamed(caller.id),
    address: caller.address,
    user_agent: caller.agent,
    first_seen_at: formatInstant(caller.firstSeenAt),
    last_seen_at: formatInstant(caller.lastSeenAt),
    first_valid_at: instant(caller.firstValidAt),
    last_valid_at: instant(caller.lastValidAt),
    counts: { ...caller.counts },
  };
}

function presentBrownout(
  brownout: Brownout,
  now: Instant,
): z.infer<typeof rotationAnswer>["brownouts"][number] {
  return {
    id: brownout.id,
    state: brownoutNow(brownout, now),
    starts_at: formatInstant(brownout.startsAt),
    ends_at: formatInstant(brownout.endsAt),
    stop_after_callers: brownout.stopAfterCallers,
    stop_after_refusals: brownout.stopAfterRefusals,
    refusals: brownout.refusals,
    callers_hit: [...brownout.callersHit],
    stopped_at: instant(brownout.stoppedAt),
    stop_reason: brownout.stopReason,
  };
}

function warningsOf({ rotation, assessment }: RotationView): string[] {
  const warnings: string[] = [];
  if (isCutShort(rotation)) {
    warnings.push(
      `The old key ends by itself at ${instant(rotation.oldKeyEndsAt)}, before the overlap is over.`,
    );
  }
  const { completedAt } = rotation;
  const late = assessment.callers.filter(
    (caller) => completedAt !== null && caller.lastSeenOldAt >= completedAt,
  );
  if (late.length > 0) {
    warnings.push(
      `Refused since the completion, still presenting the old key: ${late.map((one) => one.name).join(", ")}.`,
    );
  }
  return warnings;
}

export function presentRotation(view: RotationView): z.infer<typeof rotationAnswer> {
  const { rotation, assessment, now } = view;
  return {
    id: rotation.id,
    account_id: rotation.accountId,
    owner_id: rotation.ownerId,
    lineage_id: rotation.lineageId,
    old_key_id: rotation.oldKeyId,
    successor_key_id: rotation.successorKeyId,
    state: rotation.state,
    overdue: isOverdue(rotation, now),
    completion: rotation.completion,
    reason: rotation.reason,
    overlap_seconds: rotation.overlapSeconds,
    quiet_period_seconds: rotation.quietPeriodSeconds,
    look_back_seconds: rotation.lookBackSeconds,
    undo_window_seconds: rotation.undoWindowSeconds,
    started_at: formatInstant(rotation.startedAt),
    deadline_at: formatInstant(rotation.deadlineAt),
    first_used_at: instant(rotation.firstUsedAt),
    due_at: formatInstant(dueAt(rotation)),
    old_key_ends_at: instant(rotation.oldKeyEndsAt),
    adopted_at: instant(rotation.adoptedAt),
    completed_at: instant(rotation.completedAt),
    undo_until: instant(rotation.undoUntil),
    ended_at: instant(rotation.endedAt),
    forced: rotation.forced,
    warnings: warningsOf(view),
    safe_to_complete: inOverlap(rotation.state) && assessment.safeToComplete,
    reasons: inOverlap(rotation.state)
      ? assessment.reasons.map((reason) => ({ ...reason, callers: [...reason.callers] }))
      : [],
    callers: assessment.callers.map((caller) => ({
      name: caller.name,
      unnamed: caller.unnamed,
      status: caller.status,
      blocking: caller.blocking,
      last_seen_old_at: formatInstant(caller.lastSeenOldAt),
      first_seen_new_at: instant(caller.firstSeenNewAt),
      last_seen_new_at: instant(caller.lastSeenNewAt),
      quiet_at: instant(caller.quietAt),
      address: caller.address,
      user_agent: caller.agent,
    })),
    new_callers: [...assessment.newCallers],
    dismissals: view.dismissals.map((one) => ({
      caller: callerLabel(one.caller),
      reason: one.reason,
      at: formatInstant(one.at),
    })),
    brownouts: view.brownouts.map((one) => presentBrownout(one, now)),
  };
}

/** What is promised for keys of each freshness, in seconds; null is no promise. */
export function presentCeilings(boundedSeconds: Seconds): z.infer<typeof ceilingsAnswer> {
  const seconds = (freshness: Freshness) => {
    const ceiling = ceilingOf(freshness, boundedSeconds);
    return ceiling === null ? null : ceiling / 1000;
  };
  return {
    strict_seconds: seconds("strict"),
    bounded_seconds: seconds("bounded"),
    static_seconds: seconds("static"),
  };
}

/** To the millisecond; null when it can't be told. */
export function secondsOf(milliseconds: number | null): number | null {
  return milliseconds === null || !Number.isFinite(milliseconds) ? null : Math.ceil(milliseconds) / 1000;
}

export type Lease = "held" | "lost";

/** Whether knowledge of this age is good enough for the strictest keys. */
export function leaseAt(stalenessMs: number | null, boundedSeconds: Seconds): Lease {
  return stalenessMs !== null && stalenessMs <= leaseOf("strict", boundedSeconds) ? "held" : "lost";
}

export function presentCluster(view: ClusterView, boundedSeconds: Seconds): z.infer<typeof clusterAnswer> {
  return {
    seq: view.seq,
    ceilings: presentCeilings(boundedSeconds),
    processes: view.processes.map((one) => presentProcess(one, view, boundedSeconds)),
  };
}

/** How often every process tells of itself at least, with room for one that is late. */
const SILENT_MS = 3_000;

function presentProcess(one: ServingProcess, { seq, now }: ClusterView, boundedSeconds: Seconds) {
  // Another machine's clock may run ahead of ours.
  const silentMs = Math.max(0, now - one.at);
  // As of the report: between two of them a process that is well looks a second older than it is.
  const lease = silentMs > SILENT_MS ? "lost" : leaseAt(one.stalenessMs, boundedSeconds);
  return {
    name: one.name,
    version: one.version,
    started_at: formatInstant(one.startedAt),
    bounded_ceiling_seconds: one.boundedSeconds,
    applied_seq: one.appliedSeq,
    behind: Math.max(0, seq - one.appliedSeq),
    staleness_seconds: secondsOf(one.stalenessMs === null ? null : one.stalenessMs + silentMs),
    reported_at: formatInstant(one.at),
    silent_for_seconds: silentMs / 1000,
    lease,
    last_flush_at: instant(one.flushedAt),
  };
}
