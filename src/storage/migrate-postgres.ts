import type { Client, ClientBase } from "pg";
import type { Seconds } from "../authority/time.ts";
import { stepForPostgres } from "./engine.ts";
import { AUTHORITY_MIGRATIONS, EVIDENCE_MIGRATIONS } from "./migrate.ts";
import postgres001 from "./migrations/001-postgres.sql" with { type: "text" };
import { assertPrimary, POSTGRES_DEFAULTS, type PostgresOptions, patientClient } from "./postgres.ts";
import { isNotThereYet } from "./postgres-faults.ts";
import { assertRuntimeRole, grantRuntime, runtimeRoles } from "./postgres-roles.ts";

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

/** Told once, by the first failure, that the database is not there yet, and how long it is waited for. */
export type Waiting = (cause: unknown, seconds: Seconds) => void;

/**
 * Brings a database to the newest schema, as the role of the URL, which then owns the tables. Each role that was given
 * what `serve` needs of them is given it anew, new tables included, and so is `runtimeRole`, an existing role. Throws
 * for a database of a newer version, and for one with another program's tables, before anything is changed.
 */
export function migratePostgres(
  options: PostgresOptions,
  runtimeRole?: string,
  onWaiting?: Waiting,
): Promise<void> {
  return withClient(connected(options, onWaiting), async (client) => {
    await assertUsable(client);
    await isFounded(client);
    await bringUpToDate(client, runtimeRole);
  });
}

/**
 * Waits until the database is there, and brings it to the newest schema where the role may. Throws where it may not,
 * for a database of a newer version, and for one with another program's tables; and the reason of `stop`, which ends the
 * wait.
 */
export function prepareDatabase(
  options: PostgresOptions,
  onWaiting?: Waiting,
  stop?: AbortSignal,
): Promise<void> {
  return withClient(
    connected(options, onWaiting, stop),
    async (client) => {
      await assertUsable(client);
      if ((await isFounded(client)) && (await isNewest(client))) return;
      const { may, role } = await mayMigrate(client);
      if (!may) {
        throw new Error(
          `The database has no schema yet, or an older one than this program needs, and this role may not change that: run \`keyturn migrate --runtime-role ${role}\` with the URL of the role that owns the tables.`,
        );
      }
      await bringUpToDate(client);
    },
    stop,
  );
}

/**
 * For what works beside a server: throws for a database that is not there, or not at the newest schema. Waits for nothing
 * and changes nothing.
 */
export function assertPrepared(options: PostgresOptions): Promise<void> {
  return withClient(connectedAtOnce(options), async (client) => {
    await assertUsable(client);
    if (!(await isFounded(client)))
      throw new Error("There is no installation in this database: keyturn serve makes one.");
    if (!(await isNewest(client))) {
      throw new Error(
        "The database has an older schema than this program needs, and this command changes none: run `keyturn migrate` or start the new server first, or use the program of the version that serves.",
      );
    }
  });
}

/** Whether the URL's role could change what stands in the audit log: a serving process needs no such right. */
export function mayRewriteLog(options: PostgresOptions): Promise<boolean> {
  return withClient(connectedAtOnce(options), async (client) => {
    const { rows } = await client.query<{ may: boolean }>(
      "select has_table_privilege('audit_entries', 'update, delete, truncate') or pg_has_role(relowner, 'usage') as may from pg_class where oid = 'audit_entries'::regclass",
    );
    return rows[0]?.may !== false;
  });
}

/**
 * Whether a database holds Keyturn's tables; false where there is nothing yet. Throws where another program's tables
 * stand in their place. What belongs to an extension is nobody's.
 */
export async function isFounded(client: ClientBase): Promise<boolean> {
  const { rows } = await client.query<{ is_ours: boolean; tables: readonly string[] }>(`
    select
      exists (
        select from pg_attribute where attrelid = to_regclass('schema_versions') and attname = 'part'
      ) as is_ours,
      array(
        select relname::text from pg_class
        where relnamespace = (select oid from pg_namespace where nspname = current_schema())
          and relkind in ('r', 'p', 'v', 'm', 'f')
          and not exists (
            select from pg_depend
            where classid = 'pg_class'::regclass and objid = pg_class.oid and deptype = 'e'
          )
        order by relname limit 3
      ) as tables`);
  const { is_ours, tables } = rows[0] ?? { is_ours: false, tables: [] };
  if (is_ours || tables.length === 0) return is_ours;
  throw new Error(
    `The database holds another program's tables (${tables.join(", ")}). Nothing was changed: name a database of Keyturn's own.`,
  );
}

async function withClient<T>(
  connecting: Promise<Client>,
  work: (client: Client) => Promise<T>,
  stop?: AbortSignal,
): Promise<T> {
  const client = await connecting;
  const letGo = givenUpAt(client, stop);
  try {
    return await work(client);
  } catch (error) {
    stop?.throwIfAborted();
    throw error;
  } finally {
    letGo();
    await client.end();
  }
}

/** Ends the connection at the signal, in the midst of whatever waits on it. Returns the end of that. */
function givenUpAt(client: Client, stop: AbortSignal | undefined): () => void {
  const giveUp = () => void client.connection.stream.destroy();
  stop?.addEventListener("abort", giveUp);
  return () => stop?.removeEventListener("abort", giveUp);
}

async function connected(options: PostgresOptions, onWaiting?: Waiting, stop?: AbortSignal): Promise<Client> {
  const seconds = options.startTimeoutSeconds ?? POSTGRES_DEFAULTS.startTimeoutSeconds;
  const end = performance.now() + seconds * 1_000;
  for (let tries = 1; ; tries += 1) {
    // One that came during the pause need not cut it short: it is a quarter of a second.
    stop?.throwIfAborted();
    try {
      return await connectedAtOnce(options, stop);
    } catch (error) {
      stop?.throwIfAborted();
      if (!isNotThereYet(error) || performance.now() > end) throw error;
      if (tries === 1) onWaiting?.(error, seconds);
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/**
 * Opens a connection for what takes as long as it takes. Throws what the client has to say; nothing stays open then.
 * `stop` gives the attempt up.
 */
export async function connectedAtOnce(options: PostgresOptions, stop?: AbortSignal): Promise<Client> {
  const client = patientClient(options);
  // A server that keeps silent would be waited for until the time limit.
  const letGo = givenUpAt(client, stop);
  try {
    await client.connect();
    await assertPrimary(client);
    return client;
  } catch (error) {
    await client.end().catch(() => undefined);
    throw error;
  } finally {
    letGo();
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

async function mayMigrate(client: ClientBase): Promise<{ readonly may: boolean; readonly role: string }> {
  const { rows } = await client.query<{ may: boolean; role: string }>(`
    select current_user::text as role, coalesce(has_schema_privilege(current_schema(), 'create'), false) and coalesce(
      (select pg_has_role(relowner, 'usage') from pg_class where oid = to_regclass('schema_versions')), true
    ) as may`);
  return rows[0] ?? { may: false, role: "" };
}

async function bringUpToDate(client: ClientBase, runtimeRole?: string): Promise<void> {
  if (runtimeRole !== undefined) await assertRuntimeRole(client, runtimeRole);
  const roles = new Set(await runtimeRoles(client));
  if (runtimeRole !== undefined) roles.add(runtimeRole);
  await takeSteps(client);
  for (const role of roles) await inTurn(client, () => grantRuntime(client, role));
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
