import { z } from "@hono/zod-openapi";
import type { OwnRights } from "../authority/access/rights.ts";
import type { Account } from "../authority/accounts/account.ts";
import type { Authority } from "../authority/authority.ts";
import type { AccountId, KeyId, OwnerId, RotationId, ServiceAccountId } from "../authority/ids.ts";
import type { Issued } from "../authority/keys/issue.ts";
import type { Key, Owner } from "../authority/keys/key.ts";
import type { Braked } from "../authority/keys/suspend-key.ts";
import { READINGS as asks, OPERATIONS as does } from "../authority/operations.ts";
import { viewOf } from "../authority/rotations/read-rotations.ts";
import type { Rotated } from "../authority/rotations/rotate-key.ts";
import type { Rotation, RotationPlan } from "../authority/rotations/rotation.ts";
import type { ServiceAccount } from "../authority/service-accounts/service-account.ts";
import type { Instant } from "../authority/time.ts";
import { ask, change, type Route } from "./call.ts";
import { badCursor, decodeCursor, encodeCursor, page, pageRequest } from "./paging.ts";
import {
  presentAccount,
  presentCaller,
  presentCluster,
  presentInUse,
  presentKey,
  presentRotation,
  presentServiceAccount,
} from "./present.ts";
import * as schema from "./schemas.ts";

type Params = Readonly<Record<string, string>>;

// Ids are not checked for their form: a wrong one is answered like one of another account (R10).
const keyId = (params: Params) => (params.id ?? "") as KeyId;
const rotationId = (params: Params) => (params.id ?? "") as RotationId;
const serviceAccountId = (params: Params) => (params.id ?? "") as ServiceAccountId;
const accountId = (params: Params) => (params.id ?? "") as AccountId;

interface RightsBody {
  readonly role?: OwnRights["role"] | undefined;
  readonly scopes?: readonly string[] | null | undefined;
  readonly allowed_ips?: readonly string[] | null | undefined;
}

/** Absent and null mean "inherit", never "all" (R3). */
function ownRights(body: RightsBody): OwnRights {
  return { role: body.role ?? null, scopes: body.scopes ?? null, allowedIps: body.allowed_ips ?? null };
}

function givenRights(body: RightsBody): Partial<OwnRights> {
  return {
    ...(body.role !== undefined ? { role: body.role } : {}),
    ...(body.scopes !== undefined ? { scopes: body.scopes } : {}),
    ...(body.allowed_ips !== undefined ? { allowedIps: body.allowed_ips } : {}),
  };
}

type RotationBody = z.output<typeof schema.rotationBody>;

function deadlineOf(deadline: RotationBody["deadline"], now: Instant): Instant | undefined {
  if (deadline === undefined) return undefined;
  return "at" in deadline ? deadline.at : now + deadline.seconds * 1000;
}

function planOf(body: RotationBody, now: Instant): RotationPlan {
  return {
    overlapSeconds: body.overlap,
    deadlineAt: deadlineOf(body.deadline, now),
    completion: body.completion,
    quietPeriodSeconds: body.quiet_period,
    lookBackSeconds: body.look_back,
    undoWindowSeconds: body.undo_window,
    reason: body.reason,
  };
}

async function keyNow({ key, owner }: { readonly key: Key; readonly owner: Owner }, authority: Authority) {
  const use = (await authority.storage.evidence.useOf([key.id])).get(key.id) ?? null;
  return presentKey({ key, owner, use, now: authority.time.now() });
}

async function issuedNow(issued: Issued, authority: Authority) {
  return { key: await keyNow(issued, authority), secret: issued.secret };
}

async function brakedNow(braked: Braked, authority: Authority) {
  return { ...(await keyNow(braked, authority)), in_use_by: presentInUse(braked.inUseBy) };
}

async function rotationNow(rotation: Rotation, authority: Authority) {
  const question = { read: authority.storage.read, authority, now: authority.time.now() };
  return presentRotation(await viewOf(question, rotation));
}

async function rotatedNow(rotated: Rotated, authority: Authority) {
  return {
    rotation: await rotationNow(rotated.rotation, authority),
    ...(await issuedNow(rotated, authority)),
  };
}

const forced = (query: z.output<typeof schema.forceQuery>) => query.force === "true";

// Whose keys a change is about, for whoever waits until it is in force everywhere.

async function ofKey({ key }: { readonly key: Key }) {
  // As it asks itself: by a scope that it has only just got, nobody who has not heard of that is any stricter.
  return [key.freshness];
}

function ofOwner({ accountId, id }: ServiceAccount, { storage }: Authority) {
  return storage.read.keys.freshnessIn(accountId, id);
}

function ofAccount({ id }: Account, { storage }: Authority) {
  return storage.read.keys.freshnessIn(id, null);
}

/** Completing refuses the old key. */
async function ofOldKey({ oldKeyId }: Rotation, { storage }: Authority) {
  const old = await storage.read.keys.byIdAnywhere(oldKeyId);
  return old === null ? [] : ofKey(old);
}

/** Everything under `/v1` but the verify paths, which have a room of their own. */
export const ROUTES: readonly Route[] = [
  change({
    method: "post",
    path: "/v1/setup",
    tag: "Setup",
    summary: "Redeem the set-up token for the first root key",
    does: does.redeemSetupToken,
    body: schema.setupBody,
    status: 201,
    answer: schema.issuedAnswer,
    codes: ["setup_token_invalid"],
    input: ({ body }) => body,
    present: issuedNow,
  }),

  change({
    method: "post",
    path: "/v1/accounts",
    tag: "Accounts",
    summary: "Make an account, with its own root key",
    does: does.createAccount,
    body: schema.accountBody,
    status: 201,
    answer: schema.accountIssuedAnswer,
    codes: ["name_taken", "rights_exceeded", "key_revoked", "already_in_use"],
    input: ({ body }) => body,
    present: async (made, authority) => ({
      account: presentAccount(made.account),
      ...(await issuedNow(made, authority)),
    }),
  }),
  ask({
    method: "get",
    path: "/v1/accounts",
    tag: "Accounts",
    summary: "List accounts: the operator all, everybody else their own",
    asks: asks.listAccounts,
    query: schema.pageQuery,
    answer: schema.pageOf(schema.accountAnswer, "AccountPage"),
    input: ({ query }) => ({ page: pageRequest(query) }),
    present: (rows, { limit }) => page(rows, limit, presentAccount, (row) => row.id),
  }),
  change({
    method: "post",
    path: "/v1/accounts/{id}/suspend",
    tag: "Accounts",
    summary: "Refuse all keys of an account, at once",
    does: does.suspendAccount,
    query: schema.waitQuery,
    answer: schema.accountAnswer,
    codes: ["not_found", "account_protected"],
    input: ({ params }) => ({ id: accountId(params) }),
    present: presentAccount,
    affected: ofAccount,
  }),
  change({
    method: "post",
    path: "/v1/accounts/{id}/reinstate",
    tag: "Accounts",
    summary: "Lift an account's suspension",
    does: does.reinstateAccount,
    answer: schema.accountAnswer,
    codes: ["not_found", "account_protected"],
    input: ({ params }) => ({ id: accountId(params) }),
    present: presentAccount,
  }),

  change({
    method: "post",
    path: "/v1/service-accounts",
    tag: "Service accounts",
    summary: "Make a service account",
    does: does.createServiceAccount,
    body: schema.serviceAccountBody,
    status: 201,
    answer: schema.serviceAccountAnswer,
    codes: ["not_found", "name_taken", "rights_exceeded"],
    input: ({ body }) => ({ name: body.name, own: ownRights(body) }),
    present: presentServiceAccount,
  }),
  ask({
    method: "get",
    path: "/v1/service-accounts",
    tag: "Service accounts",
    summary: "List service accounts",
    asks: asks.listServiceAccounts,
    query: schema.pageQuery,
    answer: schema.pageOf(schema.serviceAccountAnswer, "ServiceAccountPage"),
    input: ({ query }) => ({ page: pageRequest(query) }),
    present: (rows, { limit }) => page(rows, limit, presentServiceAccount, (row) => row.id),
  }),
  ask({
    method: "get",
    path: "/v1/service-accounts/{id}",
    tag: "Service accounts",
    summary: "Read a service account",
    asks: asks.readServiceAccount,
    answer: schema.serviceAccountAnswer,
    codes: ["not_found"],
    input: ({ params }) => ({ id: serviceAccountId(params) }),
    present: presentServiceAccount,
  }),
  change({
    method: "patch",
    path: "/v1/service-accounts/{id}",
    tag: "Service accounts",
    summary: "Change a service account; a cut bites all its keys at once",
    does: does.updateServiceAccount,
    body: schema.serviceAccountPatch,
    answer: schema.serviceAccountAnswer,
    codes: ["not_found", "name_taken", "rights_exceeded", "last_root_key"],
    input: ({ params, body }) => ({
      id: serviceAccountId(params),
      name: body.name,
      own: givenRights(body),
      force: body.force,
    }),
    present: presentServiceAccount,
  }),
  change({
    method: "delete",
    path: "/v1/service-accounts/{id}",
    tag: "Service accounts",
    summary: "Delete a service account for good; its keys answer revoked",
    does: does.deleteServiceAccount,
    query: schema.forceQuery,
    status: 204,
    codes: ["not_found", "last_root_key"],
    input: ({ params, query }) => ({ id: serviceAccountId(params), force: forced(query) }),
    present: () => null,
    affected: ofOwner,
  }),
  change({
    method: "post",
    path: "/v1/service-accounts/{id}/disable",
    tag: "Service accounts",
    summary: "Refuse all keys of a service account, at once",
    does: does.disableServiceAccount,
    query: schema.waitQuery,
    body: schema.switchBody,
    answer: schema.serviceAccountAnswer,
    codes: ["not_found", "last_root_key"],
    input: ({ params, body }) => ({ id: serviceAccountId(params), force: body.force }),
    present: presentServiceAccount,
    affected: ofOwner,
  }),
  change({
    method: "post",
    path: "/v1/service-accounts/{id}/enable",
    tag: "Service accounts",
    summary: "Let the keys of a service account be good again",
    does: does.enableServiceAccount,
    answer: schema.serviceAccountAnswer,
    codes: ["not_found"],
    input: ({ params }) => ({ id: serviceAccountId(params) }),
    present: presentServiceAccount,
  }),

  change({
    method: "post",
    path: "/v1/keys",
    tag: "Keys",
    summary: "Issue a key; the secret is told once",
    does: does.createKey,
    body: schema.keyBody,
    status: 201,
    answer: schema.issuedAnswer,
    codes: ["not_found", "name_taken", "rights_exceeded", "key_revoked", "already_in_use"],
    input: ({ body }) => ({
      name: body.name,
      ownerId: body.owner_id as OwnerId,
      ttl: body.ttl,
      expiresAt: body.expires_at,
      own: ownRights(body),
      metadata: body.metadata,
      freshness: body.freshness,
    }),
    present: issuedNow,
  }),
  ask({
    method: "get",
    path: "/v1/keys",
    tag: "Keys",
    summary: "List keys, tombstones included",
    asks: asks.listKeys,
    query: schema.keyQuery,
    answer: schema.pageOf(schema.keyAnswer, "KeyPage"),
    input: ({ query, now }) => ({
      filter: {
        ownerId: query.owner_id as OwnerId | undefined,
        state: query.state,
        expiringBefore: query.expiring_within === undefined ? undefined : now + query.expiring_within * 1000,
      },
      page: pageRequest(query),
    }),
    present: (rows, { limit }) => page(rows, limit, presentKey, (row) => row.key.id),
  }),
  ask({
    method: "get",
    path: "/v1/keys/self",
    tag: "Keys",
    summary: "Read the asking key: what it is and may do",
    asks: asks.readSelf,
    answer: schema.keyAnswer,
    input: () => ({}),
    present: presentKey,
  }),
  change({
    method: "post",
    path: "/v1/keys/self/rotations",
    tag: "Rotations",
    summary: "Rotate the asking key itself",
    does: does.rotateSelf,
    body: schema.rotationBody,
    status: 201,
    answer: schema.rotatedAnswer,
    codes: ["rotation_open", "key_revoked", "already_in_use"],
    input: ({ body, now }) => ({ plan: planOf(body, now) }),
    present: rotatedNow,
  }),
  ask({
    method: "get",
    path: "/v1/keys/{id}",
    tag: "Keys",
    summary: "Read a key",
    asks: asks.readKey,
    answer: schema.keyAnswer,
    codes: ["not_found"],
    input: ({ params }) => ({ id: keyId(params) }),
    present: presentKey,
  }),
  change({
    method: "patch",
    path: "/v1/keys/{id}",
    tag: "Keys",
    summary: "Rename a key or narrow it; it never widens or lengthens",
    does: does.updateKey,
    body: schema.keyPatch,
    answer: schema.keyAnswer,
    codes: ["not_found", "name_taken", "key_revoked", "last_root_key"],
    input: ({ params, body }) => ({
      id: keyId(params),
      name: body.name,
      metadata: body.metadata,
      own: givenRights(body),
      expiresAt: body.expires_at,
      freshness: body.freshness,
      force: body.force,
    }),
    present: keyNow,
  }),
  change({
    method: "delete",
    path: "/v1/keys/{id}",
    tag: "Keys",
    summary: "Revoke a key for ever; its tombstone stays readable",
    does: does.revokeKey,
    query: schema.forceQuery,
    status: 204,
    codes: ["not_found", "last_root_key"],
    input: ({ params, query }) => ({ id: keyId(params), force: forced(query) }),
    present: () => null,
    affected: ofKey,
  }),
  change({
    method: "post",
    path: "/v1/keys/{id}/suspend",
    tag: "Keys",
    summary: "Refuse a key at once, until it is reinstated",
    does: does.suspendKey,
    query: schema.waitQuery,
    body: schema.brakeBody,
    answer: schema.brakedKeyAnswer,
    codes: ["not_found", "key_revoked", "last_root_key"],
    input: ({ params, body }) => ({ id: keyId(params), ...body }),
    present: brakedNow,
    affected: ofKey,
  }),
  change({
    method: "post",
    path: "/v1/keys/{id}/reinstate",
    tag: "Keys",
    summary: "Lift an operator's suspension",
    does: does.reinstateKey,
    answer: schema.keyAnswer,
    codes: ["not_found", "key_revoked"],
    input: ({ params }) => ({ id: keyId(params) }),
    present: keyNow,
  }),
  change({
    method: "post",
    path: "/v1/keys/{id}/revoke",
    tag: "Keys",
    summary: "Revoke a key for ever, at once",
    does: does.revokeKey,
    query: schema.waitQuery,
    body: schema.brakeBody,
    answer: schema.brakedKeyAnswer,
    codes: ["not_found", "last_root_key"],
    input: ({ params, body }) => ({ id: keyId(params), ...body }),
    present: brakedNow,
    affected: ofKey,
  }),
  change({
    method: "post",
    path: "/v1/keys/{id}/secret",
    tag: "Keys",
    summary: "Replace a secret that nobody has used yet",
    does: does.replaceSecret,
    status: 201,
    answer: schema.issuedAnswer,
    codes: ["not_found", "key_revoked", "already_in_use", "rights_exceeded"],
    input: ({ params }) => ({ id: keyId(params) }),
    present: issuedNow,
  }),
  ask({
    method: "get",
    path: "/v1/keys/{id}/callers",
    tag: "Keys",
    summary: "Who presents the key",
    asks: asks.listCallers,
    answer: schema.pageOf(schema.callerAnswer, "CallerPage"),
    codes: ["not_found"],
    input: ({ params }) => ({ id: keyId(params) }),
    present: (callers) => ({ data: callers.map(presentCaller), next_cursor: null }),
  }),
  ask({
    method: "get",
    path: "/v1/keys/{id}/usage",
    tag: "Keys",
    summary: "Uses by verdict, per minute or hour",
    asks: asks.readUsage,
    query: schema.usageQuery,
    answer: schema.pageOf(schema.usageAnswer, "UsagePage"),
    codes: ["not_found"],
    input: ({ params, query, now }) => ({
      id: keyId(params),
      unit: query.unit,
      from: query.from ?? now - 86_400_000,
      until: query.until ?? now + 60_000,
    }),
    present: (counts) => ({
      data: counts.map((one) => ({
        from: new Date(one.from).toISOString(),
        code: one.code,
        count: one.count,
      })),
      next_cursor: null,
    }),
  }),

  change({
    method: "post",
    path: "/v1/keys/{id}/rotations",
    tag: "Rotations",
    summary: "Start a rotation: both keys are good from now on",
    does: does.rotateKey,
    body: schema.rotationBody,
    status: 201,
    answer: schema.rotatedAnswer,
    codes: [
      "not_found",
      "key_not_active",
      "rotation_open",
      "rights_exceeded",
      "key_revoked",
      "already_in_use",
    ],
    input: ({ params, body, now }) => ({ keyId: keyId(params), plan: planOf(body, now) }),
    present: rotatedNow,
  }),
  ask({
    method: "get",
    path: "/v1/rotations",
    tag: "Rotations",
    summary: "List rotations, newest first",
    asks: asks.listRotations,
    query: schema.rotationQuery,
    answer: schema.pageOf(schema.rotationAnswer, "RotationPage"),
    input: ({ query }) => ({
      filter: { state: query.state, keyId: query.key_id as KeyId | undefined },
      page: pageRequest(query),
    }),
    present: (rows, { limit }) => page(rows, limit, presentRotation, (row) => row.rotation.id),
  }),
  ask({
    method: "get",
    path: "/v1/rotations/{id}",
    tag: "Rotations",
    summary: "Read a rotation: who has moved, who has not, and whether completing is safe",
    asks: asks.readRotation,
    answer: schema.rotationAnswer,
    codes: ["not_found"],
    input: ({ params }) => ({ id: rotationId(params) }),
    present: presentRotation,
  }),
  change({
    method: "patch",
    path: "/v1/rotations/{id}",
    tag: "Rotations",
    summary: "Extend a rotation, or change how it completes",
    does: does.extendRotation,
    body: schema.rotationPatch,
    answer: schema.rotationAnswer,
    codes: ["not_found", "rotation_state"],
    input: ({ params, body, now }) => ({
      id: rotationId(params),
      by: {
        overlapSeconds: body.overlap,
        deadlineAt: deadlineOf(body.deadline, now),
        completion: body.completion,
      },
    }),
    present: rotationNow,
  }),
  change({
    method: "post",
    path: "/v1/rotations/{id}/complete",
    tag: "Rotations",
    summary: "Suspend the old key, on evidence or with force",
    does: does.completeRotation,
    query: schema.waitQuery,
    body: schema.switchBody,
    answer: schema.rotationAnswer,
    codes: ["not_found", "rotation_state", "not_safe_to_complete", "last_root_key"],
    input: ({ params, body }) => ({ id: rotationId(params), force: body.force }),
    present: rotationNow,
    affected: ofOldKey,
  }),
  change({
    method: "post",
    path: "/v1/rotations/{id}/rollback",
    tag: "Rotations",
    summary: "Within the undo window: the old key is good again",
    does: does.rollbackRotation,
    answer: schema.rotationAnswer,
    codes: ["not_found", "rotation_state"],
    input: ({ params }) => ({ id: rotationId(params) }),
    present: rotationNow,
  }),
  change({
    method: "post",
    path: "/v1/rotations/{id}/cancel",
    tag: "Rotations",
    summary: "Give the successor up",
    does: does.cancelRotation,
    body: schema.switchBody,
    answer: schema.rotationAnswer,
    codes: ["not_found", "rotation_state", "successor_in_use", "last_root_key"],
    input: ({ params, body }) => ({ id: rotationId(params), force: body.force }),
    present: rotationNow,
  }),
  change({
    method: "post",
    path: "/v1/rotations/{id}/dismissals",
    tag: "Rotations",
    summary: "Vouch that a caller gone quiet need not be waited for",
    does: does.dismissCaller,
    body: schema.dismissalBody,
    answer: schema.rotationAnswer,
    codes: ["not_found", "rotation_state", "caller_active"],
    input: ({ params, body }) => ({ id: rotationId(params), ...body }),
    present: rotationNow,
  }),
  change({
    method: "post",
    path: "/v1/rotations/{id}/brownouts",
    tag: "Rotations",
    summary: "Announce a short window in which the old key is refused",
    does: does.announceBrownout,
    body: schema.brownoutBody,
    answer: schema.rotationAnswer,
    codes: ["not_found", "rotation_state"],
    input: ({ params, body }) => ({
      id: rotationId(params),
      startsAt: body.starts_at,
      durationSeconds: body.duration,
      stopAfterCallers: body.stop_after_callers,
      stopAfterRefusals: body.stop_after_refusals,
    }),
    present: rotationNow,
  }),

  ask({
    method: "get",
    path: "/v1/audit",
    tag: "Audit",
    summary: "Read the account's audit log, newest first",
    asks: asks.readAudit,
    query: schema.auditQuery,
    answer: schema.pageOf(schema.auditAnswer, "AuditPage"),
    input: ({ query }) => ({
      filter: {
        operation: query.operation,
        subjectId: query.subject_id,
        actorId: query.actor_id,
        from: query.from,
        until: query.until,
      },
      before: auditCursor(query.cursor),
      limit: query.limit,
    }),
    present: (rows, { limit }) => ({
      data: rows.map((row) => ({
        ...z.record(z.string(), z.unknown()).parse(JSON.parse(row.text)),
        chain_hash: row.chainHash,
      })),
      next_cursor: rows.length < limit ? null : encodeCursor(String(rows.at(-1)?.seq)),
    }),
  }),

  ask({
    method: "get",
    path: "/v1/cluster",
    tag: "Cluster",
    summary: "The processes that serve, and how far each has followed the log",
    asks: asks.readCluster,
    answer: schema.clusterAnswer,
    input: () => ({}),
    present: (view, _, { settings }) => presentCluster(view, settings.boundedSeconds),
  }),
  change({
    method: "delete",
    path: "/v1/cluster/processes/{name}",
    tag: "Cluster",
    summary: "Take a process that died without a word off the list",
    does: does.forgetProcess,
    status: 204,
    codes: ["not_found", "process_alive"],
    input: ({ params }) => ({ name: params.name ?? "" }),
    present: () => null,
  }),
];

function auditCursor(cursor: string | undefined): number | null {
  const before = decodeCursor(cursor);
  if (before === null) return null;
  // The cursor of another list is well-formed, and means nothing here.
  if (!/^\d{1,15}$/.test(before)) throw badCursor();
  return Number(before);
}
