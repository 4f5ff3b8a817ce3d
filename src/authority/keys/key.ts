import { effectiveRights, type OwnRights, ownerRights, type Rights } from "../access/rights.ts";
import { invalid } from "../errors.ts";
import type { Freshness } from "../freshness.ts";
import type { AccountId, KeyId, LineageId, OwnerId, RotationId } from "../ids.ts";
import type { Instant, Seconds } from "../time.ts";

export type KeyKind = "user" | "service" | "legacy";

/** Who may lift it: each reason lifts only its own. */
export type Suspension = "operator" | "rotation";

export const KEY_STATES = ["active", "suspended", "expired", "revoked"] as const;
export type KeyState = (typeof KEY_STATES)[number];

export type Metadata = Readonly<Record<string, string>>;

/** An API key as stored: never its secret, and its digests stand elsewhere. */
export interface Key {
  readonly id: KeyId;
  readonly accountId: AccountId;
  readonly ownerId: OwnerId;
  readonly lineageId: LineageId;
  readonly kind: KeyKind;
  readonly name: string;
  readonly hint: string;
  readonly own: OwnRights;
  readonly metadata: Metadata;
  readonly suspensions: readonly Suspension[];
  readonly createdAt: Instant;
  readonly expiresAt: Instant | null;
  readonly revokedAt: Instant | null;
  /** What the key asks for; one with a `keyturn:` scope is strict all the same. */
  readonly freshness: Freshness;
  /** The open rotation that this key takes part in, its undo window included. */
  readonly rotationId: RotationId | null;
}

/** What of an owner decides over its keys. */
export interface Owner {
  readonly id: OwnerId;
  readonly own: OwnRights;
  readonly disabledAt: Instant | null;
  readonly deletedAt: Instant | null;
}

/** The state at `now`, in the verdicts' order of precedence. A deleted owner's keys are revoked. */
export function stateOf(key: Key, owner: Owner, now: Instant): KeyState {
  if (key.revokedAt !== null || owner.deletedAt !== null) return "revoked";
  if (key.suspensions.length > 0) return "suspended";
  if (key.expiresAt !== null && now >= key.expiresAt) return "expired";
  return "active";
}

/** A lineage with such a key keeps its name taken. */
export function isLiving(key: Key, now: Instant): boolean {
  return key.revokedAt === null && (key.expiresAt === null || now < key.expiresAt);
}

/** Key ∩ owner, as they are now. */
export function rightsOf(key: Key, owner: Owner): Rights {
  return effectiveRights(key.own, ownerRights(owner.own));
}

/** How long the key was made to live, null for ever. A successor gets at most this, counted afresh. */
export function spanOf(key: Pick<Key, "createdAt" | "expiresAt">): Seconds | null {
  return key.expiresAt === null ? null : (key.expiresAt - key.createdAt) / 1000;
}

/** When a key made at `now` ends that lives for the span of another: a whole millisecond, null for never. */
export function endAfter(span: Seconds | null, now: Instant): Instant | null {
  return span === null ? null : now + Math.round(span * 1000);
}

/** Holds `keyturn:*` by name, and its owner lets it, from somewhere at least. */
export function isRoot(key: Key, owner: Owner): boolean {
  const { scopes, allowedIps } = rightsOf(key, owner);
  return scopes.includes("keyturn:*") && allowedIps?.length !== 0;
}

export function suspend(key: Key, reason: Suspension): Key {
  if (key.suspensions.includes(reason)) return key;
  return { ...key, suspensions: [...key.suspensions, reason] };
}

export function lift(key: Key, reason: Suspension): Key {
  return { ...key, suspensions: key.suspensions.filter((held) => held !== reason) };
}

const METADATA_KEY = /^[A-Za-z][A-Za-z0-9_.-]{0,39}$/;
const MOST_METADATA = 20;
const LONGEST_VALUE = 500;

/** At most 20 pairs; keys as `[A-Za-z][A-Za-z0-9_.-]*` up to 40, values up to 500 characters. */
export function checkMetadata(metadata: Metadata): Metadata {
  const pairs = Object.entries(metadata);
  if (pairs.length > MOST_METADATA) throw invalid("metadata", `must have at most ${MOST_METADATA} pairs`);
  for (const [name, value] of pairs) {
    if (!METADATA_KEY.test(name)) {
      throw invalid("metadata", "keys start with a letter and have up to 40 of A-Z a-z 0-9 _ . -");
    }
    if (value.length > LONGEST_VALUE) {
      throw invalid(`metadata.${name}`, `must have at most ${LONGEST_VALUE} characters`);
    }
    if (!value.isWellFormed() || value.includes("\0")) {
      throw invalid(`metadata.${name}`, "must be well-formed Unicode without NUL");
    }
  }
  return metadata;
}
