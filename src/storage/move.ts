import type { Database } from "bun:sqlite";
import { createHash } from "node:crypto";
import { join } from "node:path";
import {
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type RawBuilder,
  sql,
} from "kysely";
import type { Client, ClientBase } from "pg";
import { GENESIS } from "../authority/audit/entry.ts";
import { createChainCheck, type KnownHead } from "../authority/audit/verify-chain.ts";
import { storable } from "./engine.ts";
import { isFounded } from "./migrate-postgres.ts";
import { IDENTITY, LOCK_EVIDENCE } from "./postgres.ts";
import { closeFile, openFile } from "./sqlite.ts";
import { AUTHORITY_FILE, EVIDENCE_FILE } from "./sqlite-storage.ts";
import type { AuthorityTables, EvidenceTables } from "./tables.ts";

/** The tables in an order in which whatever is referred to comes first, each with what its rows are told apart by. */
const AUTHORITY: Readonly<Record<keyof AuthorityTables, readonly string[]>> = {
  accounts: ["id"],
  service_accounts: ["id"],
  keys: ["id"],
  digests: ["key_id", "ordinal"],
  rotations: ["id"],
  dismissals: ["rotation_id", "position"],
  brownouts: ["id"],
  audit_entries: ["seq"],
  audit_subjects: ["subject_id", "seq"],
  audit_hidden_texts: ["seq", "hash"],
  idempotency_records: ["actor_id", "key"],
  facts: ["name"],
};

type Evidence = Exclude<keyof EvidenceTables, "processes" | "claims" | "setup_tokens">;

/**
 * How rows of use are added to those that are there: both databases may have counted. Who serves, and set-up tokens, stay
 * behind: the new processes tell of themselves.
 */
const EVIDENCE: Readonly<Record<Evidence, RawBuilder<unknown>>> = {
  callers: sql`on conflict (key_id, caller) do update set
    address = coalesce(callers.address, excluded.address),
    agent = coalesce(callers.agent, excluded.agent),
    first_seen_at = least(callers.first_seen_at, excluded.first_seen_at),
    last_seen_at = greatest(callers.last_seen_at, excluded.last_seen_at),
    first_valid_at = least(callers.first_valid_at, excluded.first_valid_at),
    last_valid_at = greatest(callers.last_valid_at, excluded.last_valid_at)`,
  caller_counts: sql`on conflict (key_id, caller, code) do update set count = caller_counts.count + excluded.count`,
  key_uses: sql`on conflict (key_id) do update set
    first_valid_at = least(key_uses.first_valid_at, excluded.first_valid_at),
    last_valid_at = greatest(key_uses.last_valid_at, excluded.last_valid_at),
    last_seen_at = greatest(key_uses.last_seen_at, excluded.last_seen_at)`,
  usage_minutes: sql`on conflict (key_id, minute, code) do update set count = usage_minutes.count + excluded.count`,
  usage_hours: sql`on conflict (key_id, hour, code) do update set count = usage_hours.count + excluded.count`,
  reporters: sql`on conflict (id) do nothing`,
  brownout_tallies: sql`on conflict (brownout_id, caller) do update set refusals = brownout_tallies.refusals + excluded.refusals`,
};

const NOTHING = sql``;
const ROWS_AT_ONCE = 2_000;

/** Both engines read the same texts; the names in them stand above. */
const texts = new Kysely<object>({
  dialect: {
    createDriver: () => new DummyDriver(),
    createQueryCompiler: () => new PostgresQueryCompiler(),
    createAdapter: () => new PostgresAdapter(),
    createIntrospector: (db) => new PostgresIntrospector(db),
  },
});
const textOf = (query: RawBuilder<unknown>): string => query.compile(texts).sql;
const listOf = (names: readonly string[]) => sql.join(names.map((name) => sql.id(name)));

function rowsOf(table: string, order: readonly string[]): RawBuilder<unknown> {
  const all = sql`select * from ${sql.table(table)}`;
  return order.length === 0 ? all : sql`${all} order by ${listOf(order)}`;
}

type Row = Readonly<Record<string, string | number | null>>;

/** What was copied. */
export interface Copied {
  readonly rows: Readonly<Record<string, number>>;
  readonly head: KnownHead;
}

/** A copy that was never opened: how the folder was closed when it was made, and for which move. */
export interface Copy {
  readonly head: KnownHead;
  readonly closed: string;
  readonly move: string | null;
  /** Whether it was made here, and is not a copy of that. */
  readonly isOriginal: boolean;
}

/** Where an installation is moved to: an open connection of the role that owns the tables. */
export type TargetConnection = Client;

/**
 * What a database of whatever version holds: nothing, a copy that was never opened, or an installation of its
 * own. Changes nothing. Throws for one with another program's tables.
 */
export async function contentOf(target: ClientBase): Promise<"empty" | "in use" | Copy> {
  if (!(await isFounded(target))) return "empty";
  const { rows: tables } = await target.query<{ exist: boolean }>(
    "select to_regclass('accounts') is not null as exist",
  );
  if (!tables[0]?.exist) return "empty";
  const { rows: content } = await target.query<{ exists: boolean }>(
    "select exists (select 1 from accounts) or exists (select 1 from audit_entries) as exists",
  );
  if (!content[0]?.exists) return "empty";
  const { rows } = await target.query<{ name: string; value: string }>(
    "select name, value from facts where name in ('closed', 'move', 'database_identity')",
  );
  const facts = new Map(rows.map(({ name, value }) => [name, value]));
  const closed = facts.get("closed");
  if (closed === undefined) return "in use";
  const isOriginal = facts.get("database_identity") === (await identityOf(target));
  return { head: await headIn(target), closed, move: facts.get("move") ?? null, isOriginal };
}

async function identityOf(target: ClientBase): Promise<string | undefined> {
  const { rows } = await target.query<{ identity: string }>(IDENTITY);
  return rows[0]?.identity;
}

async function headIn(target: ClientBase): Promise<KnownHead> {
  const { rows } = await target.query<{ seq: number; chain_hash: string }>(
    "select seq, chain_hash from audit_head",
  );
  const [head] = rows;
  return head === undefined
    ? { seq: GENESIS.seq, chainHash: GENESIS.chainHash }
    : { seq: head.seq, chainHash: head.chain_hash };
}

/** Whether an entry of another log stands in this one, too. */
export async function holdsEntry(target: ClientBase, { seq, chainHash }: KnownHead): Promise<boolean> {
  const { rows } = await target.query("select 1 from audit_entries where seq = $1 and chain_hash = $2", [
    seq,
    chainHash,
  ]);
  return rows.length > 0;
}

/** Empties a copy that was never opened, at the newest schema: as if nothing had ever been there. */
export async function emptyCopy(target: ClientBase): Promise<void> {
  const tables = [...Object.keys(AUTHORITY), ...Object.keys(EVIDENCE), "processes", "claims"];
  await inTransaction(target, async () => {
    await target.query(textOf(sql`truncate ${listOf(tables)}`));
    await target.query("update audit_head set seq = $1, chain_hash = $2, at = 0", [
      GENESIS.seq,
      GENESIS.chainHash,
    ]);
  });
}

/**
 * Copies everything but use, in one transaction: all of it is there afterwards, and was compared row by row with what it
 * was copied from; or nothing is. Throws where the chain of the log doesn't hold. The folder must be closed for changes.
 */
export async function copyAuthority(folder: string, target: ClientBase): Promise<Copied> {
  return inTransaction(target, () =>
    withFile(join(folder, AUTHORITY_FILE), async (file) => {
      const rows: Record<string, number> = {};
      for (const [table, order] of Object.entries(AUTHORITY)) {
        const source = await copyTable(file, target, table, order, NOTHING);
        const copied = await digestOfTable(target, table, order);
        if (source.digest !== copied.digest || source.count !== copied.count)
          throw new Error(`The copy of ${table} differs from what it was copied from. Nothing was kept.`);
        rows[table] = source.count;
      }
      const head = await checkedHead(target);
      const { rowCount } = await target.query("select from facts where name = 'closed'");
      if (rowCount === 0) throw new Error("The folder was opened meanwhile. Nothing was kept.");
      await target.query("delete from audit_head");
      await target.query(
        "insert into audit_head (seq, chain_hash, at) select seq, chain_hash, at from audit_entries order by seq desc limit 1",
      );
      // Another one with these rows in it has another identity, and is neither served nor opened (R14).
      await target.query(
        "insert into facts (name, value) values ('database_identity', $1) on conflict (name) do update set value = excluded.value",
        [await identityOf(target)],
      );
      return { rows, head };
    }),
  );
}

/**
 * Adds what the folder knows of use, once: it can be told by its reporters whether that was done before. Whoever reports use
 * to the target waits meanwhile.
 */
export async function copyEvidence(folder: string, target: ClientBase): Promise<void> {
  await inTransaction(target, () =>
    withFile(join(folder, EVIDENCE_FILE), async (file) => {
      // An earlier attempt may still be ending there, though whoever made it is gone.
      await target.query(LOCK_EVIDENCE);
      const reporters = file.query<{ id: string }, []>("select id from reporters").all();
      const { rows } = await target.query("select 1 from reporters where id = any($1) limit 1", [
        reporters.map(({ id }) => id),
      ]);
      if (rows.length > 0) return;
      for (const [table, merge] of Object.entries(EVIDENCE)) await copyTable(file, target, table, [], merge);
    }),
  );
}

async function copyTable(
  file: Database,
  target: ClientBase,
  table: string,
  order: readonly string[],
  merge: RawBuilder<unknown>,
): Promise<{ readonly count: number; readonly digest: string }> {
  const name = sql.table(table);
  const insert = textOf(
    sql`insert into ${name} select * from json_populate_recordset(null::${name}, $1) ${merge}`,
  );
  const digest = createDigest();
  let batch: Row[] = [];
  const send = async () => {
    if (batch.length > 0) await target.query(insert, [JSON.stringify(batch, (_, value) => storable(value))]);
    batch = [];
  };
  for (const row of file.query<Row, []>(textOf(rowsOf(table, order))).iterate()) {
    digest.add(row);
    batch.push(row);
    if (batch.length >= ROWS_AT_ONCE) await send();
  }
  await send();
  return digest.end();
}

async function digestOfTable(target: ClientBase, table: string, order: readonly string[]) {
  const digest = createDigest();
  await eachRow(target, rowsOf(table, order), digest.add);
  return digest.end();
}

async function checkedHead(target: ClientBase): Promise<KnownHead> {
  const check = createChainCheck([]);
  await eachRow(target, rowsOf("audit_entries", ["seq"]), (row) =>
    check.add({
      seq: Number(row.seq),
      text: String(row.entry),
      entryHash: String(row.entry_hash),
      chainHash: String(row.chain_hash),
    }),
  );
  const finding = check.end();
  if (!finding.ok)
    throw new Error(
      `The audit log of the folder breaks at entry ${finding.seq}: ${finding.problem}. Nothing was kept.`,
    );
  return finding.head;
}

async function eachRow(
  target: ClientBase,
  query: RawBuilder<unknown>,
  work: (row: Row) => void,
): Promise<void> {
  await target.query(textOf(sql`declare rows no scroll cursor for ${query}`));
  for (;;) {
    const { rows } = await target.query<Row>("fetch 2000 from rows");
    if (rows.length === 0) break;
    for (const row of rows) work(row);
  }
  await target.query("close rows");
}

/** The same for equal rows in equal order, whatever engine they come from. */
function createDigest() {
  const hash = createHash("sha256");
  let count = 0;
  return {
    add: (row: Row) => {
      const members = Object.keys(row).sort();
      hash.update(`${JSON.stringify(members.map((member) => [member, row[member]]))}\n`);
      count += 1;
    },
    end: () => ({ count, digest: hash.digest("hex") }),
  };
}

async function inTransaction<T>(target: ClientBase, work: () => Promise<T> | T): Promise<T> {
  await target.query("begin");
  try {
    const result = await work();
    await target.query("commit");
    return result;
  } catch (error) {
    await target.query("rollback").catch(() => undefined);
    throw error;
  }
}

async function withFile<T>(path: string, work: (file: Database) => T): Promise<Awaited<T>> {
  const file = openFile(path, "full", true);
  try {
    // As it is at one moment, whatever is written meanwhile.
    file.run("begin");
    return await work(file);
  } finally {
    closeFile(file);
  }
}
