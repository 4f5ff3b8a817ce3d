import { exceeding, type OwnRights } from "../access/rights.ts";
import { checkName } from "../accounts/account.ts";
import { invalid, Refusal } from "../errors.ts";
import { atLeastAsFresh, type Freshness } from "../freshness.ts";
import type { KeyId } from "../ids.ts";
import type { Change, Operation } from "../operation.ts";
import { formatInstant, type Instant, parseInstant } from "../time.ts";
import { nameTaken } from "./create-key.ts";
import { describeKey } from "./describe.ts";
import { findKey } from "./find-key.ts";
import { checkMetadata, type Key, type Metadata, type Owner, rightsOf } from "./key.ts";
import { keepingRoots } from "./root-keys.ts";

export interface UpdateKey {
  readonly id: KeyId;
  readonly name?: string | undefined;
  readonly metadata?: Metadata | undefined;
  /** Members that are left out stay as they are. */
  readonly own: Partial<OwnRights>;
  readonly expiresAt?: string | undefined;
  readonly freshness?: Freshness | undefined;
  readonly force?: boolean | undefined;
}

/** `PATCH /v1/keys/{id}`: changes name and metadata, and narrows; it never widens or lengthens. */
export const updateKey: Operation<UpdateKey, { readonly key: Key; readonly owner: Owner }> = {
  name: "keys.update",
  permission: "keyturn:keys.update",
  run: (change, input) =>
    keepingRoots(change, input.force ?? false, async () => {
      const { key, owner } = await findKey(change.tx, change.account(), input.id);
      if (key.revokedAt !== null || owner.deletedAt !== null) {
        throw new Refusal("key_revoked", "The key is revoked; its tombstone can't be changed.");
      }
      const narrowed = narrow(key, owner, input.own);
      const updated: Key = {
        ...narrowed,
        name: input.name === undefined ? key.name : await freeName(change, key, input.name),
        metadata: input.metadata === undefined ? key.metadata : checkMetadata(input.metadata),
        expiresAt: input.expiresAt === undefined ? key.expiresAt : sooner(key, input.expiresAt, change.now),
        freshness: input.freshness === undefined ? key.freshness : fresher(key, input.freshness),
      };
      await replaceAndRecord(change, key, updated);
      await narrowPartner(change, updated, input);
      return { key: updated, owner };
    }),
};

const FIELDS = [
  ["role", "role"],
  ["scopes", "scopes"],
  ["allowedIps", "allowed_ips"],
] as const;

function narrow(key: Key, owner: Owner, own: Partial<OwnRights>): Key {
  // Giving a limit up widens the key on the day when its owner is widened.
  for (const [member, field] of FIELDS) {
    if (own[member] === null && key.own[member] !== null)
      throw invalid(field, "can only be narrowed; issue a new key for more");
  }
  const narrowed: Key = { ...key, own: { ...key.own, ...own } };
  const wider = exceeding(rightsOf(narrowed, owner), rightsOf(key, owner))[0];
  if (wider !== undefined) throw invalid(wider, "can only be narrowed; issue a new key for more");
  // Listed rights that the owner does not have would lie in wait for the day when it gets them.
  const listed = exceeding(
    {
      role: own.role ?? "none",
      scopes: own.scopes ?? [],
      allowedIps: own.allowedIps === undefined ? rightsOf(key, owner).allowedIps : own.allowedIps,
    },
    rightsOf(key, owner),
  )[0];
  if (listed !== undefined) throw invalid(listed, "can only be narrowed; issue a new key for more");
  return narrowed;
}

async function freeName(change: Change, key: Key, wanted: string): Promise<string> {
  const name = checkName(wanted);
  if (await change.tx.keys.nameTaken(key.ownerId, name, key.lineageId, change.now)) throw nameTaken(name);
  return name;
}

function sooner(key: Key, text: string, now: Instant): Instant {
  const at = parseInstant(text);
  if (at === undefined) throw invalid("expires_at", "write an RFC 3339 instant such as 2027-01-31T12:00:00Z");
  if (at <= now) throw invalid("expires_at", "lies in the past; revoke the key instead");
  if (key.expiresAt !== null && at > key.expiresAt) {
    throw invalid(
      "expires_at",
      `can only be made earlier than ${formatInstant(key.expiresAt)}; rotate the key for a new span`,
    );
  }
  return at;
}

/** A key that is accepted for longer after its revocation is a wider key. */
function fresher(key: Key, wanted: Freshness): Freshness {
  if (atLeastAsFresh(wanted, key.freshness)) return wanted;
  throw invalid("freshness", `can only be made stricter than ${key.freshness}; issue a new key for less`);
}

async function replaceAndRecord(change: Change, before: Key, after: Key): Promise<void> {
  await change.tx.keys.replace(after);
  change.record({ kind: "key", id: after.id, before: describeKey(before), after: describeKey(after) });
}

/** Both keys of an open rotation stay alike: what is taken from one is taken from the other. */
async function narrowPartner(change: Change, key: Key, { own, freshness }: UpdateKey): Promise<void> {
  if (key.rotationId === null) return;
  const rotation = await change.tx.rotations.byId(key.accountId, key.rotationId);
  if (rotation === null) return;
  const isOld = rotation.oldKeyId === key.id;
  const { key: partner } = await findKey(
    change.tx,
    key.accountId,
    isOld ? rotation.successorKeyId : rotation.oldKeyId,
  );
  await replaceAndRecord(change, partner, {
    ...partner,
    name: key.name,
    own: { ...partner.own, ...own },
    freshness: freshness ?? partner.freshness,
  });
  if (isOld && rotation.oldKeyEndsAt !== key.expiresAt) {
    const shortened = { ...rotation, oldKeyEndsAt: key.expiresAt };
    await change.tx.rotations.replace(shortened);
    change.record({
      kind: "rotation",
      id: rotation.id,
      before: { old_key_ends_at: rotation.oldKeyEndsAt },
      after: { old_key_ends_at: key.expiresAt },
    });
  }
}
