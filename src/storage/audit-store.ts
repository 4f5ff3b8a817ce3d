import { type Kysely, type Selectable, sql } from "kysely";
import { z } from "zod";
import { type EntryDraft, GENESIS } from "../authority/audit/entry.ts";
import { FRESHNESS, type Freshness } from "../authority/freshness.ts";
import type { AccountId } from "../authority/ids.ts";
import type { Reader, Transaction } from "../authority/storage.ts";
import { prepare } from "./prepared.ts";
import type { AuditEntryTable, AuditSubjectTable, AuthorityTables } from "./tables.ts";

type Db = Kysely<AuthorityTables>;

export function auditReader(db: Db): Reader["audit"] {
  const head = prepare(db, (_: object) =>
    db
      .selectFrom("audit_entries")
      .select(["seq", "chain_hash", "at"])
      .orderBy("seq", "desc")
      .limit(sql.lit(1)),
  );
  const lines = prepare(db, (at: { after: number; limit: number }) =>
    db
      .selectFrom("audit_entries")
      .select(["seq", "account_id", "entry", "entry_hash", "chain_hash"])
      .where("seq", ">", at.after)
      .orderBy("seq")
      .limit(at.limit),
  );
  return {
    head: async () => {
      const [row] = await head({});
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
    freshnessBefore: async (after, limit) => {
      const rows = await lines({ after, limit: limit + 1 });
      return rows.length > limit ? null : rows.flatMap(({ entry }) => freshnessIn(entry));
    },
    lines: async (after, limit) =>
      (await lines({ after, limit })).map((row) => ({
        seq: row.seq,
        accountId: row.account_id as AccountId | null,
        text: row.entry,
        entryHash: row.entry_hash,
        chainHash: row.chain_hash,
      })),
  };
}

/** The kinds of an entry's subjects by their ids: a thing that an operation touched twice is one subject. */
export function subjectsOf(draft: EntryDraft): ReadonlyMap<string, string> {
  return new Map(draft.subjects.map((subject) => [subject.id, subject.kind]));
}

const keySubjects = z.object({
  subjects: z.array(
    z.object({ before: z.looseObject({ freshness: z.enum(FRESHNESS).optional() }).nullable() }),
  ),
});

function freshnessIn(entry: string): readonly Freshness[] {
  // Cheaper than parsing, and true of every entry that changes a key.
  if (!entry.includes('"freshness"')) return [];
  return keySubjects
    .parse(JSON.parse(entry))
    .subjects.flatMap(({ before }) => (before?.freshness === undefined ? [] : [before.freshness]));
}

export function auditWriter(db: Db): Transaction["audit"] {
  const insertEntry = prepare(db, (row: Selectable<AuditEntryTable>) =>
    db.insertInto("audit_entries").values(row),
  );
  const insertSubject = prepare(db, (row: AuditSubjectTable) => db.insertInto("audit_subjects").values(row));
  return {
    ...auditReader(db),
    append: async (draft, entry, hidden) => {
      const { seq } = entry;
      await insertEntry({
        seq,
        account_id: draft.accountId,
        at: draft.at,
        actor_id: draft.actor.id,
        operation: draft.operation,
        entry: entry.text,
        entry_hash: entry.entryHash,
        chain_hash: entry.chainHash,
      });
      for (const [subject_id, kind] of subjectsOf(draft)) await insertSubject({ subject_id, seq, kind });
      if (hidden.length === 0) return;
      await db
        .insertInto("audit_hidden_texts")
        .values(hidden.map((one) => ({ seq, ...one })))
        .execute();
    },
  };
}
