import type { AddressList } from "../access/addresses.ts";
import { coversAll, type Rights, type Role, roleAtLeast } from "../access/rights.ts";
import { type Brownout, brownoutNow } from "../rotations/brownout.ts";
import type { Rotation } from "../rotations/rotation.ts";
import type { Instant } from "../time.ts";
import type { Key, Owner } from "./key.ts";

/** Every answer to "is this key good, for this, now?", in order of precedence; `valid` when none applies. */
export const VERDICT_CODES = [
  "malformed",
  "wrong_region",
  "unknown",
  "revoked",
  "retired",
  "owner_disabled",
  "suspended",
  "expired",
  "stale",
  "brownout",
  "ip_not_allowed",
  "insufficient_scope",
  "insufficient_role",
  "rate_limited",
  "valid",
] as const;

export type VerdictCode = (typeof VERDICT_CODES)[number];

const RANK = Object.fromEntries(VERDICT_CODES.map((code, rank) => [code, rank])) as Readonly<
  Record<VerdictCode, number>
>;

/** Whether `one` is said where both apply. */
export function precedes(one: VerdictCode, other: VerdictCode): boolean {
  return RANK[one] < RANK[other];
}

/** All that the store knows about the secret that was presented. */
export interface Matched {
  readonly key: Key;
  readonly owner: Owner;
  readonly accountSuspended: boolean;
  /** The presented text was replaced before anybody used it, and is dead. */
  readonly replaced: boolean;
  readonly rotation: Rotation | null;
  readonly brownout: Brownout | null;
}

/** What the key's effective rights are, with its addresses ready for use. */
export interface Effective {
  readonly rights: Rights;
  readonly addresses: AddressList | null;
}

/** What the API asks of the key. An absent member asks for nothing. */
export interface Requirement {
  readonly scopes?: readonly string[] | undefined;
  readonly role?: Role | undefined;
  /** Canonical, or undefined when nobody knows it: a key with an address list is refused then. */
  readonly address?: string | undefined;
}

/** The verdict on a key that was found. The account of the verifier is judged before (another's is `unknown`). */
export function judge(matched: Matched, effective: Effective, ask: Requirement, now: Instant): VerdictCode {
  const { key, owner } = matched;
  if (key.revokedAt !== null || owner.deletedAt !== null || matched.replaced) return "revoked";
  if (owner.disabledAt !== null || matched.accountSuspended) return "owner_disabled";
  if (key.suspensions.length > 0) return "suspended";
  if (key.expiresAt !== null && now >= key.expiresAt) return "expired";
  if (
    matched.brownout !== null &&
    matched.rotation?.oldKeyId === key.id &&
    brownoutNow(matched.brownout, now) === "running"
  ) {
    return "brownout";
  }
  if (effective.addresses !== null) {
    if (ask.address === undefined || !effective.addresses.has(ask.address)) return "ip_not_allowed";
  }
  if (ask.scopes !== undefined && !coversAll(effective.rights.scopes, ask.scopes))
    return "insufficient_scope";
  if (ask.role !== undefined && !roleAtLeast(effective.rights.role, ask.role)) return "insufficient_role";
  return "valid";
}
