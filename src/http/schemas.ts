import { z } from "@hono/zod-openapi";
import { canonicalAddress, canonicalBlock } from "../authority/access/addresses.ts";
import { isScope } from "../authority/access/rights.ts";
import { isCallerName, LONGEST_CALLER_NAME } from "../authority/callers/caller.ts";
import { FRESHNESS } from "../authority/freshness.ts";
import { KEY_STATES } from "../authority/keys/key.ts";
import { VERDICT_CODES } from "../authority/keys/verdict.ts";
import { COMPLETIONS, ROTATION_STATES } from "../authority/rotations/rotation.ts";
import { parseInstant, parseSpan } from "../authority/time.ts";
import { PROBLEM_CODES } from "./problems.ts";

// Everything that comes in is `strictObject`: an unknown field is an error, never ignored (R3, mass assignment).

export const MOST_LIST_ITEMS = 100;
export const MOST_IN_BATCH = 100;

/** One line of well-formed text that people will read. */
function line(longest: number) {
  return z
    .string()
    .min(1)
    .max(longest)
    .refine(
      (text) => text.isWellFormed() && !/\p{Cc}/u.test(text),
      "must be well-formed text without control characters",
    );
}

const span = z
  .string()
  .max(64)
  .transform((text, context) => {
    const parsed = parseSpan(text);
    if (parsed.ok) return parsed.seconds;
    context.addIssue({ code: "custom", message: parsed.message });
    return z.NEVER;
  })
  .openapi({
    type: "string",
    examples: ["7d", "1d12h"],
    description: "A span: whole numbers with s m h d w M (30 d) or y.",
  });

const instant = z
  .string()
  .max(64)
  .transform((text, context) => {
    const at = parseInstant(text);
    if (at !== undefined) return at;
    context.addIssue({ code: "custom", message: "write an RFC 3339 instant such as 2027-01-31T12:00:00Z" });
    return z.NEVER;
  })
  .openapi({ type: "string", format: "date-time" });

/** A span from now, or an instant. */
const spanOrInstant = z
  .string()
  .max(64)
  .transform((text, context): { readonly seconds: number } | { readonly at: number } => {
    const at = parseInstant(text);
    if (at !== undefined) return { at };
    const parsed = parseSpan(text);
    if (parsed.ok) return { seconds: parsed.seconds };
    context.addIssue({ code: "custom", message: `${parsed.message}; or an RFC 3339 instant` });
    return z.NEVER;
  })
  .openapi({ type: "string", examples: ["30d", "2027-01-31T12:00:00Z"] });

const name = z
  .string()
  .max(1_000)
  .openapi({ description: "1 to 120 characters on one line.", examples: ["billing-worker"] });
const id = z.string().max(64);
const role = z.enum(["none", "viewer", "editor", "admin"]);
const scope = z
  .string()
  .refine(
    isScope,
    "must be segments of a-z 0-9 _ . - joined by colons, such as invoices:read, invoices:* or *",
  )
  .openapi({ examples: ["invoices:read"] });
const scopes = z.array(scope).max(MOST_LIST_ITEMS);
const block = z
  .string()
  .max(64)
  .transform((text, context) => {
    const parsed = canonicalBlock(text);
    if (parsed.ok) return parsed.block;
    context.addIssue({ code: "custom", message: parsed.message });
    return z.NEVER;
  })
  .openapi({ type: "string", examples: ["203.0.113.0/24"] });
const allowedIps = z.array(block).min(1, "must not be empty; leave it out to inherit").max(MOST_LIST_ITEMS);
const metadata = z
  .record(z.string(), z.string())
  .openapi({ description: "Up to 20 pairs; names up to 40, values up to 500 characters." });
const freshness = z.enum(FRESHNESS).openapi({
  description:
    "How long a revoked key may still be accepted by a process that hears nothing of it: strict 1.5 s, bounded 10 s unless the installation says otherwise, static without end.",
});
const reason = line(500);
const force = z.boolean().openapi({ description: "Insists against the evidence; audited as forced." });

export const setupBody = z.strictObject({ token: z.string().max(200) }).openapi("Setup");
export const accountBody = z.strictObject({ name }).openapi("AccountCreate");

export const serviceAccountBody = z
  .strictObject({
    name,
    role: role.nullish(),
    scopes: scopes.nullish(),
    allowed_ips: allowedIps.nullish(),
  })
  .openapi("ServiceAccountCreate");

export const serviceAccountPatch = z
  .strictObject({
    name: name.optional(),
    role: role.nullish(),
    scopes: scopes.nullish(),
    allowed_ips: allowedIps.nullish(),
    force: force.optional(),
  })
  .openapi("ServiceAccountUpdate");

export const switchBody = z.strictObject({ force: force.optional() }).openapi("Force");

export const keyBody = z
  .strictObject({
    name,
    owner_id: id.openapi({ description: "The service account that will own the key." }),
    ttl: z
      .string()
      .max(64)
      .optional()
      .openapi({ description: "A span, or `never` by name. 90d unless said.", examples: ["90d"] }),
    expires_at: z.string().max(64).optional().openapi({ format: "date-time" }),
    role: role.nullish(),
    scopes: scopes.nullish(),
    allowed_ips: allowedIps.nullish(),
    metadata: metadata.optional(),
    freshness: freshness.optional(),
  })
  .openapi("KeyCreate");

export const keyPatch = z
  .strictObject({
    name: name.optional(),
    metadata: metadata.optional(),
    role: role.optional(),
    scopes: scopes.optional(),
    allowed_ips: allowedIps.optional(),
    expires_at: z.string().max(64).optional().openapi({ format: "date-time" }),
    freshness: freshness.optional(),
    force: force.optional(),
  })
  .openapi("KeyUpdate");

export const brakeBody = z
  .strictObject({ reason: reason.optional(), force: force.optional() })
  .openapi("Brake");

const completion = z.enum(COMPLETIONS);

export const rotationBody = z
  .strictObject({
    overlap: span.optional(),
    deadline: spanOrInstant.optional(),
    completion: completion.optional(),
    quiet_period: span.optional(),
    look_back: span.optional(),
    undo_window: span.optional(),
    reason: reason.optional(),
  })
  .openapi("RotationStart");

export const rotationPatch = z
  .strictObject({
    overlap: span.optional(),
    deadline: spanOrInstant.optional(),
    completion: completion.optional(),
  })
  .openapi("RotationExtend");

export const brownoutBody = z
  .strictObject({
    starts_at: instant.optional(),
    duration: span.optional(),
    stop_after_callers: z.int().min(1).max(256).optional(),
    stop_after_refusals: z.int().min(1).max(1_000_000).optional(),
  })
  .openapi("BrownoutAnnounce");

export const dismissalBody = z
  .strictObject({ caller: z.string().min(1).max(300), reason })
  .openapi("Dismissal");

const callerName = z
  .string()
  .refine(isCallerName, `must be up to ${LONGEST_CALLER_NAME} letters, digits, spaces and . _ : / @ + -`);

/** Whether a text can have been a User-Agent header; anything else was made up on the way. */
export function isAgent(text: string): boolean {
  return text.isWellFormed() && !/[\0\r\n]/.test(text);
}

const itemMembers = {
  key: z.string(),
  scopes: scopes.optional(),
  role: role.optional(),
  caller: z
    .strictObject({
      name: callerName.optional(),
      ip: z
        .string()
        .max(64)
        .refine((text) => canonicalAddress(text) !== undefined, "must be an IPv4 or IPv6 address")
        .optional(),
      user_agent: z
        .string()
        .max(1_000)
        .refine(isAgent, "must be a text that an HTTP header can hold")
        .optional(),
    })
    .optional(),
};

const atLeast = z.int().min(0).optional().openapi({
  type: "integer",
  minimum: 0,
  description: "The sequence number that the answer must take into account; `stale` when it can't.",
});

// Parsed by hand on the hot path; these are its document, and the judge of what the hand declines.

export const verifyItem = z.strictObject(itemMembers).openapi("VerificationItem");
export const verifyBody = z.strictObject({ ...itemMembers, at_least: atLeast }).openapi("Verification");

export const verifyBatchBody = z
  .strictObject({ keys: z.array(verifyItem).min(1).max(MOST_IN_BATCH), at_least: atLeast })
  .openapi("VerificationBatch");

// Queries.

const limit = z.coerce.number("must be a number").int().min(1).max(200).default(50);
const cursor = z.string().max(200).optional();

export const pageQuery = z.strictObject({ limit, cursor });
export const keyQuery = z.strictObject({
  limit,
  cursor,
  owner_id: id.optional(),
  state: z.enum(KEY_STATES).optional(),
  expiring_within: span.optional(),
});
export const rotationQuery = z.strictObject({
  limit,
  cursor,
  state: z.enum(ROTATION_STATES).optional(),
  key_id: id.optional(),
});
export const auditQuery = z.strictObject({
  limit,
  cursor,
  operation: z.string().max(100).optional(),
  subject_id: id.optional(),
  actor_id: id.optional(),
  from: instant.optional(),
  until: instant.optional(),
});
export const usageQuery = z.strictObject({
  unit: z.enum(["minute", "hour"]).default("hour"),
  from: instant.optional(),
  until: instant.optional(),
});
const wait = z.literal("all").openapi({
  description: "Answer once the change is in force everywhere, or 202 when that can't be said.",
});
export const waitQuery = z.strictObject({ wait: wait.optional() });
export const forceQuery = z.strictObject({
  force: z.enum(["true", "false"]).optional(),
  wait: wait.optional(),
});
export const forwardAuthQuery = z.object({
  scope: z.union([scope, z.array(scope)]).optional(),
  role: role.optional(),
});

// Answers.

const at = z.string().openapi({ format: "date-time" });

export const accountAnswer = z
  .object({ id: z.string(), name: z.string(), operator: z.boolean(), suspended: z.boolean(), created_at: at })
  .openapi("Account");

export const serviceAccountAnswer = z
  .object({
    id: z.string(),
    account_id: z.string(),
    name: z.string(),
    role,
    scopes: z.array(z.string()),
    allowed_ips: z.array(z.string()).nullable(),
    disabled: z.boolean(),
    deleted: z.boolean(),
    created_at: at,
  })
  .openapi("ServiceAccount");

const keyMembers = {
  id: z.string(),
  lineage_id: z.string(),
  account_id: z.string(),
  owner_id: z.string(),
  kind: z.enum(["user", "service", "legacy"]),
  name: z.string(),
  state: z.enum(KEY_STATES),
  hint: z.string(),
  role: role.openapi({ description: "Effective: the key's and its owner's." }),
  scopes: z.array(z.string()).openapi({ description: "Effective: what the key and its owner both have." }),
  allowed_ips: z.array(z.string()).nullable().openapi({ description: "Effective; null is any address." }),
  inherits: z
    .array(z.enum(["role", "scopes", "allowed_ips"]))
    .openapi({ description: "What the key leaves to its owner." }),
  metadata: z.record(z.string(), z.string()),
  freshness: z.enum(FRESHNESS).openapi({
    description: "Effective: a key with a `keyturn:` scope other than `keyturn:keys.verify` is strict.",
  }),
  created_at: at,
  expires_at: at.nullable(),
  rotation_id: z.string().nullable(),
};

export const keyAnswer = z
  .object({ ...keyMembers, expires_in_seconds: z.number().nullable(), last_used_at: at.nullable() })
  .openapi("Key");

const inUseBy = z.array(z.object({ name: z.string(), unnamed: z.boolean(), last_seen_at: at }));
export const brakedKeyAnswer = keyAnswer.extend({ in_use_by: inUseBy }).openapi("BrakedKey");

const secret = z.string().openapi({ description: "The key's plain text. It is told once." });
export const issuedAnswer = z.object({ key: keyAnswer, secret }).openapi("IssuedKey");
export const accountIssuedAnswer = z
  .object({ account: accountAnswer, key: keyAnswer, secret })
  .openapi("IssuedAccount");

const blockReason = z.object({ code: z.string(), message: z.string(), callers: z.array(z.string()) });
const brownoutAnswer = z.object({
  id: z.string(),
  state: z.enum(["coming", "running", "over"]),
  starts_at: at,
  ends_at: at,
  stop_after_callers: z.number(),
  stop_after_refusals: z.number(),
  refusals: z.number(),
  callers_hit: z.array(z.string()),
  stopped_at: at.nullable(),
  stop_reason: z.string().nullable(),
});

export const rotationAnswer = z
  .object({
    id: z.string(),
    account_id: z.string(),
    owner_id: z.string(),
    lineage_id: z.string(),
    old_key_id: z.string(),
    successor_key_id: z.string(),
    state: z.enum(ROTATION_STATES),
    overdue: z.boolean(),
    completion,
    reason: z.string().nullable(),
    overlap_seconds: z.number(),
    quiet_period_seconds: z.number(),
    look_back_seconds: z.number(),
    undo_window_seconds: z.number(),
    started_at: at,
    deadline_at: at,
    first_used_at: at.nullable(),
    due_at: at,
    old_key_ends_at: at.nullable(),
    adopted_at: at.nullable(),
    completed_at: at.nullable(),
    undo_until: at.nullable(),
    ended_at: at.nullable(),
    forced: z.boolean(),
    warnings: z.array(z.string()),
    safe_to_complete: z.boolean(),
    reasons: z.array(blockReason),
    callers: z.array(
      z.object({
        name: z.string(),
        unnamed: z.boolean(),
        status: z.enum(["moved", "still_on_old", "silent", "dismissed"]),
        blocking: z.boolean(),
        last_seen_old_at: at,
        first_seen_new_at: at.nullable(),
        last_seen_new_at: at.nullable(),
        quiet_at: at.nullable(),
        address: z.string().nullable(),
        user_agent: z.string().nullable(),
      }),
    ),
    new_callers: z
      .array(z.string())
      .openapi({ description: "Callers of the successor that the old key never saw." }),
    dismissals: z.array(z.object({ caller: z.string(), reason: z.string(), at })),
    brownouts: z.array(brownoutAnswer),
  })
  .openapi("Rotation");

export const rotatedAnswer = z
  .object({ rotation: rotationAnswer, key: keyAnswer, secret })
  .openapi("StartedRotation");

export const callerAnswer = z
  .object({
    name: z.string(),
    unnamed: z.boolean(),
    address: z.string().nullable(),
    user_agent: z.string().nullable(),
    first_seen_at: at,
    last_seen_at: at,
    first_valid_at: at.nullable(),
    last_valid_at: at.nullable(),
    counts: z.record(z.string(), z.number()).openapi({ description: "Uses by verdict code." }),
  })
  .openapi("Caller");

export const usageAnswer = z
  .object({ from: at, code: z.enum(VERDICT_CODES), count: z.number() })
  .openapi("UsageCount");

export const auditAnswer = z
  .object({
    seq: z.number(),
    at,
    account_id: z.string().nullable(),
    actor: z.object({ kind: z.string(), id: z.string(), account_id: z.string().nullable() }),
    operation: z.string(),
    outcome: z.enum(["performed", "refused"]),
    subjects: z.array(
      z.object({
        kind: z.string(),
        id: z.string(),
        before: z.record(z.string(), z.unknown()).nullable(),
        after: z.record(z.string(), z.unknown()).nullable(),
      }),
    ),
    details: z.record(z.string(), z.unknown()),
    chain_hash: z.string(),
  })
  .openapi("AuditEntry");

export const verdictAnswer = z
  .object({
    valid: z.boolean(),
    code: z.enum(VERDICT_CODES),
    key: z.object(keyMembers).optional(),
    rotation: z
      .object({
        id: z.string(),
        position: z.enum(["old", "successor"]),
        state: z.enum(ROTATION_STATES),
        due_at: at,
        brownout: z.object({ starts_at: at, ends_at: at }).optional(),
      })
      .optional()
      .openapi({ description: "The open rotation that the key takes part in." }),
    expires_at: at.nullable().optional(),
  })
  .openapi("Verdict");

export const verdictBatchAnswer = z.object({ results: z.array(verdictAnswer) }).openapi("VerdictBatch");

/** What a 202 says beside the resource: the processes that have not said that they know. */
export const silentAnswer = z.object({
  silent_processes: z.array(z.string()).openapi({ description: "By their names." }),
});

export const ceilingsAnswer = z
  .object({
    strict_seconds: z.number().nullable(),
    bounded_seconds: z.number().nullable(),
    static_seconds: z.number().nullable(),
  })
  .openapi("Ceilings", { description: "Of the keys of each freshness; null is none." });

const lease = z.enum(["held", "lost"]).openapi({
  description: "Whether what the process knows is fresh enough for strict keys.",
});
const staleness = z.number().nullable().openapi({
  description: "How old what the process knows of the log is; null when its clocks can't tell.",
});

export const clusterAnswer = z
  .object({
    seq: z.number().openapi({ description: "The newest entry of the log." }),
    ceilings: ceilingsAnswer,
    processes: z.array(
      z.object({
        name: z.string(),
        version: z.string(),
        started_at: at,
        bounded_ceiling_seconds: z
          .number()
          .openapi({ description: "Its own ceiling for `bounded` keys; all should have one." }),
        applied_seq: z.number(),
        behind: z.number().openapi({ description: "Entries that it had not applied when it last told." }),
        staleness_seconds: staleness,
        reported_at: at,
        silent_for_seconds: z.number(),
        lease,
        last_flush_at: at.nullable(),
      }),
    ),
  })
  .openapi("Cluster");

export const readinessAnswer = z
  .object({
    status: z.enum(["ready", "degraded"]),
    seq: z.number(),
    staleness_seconds: staleness,
    lease,
    ceilings: ceilingsAnswer,
    warnings: z.array(z.string()),
  })
  .openapi("Readiness");

export const problemAnswer = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number(),
    code: z.enum(PROBLEM_CODES),
    detail: z.string(),
    errors: z.array(z.object({ field: z.string(), message: z.string() })).optional(),
  })
  .openapi("Problem");

export function pageOf(item: z.ZodType, called: string) {
  return z.object({ data: z.array(item), next_cursor: z.string().nullable() }).openapi(called);
}
