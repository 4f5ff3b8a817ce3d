import { exceeding, type OwnRights, type Rights } from "../access/rights.ts";
import { Refusal } from "../errors.ts";
import type { Freshness } from "../freshness.ts";
import { type AccountId, type LineageId, newId } from "../ids.ts";
import type { Change, Issuer } from "../operation.ts";
import { digestOf, hintOf, mintSecret } from "../secret.ts";
import type { Instant, Seconds } from "../time.ts";
import { describeKey } from "./describe.ts";
import type { Key, Metadata, Owner } from "./key.ts";
import { rightsOf, spanOf } from "./key.ts";

/** A key with its secret: the only moment in which the two are together. */
export interface Issued {
  readonly key: Key;
  readonly owner: Owner;
  readonly secret: string;
}

export interface Mint {
  readonly accountId: AccountId;
  readonly owner: Owner;
  readonly lineageId: LineageId;
  readonly name: string;
  readonly own: OwnRights;
  readonly metadata: Metadata;
  readonly expiresAt: Instant | null;
  readonly freshness: Freshness;
  readonly rotationId: Key["rotationId"];
}

const FIELD_OF = { role: "role", scopes: "scopes", allowed_ips: "allowed_ips" } as const;

/**
 * Nobody can pass on more than they hold (R2, R3, R5, B17). Every operation that puts out a credential asks this.
 * A lifetime is a right too: `spanSeconds` null is for ever. Throws `rights_exceeded` naming the fields.
 */
export function assertIssuable(issuer: Issuer, wanted: Rights, spanSeconds: Seconds | null): void {
  const errors = exceeding(wanted, issuer.rights).map((right) => ({
    field: FIELD_OF[right],
    message: "more than the issuing key has",
  }));
  if (issuer.spanSeconds !== null && (spanSeconds === null || spanSeconds > issuer.spanSeconds)) {
    errors.push({
      field: "expires_at" as "role",
      message: `a longer life than the issuing key's own ${issuer.spanSeconds} s`,
    });
  }
  if (errors.length > 0) {
    const fields = errors.map((error) => error.field).join(", ");
    throw new Refusal("rights_exceeded", `A key can't issue a stronger key than itself (${fields}).`, {
      errors,
    });
  }
}

/** A key's own rights must lie below its owner's. Throws `rights_exceeded` naming the fields. */
export function assertBelowOwner(own: OwnRights, owner: Rights): void {
  const wanted: Rights = {
    role: own.role ?? "none",
    scopes: own.scopes ?? [],
    allowedIps: own.allowedIps ?? owner.allowedIps,
  };
  const errors = exceeding(wanted, owner).map((right) => ({
    field: FIELD_OF[right],
    message: "more than its service account has; widen the service account first",
  }));
  if (errors.length > 0) {
    const fields = errors.map((error) => error.field).join(", ");
    throw new Refusal(
      "rights_exceeded",
      `A service account's rights are the ceiling of its keys (${fields}).`,
      { errors },
    );
  }
}

/** Makes a key and its secret inside the change. The caller has checked the rights, unless the host asks. */
export async function mintKey(change: Change, mint: Mint): Promise<Issued> {
  if (change.actor.kind === "key") {
    assertIssuable(
      change.issuer(),
      rightsOf({ own: mint.own } as Key, mint.owner),
      spanOf({ createdAt: change.now, expiresAt: mint.expiresAt }),
    );
  }
  const { secret, digest } = await freshSecret(change);
  const key: Key = {
    id: newId("key"),
    accountId: mint.accountId,
    ownerId: mint.owner.id,
    lineageId: mint.lineageId,
    kind: "service",
    name: mint.name,
    hint: hintOf(secret),
    own: mint.own,
    metadata: mint.metadata,
    suspensions: [],
    createdAt: change.now,
    expiresAt: mint.expiresAt,
    revokedAt: null,
    freshness: mint.freshness,
    rotationId: mint.rotationId,
  };
  await change.tx.keys.add(key, digest);
  change.record({ kind: "key", id: key.id, before: null, after: describeKey(key) });
  return { key, owner: mint.owner, secret };
}

/** The secret of a key that nobody has used gets a new text; the earlier one is dead. Throws `already_in_use`. */
export async function replaceSecretOf(change: Change, key: Key, owner: Owner): Promise<Issued> {
  if (key.revokedAt !== null || owner.deletedAt !== null) {
    throw new Refusal("key_revoked", "The key is revoked; nothing leaves that state. Issue a new key.");
  }
  // In this order: what is stored in between is found in the store.
  const isPending = change.authority.recorder.pendingOf(key.id).length > 0;
  const use = (await change.authority.storage.evidence.useOf([key.id])).get(key.id);
  if (isPending || use?.lastSeenAt != null) {
    throw new Refusal(
      "already_in_use",
      "The key's secret has been used, so it can't be replaced. Rotate the key instead.",
    );
  }
  // What another process has counted and not stored yet is a use as well.
  if (!change.allHaveTold()) {
    throw new Refusal(
      "storage_unavailable",
      "Another process has not told yet which keys it saw, so it is not known whether this one was used. Try again; a process that has died is waited for until its last report is 3 minutes old.",
    );
  }
  if (change.actor.kind === "key") assertIssuable(change.issuer(), rightsOf(key, owner), spanOf(key));
  const { secret, digest } = await freshSecret(change);
  const hint = hintOf(secret);
  const ordinal = await change.tx.keys.replaceDigest(key.id, digest, hint, change.now);
  change.record({
    kind: "key",
    id: key.id,
    before: { hint: key.hint },
    after: { hint, secret_ordinal: ordinal },
  });
  return { key: { ...key, hint }, owner, secret };
}

/** A secret that no key has. A clash is next to impossible, and must not hand out somebody else's key (R32). */
async function freshSecret(change: Change): Promise<{ secret: string; digest: string }> {
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const secret = mintSecret(change.authority.settings.format, "service", change.authority.random);
    const digest = digestOf(secret);
    if (!(await change.tx.keys.digestTaken(digest))) return { secret, digest };
  }
  throw new Error("The source of randomness repeats itself; no key was issued.");
}
