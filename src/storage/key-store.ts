import { type ExpressionBuilder, type Kysely, type Selectable, sql } from "kysely";
import type { KeyId, ServiceAccountId } from "../authority/ids.ts";
import type { Key, Owner } from "../authority/keys/key.ts";
import type { KeyFilter, Reader, Transaction } from "../authority/storage.ts";
import { prepare, soughtText } from "./prepared.ts";
import { fromKey, ownRights, toFreshness, toKey } from "./rows.ts";
import type { AuthorityTables, DigestTable, KeyTable } from "./tables.ts";

type Db = Kysely<AuthorityTables>;

/** A key's row with what of its owner and account decides over it. */
export type OwnedKeyRow = Selectable<KeyTable> & {
  readonly owner_role: string | null;
  readonly owner_scopes: string | null;
  readonly owner_allowed_ips: string | null;
  readonly owner_disabled_at: number | null;
  readonly owner_deleted_at: number | null;
  readonly account_suspended_at: number | null;
};

export interface OwnedKey {
  readonly key: Key;
  readonly owner: Owner;
  readonly accountSuspended: boolean;
}

/** Keys with their owners. A key whose owner or account is gone is nobody's, and good for nothing: no row (R11). */
export function ownedKeys(db: Db) {
  return db
    .selectFrom("keys")
    .innerJoin("service_accounts as owner", "owner.id", "keys.owner_id")
    .innerJoin("accounts", "accounts.id", "keys.account_id")
    .whereRef("owner.account_id", "=", "keys.account_id")
    .selectAll("keys")
    .select([
      "owner.role as owner_role",
      "owner.scopes as owner_scopes",
      "owner.allowed_ips as owner_allowed_ips",
      "owner.disabled_at as owner_disabled_at",
      "owner.deleted_at as owner_deleted_at",
      "accounts.suspended_at as account_suspended_at",
    ]);
}

export function toOwnedKey(row: OwnedKeyRow): OwnedKey {
  return {
    key: toKey(row),
    owner: {
      id: row.owner_id as ServiceAccountId,
      own: ownRights({ role: row.owner_role, scopes: row.owner_scopes, allowed_ips: row.owner_allowed_ips }),
      disabledAt: row.owner_disabled_at,
      deletedAt: row.owner_deleted_at,
    },
    accountSuspended: row.account_suspended_at !== null,
  };
}

function toPair(row: OwnedKeyRow): readonly [Key, Owner] {
  const { key, owner } = toOwnedKey(row);
  return [key, owner];
}

export function keyReader(db: Db): Reader["keys"] {
  const byId = prepare(db, (at: { account: string; id: string }) =>
    db.selectFrom("keys").selectAll().where("id", "=", at.id).where("account_id", "=", at.account),
  );
  const owner = prepare(db, (at: { account: string; id: string }) =>
    db
      .selectFrom("service_accounts")
      .select(["id", "role", "scopes", "allowed_ips", "disabled_at", "deleted_at"])
      .where("id", "=", at.id)
      .where("account_id", "=", at.account),
  );
  const byIdAnywhere = prepare(db, (at: { id: string }) =>
    ownedKeys(db).where("keys.id", "=", soughtText(at.id)),
  );
  return {
    byIdAnywhere: async (id) => {
      const [row] = await byIdAnywhere({ id });
      return row ? toOwnedKey(row) : null;
    },
    byId: async (account, id) => {
      const [row] = await byId({ account, id });
      return row ? toKey(row) : null;
    },
    owner: async (account, id) => {
      const [row] = await owner({ account, id });
      return row ? { id, own: ownRights(row), disabledAt: row.disabled_at, deletedAt: row.deleted_at } : null;
    },
    list: async (account, filter, { limit, after }) => {
      let query = ownedKeys(db).where("keys.account_id", "=", account).orderBy("keys.id").limit(limit);
      if (after !== null) query = query.where("keys.id", ">", after);
      const { expiringBefore, now, ownerId, state } = filter;
      if (ownerId !== undefined) query = query.where("keys.owner_id", "=", ownerId);
      if (expiringBefore !== undefined) {
        query = query
          .where("keys.expires_at", ">", now)
          .where("keys.expires_at", "<", expiringBefore)
          .where("keys.revoked_at", "is", null)
          .where("owner.deleted_at", "is", null);
      }
      if (state !== undefined) query = query.where((is) => inState(is, state, now));
      return (await query.execute()).map(toPair);
    },
    ofLineage: async (account, lineage) => {
      const rows = await db
        .selectFrom("keys")
        .selectAll()
        .where("lineage_id", "=", lineage)
        .where("account_id", "=", account)
        .orderBy("id")
        .execute();
      return rows.map(toKey);
    },
    freshnessIn: async (account, ownerId) => {
      let query = db
        .selectFrom("keys")
        .select("freshness")
        .distinct()
        .where("account_id", "=", account)
        .where("revoked_at", "is", null);
      if (ownerId !== null) query = query.where("owner_id", "=", ownerId);
      return (await query.execute()).map((row) => toFreshness(row.freshness));
    },
    roots: async (account) => {
      const rows = await ownedKeys(db)
        .where("keys.account_id", "=", account)
        .where("keys.revoked_at", "is", null)
        // As a literal, or no planner would know that the index keys_roots holds them all.
        .where("keys.scopes", "like", sql.lit('%"keyturn:*"%'))
        .orderBy("keys.id")
        .execute();
      return rows.map(toPair);
    },
  };
}

type OwnedTables = AuthorityTables & { owner: AuthorityTables["service_accounts"] };

/** The same precedence as `stateOf`: revoked, suspended, expired, active. */
function inState(
  is: ExpressionBuilder<OwnedTables, "keys" | "owner">,
  state: NonNullable<KeyFilter["state"]>,
  now: number,
) {
  const revoked = is.or([is("keys.revoked_at", "is not", null), is("owner.deleted_at", "is not", null)]);
  const suspended = is("keys.suspensions", "!=", "[]");
  const expired = is.and([is("keys.expires_at", "is not", null), is("keys.expires_at", "<=", now)]);
  switch (state) {
    case "revoked":
      return revoked;
    case "suspended":
      return is.and([is.not(revoked), suspended]);
    case "expired":
      return is.and([is.not(revoked), is.not(suspended), expired]);
    case "active":
      return is.and([is.not(revoked), is.not(suspended), is.not(expired)]);
  }
}

type KeyColumns = ReturnType<typeof fromKey>;

export function keyWriter(db: Db): Transaction["keys"] {
  const namesakes = prepare(db, (at: { owner: string; name: string; except: string; now: number }) =>
    db
      .selectFrom("keys")
      .select("id")
      .where("owner_id", "=", at.owner)
      .where("name", "=", at.name)
      .where("revoked_at", "is", null)
      .where((is) => is.or([is("expires_at", "is", null), is("expires_at", ">", at.now)]))
      .where("lineage_id", "!=", at.except)
      .limit(sql.lit(1)),
  );
  const byDigest = prepare(db, (at: { digest: string }) =>
    db.selectFrom("digests").select("ordinal").where("digest", "=", at.digest).limit(sql.lit(1)),
  );
  const insertKey = prepare(db, (row: KeyColumns) => db.insertInto("keys").values(row));
  const insertDigest = prepare(db, (row: Selectable<DigestTable>) => db.insertInto("digests").values(row));
  const update = ({ id, account_id, owner_id, lineage_id, kind, created_at, ...changes }: KeyColumns) =>
    db.updateTable("keys").set(changes).where("id", "=", id).where("account_id", "=", account_id);
  const replaceRevoked = prepare(db, update);
  // Nothing leaves `revoked`: not even a bug in the code above this line can write a revoked key back to life.
  const replaceLiving = prepare(db, (row: KeyColumns) => update(row).where("revoked_at", "is", null));

  async function addDigest(key_id: KeyId, ordinal: number, digest: string): Promise<void> {
    await insertDigest({ key_id, ordinal, algorithm: "sha256", selector: null, digest, replaced_at: null });
  }

  async function killDigestsBefore(id: KeyId, ordinal: number, at: number): Promise<void> {
    await db
      .updateTable("digests")
      .set({ replaced_at: at })
      .where("key_id", "=", id)
      .where("ordinal", "<", ordinal)
      .where("replaced_at", "is", null)
      .execute();
  }

  return {
    ...keyReader(db),
    // No lineage is called "", so that leaves none out.
    nameTaken: async (owner, name, except, now) =>
      (await namesakes({ owner, name, except: except ?? "", now })).length > 0,
    digestTaken: async (digest) => (await byDigest({ digest })).length > 0,
    add: async (key, digest) => {
      // In this order, but without waiting in between: across a network that is one round trip.
      await Promise.all([insertKey(fromKey(key)), addDigest(key.id, 1, digest)]);
    },
    replace: async (key) =>
      void (await (key.revokedAt === null ? replaceLiving : replaceRevoked)(fromKey(key))),
    replaceDigest: async (id, digest, hint, at) => {
      const last = await db
        .selectFrom("digests")
        .select("ordinal")
        .where("key_id", "=", id)
        .orderBy("ordinal", "desc")
        .limit(1)
        .executeTakeFirstOrThrow();
      const ordinal = last.ordinal + 1;
      await killDigestsBefore(id, ordinal, at);
      await addDigest(id, ordinal, digest);
      await db.updateTable("keys").set({ hint }).where("id", "=", id).execute();
      return ordinal;
    },
    killDigestsBefore,
  };
}
