import type { OwnRights } from "../access/rights.ts";
import { ownerRights } from "../access/rights.ts";
import { checkName } from "../accounts/account.ts";
import { assert, invalid, notFound, Refusal } from "../errors.ts";
import type { Freshness } from "../freshness.ts";
import { type KeyId, newId, type OwnerId } from "../ids.ts";
import type { Change, Operation } from "../operation.ts";
import { resolveExpiry } from "../time.ts";
import { findKey } from "./find-key.ts";
import { assertBelowOwner, type Issued, mintKey, replaceSecretOf } from "./issue.ts";
import { checkMetadata, type Metadata } from "./key.ts";

export interface CreateKey {
  readonly name: string;
  readonly ownerId: OwnerId;
  readonly ttl?: string | undefined;
  readonly expiresAt?: string | undefined;
  readonly own: OwnRights;
  readonly metadata?: Metadata | undefined;
  /** Bounded unless said. */
  readonly freshness?: Freshness | undefined;
}

/** How long a key lives when nobody says, in seconds. */
const DEFAULT_TTL_SECONDS = 90 * 86_400;

/** `POST /v1/keys`: a key for a service account, never stronger than the issuer or the owner. */
export const createKey: Operation<CreateKey, Issued> = {
  name: "keys.create",
  permission: "keyturn:keys.create",
  issuesCredential: true,
  async run(change, input) {
    const name = checkName(input.name);
    const owner = await change.tx.keys.owner(change.account(), input.ownerId);
    if (owner === null || owner.deletedAt !== null) throw notFound("service account");
    const expiry = resolveExpiry(input, change.now, defaultTtl(change));
    if (!expiry.ok) throw invalid(expiry.field, expiry.message);
    assertBelowOwner(input.own, ownerRights(owner.own));
    if (await change.tx.keys.nameTaken(owner.id, name, null, change.now)) throw nameTaken(name);
    return mintKey(change, {
      accountId: change.account(),
      owner,
      lineageId: newId("lin"),
      name,
      own: input.own,
      metadata: checkMetadata(input.metadata ?? {}),
      expiresAt: expiry.expiresAt,
      freshness: input.freshness ?? "bounded",
      rotationId: null,
    });
  },
  retry: {
    ids: ({ key }) => ({ key_id: key.id }),
    again: async (change, ids) => {
      assert(ids.key_id !== undefined, "an idempotency record without its key");
      const { key, owner } = await findKey(change.tx, change.account(), ids.key_id as KeyId);
      return replaceSecretOf(change, key, owner);
    },
  },
};

/** 90 days, or the issuer's own span where that is shorter. */
function defaultTtl(change: Change): number {
  return Math.min(DEFAULT_TTL_SECONDS, change.issuer().spanSeconds ?? Number.POSITIVE_INFINITY);
}

export function nameTaken(name: string): Refusal {
  return new Refusal("name_taken", `Another living key of this owner is called ${JSON.stringify(name)}.`, {
    errors: [{ field: "name", message: "is taken by another living key of this owner" }],
  });
}
