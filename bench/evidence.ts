/**
 * Stores what a process has counted: batches of keys that were used by a caller each, once as news and once more, by turns
 * with bare inserts of as many rows into tables of the same columns. Prints JSON.
 *
 *     KEYTURN_DATA=… bun bench/evidence.ts <pairs> <rounds>
 */
import { join } from "node:path";
import { Client } from "pg";
import { newId } from "../src/authority/ids.ts";
import type { UsageBatch } from "../src/authority/storage.ts";
import { openFile } from "../src/storage/sqlite.ts";
import { EVIDENCE_FILE } from "../src/storage/sqlite-storage.ts";
import { DATABASE_URL, FOLDER, openStore } from "./open.ts";
import { median } from "./row.ts";

export interface Evidence {
  /** Pairs of key and caller stored per second: seen for the first time, and seen before. */
  readonly first: number;
  readonly again: number;
  readonly floor: number;
  readonly ratios: readonly number[];
}

const COLUMNS = {
  callers: "key_id text, caller text, name text, first_seen_at bigint, last_seen_at bigint",
  caller_counts: "key_id text, caller text, code text, count bigint",
  key_uses: "key_id text, last_seen_at bigint",
  usage_minutes: "key_id text, minute bigint, code text, count bigint",
  usage_hours: "key_id text, hour bigint, code text, count bigint",
} as const;
type Table = keyof typeof COLUMNS;
const TABLES = Object.keys(COLUMNS) as Table[];

/** One row for each table, as plain as it gets. */
function rowFor(table: Table, id: string): readonly (string | number)[] {
  const now = Date.now();
  switch (table) {
    case "callers":
      return [id, "n:bench", "bench", now, now];
    case "caller_counts":
      return [id, "n:bench", "valid", 1];
    case "key_uses":
      return [id, now];
    default:
      return [id, now, "valid", 1];
  }
}

interface Floor {
  write(ids: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

function insertInto(table: Table, source: (types: readonly string[]) => string): string {
  const types = COLUMNS[table].split(", ").map((column) => column.split(" ")[1] ?? "");
  return `insert into bare_${table} (${namesOf(table)}) ${source(types)}`;
}

const oneRow = (types: readonly string[]) => `values (${types.map((_, at) => `$${at + 1}`).join(", ")})`;
const lists = (types: readonly string[]) =>
  `select * from unnest(${types.map((type, at) => `$${at + 1}::${type}[]`).join(", ")})`;

function makeTable(table: Table): string {
  return `create table bare_${table} (${COLUMNS[table]}, row_id text primary key default (${DATABASE_URL === undefined ? "hex(randomblob(16))" : "gen_random_uuid()::text"}))`;
}

async function openFloor(): Promise<Floor> {
  if (DATABASE_URL !== undefined) {
    const client = new Client({ connectionString: DATABASE_URL, pipeline: true });
    await client.connect();
    for (const table of TABLES) await client.query(makeTable(table));
    return {
      write: async (ids) => {
        await Promise.all([
          client.query("begin"),
          ...TABLES.map((table) => {
            const rows = ids.map((id) => rowFor(table, id));
            const values = (rows[0] ?? []).map((_, at) => rows.map((row) => row[at]));
            return client.query({ name: table, text: insertInto(table, lists), values });
          }),
          client.query("commit"),
        ]);
      },
      close: () => client.end(),
    };
  }
  const file = openFile(join(FOLDER, EVIDENCE_FILE), "normal");
  for (const table of TABLES) file.run(makeTable(table));
  const statements = TABLES.map((table) => ({
    table,
    statement: file.query(insertInto(table, oneRow)),
  }));
  return {
    write: async (ids) => {
      file.run("begin immediate");
      for (const id of ids)
        for (const { table, statement } of statements) statement.run(...rowFor(table, id));
      file.run("commit");
    },
    close: async () => {
      for (const { statement } of statements) statement.finalize();
      file.close();
    },
  };
}

function namesOf(table: Table): string {
  return COLUMNS[table]
    .split(", ")
    .map((column) => column.split(" ")[0])
    .join(", ");
}

async function measure(pairs: number, rounds: number): Promise<Evidence> {
  const { authority, close } = await openStore();
  const floor = await openFloor();
  const { evidence } = authority.storage;
  const reporterId = newId("rep");
  await evidence.startReporter(reporterId, "bench", Date.now());
  let batchSeq = 0;
  const apply = async (ids: readonly ReturnType<typeof newKey>[]) => {
    batchSeq += 1;
    const now = Date.now();
    const batch: UsageBatch = {
      reporterId,
      batchSeq,
      coversFrom: now,
      coversUntil: now,
      callers: ids.map((keyId) => ({
        keyId,
        caller: "n:bench",
        name: "bench",
        address: null,
        agent: null,
        firstSeenAt: now,
        lastSeenAt: now,
        firstValidAt: now,
        lastValidAt: now,
        counts: { valid: 1 },
      })),
      usage: ids.map((keyId) => ({ keyId, minute: Math.floor(now / 60_000), code: "valid", count: 1 })),
    };
    await evidence.apply(batch);
  };
  const perSecond = async (work: () => Promise<void>): Promise<number> => {
    const startedAt = performance.now();
    await work();
    return (pairs * 1_000) / (performance.now() - startedAt);
  };
  const figures = { first: [] as number[], again: [] as number[], floor: [] as number[] };
  for (let round = 0; round <= rounds; round += 1) {
    const ids = Array.from({ length: pairs }, newKey);
    const bare = await perSecond(() => floor.write(ids));
    const first = await perSecond(() => apply(ids));
    const again = await perSecond(() => apply(ids));
    // The first round is the compilers'.
    if (round === 0 && rounds > 1) continue;
    figures.floor.push(bare);
    figures.first.push(first);
    figures.again.push(again);
  }
  await floor.close();
  await evidence.stopReporter(reporterId);
  await close();
  return {
    first: median(figures.first),
    again: median(figures.again),
    floor: median(figures.floor),
    ratios: figures.first.map((value, round) => value / (figures.floor[round] ?? Number.NaN)),
  };
}

const newKey = () => newId("key");

const [pairs = "", rounds = ""] = process.argv.slice(2);
console.log(JSON.stringify(await measure(Number(pairs), Number(rounds))));
