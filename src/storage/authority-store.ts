import type { Kysely } from "kysely";
import { z } from "zod";
import type { AccountId } from "../authority/ids.ts";
import type { Reader, Transaction } from "../authority/storage.ts";
import { auditReader } from "./audit-store.ts";
import { type Engine, SQLITE } from "./engine.ts";
import { keyReader, keyWriter } from "./key-store.ts";
import { prepare } from "./prepared.ts";
import { rotationReader, rotationWriter } from "./rotation-store.ts";
import { fromAccount, fromServiceAccount, toAccount, toServiceAccount } from "./rows.ts";
import type { AuthorityTables, IdempotencyTable } from "./tables.ts";

type Db = Kysely<AuthorityTables>;

const idempotentResult = z.record(z.string(), z.string());

function accountReader(db: Db): Reader["accounts"] {
  const one = (rows: readonly Parameters<typeof toAccount>[0][]) => (rows[0] ? toAccount(rows[0]) : null);
  return {
    byId: async (id) => one(await db.selectFrom("accounts").selectAll().where("id", "=", id).execute()),
    byName: async (name) =>
      one(await db.selectFrom("accounts").selectAll().where("name", "=", name).execute()),
    operator: async () =>
      one(await db.selectFrom("accounts").selectAll().where("operator", "=", 1).execute()),
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
      const row = await all(account)
        .where("name", "=", name)
        .where("deleted_at", "is", null)
        .executeTakeFirst();
      return row ? toServiceAccount(row) : null;
    },
    list: async (account, { limit, after }) => {
      let query = all(account).orderBy("id").limit(limit);
      if (after !== null) query = query.where("id", ">", after);
      return (await query.execute()).map(toServiceAccount);
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

/** Everything that can be changed, over a connection with an open transaction. */
export function transactionOver(db: Db, engine: Engine = SQLITE): Transaction {
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
      byIdAnywhere: async (id) => {
        const row = await db
          .selectFrom("service_accounts")
          .selectAll()
          .where("id", "=", id)
          .executeTakeFirst();
        return row ? toServiceAccount(row) : null;
      },
      add: async (one) =>
        void (await db.insertInto("service_accounts").values(fromServiceAccount(one)).execute()),
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
    audit: engine.auditWriter(db),
    idempotency: idempotencyWriter(db),
    facts: {
      ...reader.facts,
      set: async (name, value) => {
        await db.deleteFrom("facts").where("name", "=", name).execute();
        if (value !== null) await db.insertInto("facts").values({ name, value }).execute();
      },
    },
  };
}

function idempotencyWriter(db: Db): Transaction["idempotency"] {
  const find = prepare(db, (at: { actorId: string; key: string; notBefore: number }) =>
    db
      .selectFrom("idempotency_records")
      .selectAll()
      .where("actor_id", "=", at.actorId)
      .where("key", "=", at.key)
      .where("created_at", ">=", at.notBefore),
  );
  const put = prepare(db, ({ actor_id, key, ...rest }: IdempotencyTable) =>
    db
      .insertInto("idempotency_records")
      .values({ actor_id, key, ...rest })
      .onConflict((on) => on.columns(["actor_id", "key"]).doUpdateSet(rest)),
  );
  return {
    find: async (actorId, key, notBefore) => {
      const [row] = await find({ actorId, key, notBefore });
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
    put: async (record) =>
      void (await put({
        actor_id: record.actorId,
        key: record.key,
        operation: record.operation,
        request_hash: record.requestHash,
        result: JSON.stringify(record.result),
        seq: record.seq,
        created_at: record.createdAt,
      })),
    dropBefore: async (at) =>
      void (await db.deleteFrom("idempotency_records").where("created_at", "<", at).execute()),
  };
}
