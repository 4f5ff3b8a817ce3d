import { cpSync } from "node:fs";
import { join } from "node:path";
import { Client, Pool } from "pg";
import { openFile } from "../src/storage/sqlite.ts";
import { AUTHORITY_FILE } from "../src/storage/sqlite-storage.ts";
import { onDatabase } from "./fill-postgres.ts";

/** Takes the rows that operations wrote, and writes them again elsewhere: one prepared transaction for each operation. */
export interface Replay {
  /** What to write for each entry of the log, ready to be bound. */
  prepare(seqs: readonly number[]): Promise<readonly (() => void | Promise<void>)[]>;
  close(): Promise<void>;
}

type Cells = Readonly<Record<string, string | number | null>>;
type Rows = (sql: string, value: string | number) => Promise<readonly Cells[]>;

const TABLES = ["keys", "digests", "rotations", "audit_entries", "audit_subjects"] as const;
type Table = (typeof TABLES)[number];

interface Written {
  readonly rows: readonly { readonly table: Table; readonly row: Cells }[];
  /** Rotations and the keys that went into them. */
  readonly rotated: readonly (readonly [string, string])[];
}

/** What the operation of this entry wrote. */
async function writtenBy(rows: Rows, seq: number): Promise<Written> {
  const subjects = await rows("select * from audit_subjects where seq = $1", seq);
  const ids = (kind: string) =>
    subjects.filter((one) => one.kind === kind).map((one) => String(one.subject_id));
  const each = async (table: Table, column: string, values: readonly (string | number)[]) =>
    (
      await Promise.all(values.map((value) => rows(`select * from ${table} where ${column} = $1`, value)))
    ).flatMap((found) => found.map((row) => ({ table, row })));
  const rotations = await each("rotations", "id", ids("rotation"));
  const old = new Set(rotations.map(({ row }) => row.old_key_id));
  const fresh = ids("key").filter((id) => !old.has(id));
  return {
    rows: [
      ...(await each("keys", "id", fresh)),
      ...(await each("digests", "key_id", fresh)),
      ...rotations,
      ...(await each("audit_entries", "seq", [seq])),
      ...subjects.map((row) => ({ table: "audit_subjects" as const, row })),
    ],
    rotated: rotations.map(({ row }) => [String(row.id), String(row.old_key_id)] as const),
  };
}

function insertInto(table: Table, columns: readonly string[]): string {
  return `insert into ${table} (${columns.join(", ")}) values (${columns.map((_, at) => `$${at + 1}`).join(", ")})`;
}

const SET_ROTATION = "update keys set rotation_id = $1 where id = $2";

/** Into a copy of the folder, so that both files have the same size and the same indexes. */
export function replayOnSqlite(source: string, target: string): Replay {
  cpSync(source, target, { recursive: true });
  const from = openFile(join(source, AUTHORITY_FILE), "full", true);
  const to = openFile(join(target, AUTHORITY_FILE), "full");
  const begin = to.query("begin immediate");
  const commit = to.query("commit");
  const setRotation = to.query(SET_ROTATION);
  const inserts = new Map(
    TABLES.map((table) => {
      const columns = from
        .query<{ name: string }, [string]>("select name from pragma_table_info(?)")
        .all(table)
        .map(({ name }) => name);
      return [table, { columns, statement: to.query(insertInto(table, columns)) }];
    }),
  );
  const rows: Rows = async (sql, value) => from.query<Cells, [string | number]>(sql).all(value);
  return {
    prepare: (seqs) =>
      Promise.all(
        seqs.map(async (seq) => {
          const written = await writtenBy(rows, seq);
          const writes = written.rows.map(({ table, row }) => {
            const { columns, statement } = inserts.get(table) ?? { columns: [], statement: null };
            return { statement, cells: columns.map((column) => row[column] ?? null) };
          });
          return () => {
            begin.run();
            for (const { statement, cells } of writes) statement?.run(...cells);
            for (const [rotation, key] of written.rotated) setRotation.run(rotation, key);
            commit.run();
          };
        }),
      ),
    close: async () => {
      from.close();
      to.close();
    },
  };
}

/** Makes a database that is the same as another one to which nobody is connected. */
export async function copyDatabase(url: string): Promise<string> {
  const [at, copy] = [new URL(url), new URL(url)];
  const [from, to] = [at.pathname.slice(1), `twin_${crypto.randomUUID().slice(0, 8)}`];
  at.pathname = "/postgres";
  copy.pathname = `/${to}`;
  await onDatabase(at.href, (client) => client.query(`create database ${to} template ${from}`));
  return copy.href;
}

/** Into another database. All statements of a transaction travel together, over as many connections as are asked for. */
export async function replayOnPostgres(source: string, target: string, connections: number): Promise<Replay> {
  const from = new Client({ connectionString: source, pipeline: true });
  await from.connect();
  const to = new Pool({ connectionString: target, max: connections, pipeline: true });
  const columns = new Map<Table, readonly string[]>();
  for (const table of TABLES) {
    const { rows } = await from.query<{ name: string }>(
      "select column_name as name from information_schema.columns where table_name = $1 and table_schema = 'public' order by ordinal_position",
      [table],
    );
    columns.set(
      table,
      rows.map(({ name }) => name),
    );
  }
  const rows: Rows = async (sql, value) => (await from.query<Cells>(sql, [value])).rows;
  return {
    prepare: (seqs) =>
      Promise.all(
        seqs.map(async (seq) => {
          const written = await writtenBy(rows, seq);
          const writes = [
            ...written.rows.map(({ table, row }) => {
              const names = columns.get(table) ?? [];
              return {
                name: table,
                text: insertInto(table, names),
                values: names.map((name) => row[name] ?? null),
              };
            }),
            ...written.rotated.map((values) => ({
              name: "rotated",
              text: SET_ROTATION,
              values: [...values],
            })),
          ];
          return async () => {
            const client = await to.connect();
            await Promise.all([
              client.query("begin"),
              ...writes.map((write) => client.query(write)),
              client.query("commit"),
            ]);
            client.release();
          };
        }),
      ),
    close: async () => {
      await from.end();
      await to.end();
    },
  };
}
