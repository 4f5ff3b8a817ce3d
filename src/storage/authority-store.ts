import type { ExpressionBuilder, Kysely, Selectable } from "kysely";
import { z } from "zod";
import { GENESIS } from "../authority/audit/entry.ts";
import type { AccountId, KeyId } from "../authority/ids.ts";
import type { Owner } from "../authority/keys/key.ts";
import type { KeyFilter, Reader, Transaction } from "../authority/storage.ts";
import {
  fromAccount,
  fromBrownout,
  fromKey,
  fromRotation,
  fromServiceAccount,
  keyChanges,
  rotationChanges,
  toAccount,
  toBrownout,
  toCallerId,
  toKey,
  toRotation,
  toServiceAccount,
} from "./rows.ts";
import type { AuthorityTables, ServiceAccountTable } from "./tables.ts";

type Db = Kysely<AuthorityTables>;

const idempotentResult = z.record(z.string(), z.string());

function toOwner(row: Selectable<ServiceAccountTable>): Owner {
  const { id, own, disabledAt, deletedAt } = toServiceAccount(row);
  return { id, own, disabledAt, deletedAt };
}

function accountReader(db: Db): Reader["accounts"] {
  const one = (rows: readonly Parameters<typeof toAccount>[0][]) => (rows[0] ? toAccount(rows[0]) : null);
  return {
    byId: async (id) => one(await db.selectFrom("accounts").selectAll().where("id", "=", id).execute()),
    byName: async (name) => one(await db.selectFrom("accounts").selectAll().where("name", "=", name).execute()),
    operator: async () => one(await db.selectFrom("accounts").selectAll().where("operator", "=", 1).execute()),
    list: async ({ limit, after }, only) => {
      let query = db.selectFrom("accounts").selectAll().orderBy("id").limit(limit);
      if (after !== null) query = query.where("id", ">", after);
      if (only !== null) query = query.where("id", "=", only);
      return (await query.execute()).map(toAccount);
    },
  };
}

function serviceAccountReader(db: Db): Reader["serviceAccounts"] {
  const all = (account: AccountId) =>
    db.selectFrom("service_accounts").selectAll().where("account_id", "=", account);
  return {
    byId: async (account, id) => {
      const row = await all(account).where("id", "=", id).executeTakeFirst();
      return row ? toServiceAccount(row) : null;
    },
    byName: async (account, name) => {
      const row = await all(account).where("name", "=", name).where("deleted_at", "is", null).executeTakeFirst();
      return row ? toServiceAccount(row) : null;
    },
    list: async (account, { limit, after }) => {
      let query = all(account).orderBy("id").limit(limit);
      if (after !== null) query = query.where("id", ">", after);
      return (await query.execute()).map(toServiceAccount);
    },
  };
}

function keyReader(db: Db): Reader["keys"] {
  const owners = async (ids: readonly string[]) => {
    const rows = ids.length === 0 ? [] : await db.selectFrom("service_accounts").selectAll().where("id", "in", ids).execute();
    return new Map(rows.map((row) => [row.id, toOwner(row)]));
  };
  const withOwners = async (rows: readonly Parameters<typeof toKey>[0][]) => {
    const found = await owners([...new Set(rows.map((row) => row.owner_id))]);
    return rows.flatMap((row) => {
      const owner = found.get(row.owner_id);
      return owner ? [[toKey(row), owner] as const] : [];
    });
  };
  return {
    byId: async (account, id) => {
      const row = await db
        .selectFrom("keys")
        .selectAll()
        .where("id", "=", id)
        .where("account_id", "=", account)
        .executeTakeFirst();
      return row ? toKey(row) : null;
    },
    owner: async (account, id) => {
      const row = await db
        .selectFrom("service_accounts")
        .selectAll()
        .where("id", "=", id)
        .where("account_id", "=", account)
        .executeTakeFirst();
      return row ? toOwner(row) : null;
    },
    list: async (account, filter, { limit, after }) => {
      let query = db.selectFrom("keys").selectAll().where("account_id", "=", account).orderBy("id").limit(limit);
      if (after !== null) query = query.where("id", ">", after);
      if (filter.ownerId !== undefined) query = query.where("owner_id", "=", filter.ownerId);
      const { expiringBefore, now, state } = filter;
      if (expiringBefore !== undefined) {
        query = query.where("expires_at", ">", now).where("expires_at", "<", expiringBefore).where("revoked_at", "is", null);
      }
      if (state !== undefined) query = query.where((is) => inState(is, state, now));
      return withOwners(await query.execute());
    },
    ofLineage: async (account, lineage) => {
      const rows = await db
        .selectFrom("keys")
        .selectAll()
        .where("lineage_id", "=", lineage)
        .where("account_id", "=", account)
        .execute();
      return rows.map(toKey);
    },
    roots: async (account) =>
      withOwners(
        await db
          .selectFrom("keys")
          .selectAll()
          .where("account_id", "=", account)
          .where("revoked_at", "is", null)
          .where("scopes", "like", '%"keyturn:*"%')
          .execute(),
      ),
  };
}

/** The same precedence as `stateOf`: revoked, suspended, expired, active. */
function inState(is: ExpressionBuilder<AuthorityTables, "keys">, state: NonNullable<KeyFilter["state"]>, now: number) {
  const ownerDeleted = is.exists(
    is
      .selectFrom("service_accounts")
      .select("service_accounts.id")
      .whereRef("service_accounts.id", "=", "keys.owner_id")
      .where("service_accounts.deleted_at", "is not", null),
  );
  const revoked = is.or([is("revoked_at", "is not", null), ownerDeleted]);
  const suspended = is("suspensions", "!=", "[]");
  const expired = is.and([is("expires_at", "is not", null), is("expires_at", "<=", now)]);
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

function rotationReader(db: Db): Reader["rotations"] {
  return {
    byId: async (account, id) => {
      const row = await db
        .selectFrom("rotations")
        .selectAll()
        .where("id", "=", id)
        .where("account_id", "=", account)
        .executeTakeFirst();
      return row ? toRotation(row) : null;
    },
    list: async (account, filter, { limit, after }) => {
      let query = db.selectFrom("rotations").selectAll().where("account_id", "=", account).orderBy("id", "desc").limit(limit);
      if (after !== null) query = query.where("id", "<", after);
      if (filter.state !== undefined) query = query.where("state", "=", filter.state);
      const { keyId } = filter;
      if (keyId !== undefined) {
        query = query.where((is) => is.or([is("old_key_id", "=", keyId), is("successor_key_id", "=", keyId)]));
      }
      return (await query.execute()).map(toRotation);
    },
    dismissals: async (id) => {
      const rows = await db.selectFrom("dismissals").selectAll().where("rotation_id", "=", id).orderBy("position").execute();
      return rows.map((row) => ({ caller: toCallerId(row.caller), reason: row.reason, at: row.at }));
    },
    brownouts: async (id) => {
      const rows = await db.selectFrom("brownouts").selectAll().where("rotation_id", "=", id).orderBy("id").execute();
      return rows.map(toBrownout);
    },
  };
}

function auditReader(db: Db): Reader["audit"] {
  return {
    head: async () => {
      const row = await db
        .selectFrom("audit_entries")
        .select(["seq", "chain_hash", "at"])
        .orderBy("seq", "desc")
        .limit(1)
        .executeTakeFirst();
      return row ? { seq: row.seq, chainHash: row.chain_hash, at: row.at } : GENESIS;
    },
    list: async (account, filter, before, limit) => {
      let query = db
        .selectFrom("audit_entries")
        .select(["seq", "entry", "chain_hash"])
        .where("account_id", "=", account)
        .orderBy("seq", "desc")
        .limit(limit);
      if (before !== null) query = query.where("seq", "<", before);
      if (filter.operation !== undefined) query = query.where("operation", "=", filter.operation);
      if (filter.actorId !== undefined) query = query.where("actor_id", "=", filter.actorId);
      if (filter.from !== undefined) query = query.where("at", ">=", filter.from);
      if (filter.until !== undefined) query = query.where("at", "<", filter.until);
      const { subjectId } = filter;
      if (subjectId !== undefined) {
        query = query.where("seq", "in", (sub) =>
          sub.selectFrom("audit_subjects").select("audit_subjects.seq").where("subject_id", "=", subjectId),
        );
      }
      const rows = await query.execute();
      return rows.map((row) => ({ seq: row.seq, text: row.entry, chainHash: row.chain_hash }));
    },
    lines: async (after, limit) => {
      const rows = await db
        .selectFrom("audit_entries")
        .select(["seq", "account_id", "entry", "entry_hash", "chain_hash"])
        .where("seq", ">", after)
        .orderBy("seq")
        .limit(limit)
        .execute();
      return rows.map((row) => ({
        seq: row.seq,
        accountId: row.account_id as AccountId | null,
        text: row.entry,
        entryHash: row.entry_hash,
        chainHash: row.chain_hash,
      }));
    },
  };
}

/** Everything that can be read, over a connection that only ever sees committed state. */
export function readerOver(db: Db): Reader {
  return {
    accounts: accountReader(db),
    serviceAccounts: serviceAccountReader(db),
    keys: keyReader(db),
    rotations: rotationReader(db),
    audit: auditReader(db),
    facts: {
      get: async (name) => {
        const row = await db.selectFrom("facts").select("value").where("name", "=", name).executeTakeFirst();
        return row?.value ?? null;
      },
    },
  };
}

/** Everything that can be changed, over an open transaction. */
export function transactionOver(db: Db): Transaction {
  const reader = readerOver(db);
  return {
    accounts: {
      ...reader.accounts,
      add: async (account) => void (await db.insertInto("accounts").values(fromAccount(account)).execute()),
      setSuspendedAt: async (id, at) =>
        void (await db.updateTable("accounts").set({ suspended_at: at }).where("id", "=", id).execute()),
    },
    serviceAccounts: {
      ...reader.serviceAccounts,
      add: async (one) => void (await db.insertInto("service_accounts").values(fromServiceAccount(one)).execute()),
      replace: async (one) => {
        const { id, account_id, created_at, ...changes } = fromServiceAccount(one);
        await db
          .updateTable("service_accounts")
          .set(changes)
          .where("id", "=", id)
          .where("account_id", "=", account_id)
          .where("created_at", "=", created_at)
          // Deletion is final, whatever the caller thinks it read.
          .where("deleted_at", "is", null)
          .execute();
      },
    },
    keys: keyWriter(db),
    rotations: rotationWriter(db),
    audit: {
      ...reader.audit,
      append: async (draft, entry, hidden) => {
        await db
          .insertInto("audit_entries")
          .values({
            seq: entry.seq,
            account_id: draft.accountId,
            at: draft.at,
            actor_id: draft.actor.id,
            operation: draft.operation,
            entry: entry.text,
            entry_hash: entry.entryHash,
            chain_hash: entry.chainHash,
          })
          .execute();
        const subjects = new Map(draft.subjects.map((subject) => [subject.id, subject.kind]));
        if (subjects.size > 0) {
          const rows = [...subjects].map(([subject_id, kind]) => ({ subject_id, seq: entry.seq, kind }));
          await db.insertInto("audit_subjects").values(rows).execute();
        }
        if (hidden.length > 0) {
          await db
            .insertInto("audit_hidden_texts")
            .values(hidden.map((one) => ({ seq: entry.seq, ...one })))
            .execute();
        }
      },
    },
    idempotency: {
      find: async (actorId, key, notBefore) => {
        const row = await db
          .selectFrom("idempotency_records")
          .selectAll()
          .where("actor_id", "=", actorId)
          .where("key", "=", key)
          .where("created_at", ">=", notBefore)
          .executeTakeFirst();
        if (row === undefined) return null;
        return {
          actorId: row.actor_id,
          key: row.key,
          operation: row.operation,
          requestHash: row.request_hash,
          result: idempotentResult.parse(JSON.parse(row.result)),
          seq: row.seq,
          createdAt: row.created_at,
        };
      },
      put: async (record) => {
        const row = {
          operation: record.operation,
          request_hash: record.requestHash,
          result: JSON.stringify(record.result),
          seq: record.seq,
          created_at: record.createdAt,
        };
        await db
          .insertInto("idempotency_records")
          .values({ actor_id: record.actorId, key: record.key, ...row })
          .onConflict((on) => on.columns(["actor_id", "key"]).doUpdateSet(row))
          .execute();
      },
      dropBefore: async (at) => void (await db.deleteFrom("idempotency_records").where("created_at", "<", at).execute()),
    },
    facts: {
      ...reader.facts,
      set: async (name, value) => {
        await db.deleteFrom("facts").where("name", "=", name).execute();
        if (value !== null) await db.insertInto("facts").values({ name, value }).execute();
      },
    },
  };
}

function keyWriter(db: Db): Transaction["keys"] {
  const reader = keyReader(db);
  return {
    ...reader,
    byIdAnywhere: async (id) => {
      const row = await db.selectFrom("keys").selectAll().where("id", "=", id).executeTakeFirst();
      if (row === undefined) return null;
      const key = toKey(row);
      const owner = await reader.owner(key.accountId, key.ownerId);
      const account = await db
        .selectFrom("accounts")
        .select("suspended_at")
        .where("id", "=", key.accountId)
        .executeTakeFirst();
      // A key whose owner or account is gone is nobody's, and good for nothing (R11).
      if (owner === null || account === undefined) return null;
      return { key, owner, accountSuspended: account.suspended_at !== null };
    },
    nameTaken: async (owner, name, except, now) => {
      let query = db
        .selectFrom("keys")
        .select("id")
        .where("owner_id", "=", owner)
        .where("name", "=", name)
        .where("revoked_at", "is", null)
        .where((is) => is.or([is("expires_at", "is", null), is("expires_at", ">", now)]))
        .limit(1);
      if (except !== null) query = query.where("lineage_id", "!=", except);
      return (await query.execute()).length > 0;
    },
    digestTaken: async (digest) =>
      (await db.selectFrom("digests").select("ordinal").where("digest", "=", digest).limit(1).execute()).length > 0,
    add: async (key, digest) => {
      await db.insertInto("keys").values(fromKey(key)).execute();
      await db
        .insertInto("digests")
        .values({ key_id: key.id, ordinal: 1, algorithm: "sha256", selector: null, digest, replaced_at: null })
        .execute();
    },
    replace: async (key) => {
      let query = db.updateTable("keys").set(keyChanges(key)).where("id", "=", key.id).where("account_id", "=", key.accountId);
      // Nothing leaves `revoked`: not even a bug in the code above this line can write a revoked key back to life.
      if (key.revokedAt === null) query = query.where("revoked_at", "is", null);
      await query.execute();
    },
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
      await db
        .insertInto("digests")
        .values({ key_id: id, ordinal, algorithm: "sha256", selector: null, digest, replaced_at: null })
        .execute();
      await db.updateTable("keys").set({ hint }).where("id", "=", id).execute();
      return ordinal;
    },
    killDigestsBefore,
  };

  async function killDigestsBefore(id: KeyId, ordinal: number, at: number): Promise<void> {
    await db
      .updateTable("digests")
      .set({ replaced_at: at })
      .where("key_id", "=", id)
      .where("ordinal", "<", ordinal)
      .where("replaced_at", "is", null)
      .execute();
  }
}

function rotationWriter(db: Db): Transaction["rotations"] {
  return {
    ...rotationReader(db),
    byIdAnywhere: async (id) => {
      const row = await db.selectFrom("rotations").selectAll().where("id", "=", id).executeTakeFirst();
      return row ? toRotation(row) : null;
    },
    open: async (after, limit) => {
      let query = db.selectFrom("rotations").selectAll().where("ended_at", "is", null).orderBy("id").limit(limit);
      if (after !== null) query = query.where("id", ">", after);
      return (await query.execute()).map(toRotation);
    },
    openOfOwner: async (owner) => {
      const rows = await db
        .selectFrom("rotations")
        .selectAll()
        .where("owner_id", "=", owner)
        .where("ended_at", "is", null)
        .execute();
      return rows.map(toRotation);
    },
    add: async (rotation) => void (await db.insertInto("rotations").values(fromRotation(rotation)).execute()),
    replace: async (rotation) =>
      void (await db
        .updateTable("rotations")
        .set(rotationChanges(rotation))
        .where("id", "=", rotation.id)
        .where("ended_at", "is", null)
        .execute()),
    addDismissal: async (id, dismissal) => {
      const { count } = await db
        .selectFrom("dismissals")
        .select((is) => is.fn.countAll<number>().as("count"))
        .where("rotation_id", "=", id)
        .executeTakeFirstOrThrow();
      await db
        .insertInto("dismissals")
        .values({ rotation_id: id, position: Number(count) + 1, ...dismissal })
        .execute();
    },
    addBrownout: async (brownout) => void (await db.insertInto("brownouts").values(fromBrownout(brownout)).execute()),
    brownoutById: async (id) => {
      const row = await db.selectFrom("brownouts").selectAll().where("id", "=", id).executeTakeFirst();
      return row ? toBrownout(row) : null;
    },
    replaceBrownout: async (brownout) => {
      const { id, rotation_id, ...changes } = fromBrownout(brownout);
      await db.updateTable("brownouts").set(changes).where("id", "=", id).where("rotation_id", "=", rotation_id).execute();
    },
    openBrownouts: async () => {
      const rows = await db.selectFrom("brownouts").selectAll().where("stopped_at", "is", null).execute();
      return rows.map(toBrownout);
    },
  };
}
