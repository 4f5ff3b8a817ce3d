import { createHash } from "node:crypto";
import canonicalize from "canonicalize";
import type { Rights } from "./access/rights.ts";
import type { Actor, Subject } from "./audit/entry.ts";
import type { Authority } from "./authority.ts";
import { authorize } from "./authorize.ts";
import { gatherReports } from "./callers/gather-reports.ts";
import { createDraft } from "./entry-draft.ts";
import { assert, Refusal, ReportsWanted } from "./errors.ts";
import type { AccountId } from "./ids.ts";
import type { Key, Owner } from "./keys/key.ts";
import { noteRefusal } from "./note-refusal.ts";
import type { FollowedEntry, IdempotencyRecord, Transaction } from "./storage.ts";
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
  /** Whether all processes have told what they saw until this was asked for. */
  allHaveTold(): boolean;
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
  /** Closes the installation for changes, or opens it: performed where nothing else is. */
  readonly movesStore?: boolean;
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
  readonly origin?:
    | { readonly address?: string | undefined; readonly agent?: string | undefined }
    | undefined;
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
  authority.health.assertWritable(operation.movesStore ?? false);
  const retryKey = operation.retry === undefined ? undefined : options.idempotencyKey;
  const ticket = retryKey === undefined ? null : `${actor.id} ${retryKey}`;
  const scope = operation.operatorOnly ? null : actor.accountId;
  if (ticket !== null && authority.inProgress.has(ticket)) {
    throw inProgress();
  }
  if (ticket !== null) authority.inProgress.add(ticket);
  try {
    const allHaveTold = operation.needsEvidence ? await gatherReports(authority) : null;
    const request = options.request ?? input;
    const retry =
      ticket === null
        ? null
        : await retryOf(authority, retryKey ?? "", hashOf(operation.name, request), ticket);
    const attempt = { operation, actor, input, retry, options, allHaveTold };
    const change = (given: typeof attempt) =>
      authority.storage.change((tx) => runOnce(authority, tx, given), scope);
    const done = await change(attempt).catch(async (error: unknown) => {
      if (!(error instanceof ReportsWanted)) throw error;
      return change({ ...attempt, allHaveTold: await gatherReports(authority) });
    });
    if (ticket !== null) noteMade(authority, ticket);
    if (done.entry !== null) await authority.committed(done.entry);
    return { output: done.output, seq: done.seq };
  } catch (error) {
    if (error instanceof Refusal) await noteRefusal(authority, operation.name, actor, error);
    throw error;
  } finally {
    if (ticket !== null) authority.inProgress.delete(ticket);
  }
}

interface Retry {
  readonly key: string;
  readonly requestHash: string;
  /** The newest entry when the request came in. */
  readonly headSeq: number;
  /** This process has made it lately, and has answered. */
  readonly madeHere: boolean;
}

/** How long the answer of another process may be under way after its change was made. */
const ANSWER_UNDER_WAY_MS = 1_000;
/** For how long a client that was told to try again is sure to be known when it does. */
const KNOWN_MS = 60_000;

async function retryOf(
  authority: Authority,
  key: string,
  requestHash: string,
  ticket: string,
): Promise<Retry> {
  const { seq } = await authority.storage.read.audit.head();
  const madeAt = authority.madeLately.get(ticket);
  const madeHere = madeAt !== undefined && authority.clock.monotonic() - madeAt < 2 * ANSWER_UNDER_WAY_MS;
  return { key, requestHash, headSeq: seq, madeHere };
}

async function isAlone({ storage, process }: Authority): Promise<boolean> {
  return (await storage.cluster.processes()).every(({ id }) => id === process.id);
}

/** Older ones are told by the record itself. */
function noteMade({ madeLately, clock }: Authority, ticket: string): void {
  dropBefore(madeLately, clock.monotonic() - 2 * ANSWER_UNDER_WAY_MS);
  madeLately.delete(ticket);
  madeLately.set(ticket, clock.monotonic());
}

/**
 * Whether this process has known of the record for long enough, by its monotonic clock. Where the newest entry is dated ahead
 * time stands still, and what was made then would be fresh for as long.
 */
function isKnown({ knownLately, clock }: Authority, { actorId, key, seq }: IdempotencyRecord): boolean {
  const record = `${actorId} ${key} ${seq}`;
  const since = knownLately.get(record);
  if (since !== undefined) return clock.monotonic() - since >= ANSWER_UNDER_WAY_MS;
  dropBefore(knownLately, clock.monotonic() - KNOWN_MS);
  knownLately.set(record, clock.monotonic());
  return false;
}

/** Those that came first are the oldest. */
function dropBefore(noted: Map<string, number>, before: number): void {
  for (const [what, at] of noted) {
    if (at > before) break;
    noted.delete(what);
  }
}

interface Attempt<Input, Output> {
  readonly operation: Operation<Input, Output>;
  readonly actor: Actor;
  readonly input: Input;
  readonly retry: Retry | null;
  readonly options: PerformOptions;
  /** Null where nobody was asked to. */
  readonly allHaveTold: boolean | null;
}

interface Done<Output> {
  readonly output: Output;
  readonly seq: number;
  readonly entry: FollowedEntry | null;
}

async function runOnce<Input, Output>(
  authority: Authority,
  tx: Transaction,
  { operation, actor, input, retry, options, allHaveTold }: Attempt<Input, Output>,
): Promise<Done<Output>> {
  // Another process may have ended a false future: an entry dated by it now would bring it back.
  if (authority.time.trouble() !== null) await authority.follower.renew();
  const now = operation.datedByWall ? authority.clock.wall() : authority.time.now();
  const issuer = actor.kind === "key" ? await authorize(tx, operation, actor, now) : null;
  assert(
    issuer !== null || operation.permission === actor.kind || actor.kind === "host",
    "an actor without this right",
  );
  const draft = createDraft(authority, tx, operation, actor, issuer, now, allHaveTold);
  const earlier = retry === null ? null : await madeBefore(authority, tx, operation.name, actor, retry, now);

  let output: Output;
  if (earlier !== null && operation.retry !== undefined) {
    draft.change.detail("retried", true);
    output = await operation.retry.again(draft.change, earlier.result);
    // Nothing had to be made anew, so nothing was performed.
    if (draft.subjects.length === 0) return { output, seq: earlier.seq, entry: null };
  } else {
    output = await operation.run(draft.change, input);
    if (operation.mayBeIdle && draft.subjects.length === 0)
      return { output, seq: authority.follower.appliedSeq(), entry: null };
  }
  const entry = await draft.append(options.origin);
  if (retry !== null && operation.retry !== undefined) {
    await tx.idempotency.put({
      actorId: actor.id,
      key: retry.key,
      operation: operation.name,
      requestHash: retry.requestHash,
      result: operation.retry.ids(output),
      seq: entry.seq,
      createdAt: earlier?.createdAt ?? now,
    });
  }
  return { output, seq: entry.seq, entry };
}

/**
 * What an earlier try of this request has made, or null. Throws `idempotency_in_progress` while its answer may be under
 * way, and `idempotency_conflict` where it was another request.
 */
async function madeBefore(
  authority: Authority,
  tx: Transaction,
  operation: string,
  actor: Actor,
  retry: Retry,
  now: Instant,
): Promise<IdempotencyRecord | null> {
  const earlier = await tx.idempotency.find(actor.id, retry.key, now - IDEMPOTENCY_HOURS * 3_600_000);
  if (earlier === null) return null;
  // Made by another process, whose answer may still be under way: its secret must live. What was made here before this
  // request came in is not newer than the head was by then.
  const isFresh =
    !retry.madeHere && now - earlier.createdAt < ANSWER_UNDER_WAY_MS && !isKnown(authority, earlier);
  if (earlier.seq > retry.headSeq || (isFresh && !(await isAlone(authority)))) throw inProgress();
  if (earlier.operation !== operation || earlier.requestHash !== retry.requestHash) {
    throw new Refusal(
      "idempotency_conflict",
      "This Idempotency-Key was used for another request in the last 24 hours.",
    );
  }
  return earlier;
}

function inProgress(): Refusal {
  return new Refusal(
    "idempotency_in_progress",
    "A request with this Idempotency-Key is still being worked on.",
  );
}

function hashOf(operation: string, input: unknown): string {
  const text = canonicalize({ operation, input: JSON.parse(JSON.stringify(input)) }) ?? "";
  return createHash("sha256").update(text, "utf8").digest("hex");
}
