import type { Account } from "./accounts/account.ts";
import type { ChainedEntry, EntryDraft, Head, Subject } from "./audit/entry.ts";
import type { LogLine } from "./audit/verify-chain.ts";
import type { Revocation } from "./audit/witness.ts";
import type { Caller, CallerId } from "./callers/caller.ts";
import type { Freshness } from "./freshness.ts";
import type {
  AccountId,
  BrownoutId,
  KeyId,
  LineageId,
  OwnerId,
  ProcessId,
  ReporterId,
  RotationId,
  ServiceAccountId,
} from "./ids.ts";
import type { Key, KeyState, Owner } from "./keys/key.ts";
import type { Matched, VerdictCode } from "./keys/verdict.ts";
import type { Brownout } from "./rotations/brownout.ts";
import type { Dismissal } from "./rotations/evidence.ts";
import type { Rotation, RotationState } from "./rotations/rotation.ts";
import type { Watched } from "./rotations/watch.ts";
import type { ServiceAccount } from "./service-accounts/service-account.ts";
import type { Instant, Seconds } from "./time.ts";

/** One page of a list: rows after `after` in id order (ids are sortable by the time they were made). */
export interface PageRequest {
  readonly limit: number;
  readonly after: string | null;
}

export interface AccountReader {
  byId(id: AccountId): Promise<Account | null>;
  byName(name: string): Promise<Account | null>;
  operator(): Promise<Account | null>;
  list(page: PageRequest, only: AccountId | null): Promise<readonly Account[]>;
}
export interface AccountWriter extends AccountReader {
  add(account: Account): Promise<void>;
  setSuspendedAt(id: AccountId, at: Instant | null): Promise<void>;
}

export interface ServiceAccountReader {
  byId(account: AccountId, id: ServiceAccountId): Promise<ServiceAccount | null>;
  /** Living ones only: a deleted one gives its name free. */
  byName(account: AccountId, name: string): Promise<ServiceAccount | null>;
  list(account: AccountId, page: PageRequest): Promise<readonly ServiceAccount[]>;
}
export interface ServiceAccountWriter extends ServiceAccountReader {
  /** A service account by its id alone, for the host. */
  byIdAnywhere(id: ServiceAccountId): Promise<ServiceAccount | null>;
  add(serviceAccount: ServiceAccount): Promise<void>;
  replace(serviceAccount: ServiceAccount): Promise<void>;
}

export interface KeyFilter {
  readonly ownerId?: OwnerId | undefined;
  readonly state?: KeyState | undefined;
  /** Only keys that end before this instant and have not ended. */
  readonly expiringBefore?: Instant | undefined;
  readonly now: Instant;
}

export interface KeyReader {
  /** A key by its id alone, for the gate and the worker. */
  byIdAnywhere(
    id: KeyId,
  ): Promise<{ readonly key: Key; readonly owner: Owner; readonly accountSuspended: boolean } | null>;
  byId(account: AccountId, id: KeyId): Promise<Key | null>;
  owner(account: AccountId, id: OwnerId): Promise<Owner | null>;
  list(account: AccountId, filter: KeyFilter, page: PageRequest): Promise<readonly (readonly [Key, Owner])[]>;
  ofLineage(account: AccountId, lineage: LineageId): Promise<readonly Key[]>;
  /** What is asked for the keys of an account, or of one owner in it, that were not revoked. */
  freshnessIn(account: AccountId, owner: OwnerId | null): Promise<readonly Freshness[]>;
  /** Keys that name `keyturn:*` and were not revoked, with their owners. */
  roots(account: AccountId): Promise<readonly (readonly [Key, Owner])[]>;
}
export interface KeyWriter extends KeyReader {
  /** Whether another living lineage of this owner bears the name. */
  nameTaken(owner: OwnerId, name: string, except: LineageId | null, now: Instant): Promise<boolean>;
  digestTaken(digest: string): Promise<boolean>;
  add(key: Key, digest: string): Promise<void>;
  replace(key: Key): Promise<void>;
  /** Marks all digests of the key as replaced and adds the new one. Returns its ordinal, counted from 1. */
  replaceDigest(id: KeyId, digest: string, hint: string, at: Instant): Promise<number>;
  /** Marks as dead every digest of the key that came before this ordinal. */
  killDigestsBefore(id: KeyId, ordinal: number, at: Instant): Promise<void>;
}

export interface RotationFilter {
  readonly state?: RotationState | undefined;
  readonly keyId?: KeyId | undefined;
}

export interface RotationReader {
  byId(account: AccountId, id: RotationId): Promise<Rotation | null>;
  list(account: AccountId, filter: RotationFilter, page: PageRequest): Promise<readonly Rotation[]>;
  dismissals(id: RotationId): Promise<readonly Dismissal[]>;
  brownouts(id: RotationId): Promise<readonly Brownout[]>;
  /** All rotations that may still change by themselves, of every account, oldest first: for the worker. */
  open(after: RotationId | null, limit: number): Promise<readonly Rotation[]>;
  /** How many are open in each state, and how many of those were found overdue; of every account. */
  openCounts(): Promise<
    readonly { readonly state: RotationState; readonly count: number; readonly overdue: number }[]
  >;
  /** All brownouts whose end is not stored yet, of every account. */
  openBrownouts(): Promise<readonly Brownout[]>;
}
export interface RotationWriter extends RotationReader {
  byIdAnywhere(id: RotationId): Promise<Rotation | null>;
  openOfOwner(owner: OwnerId): Promise<readonly Rotation[]>;
  add(rotation: Rotation): Promise<void>;
  replace(rotation: Rotation): Promise<void>;
  addDismissal(id: RotationId, dismissal: Dismissal): Promise<void>;
  addBrownout(brownout: Brownout): Promise<void>;
  brownoutById(id: BrownoutId): Promise<Brownout | null>;
  replaceBrownout(brownout: Brownout): Promise<void>;
}

export interface AuditFilter {
  readonly operation?: string | undefined;
  readonly subjectId?: string | undefined;
  readonly actorId?: string | undefined;
  readonly from?: Instant | undefined;
  readonly until?: Instant | undefined;
}

export interface AuditReader {
  head(): Promise<Head>;
  /** Newest first, before the sequence number. Texts are the entries' canonical JSON. */
  list(
    account: AccountId,
    filter: AuditFilter,
    before: number | null,
    limit: number,
  ): Promise<readonly { readonly seq: number; readonly text: string; readonly chainHash: string }[]>;
  /** Ascending from `after`, for checks, exports and followers. */
  lines(
    after: number,
    limit: number,
  ): Promise<readonly (LogLine & { readonly accountId: AccountId | null })[]>;
  /** What keys asked for before the entries after `after` changed them; null where there are more than `limit`. */
  freshnessBefore(after: number, limit: number): Promise<readonly Freshness[] | null>;
}
export interface AuditWriter extends AuditReader {
  append(draft: EntryDraft, entry: ChainedEntry, hidden: readonly HiddenText[]): Promise<void>;
}

/** A personal text that stands in an entry as a salted hash only. */
export interface HiddenText {
  readonly hash: string;
  readonly salt: string;
  readonly text: string;
}

/** What a retry with the same `Idempotency-Key` needs to know. Never a secret. */
export interface IdempotencyRecord {
  readonly actorId: string;
  readonly key: string;
  readonly operation: string;
  readonly requestHash: string;
  readonly result: Readonly<Record<string, string>>;
  readonly seq: number;
  readonly createdAt: Instant;
}
export interface IdempotencyWriter {
  find(actorId: string, key: string, notBefore: Instant): Promise<IdempotencyRecord | null>;
  put(record: IdempotencyRecord): Promise<void>;
  dropBefore(at: Instant): Promise<void>;
}

/**
 * Facts of the installation itself. `closed`: no change is accepted but one of this very fact, because the installation is
 * being moved to another database, or was. `move`: for which copy it was closed; that one has the same.
 */
export type FactName = "restored_unaccepted" | "restored_at" | "database_identity" | "closed" | "move";
export interface FactReader {
  get(name: FactName): Promise<string | null>;
}
export interface FactWriter extends FactReader {
  set(name: FactName, value: string | null): Promise<void>;
}

/** Committed state, never an unfinished change. */
export interface Reader {
  readonly accounts: AccountReader;
  readonly serviceAccounts: ServiceAccountReader;
  readonly keys: KeyReader;
  readonly rotations: RotationReader;
  readonly audit: AuditReader;
  readonly facts: FactReader;
}

/** One change: all of it is durable when `change` resolves, or none of it is. */
export interface Transaction {
  readonly accounts: AccountWriter;
  readonly serviceAccounts: ServiceAccountWriter;
  readonly keys: KeyWriter;
  readonly rotations: RotationWriter;
  readonly audit: AuditWriter;
  readonly idempotency: IdempotencyWriter;
  readonly facts: FactWriter;
}

/** What one process saw of one caller of one key since its last report. */
export interface CallerRow extends Omit<Caller, "id"> {
  readonly keyId: KeyId;
  readonly caller: CallerId;
}

/** Uses of one key in one minute. `minute` counts minutes since the Unix epoch. */
export interface UsageRow {
  readonly keyId: KeyId;
  readonly minute: number;
  readonly code: VerdictCode;
  readonly count: number;
}

/** A session that has not ended, and the number of the newest batch that it has told. */
export interface LivingReporter {
  readonly id: ReporterId;
  readonly batchSeq: number;
}

/** Applied once, whatever is retried: the pair of reporter and batch number is remembered. Numbers ascend, with gaps. */
export interface UsageBatch {
  readonly reporterId: ReporterId;
  readonly batchSeq: number;
  readonly coversFrom: Instant;
  readonly coversUntil: Instant;
  readonly callers: readonly CallerRow[];
  readonly usage: readonly UsageRow[];
}

export interface KeyUse {
  readonly firstValidAt: Instant | null;
  readonly lastValidAt: Instant | null;
  readonly lastSeenAt: Instant | null;
}

/** Uses in a stretch of time that starts at `from`. */
export interface UsageCount {
  readonly from: Instant;
  readonly code: VerdictCode;
  readonly count: number;
}

/** Usage and callers: a file of its own on the embedded database, and the worse for a crash by one batch at most. */
export interface EvidenceStore {
  /**
   * Opens a reporter's session. One under the same name without an end is marked as ended uncleanly, but for `goneOn`, which
   * this one goes on from: that ends cleanly, and at no moment is the process without one.
   */
  startReporter(id: ReporterId, process: string, at: Instant, goneOn?: ReporterId | null): Promise<void>;
  /**
   * Counts a batch, once. "ended" says that the session was given up meanwhile: what was seen still counts, and the
   * reporter must open another session.
   */
  apply(batch: UsageBatch): Promise<"living" | "ended">;
  /** Ends those of these sessions as unclean that have told nothing more since: they are gone, with what they saw at last. */
  endReporters(lost: readonly LivingReporter[], at: Instant): Promise<void>;
  /** The same for all of a process that has died, under whatever names they went on. */
  endReportersOf(process: string, at: Instant): Promise<void>;
  /** No unclean end is later than `at`: the clock that said so was wrong. */
  endNoneAfter(at: Instant): Promise<void>;
  /**
   * Ends every session as unclean, ended ones included, so that nothing that was watched before `at` counts: keys were used
   * elsewhere meanwhile, which nobody will tell here. A living reporter is told to open another session.
   */
  watchAnew(at: Instant): Promise<void>;
  /** The clean end of a session; its last batch must have been applied. */
  stopReporter(id: ReporterId): Promise<void>;
  living(): Promise<readonly LivingReporter[]>;
  callersOf(key: KeyId): Promise<readonly Caller[]>;
  useOf(keys: readonly KeyId[]): Promise<ReadonlyMap<KeyId, KeyUse>>;
  usage(key: KeyId, unit: "minute" | "hour", from: Instant, until: Instant): Promise<readonly UsageCount[]>;
  watched(): Promise<Watched>;
  /** Drops minutes, hours, callers and reporters that have aged out, and nothing that `watched` is told by. */
  dropBefore(cut: {
    readonly minutes: Instant;
    readonly hours: Instant;
    readonly callers: Instant;
  }): Promise<void>;
}

/** What following the audit sequence needs of an entry. */
export interface FollowedEntry {
  readonly seq: number;
  readonly at: Instant;
  readonly chainHash: string;
  readonly operation: string;
  readonly subjects: readonly Pick<Subject, "kind" | "id">[];
  /** For the witness: what must stay dead. */
  readonly revoked: readonly Revocation[];
}

/** What a serving process tells of itself. */
export interface ProcessReport {
  readonly appliedSeq: number;
  /** How old its knowledge of the log was, in milliseconds; null when it could not say. */
  readonly stalenessMs: number | null;
  readonly flushedAt: Instant | null;
  readonly at: Instant;
}

/** A process that serves, or has gone without a word. */
export interface ServingProcess extends ProcessReport {
  readonly id: ProcessId;
  /** For people. A process that starts under a name takes the place of the one before; should that one live, both stand here. */
  readonly name: string;
  readonly version: string;
  readonly startedAt: Instant;
  /** The ceiling by which it judges `bounded` keys. */
  readonly boundedSeconds: Seconds;
}

/** The caller whom a brownout refused, and how often since the last report. */
export interface BrownoutHit {
  readonly caller: string;
  readonly refusals: number;
}

/** What the processes of one installation must know of each other. Nothing in it is a state of the domain. */
export interface ClusterStore {
  /** For the start: takes the place of whoever bore the name, who has died. */
  join(process: ServingProcess): Promise<void>;
  /** For one that lives and is no longer on the list: beside whoever bears its name by now. */
  rejoin(process: ServingProcess): Promise<void>;
  /** False when the process is no longer on the list. */
  report(id: ProcessId, report: ProcessReport): Promise<boolean>;
  leave(id: ProcessId): Promise<void>;
  /** For whoever knows that nobody else serves: empties the list. */
  clear(): Promise<void>;
  processes(): Promise<readonly ServingProcess[]>;
  /** Takes or keeps a piece of work for a while; true for one process at a time. */
  claim(work: string, id: ProcessId, now: Instant, until: Instant): Promise<boolean>;
  /** Adds up what several processes refused during a brownout, and returns it all. */
  countBrownout(id: BrownoutId, hits: readonly BrownoutHit[]): Promise<readonly BrownoutHit[]>;
  /** Has all processes asked to tell what they saw. Each question is another text. */
  askForReports(question: string): Promise<void>;
  /** The newest of those questions. */
  reportsAsked(): Promise<string | null>;
  /** Keeps the digest of a set-up token. */
  offerSetup(digest: string, expiresAt: Instant): Promise<void>;
  /** Whether this token was offered and is good; afterwards none is. */
  takeSetup(digest: string, now: Instant): Promise<boolean>;
}

/** Where an installation lives. Two engines implement it; both run the contract in test/contracts. */
export interface Storage {
  /**
   * Runs alone among the changes of one account, or among all where none is named. Rejects with `outcome_unknown` when the engine
   * can't say whether the change is durable, and with `storage_unavailable` when it surely was not made.
   */
  change<T>(work: (tx: Transaction) => Promise<T>, scope?: AccountId | null): Promise<T>;
  /** Whether a process must write nothing more once an outcome was unknown to it. */
  readonly stopsAtFault: boolean;
  readonly read: Reader;
  readonly evidence: EvidenceStore;
  readonly cluster: ClusterStore;
  /**
   * The key with this digest, from a log that goes up to `atLeast`, which was applied before. On the embedded database the
   * answer is there at once. Rejects with `storage_unavailable` where the log ends earlier.
   */
  match(digest: string, atLeast?: number): Matched | null | Promise<Matched | null>;
  /** The digests of keys, so that what is cached for them can be dropped. */
  digestsOf(key: KeyId): Promise<readonly string[]>;
  /** The entries after `after`, ascending. Not `continuous`: the log has another entry in its place, or none. */
  follow(
    after: Pick<Head, "seq" | "chainHash">,
    limit: number,
  ): Promise<{ readonly continuous: boolean; readonly entries: readonly FollowedEntry[] }>;
  /** Calls back soon after another process has appended something, most of the time. Returns the end of it. */
  hear(onNews: () => void): () => void;
  /** Which database this is, so that one that was put back or replaced can be told from it. Null: a file is a file. */
  identity(): Promise<string | null>;
  close(): Promise<void>;
}
