import { type Compilable, type Kysely, type RawBuilder, type Selectable, type SqlBool, sql } from "kysely";
import { types } from "pg";
import { GENESIS } from "../authority/audit/entry.ts";
import { assert } from "../authority/errors.ts";
import type { Transaction } from "../authority/storage.ts";
import { auditReader, auditWriter, subjectsOf } from "./audit-store.ts";
import { prepare } from "./prepared.ts";
import type { AuditEntryTable, AuditHeadTable, AuthorityTables, EvidenceTables } from "./tables.ts";
import { additionTo, type Tally, type TallyRow } from "./tallies.ts";

type Db = Kysely<AuthorityTables>;
type EvidenceDb = Kysely<EvidenceTables>;

/** What the one SQL store leaves to the engine it runs on. How each is connected to: sqlite.ts and postgres.ts. */
export interface Engine {
  readonly auditWriter: (db: Db) => Transaction["audit"];
  /** Adds rows to a tally; of each there may be one. */
  readonly addEach: <Row extends TallyRow>(
    db: EvidenceDb,
    tally: Tally<Row>,
  ) => (rows: readonly Row[]) => Promise<unknown>;
  /** The rows for each of some values; the query is given what says that a column holds one of them. */
  readonly selectEach: <Row>(
    db: EvidenceDb,
    query: (isOne: (column: RawBuilder<string>) => RawBuilder<SqlBool>) => Compilable<Row>,
  ) => (sought: readonly string[]) => Promise<readonly Row[]>;
  /** How many rows of a report are worked on before others have their turn on this thread. */
  readonly rowsAtOnce: number;
}

/**
 * One writer at a time: the newest entry can't change while a change is under way. A statement costs next to nothing, but
 * runs on this thread: 32 pairs of key and caller take about 1 ms.
 */
export const SQLITE: Engine = {
  auditWriter,
  addEach: (db, tally) => {
    const add = prepare(db, (row: TallyRow) => ({
      compile: () =>
        additionTo(tally, sql`values (${sql.join(namesOf(tally).map((name) => row[name]))})`).compile(db),
    }));
    return (rows) => Promise.all(rows.map(add));
  },
  selectEach: (db, query) => {
    const select = prepare(db, ({ one }: { one: string }) => query((column) => sql`${column} = ${one}`));
    return async (sought) => (await Promise.all(sought.map((one) => select({ one })))).flat();
  },
  rowsAtOnce: 32,
};

/**
 * Many writers: the log's head is a row of its own, and whoever reads it in a change holds it to the end. A statement is a
 * round trip, and for each row six times as dear as one that takes many: so rows travel as a list for each column.
 */
export const POSTGRES: Engine = {
  auditWriter: lockingAuditWriter,
  addEach: (db, tally) => {
    const names = namesOf(tally);
    const add = prepare(db, (lists: Record<string, readonly unknown[]>) => ({
      compile: () => {
        const columns = names.map((name) =>
          tally.columns[name]?.type === "text" ? sql`${lists[name]}::text[]` : sql`${lists[name]}::bigint[]`,
        );
        return additionTo(tally, sql`select * from unnest(${sql.join(columns)})`).compile(db);
      },
    }));
    return async (rows) =>
      rows.length > 0 && add(Object.fromEntries(names.map((name) => [name, rows.map((row) => row[name])])));
  },
  selectEach: (db, query) => {
    const select = prepare(db, ({ all }: { all: readonly string[] }) =>
      query((column) => sql`${column} = any(${all}::text[])`),
    );
    return (sought) => select({ all: sought });
  },
  rowsAtOnce: 1_000,
};

function namesOf<Row extends TallyRow>({ columns }: Tally<Row>): readonly (keyof Row & string)[] {
  return Object.keys(columns);
}

/** Where PostgreSQL announces that the log has grown. */
export const NEWS_CHANNEL = "keyturn_audit";

type Append = Selectable<AuditEntryTable> & {
  readonly previous: number;
  readonly subjects: readonly string[];
  readonly kinds: readonly string[];
  readonly hashes: readonly string[];
  readonly salts: readonly string[];
  readonly texts: readonly string[];
};

function lockingAuditWriter(db: Db): Transaction["audit"] {
  const heads = db.withTables<{ audit_head: AuditHeadTable }>();
  const lockedHead = prepare(db, (_: object) =>
    heads.selectFrom("audit_head").select(["seq", "chain_hash", "at"]).forUpdate(),
  );
  // All of an entry in one round trip, because everybody waits for whoever holds the head.
  const append = prepare(db, (row: Append) => ({
    compile: () =>
      sql<object>`
        with entry as (
          insert into audit_entries (seq, account_id, at, actor_id, operation, entry, entry_hash, chain_hash)
          values (${row.seq}, ${row.account_id}, ${row.at}, ${row.actor_id}, ${row.operation}, ${row.entry},
            ${row.entry_hash}, ${row.chain_hash})
        ), subjects as (
          insert into audit_subjects (subject_id, seq, kind)
          select id, ${row.seq}, kind
          from unnest(${row.subjects}::text[], ${row.kinds}::text[]) as subject (id, kind)
        ), hidden as (
          insert into audit_hidden_texts (seq, hash, salt, text)
          select ${row.seq}, hash, salt, text
          from unnest(${row.hashes}::text[], ${row.salts}::text[], ${row.texts}::text[]) as hidden (hash, salt, text)
        ), moved as (
          update audit_head set seq = ${row.seq}, chain_hash = ${row.chain_hash}, at = ${row.at}
          where seq = ${row.previous}
          returning seq
        )
        select pg_notify(${sql.lit("keyturn_audit")}, seq::text) from moved`.compile(db),
  }));
  return {
    ...auditReader(db),
    head: async () => {
      const [row] = await lockedHead({});
      return row ? { seq: row.seq, chainHash: row.chain_hash, at: row.at } : GENESIS;
    },
    append: async (draft, entry, hidden) => {
      const subjects = subjectsOf(draft);
      const moved = await append({
        seq: entry.seq,
        account_id: draft.accountId,
        at: draft.at,
        actor_id: draft.actor.id,
        operation: draft.operation,
        entry: entry.text,
        entry_hash: entry.entryHash,
        chain_hash: entry.chainHash,
        previous: entry.seq - 1,
        subjects: [...subjects.keys()],
        kinds: [...subjects.values()],
        hashes: hidden.map((one) => one.hash),
        salts: hidden.map((one) => one.salt),
        texts: hidden.map((one) => one.text),
      });
      assert(moved.length === 1, "an audit entry was chained to something else than the head");
    },
  };
}

/** A step of the schema as PostgreSQL takes it: texts compare byte by byte, as SQLite's do. */
export function stepForPostgres(step: string): string {
  return step.replace(/^((?:\s+|alter table \w+ add column )\w+ text)\b/gm, '$1 collate "C"');
}

const INT8 = types.builtins.INT8;

/** Counts and instants are numbers, as SQLite gives them. Throws for one that a number can't hold. */
export const POSTGRES_TYPES: { readonly getTypeParser: typeof types.getTypeParser } = {
  getTypeParser: (id, format) => (id === INT8 ? toSafeInteger : types.getTypeParser(id, format)),
};

function toSafeInteger(text: string): number {
  const number = Number(text);
  assert(Number.isSafeInteger(number), "a number of the database is beyond what can be counted");
  return number;
}

/** A value as PostgreSQL can hold it: in its texts no NUL stands. */
export function storable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(storable);
  return typeof value === "string" ? withoutNul(value) : value;
}

/** With U+FFFD for each NUL: nothing that a caller says of itself may keep everybody's use from being stored. */
export function withoutNul(text: string): string {
  return text.includes("\0") ? text.replaceAll("\0", "\u{fffd}") : text;
}
