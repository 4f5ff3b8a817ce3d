import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Client } from "pg";
import { openPostgresStorage } from "../src/storage/postgres-storage.ts";
import { postgresPrograms, startPostgresServer } from "../test/support/postgres-server.ts";
import { createRows, type Filled, type Filling, foundInstallation } from "./fill.ts";

/** The bench's own PostgreSQL, on the loopback; it ends with the bench, however that ends. */
export interface Postgres {
  newDatabase(): Promise<string>;
  /** The process that all others of the server descend from. */
  readonly pid: number;
  stop(): Promise<void>;
}

// What the tests make smaller, as PostgreSQL's own defaults have it; on top of a durable server there is nothing else.
const DEFAULTS = {
  shared_buffers: "128MB",
  min_wal_size: "80MB",
  max_wal_size: "1GB",
  autovacuum_naptime: "1min",
};

/** Null on a machine without PostgreSQL. */
export async function startPostgres(): Promise<Postgres | null> {
  if (postgresPrograms() === null) return null;
  const server = await startPostgresServer({ durable: true, settings: DEFAULTS });
  let made = 0;
  return {
    pid: Number(readFileSync(join(server.folder, "postmaster.pid"), "latin1").split("\n")[0]),
    newDatabase: async () => {
      made += 1;
      const name = `keyturn_bench_${made}`;
      await onDatabase(`${server.url}/postgres`, (client) =>
        client.query(`create database ${name} encoding 'UTF8' template template0`),
      );
      return `${server.url}/${name}`;
    },
    stop: async () => {
      await server.stop("clean");
      // Its home, which the tests leave to whoever stops a server by hand.
      rmSync(dirname(server.folder), { recursive: true, force: true });
    },
  };
}

/** One connection for the time of the work. */
export async function onDatabase<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Keys to a file: one is written while the one before is read. */
const PORTION = 250_000;

const INTO = {
  service_accounts: "id, account_id, name, role, scopes, created_at",
  keys: "id, account_id, owner_id, lineage_id, kind, name, hint, metadata, suspensions, created_at, expires_at",
  digests: "key_id, ordinal, algorithm, digest",
} as const;
type Table = keyof typeof INTO;
const TABLES = Object.keys(INTO) as Table[];

/** The same as `fillSqlite`, by COPY from files that the server reads. */
export async function fillPostgres(url: string, filling: Filling): Promise<Filled> {
  const { root, account } = await foundInstallation(await openPostgresStorage({ url }));
  const rows = createRows(filling);
  // The server runs as another user where the bench runs as root. The files hold no secret.
  const folder = mkdtempSync(join(tmpdir(), "keyturn-bench-copy-"));
  chmodSync(folder, 0o755);
  try {
    await onDatabase(url, async (client) => {
      // Nothing else looks at the database, and a filling that is cut short is thrown away.
      await client.query(
        "set synchronous_commit = off; set session_replication_role = replica; set maintenance_work_mem = '512MB'",
      );
      const { rows: indexes } = await client.query<{ name: string; sql: string }>(
        `select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as sql from pg_index
         where indrelid in ('keys'::regclass, 'digests'::regclass) and not indisprimary`,
      );
      // Built afterwards in one sorting pass each, from the schema's own text.
      for (const { name } of indexes) await client.query(`drop index ${name}`);
      let copying: Promise<void> = Promise.resolve();
      for (let from = 0; from < filling.keys; from += PORTION) {
        const files = writePortion(folder, from, rows, account, Math.min(filling.keys, from + PORTION));
        await copying;
        copying = copy(client, files);
      }
      await copying;
      for (const { sql } of indexes) await client.query(sql);
      await client.query("vacuum (analyze) service_accounts, keys, digests");
      await client.query("checkpoint");
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return {
    engine: "PostgreSQL",
    place: { KEYTURN_DATABASE_URL: url },
    root,
    keys: filling.keys,
    owners: rows.owners,
    ids: rows.ids,
  };
}

type Files = Readonly<Record<Table, string>>;

/** No value has a tab, a line break or a backslash, so none needs escaping. */
function writePortion(
  folder: string,
  from: number,
  rows: ReturnType<typeof createRows>,
  account: string,
  to: number,
): Files {
  const lines: Record<Table, string[]> = { service_accounts: [], keys: [], digests: [] };
  rows.make(from, to, {
    owner: ({ id, name, scopes, createdAt }) =>
      void lines.service_accounts.push(`${id}\t${account}\t${name}\teditor\t${scopes}\t${createdAt}\n`),
    key: ({ id, owner, lineage, name, hint, createdAt, expiresAt, digest }) => {
      lines.keys.push(
        `${id}\t${account}\t${owner}\t${lineage}\tservice\t${name}\t${hint}\t{}\t[]\t${createdAt}\t${expiresAt}\n`,
      );
      lines.digests.push(`${id}\t1\tsha256\t${digest}\n`);
    },
  });
  const fileOf = (table: Table) => join(folder, `${table}-${from}`);
  for (const table of TABLES) {
    writeFileSync(fileOf(table), lines[table].join(""));
    chmodSync(fileOf(table), 0o644);
  }
  return { service_accounts: fileOf("service_accounts"), keys: fileOf("keys"), digests: fileOf("digests") };
}

async function copy(client: Client, files: Files): Promise<void> {
  for (const table of TABLES) {
    await client.query(`copy ${table} (${INTO[table]}) from '${files[table]}'`);
    rmSync(files[table]);
  }
}
