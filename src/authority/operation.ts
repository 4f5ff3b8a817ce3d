import { createHash, randomBytes } from "node:crypto";
import canonicalize from "canonicalize";
import { coversScope, type Rights } from "./access/rights.ts";
import { type Actor, chain, type EntryDraft, type Subject } from "./audit/entry.ts";
import type { Authority } from "./authority.ts";
import { assert, Refusal } from "./errors.ts";
import type { AccountId } from "./ids.ts";
import { type Key, type Owner, rightsOf, spanOf } from "./keys/key.ts";
import { judge } from "./keys/verdict.ts";
import type { FollowedEntry, HiddenText, Reader, Transaction } from "./storage.ts";
import type { Instant, Seconds } from "./time.ts";

/** The right that an operation asks for: a scope of Keyturn's own namespace, or only to be somebody. */
export type Permission = `keyturn:${string}` | "any_key" | "system" | "host";

/** Whoever performs an operation, with the rights that it can pass on. Null rights: the worker and the host issue none. */
export interface Issuer {
  readonly key: Key;
  readonly owner: Owner;
  readonly rights: Rights;
  readonly spanSeconds: Seconds | null;
}

/** An operation in progress. All that it writes goes through `tx`, all that it tells the log through `record`. */
export interface Change {
  readonly tx: Transaction;
  readonly now: Instant;
  readonly actor: Actor;
  readonly authority: Authority;
  /** Whoever asks, for operations open to keys alone. Throws for the worker and the host. */
  issuer(): Issuer;
  /** The account whose things are touched. */
  account(): AccountId;
  /** For operations of the worker and the host, which belong to no account themselves. */
  inAccount(id: AccountId): void;
  record(subject: Subject): void;
  detail(name: string, value: unknown): void;
  /** A personal text: the entry gets a salted hash, the text stands where it can be erased. */
  hide(text: string): string;
}

/** One thing that can be done to the state. `name` is what the log, the docs and the command line call it. */
export interface Operation<Input, Output> {
  readonly name: string;
  readonly permission: Permission;
  /** Open to the operator's account alone. */
  readonly operatorOnly?: boolean;
  /** Its answer carries a secret: it goes through `mintKey` or `replaceSecretOf`, which check the issuer's rights. */
  readonly issuesCredential?: boolean;
  /** Judges by use: what is still in memory is stored first. */
  readonly needsEvidence?: boolean;
  /** May find nothing to do, and then leaves no entry. */
  readonly mayBeIdle?: boolean;
  /** Dated by the wall clock even where that lies behind the newest entry. */
  readonly datedByWall?: boolean;
  run(change: Change, input: Input): Promise<Output>;
  /** For operations that create: the ids by which a retry finds what was made, and the answer to that retry. */
  readonly retry?: {
    ids(output: Output): Readonly<Record<string, string>>;
    again(change: Change, ids: Readonly<Record<string, string>>): Promise<Output>;
  };
}

export interface PerformOptions {
  readonly idempotencyKey?: string | undefined;
  /** What a retry must repeat to be the same request; the input unless said. Never holds a secret. */
  readonly request?: unknown;
  /** Where the request came from, kept as hashes. */
  readonly origin?: { readonly address?: string | undefined; readonly agent?: string | undefined } | undefined;
}

export interface Performed<Output> {
  readonly output: Output;
  /** The sequence number of the operation's entry. */
  readonly seq: number;
}

const IDEMPOTENCY_HOURS = 24;

/**
 * The one gate: checks the permission, runs the operation and appends its audit entry in one transaction. Nothing else
 * changes anything. Throws `Refusal` for an expected no; a refused operation leaves no trace but its own entry.
 */
export async function perform<Input, Output>(
  authority: Authority,
  operation: Operation<Input, Output>,
  actor: Actor,
  input: Input,
  options: PerformOptions = {},
): Promise<Performed<Output>> {
  authority.health.assertWritable();
  const retryKey = operation.retry === undefined ? undefined : options.idempotencyKey;
  const ticket = retryKey === undefined ? null : `${actor.id} ${retryKey}`;
  if (ticket !== null && authority.inProgress.has(ticket)) {
    throw new Refusal("idempotency_in_progress", "A request with this Idempotency-Key is still being worked on.");
  }
  if (ticket !== null) authority.inProgress.add(ticket);
  try {
    if (operation.needsEvidence) await authority.recorder.flush();
    const done = await authority.storage.change((tx) => runOnce(authority, tx, operation, actor, input, retryKey, options));
    if (done.entry !== null) await authority.committed(done.entry);
    return { output: done.output, seq: done.seq };
  } catch (error) {
    if (error instanceof Refusal) await noteRefusal(authority, operation.name, actor, error);
    throw error;
  } finally {
    if (ticket !== null) authority.inProgress.delete(ticket);
  }
}

interface Done<Output> {
  readonly output: Output;
  readonly seq: number;
  readonly entry: CommittedEntry | null;
}

/** What followers are told of an entry once it is durable. */
export interface CommittedEntry extends FollowedEntry {
  readonly full: readonly Subject[];
}

async function runOnce<Input, Output>(
  authority: Authority,
  tx: Transaction,
  operation: Operation<Input, Output>,
  actor: Actor,
  input: Input,
  retryKey: string | undefined,
  options: PerformOptions,
): Promise<Done<Output>> {
  const now = operation.datedByWall ? authority.clock.wall() : authority.time.now();
  const issuer = actor.kind === "key" ? await authorize(tx, operation, actor, now) : null;
  assert(issuer !== null || operation.permission === actor.kind || actor.kind === "host", "an actor without this right");
  const draft = createDraft(authority, tx, operation, actor, issuer, now);
  const requestHash = retryKey === undefined ? "" : hashOf(operation.name, options.request ?? input);
  const earlier =
    retryKey === undefined ? null : await tx.idempotency.find(actor.id, retryKey, now - IDEMPOTENCY_HOURS * 3_600_000);

  let output: Output;
  if (earlier !== null && operation.retry !== undefined) {
    if (earlier.operation !== operation.name || earlier.requestHash !== requestHash) {
      throw new Refusal("idempotency_conflict", "This Idempotency-Key was used for another request in the last 24 hours.");
    }
    draft.change.detail("retried", true);
    output = await operation.retry.again(draft.change, earlier.result);
    // Nothing had to be made anew, so nothing was performed.
    if (draft.subjects.length === 0) return { output, seq: earlier.seq, entry: null };
  } else {
    output = await operation.run(draft.change, input);
    if (operation.mayBeIdle && draft.subjects.length === 0) return { output, seq: authority.appliedSeq(), entry: null };
  }
  const entry = await draft.append(options.origin);
  if (retryKey !== undefined && operation.retry !== undefined) {
    await tx.idempotency.put({
      actorId: actor.id,
      key: retryKey,
      operation: operation.name,
      requestHash,
      result: operation.retry.ids(output),
      seq: entry.seq,
      createdAt: earlier?.createdAt ?? now,
    });
  }
  return { output, seq: entry.seq, entry };
}

/** The truth about the asking key, read inside the transaction: it may have been revoked a moment ago. */
async function authorize(
  tx: Pick<Transaction, "keys" | "accounts">,
  operation: { readonly permission: Permission; readonly operatorOnly?: boolean },
  actor: Actor & { kind: "key" },
  now: Instant,
): Promise<Issuer> {
  const found = await tx.keys.byIdAnywhere(actor.id);
  const verdict =
    found === null
      ? "unknown"
      : judge({ ...found, replaced: false, rotation: null, brownout: null }, { rights: rightsOf(found.key, found.owner), addresses: null }, {}, now);
  if (found === null || verdict !== "valid") {
    throw new Refusal("unauthenticated", "The key is not good any more.", { extensions: { verdict } });
  }
  const rights = rightsOf(found.key, found.owner);
  await checkPermission(operation, rights, () => tx.accounts.byId(found.key.accountId));
  return { ...found, rights, spanSeconds: spanOf(found.key) };
}

async function checkPermission(
  operation: { readonly permission: Permission; readonly operatorOnly?: boolean },
  rights: Rights,
  account: () => Promise<{ readonly operator: boolean } | null>,
): Promise<void> {
  const { permission } = operation;
  const allowed =
    permission === "any_key" ||
    (permission.startsWith("keyturn:") && rights.scopes.some((scope) => coversScope(scope, permission)));
  if (!allowed) {
    throw new Refusal("insufficient_scope", `This needs the scope ${permission}.`, { extensions: { scope: permission } });
  }
  if (operation.operatorOnly && !(await account())?.operator) {
    throw new Refusal("operator_only", "Only keys of the operator's account may do this.");
  }
}

/** A question to the committed state. It asks for a right like an operation, and leaves no entry. */
export interface Reading<Input, Output> {
  readonly name: string;
  readonly permission: Permission;
  run(question: Question, input: Input): Promise<Output>;
}

export interface Question {
  readonly read: Reader;
  readonly now: Instant;
  readonly authority: Authority;
  readonly account: AccountId;
  readonly issuer: Issuer;
}

/** The gate's other side: checks the permission on the truth, then answers. Throws `Refusal`. */
export async function consult<Input, Output>(
  authority: Authority,
  reading: Reading<Input, Output>,
  actor: Actor & { kind: "key" },
  input: Input,
): Promise<Output> {
  const now = authority.time.now();
  const { read } = authority.storage;
  try {
    const key = await read.keys.byId(actor.accountId, actor.id);
    const owner = key === null ? null : await read.keys.owner(key.accountId, key.ownerId);
    const account = await read.accounts.byId(actor.accountId);
    if (key === null || owner === null || account === null) throw new Refusal("unauthenticated", "The key is not good any more.");
    const rights = rightsOf(key, owner);
    const matched = { key, owner, accountSuspended: account.suspendedAt !== null, replaced: false, rotation: null, brownout: null };
    const verdict = judge(matched, { rights, addresses: null }, {}, now);
    if (verdict !== "valid") {
      throw new Refusal("unauthenticated", "The key is not good any more.", { extensions: { verdict } });
    }
    await checkPermission(reading, rights, async () => account);
    const issuer = { key, owner, rights, spanSeconds: spanOf(key) };
    return await reading.run({ read, now, authority, account: actor.accountId, issuer }, input);
  } catch (error) {
    if (error instanceof Refusal) await noteRefusal(authority, reading.name, actor, error);
    throw error;
  }
}

function createDraft(
  authority: Authority,
  tx: Transaction,
  { name: operation, datedByWall }: { readonly name: string; readonly datedByWall?: boolean },
  actor: Actor,
  issuer: Issuer | null,
  now: Instant,
) {
  const subjects: Subject[] = [];
  const details: Record<string, unknown> = {};
  const hidden: HiddenText[] = [];
  let account: AccountId | null = actor.accountId;
  const hide = (text: string): string => {
    const salt = randomBytes(16).toString("hex");
    const hash = `sha256:${createHash("sha256").update(`${salt}${text}`, "utf8").digest("hex")}`;
    hidden.push({ hash, salt, text });
    return hash;
  };
  const change: Change = {
    tx,
    now,
    actor,
    authority,
    issuer: () => {
      assert(issuer !== null, "an operation that issues was performed by no key");
      return issuer;
    },
    account: () => {
      assert(account !== null, "an operation in no account");
      return account;
    },
    inAccount: (id) => {
      account = id;
    },
    record: (subject) => void subjects.push(subject),
    detail: (name, value) => {
      details[name] = value;
    },
    hide,
  };
  return {
    change,
    subjects,
    append: async (origin: PerformOptions["origin"]): Promise<CommittedEntry> => {
      if (origin?.address !== undefined) details["address"] = hide(origin.address);
      if (origin?.agent !== undefined) details["agent"] = hide(origin.agent.toWellFormed());
      const refusedBefore = authority.refusals.takeCount(actor.id, operation);
      if (refusedBefore > 0) details["refused_before"] = refusedBefore;
      const head = await tx.audit.head();
      // An entry that this process has yet to apply may be newer than its clock: no entry is older than the one before.
      const at = datedByWall ? now : Math.max(now, head.at);
      const entryDraft: EntryDraft = { at, accountId: account, actor, operation, outcome: "performed", subjects, details };
      const entry = chain(entryDraft, head);
      await tx.audit.append(entryDraft, entry, hidden);
      return { seq: entry.seq, at, chainHash: entry.chainHash, operation, subjects, full: subjects };
    },
  };
}

/** The first refusal of an actor per operation and minute is an entry; the rest are a count in the next one. */
async function noteRefusal(authority: Authority, operation: string, actor: Actor, refusal: Refusal): Promise<void> {
  if (actor.kind !== "key" || !AUDITED_REFUSALS.has(refusal.code)) return;
  const now = authority.time.now();
  if (!authority.refusals.isFirst(actor.id, operation, now) || !authority.health.writable()) return;
  const counted = authority.refusals.takeCount(actor.id, operation);
  const draft: Omit<EntryDraft, "at"> = {
    accountId: actor.accountId,
    actor,
    operation,
    outcome: "refused",
    subjects: [],
    details: { code: refusal.code, ...(counted > 0 ? { refused_before: counted } : {}) },
  };
  const entry = await authority.storage.change(async (tx) => {
    const head = await tx.audit.head();
    const dated: EntryDraft = { ...draft, at: Math.max(now, head.at) };
    const chained = chain(dated, head);
    await tx.audit.append(dated, chained, []);
    return { ...chained, at: dated.at };
  });
  await authority.committed({ seq: entry.seq, at: entry.at, chainHash: entry.chainHash, operation, subjects: [], full: [] });
}

const AUDITED_REFUSALS: ReadonlySet<string> = new Set([
  "insufficient_scope",
  "operator_only",
  "rights_exceeded",
  "not_found",
  "not_safe_to_complete",
  "last_root_key",
  "setup_token_invalid",
]);

function hashOf(operation: string, input: unknown): string {
  const text = canonicalize({ operation, input: JSON.parse(JSON.stringify(input)) }) ?? "";
  return createHash("sha256").update(text, "utf8").digest("hex");
}
