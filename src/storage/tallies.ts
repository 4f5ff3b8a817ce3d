import { type RawBuilder, sql } from "kysely";
import type {
  CallerCountTable,
  CallerTable,
  KeyUseTable,
  UsageHourTable,
  UsageMinuteTable,
} from "./tables.ts";

type Value = string | number | null;
export type TallyRow = Readonly<Record<string, Value>>;

/**
 * How what is reported meets what is known: in the database, and among the rows of one report. None of them minds the
 * order in which reports arrive, but for what a caller last told of itself.
 */
interface Meeting {
  readonly merge: (had: Value, told: Value) => Value;
  readonly sql: (had: RawBuilder<Value>, told: RawBuilder<Value>) => RawBuilder<Value>;
}

const SUMMED: Meeting = {
  merge: (had, told) => Number(had) + Number(told),
  sql: (had, told) => sql`${had} + ${told}`,
};
const EARLIEST: Meeting = {
  merge: (had, told) => (had === null || (told !== null && told < had) ? told : had),
  sql: (had, told) => sql`coalesce(case when ${told} < ${had} then ${told} else ${had} end, ${told})`,
};
const LATEST: Meeting = {
  merge: (had, told) => (had === null || (told !== null && told > had) ? told : had),
  sql: (had, told) => sql`coalesce(case when ${told} > ${had} then ${told} else ${had} end, ${told})`,
};
const TOLD_LAST: Meeting = {
  merge: (had, told) => told ?? had,
  sql: (had, told) => sql`coalesce(${told}, ${had})`,
};

interface Column {
  readonly type: "text" | "bigint";
  /** Without it the column is part of the primary key, or stays as it was first told. */
  readonly meets?: Meeting;
}

/** A table whose rows add up. */
export interface Tally<Row extends TallyRow> {
  readonly table: string;
  readonly key: readonly (keyof Row & string)[];
  readonly columns: { readonly [Name in keyof Row]: Column };
}

/** An interface as a type: a row for a tally is nothing but its columns. */
type RowOf<Table> = { readonly [Name in keyof Table]: Table[Name] };

const text: Column = { type: "text" };
const instant: Column = { type: "bigint" };
const count: Column = { type: "bigint", meets: SUMMED };
const earliest: Column = { type: "bigint", meets: EARLIEST };
const latest: Column = { type: "bigint", meets: LATEST };
const toldLast: Column = { type: "text", meets: TOLD_LAST };

export const CALLERS: Tally<RowOf<CallerTable>> = {
  table: "callers",
  key: ["key_id", "caller"],
  columns: {
    key_id: text,
    caller: text,
    name: text,
    address: toldLast,
    agent: toldLast,
    first_seen_at: earliest,
    last_seen_at: latest,
    first_valid_at: earliest,
    last_valid_at: latest,
  },
};

export const CALLER_COUNTS: Tally<RowOf<CallerCountTable>> = {
  table: "caller_counts",
  key: ["key_id", "caller", "code"],
  columns: { key_id: text, caller: text, code: text, count },
};

export const KEY_USES: Tally<RowOf<KeyUseTable>> = {
  table: "key_uses",
  key: ["key_id"],
  columns: { key_id: text, first_valid_at: earliest, last_valid_at: latest, last_seen_at: latest },
};

export const USAGE_MINUTES: Tally<RowOf<UsageMinuteTable>> = {
  table: "usage_minutes",
  key: ["key_id", "minute", "code"],
  columns: { key_id: text, minute: instant, code: text, count },
};

export const USAGE_HOURS: Tally<RowOf<UsageHourTable>> = {
  table: "usage_hours",
  key: ["key_id", "hour", "code"],
  columns: { key_id: text, hour: instant, code: text, count },
};

/** Adds rows up in memory: of each there is one in the end, as a statement that inserts many of them needs it. */
export function tallyOf<Row extends TallyRow>({ key, columns }: Tally<Row>) {
  const met = Object.entries<Column>(columns).flatMap(([name, { meets }]) =>
    meets === undefined ? [] : [[name, meets] as const],
  );
  const byKey = new Map<string, Row>();
  const merge = (had: Row, told: Row): Row => ({
    ...had,
    ...Object.fromEntries(
      met.map(([name, meets]) => [name, meets.merge(had[name] ?? null, told[name] ?? null)]),
    ),
  });
  return {
    add: (row: Row): void => {
      // No text that is stored has a NUL.
      const at = key.map((name) => row[name]).join("\0");
      const had = byKey.get(at);
      byKey.set(at, had === undefined ? row : merge(had, row));
    },
    rows: (): readonly Row[] => [...byKey.values()],
  };
}

/** The statement that adds rows to those that are stored; `source` gives them, column by column in the tally's order. */
export function additionTo<Row extends TallyRow>(
  { table, key, columns }: Tally<Row>,
  source: RawBuilder<unknown>,
): RawBuilder<object> {
  const names = Object.keys(columns);
  const updates = Object.entries<Column>(columns).flatMap(([name, { meets }]) =>
    meets === undefined
      ? []
      : [sql`${sql.ref(name)} = ${meets.sql(sql.ref(`${table}.${name}`), sql.ref(`excluded.${name}`))}`],
  );
  return sql<object>`
    insert into ${sql.table(table)} (${sql.join(names.map((name) => sql.ref(name)))}) ${source}
    on conflict (${sql.join(key.map((name) => sql.ref(name)))}) do update set ${sql.join(updates)}`;
}
