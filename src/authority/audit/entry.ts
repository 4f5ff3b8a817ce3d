import { createHash } from "node:crypto";
import canonicalize from "canonicalize";
import { assert } from "../errors.ts";
import type { AccountId, KeyId } from "../ids.ts";
import { formatInstant, type Instant } from "../time.ts";

/** Who asked Keyturn to do something. `system` is the worker, `host` a command on the machine itself. */
export type Actor =
  | { readonly kind: "key"; readonly id: KeyId; readonly accountId: AccountId }
  | { readonly kind: "system"; readonly id: "worker"; readonly accountId: null }
  | { readonly kind: "host"; readonly id: string; readonly accountId: null };

export const SYSTEM: Actor = { kind: "system", id: "worker", accountId: null };

export type SubjectKind = "account" | "service_account" | "key" | "rotation" | "brownout" | "installation";

/** A thing that an operation touched, with the members that changed, before and after. Never a secret or a digest. */
export interface Subject {
  readonly kind: SubjectKind;
  readonly id: string;
  readonly before: Readonly<Record<string, unknown>> | null;
  readonly after: Readonly<Record<string, unknown>> | null;
}

export type Outcome = "performed" | "refused";

/** What is known of an operation before it has its place in the chain. */
export interface EntryDraft {
  readonly at: Instant;
  readonly accountId: AccountId | null;
  readonly actor: Actor;
  readonly operation: string;
  readonly outcome: Outcome;
  readonly subjects: readonly Subject[];
  readonly details: Readonly<Record<string, unknown>>;
}

/** One entry as it stands in the log: its canonical text, and its place in the chain. */
export interface ChainedEntry {
  readonly seq: number;
  readonly text: string;
  readonly entryHash: string;
  readonly chainHash: string;
}

/** The newest entry: what the next one is chained to. `at` in milliseconds. */
export interface Head {
  readonly seq: number;
  readonly chainHash: string;
  readonly at: Instant;
}

/** What the first entry is chained to: SHA-256 of the empty text. */
export const GENESIS: Head = { seq: 0, chainHash: sha256(""), at: 0 };

/** Lower-case hexadecimal SHA-256 of the UTF-8 text. */
export function sha256(text: string): string {
  return createHash("sha256").update(text, "utf8").digest("hex");
}

/** Chain hash: SHA-256 of the previous chain hash, the sequence number and the entry hash, a line each. */
export function chainHash(previous: string, seq: number, entryHash: string): string {
  return sha256(`${previous}\n${seq}\n${entryHash}\n`);
}

/** Gives the draft its place after `head`. The text is RFC 8785 canonical JSON. */
export function chain(draft: EntryDraft, head: Head): ChainedEntry {
  const seq = head.seq + 1;
  const text = canonicalize({
    seq,
    at: formatInstant(draft.at),
    account_id: draft.accountId,
    actor: { kind: draft.actor.kind, id: draft.actor.id, account_id: draft.actor.accountId },
    operation: draft.operation,
    outcome: draft.outcome,
    subjects: draft.subjects,
    details: draft.details,
  });
  assert(text !== undefined, "an audit entry must have a canonical text");
  const entryHash = sha256(text);
  return { seq, text, entryHash, chainHash: chainHash(head.chainHash, seq, entryHash) };
}
