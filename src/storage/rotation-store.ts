import type { Kysely } from "kysely";
import type { Reader, Transaction } from "../authority/storage.ts";
import { prepare } from "./prepared.ts";
import { fromBrownout, fromRotation, rotationState, toBrownout, toCallerId, toRotation } from "./rows.ts";
import type { AuthorityTables } from "./tables.ts";

type Db = Kysely<AuthorityTables>;

export function rotationReader(db: Db): Reader["rotations"] {
  const byId = prepare(db, (at: { account: string; id: string }) =>
    db.selectFrom("rotations").selectAll().where("id", "=", at.id).where("account_id", "=", at.account),
  );
  return {
    byId: async (account, id) => {
      const [row] = await byId({ account, id });
      return row ? toRotation(row) : null;
    },
    list: async (account, filter, { limit, after }) => {
      let query = db
        .selectFrom("rotations")
        .selectAll()
        .where("account_id", "=", account)
        .orderBy("id", "desc")
        .limit(limit);
      if (after !== null) query = query.where("id", "<", after);
      if (filter.state !== undefined) query = query.where("state", "=", filter.state);
      const { keyId } = filter;
      if (keyId !== undefined) {
        query = query.where((is) =>
          is.or([is("old_key_id", "=", keyId), is("successor_key_id", "=", keyId)]),
        );
      }
      return (await query.execute()).map(toRotation);
    },
    dismissals: async (id) => {
      const rows = await db
        .selectFrom("dismissals")
        .selectAll()
        .where("rotation_id", "=", id)
        .orderBy("position")
        .execute();
      return rows.map((row) => ({ caller: toCallerId(row.caller), reason: row.reason, at: row.at }));
    },
    brownouts: async (id) => {
      const rows = await db
        .selectFrom("brownouts")
        .selectAll()
        .where("rotation_id", "=", id)
        .orderBy("id")
        .execute();
      return rows.map(toBrownout);
    },
    open: async (after, limit) => {
      let query = db
        .selectFrom("rotations")
        .selectAll()
        .where("ended_at", "is", null)
        .orderBy("id")
        .limit(limit);
      if (after !== null) query = query.where("id", ">", after);
      return (await query.execute()).map(toRotation);
    },
    openCounts: async () => {
      const rows = await db
        .selectFrom("rotations")
        .select([
          "state",
          (is) => is.fn.countAll<number>().as("count"),
          (is) => is.fn.count<number>("overdue_at").as("overdue"),
        ])
        .where("ended_at", "is", null)
        .groupBy("state")
        .execute();
      return rows.map((row) => ({ state: rotationState(row.state), count: row.count, overdue: row.overdue }));
    },
    openBrownouts: async () => {
      const rows = await db
        .selectFrom("brownouts")
        .selectAll()
        .where("stopped_at", "is", null)
        .orderBy("id")
        .execute();
      return rows.map(toBrownout);
    },
  };
}

export function rotationWriter(db: Db): Transaction["rotations"] {
  const byIdAnywhere = prepare(db, (at: { id: string }) =>
    db.selectFrom("rotations").selectAll().where("id", "=", at.id),
  );
  const insert = prepare(db, (row: ReturnType<typeof fromRotation>) =>
    db.insertInto("rotations").values(row),
  );
  const replace = prepare(db, (row: ReturnType<typeof fromRotation>) => {
    const { id, account_id, owner_id, lineage_id, old_key_id, successor_key_id, started_at, ...changes } =
      row;
    // An ended rotation stays as it ended.
    return db.updateTable("rotations").set(changes).where("id", "=", id).where("ended_at", "is", null);
  });
  return {
    ...rotationReader(db),
    byIdAnywhere: async (id) => {
      const [row] = await byIdAnywhere({ id });
      return row ? toRotation(row) : null;
    },
    openOfOwner: async (owner) => {
      const rows = await db
        .selectFrom("rotations")
        .selectAll()
        .where("owner_id", "=", owner)
        .where("ended_at", "is", null)
        .orderBy("id")
        .execute();
      return rows.map(toRotation);
    },
    add: async (rotation) => void (await insert(fromRotation(rotation))),
    replace: async (rotation) => void (await replace(fromRotation(rotation))),
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
    addBrownout: async (brownout) =>
      void (await db.insertInto("brownouts").values(fromBrownout(brownout)).execute()),
    brownoutById: async (id) => {
      const row = await db.selectFrom("brownouts").selectAll().where("id", "=", id).executeTakeFirst();
      return row ? toBrownout(row) : null;
    },
    replaceBrownout: async (brownout) => {
      const { id, rotation_id, ...changes } = fromBrownout(brownout);
      await db
        .updateTable("brownouts")
        .set(changes)
        .where("id", "=", id)
        .where("rotation_id", "=", rotation_id)
        .execute();
    },
  };
}
