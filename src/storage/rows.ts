import type { Selectable } from "kysely";
import { z } from "zod";
import type { OwnRights } from "../authority/access/rights.ts";
import type { Account } from "../authority/accounts/account.ts";
import type { CallerId } from "../authority/callers/caller.ts";
import { FRESHNESS, type Freshness } from "../authority/freshness.ts";
import type {
  AccountId,
  BrownoutId,
  KeyId,
  LineageId,
  RotationId,
  ServiceAccountId,
} from "../authority/ids.ts";
import type { Key, Suspension } from "../authority/keys/key.ts";
import type { Brownout } from "../authority/rotations/brownout.ts";
import type { Rotation, RotationState } from "../authority/rotations/rotation.ts";
import type { ServiceAccount } from "../authority/service-accounts/service-account.ts";
import type { AccountTable, BrownoutTable, KeyTable, RotationTable, ServiceAccountTable } from "./tables.ts";

// A row is a trust boundary: a file can be damaged or come from elsewhere. What decides over access is parsed.
const strings = z.array(z.string());
const role = z.enum(["none", "viewer", "editor", "admin"]);
const kind = z.enum(["user", "service", "legacy"]);
const suspensions = z.array(z.enum(["operator", "rotation"]));
const freshness = z.enum(FRESHNESS);
const metadata = z.record(z.string(), z.string());
const state = z.enum(["issued", "adopting", "adopted", "completed", "closed", "cancelled"]);
const completion = z.enum(["when_adopted", "manual", "at_deadline"]);
const stopReason = z.enum(["ended", "callers", "refusals", "rotation", "stop", "unclean_stop"]);

const id = <T extends string>(text: string): T => text as T;

function list(text: string | null): readonly string[] | null {
  return text === null ? null : strings.parse(JSON.parse(text));
}

export function ownRights(row: {
  readonly role: string | null;
  readonly scopes: string | null;
  readonly allowed_ips: string | null;
}): OwnRights {
  return {
    role: row.role === null ? null : role.parse(row.role),
    scopes: list(row.scopes),
    allowedIps: list(row.allowed_ips),
  };
}

function ownRightsColumns(own: OwnRights) {
  return {
    role: own.role,
    scopes: own.scopes === null ? null : JSON.stringify(own.scopes),
    allowed_ips: own.allowedIps === null ? null : JSON.stringify(own.allowedIps),
  };
}

export function toAccount(row: Selectable<AccountTable>): Account {
  return {
    id: id<AccountId>(row.id),
    name: row.name,
    operator: row.operator === 1,
    suspendedAt: row.suspended_at,
    createdAt: row.created_at,
  };
}

export function fromAccount(account: Account) {
  return {
    id: account.id,
    name: account.name,
    operator: account.operator ? 1 : 0,
    suspended_at: account.suspendedAt,
    created_at: account.createdAt,
  };
}

export function toServiceAccount(row: Selectable<ServiceAccountTable>): ServiceAccount {
  return {
    id: id<ServiceAccountId>(row.id),
    accountId: id<AccountId>(row.account_id),
    name: row.name,
    own: ownRights(row),
    disabledAt: row.disabled_at,
    deletedAt: row.deleted_at,
    createdAt: row.created_at,
  };
}

export function fromServiceAccount(serviceAccount: ServiceAccount) {
  return {
    id: serviceAccount.id,
    account_id: serviceAccount.accountId,
    name: serviceAccount.name,
    ...ownRightsColumns(serviceAccount.own),
    disabled_at: serviceAccount.disabledAt,
    deleted_at: serviceAccount.deletedAt,
    created_at: serviceAccount.createdAt,
  };
}

const NO_SUSPENSIONS: readonly Suspension[] = [];

export function toKey(row: Selectable<KeyTable>): Key {
  return {
    id: id<KeyId>(row.id),
    accountId: id<AccountId>(row.account_id),
    ownerId: id<ServiceAccountId>(row.owner_id),
    lineageId: id<LineageId>(row.lineage_id),
    kind: kind.parse(row.kind),
    name: row.name,
    hint: row.hint,
    own: ownRights(row),
    metadata: row.metadata === "{}" ? {} : metadata.parse(JSON.parse(row.metadata)),
    suspensions: row.suspensions === "[]" ? NO_SUSPENSIONS : suspensions.parse(JSON.parse(row.suspensions)),
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
    freshness: toFreshness(row.freshness),
    rotationId: row.rotation_id === null ? null : id<RotationId>(row.rotation_id),
  };
}

export function toFreshness(text: string): Freshness {
  return freshness.parse(text);
}

export function fromKey(key: Key) {
  return {
    id: key.id,
    account_id: key.accountId,
    owner_id: key.ownerId,
    lineage_id: key.lineageId,
    kind: key.kind,
    created_at: key.createdAt,
    name: key.name,
    hint: key.hint,
    ...ownRightsColumns(key.own),
    metadata: JSON.stringify(key.metadata),
    suspensions: JSON.stringify(key.suspensions),
    expires_at: key.expiresAt,
    revoked_at: key.revokedAt,
    freshness: key.freshness,
    rotation_id: key.rotationId,
  };
}

export function rotationState(text: string): RotationState {
  return state.parse(text);
}

export function toRotation(row: Selectable<RotationTable>): Rotation {
  return {
    id: id<RotationId>(row.id),
    accountId: id<AccountId>(row.account_id),
    ownerId: id<ServiceAccountId>(row.owner_id),
    lineageId: id<LineageId>(row.lineage_id),
    oldKeyId: id<KeyId>(row.old_key_id),
    successorKeyId: id<KeyId>(row.successor_key_id),
    state: state.parse(row.state),
    completion: completion.parse(row.completion),
    reason: row.reason,
    overlapSeconds: row.overlap_seconds,
    quietPeriodSeconds: row.quiet_period_seconds,
    lookBackSeconds: row.look_back_seconds,
    undoWindowSeconds: row.undo_window_seconds,
    deadlineAt: row.deadline_at,
    oldKeyEndsAt: row.old_key_ends_at,
    startedAt: row.started_at,
    firstUsedAt: row.first_used_at,
    adoptedAt: row.adopted_at,
    overdueAt: row.overdue_at,
    completedAt: row.completed_at,
    undoUntil: row.undo_until,
    endedAt: row.ended_at,
    forced: row.forced === 1,
  };
}

export function fromRotation(rotation: Rotation) {
  return {
    id: rotation.id,
    account_id: rotation.accountId,
    owner_id: rotation.ownerId,
    lineage_id: rotation.lineageId,
    old_key_id: rotation.oldKeyId,
    successor_key_id: rotation.successorKeyId,
    started_at: rotation.startedAt,
    state: rotation.state,
    completion: rotation.completion,
    reason: rotation.reason,
    overlap_seconds: rotation.overlapSeconds,
    quiet_period_seconds: rotation.quietPeriodSeconds,
    look_back_seconds: rotation.lookBackSeconds,
    undo_window_seconds: rotation.undoWindowSeconds,
    deadline_at: rotation.deadlineAt,
    old_key_ends_at: rotation.oldKeyEndsAt,
    first_used_at: rotation.firstUsedAt,
    adopted_at: rotation.adoptedAt,
    overdue_at: rotation.overdueAt,
    completed_at: rotation.completedAt,
    undo_until: rotation.undoUntil,
    ended_at: rotation.endedAt,
    forced: rotation.forced ? 1 : 0,
  };
}

export function toBrownout(row: Selectable<BrownoutTable>): Brownout {
  return {
    id: id<BrownoutId>(row.id),
    rotationId: id<RotationId>(row.rotation_id),
    startsAt: row.starts_at,
    endsAt: row.ends_at,
    stopAfterCallers: row.stop_after_callers,
    stopAfterRefusals: row.stop_after_refusals,
    stoppedAt: row.stopped_at,
    stopReason: row.stop_reason === null ? null : stopReason.parse(row.stop_reason),
    refusals: row.refusals,
    callersHit: strings.parse(JSON.parse(row.callers_hit)),
  };
}

export function fromBrownout(brownout: Brownout) {
  return {
    id: brownout.id,
    rotation_id: brownout.rotationId,
    starts_at: brownout.startsAt,
    ends_at: brownout.endsAt,
    stop_after_callers: brownout.stopAfterCallers,
    stop_after_refusals: brownout.stopAfterRefusals,
    stopped_at: brownout.stoppedAt,
    stop_reason: brownout.stopReason,
    refusals: brownout.refusals,
    callers_hit: JSON.stringify(brownout.callersHit),
  };
}

/** A caller's id as stored; anything else than the two forms counts as unnamed. */
export function toCallerId(text: string): CallerId {
  return text.startsWith("n:") ? `n:${text.slice(2)}` : `u:${text.slice(2)}`;
}
