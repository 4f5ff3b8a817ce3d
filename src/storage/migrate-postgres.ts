import { Client, type ClientBase } from "pg";
import { stepForPostgres } from "./engine.ts";
import { AUTHORITY_MIGRATIONS, EVIDENCE_MIGRATIONS } from "./migrate.ts";
import postgres001 from "./migrations/001-postgres.sql" with { type: "text" };
import { connectionTo, type PostgresOptions } from "./postgres.ts";
import { isNotThereYet } from "./postgres-faults.ts";
import { grantRuntime } from "./postgres-roles.ts";

/** What this engine alone needs. */
export const POSTGRES_MIGRATIONS: readonly string[] = [postgres001];

/** The steps in the order in which they are taken: one database holds what are two files on the embedded one. */
const PARTS: Readonly<Record<string, readonly string[]>> = {
  authority: AUTHORITY_MIGRATIONS,
  evidence: EVIDENCE_MIGRATIONS,
  postgres: POSTGRES_MIGRATIONS,
};

const OLDEST_SERVER = 140_000;
const RETRY_MS = 250;

/**
 * Brings a database to the newest schema, as the role of the URL, which then owns the tables. With `runtimeRole`, an
 * existing role is given what `serve` needs of them, and no more. Throws for a database of a newer version.
 */
export async function migratePostgres(options: PostgresOptions, runtimeRole?: string): Promise<void> {
  await onConnection(options, async (client) => {
    await assertUsable(client);
    await takeSteps(client);
    if (runtimeRole !== undefined) await grantRuntime(client, runtimeRole);
  });
}

/**
 * Waits until the database is there, and brings it to the newest schema where the role may. Throws where it may not,
 * and for a database of a newer version.
 */
export async function prepareDatabase(options: PostgresOptions): Promise<void> {
  await onConnection(options, async (client) => {
    await assertUsable(client);
    if (await isNewest(client)) return;
    if (!(await mayMigrate(client))) {
      throw new Error(
        "The database has an older schema than this program needs, and this role does not own the tables: run `keyturn migrate` with the URL of the role that does.",
      );
    }
    await takeSteps(client);
  });
}

/** Whether the URL's role could change what stands in the audit log: a serving process needs no such right. */
export async function mayRewriteLog(options: PostgresOptions): Promise<boolean> {
  let may = true;
  await onConnection(options, async (client) => {
    const { rows } = await client.query<{ may: boolean }>(
      "select has_table_privilege('audit_entries', 'update, delete, truncate') or pg_has_role(relowner, 'usage') as may from pg_class where oid = 'audit_entries'::regclass",
    );
    may = rows[0]?.may !== false;
  });
  return may;
}

async function onConnection(
  options: PostgresOptions,
  work: (client: ClientBase) => Promise<void>,
): Promise<void> {
  const client = await connected(options);
  try {
    await work(client);
  } finally {
    await client.end();
  }
}

async function connected(options: PostgresOptions): Promise<Client> {
  const end = performance.now() + (options.startTimeoutSeconds ?? 30) * 1_000;
  for (;;) {
    // A step may take as long as it takes, and so may those who wait for it.
    const endless = { statement_timeout: 0, lock_timeout: 0, query_timeout: 0 };
    const client = new Client({ ...connectionTo(options), ...endless });
    client.on("error", () => undefined);
    try {
      await client.connect();
      return client;
    } catch (error) {
      await client.end().catch(() => undefined);
      if (!isNotThereYet(error) || performance.now() > end) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

async function assertUsable(client: ClientBase): Promise<void> {
  const { rows } = await client.query<{ version: number; encoding: string }>(
    "select current_setting('server_version_num')::integer as version, current_setting('server_encoding') as encoding",
  );
  const [server] = rows;
  if (server === undefined || server.version < OLDEST_SERVER)
    throw new Error("Keyturn needs PostgreSQL 14 or newer.");
  if (server.encoding !== "UTF8")
    throw new Error(`Keyturn needs a database whose encoding is UTF8, not ${server.encoding}.`);
}

/** How many steps of each part a database has taken. Throws where one is more than this program knows. */
async function schemaVersions(client: ClientBase): Promise<ReadonlyMap<string, number>> {
  const { rows: found } = await client.query<{ is_there: boolean }>(
    "select to_regclass('schema_versions') is not null as is_there",
  );
  if (!found[0]?.is_there) return new Map();
  const { rows } = await client.query<{ part: string; version: number }>(
    "select part, version from schema_versions",
  );
  for (const { part, version } of rows) {
    const known = PARTS[part]?.length ?? 0;
    if (version > known) {
      throw new Error(
        `The database has schema version ${version} (${part}); this program knows ${known}. Use a newer one.`,
      );
    }
  }
  return new Map(rows.map(({ part, version }) => [part, version]));
}

async function isNewest(client: ClientBase): Promise<boolean> {
  const versions = await schemaVersions(client);
  return Object.entries(PARTS).every(([part, steps]) => versions.get(part) === steps.length);
}

async function mayMigrate(client: ClientBase): Promise<boolean> {
  const { rows } = await client.query<{ may: boolean }>(`
    select coalesce(has_schema_privilege(current_schema(), 'create'), false) and coalesce(
      (select pg_has_role(relowner, 'usage') from pg_class where oid = to_regclass('schema_versions')), true
    ) as may`);
  return rows[0]?.may === true;
}

/** Each step in a transaction of its own, which waits for other processes that are at it and then looks again. */
async function takeSteps(client: ClientBase): Promise<void> {
  await inTurn(client, () =>
    client.query(
      "create table if not exists schema_versions (part text primary key, version integer not null)",
    ),
  );
  for (const [part, steps] of Object.entries(PARTS)) {
    for (const [index, step] of steps.entries()) {
      await inTurn(client, async () => {
        if (((await schemaVersions(client)).get(part) ?? 0) > index) return;
        await client.query(stepForPostgres(step));
        await client.query(
          "insert into schema_versions (part, version) values ($1, $2) on conflict (part) do update set version = $2",
          [part, index + 1],
        );
      });
    }
  }
}

async function inTurn(client: ClientBase, work: () => Promise<unknown>): Promise<void> {
  await client.query("begin");
  try {
    await client.query("select pg_advisory_xact_lock(hashtext('keyturn'), hashtext('migrate'))");
    await work();
    await client.query("commit");
  } catch (error) {
    await client.query("rollback").catch(() => undefined);
    throw error;
  }
}
