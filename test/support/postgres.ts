import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { Client, DatabaseError, escapeIdentifier } from "pg";
import { sha256 } from "../../src/authority/audit/entry.ts";
import type { Storage } from "../../src/authority/storage.ts";
import { AUTHORITY_MIGRATIONS, EVIDENCE_MIGRATIONS } from "../../src/storage/migrate.ts";
import { migratePostgres, POSTGRES_MIGRATIONS } from "../../src/storage/migrate-postgres.ts";
import type { PostgresOptions } from "../../src/storage/postgres.ts";
import { openPostgresStorage } from "../../src/storage/postgres-storage.ts";
import type { Pair } from "../contracts/cluster-contract.ts";
import { startWorld, type World } from "./authority.ts";
import { postgresPrograms, startPostgresServer } from "./postgres-server.ts";
import { newFolder, TRACES } from "./traces.ts";
import { until } from "./until.ts";

const GIVEN = process.env.KEYTURN_TEST_POSTGRES_URL;

/** For `describe.skipIf`: whether there is no PostgreSQL here. Throws where nothing may be skipped. */
export const NO_POSTGRES = GIVEN === undefined && postgresPrograms() === null;

/** The role that `serve` runs as in the tests of least privilege, and its owner's. Both have the same password. */
export const RUNTIME_ROLE = "keyturn_test_runtime";
export const OWNER_ROLE = "keyturn_test_owner";
// Several runs may share a server that was given.
const ROLE_PASSWORD = GIVEN === undefined ? crypto.randomUUID() : sha256(new URL(GIVEN).password);

/** One server for all tests of a process, started by the first that needs it. */
let server: Promise<string> | undefined;
function serverUrl(): Promise<string> {
  server ??= GIVEN !== undefined ? Promise.resolve(GIVEN) : startPostgresServer().then(({ url }) => url);
  return server;
}

function inDatabase(url: string, database: string, role?: string): string {
  const place = new URL(url);
  place.pathname = `/${database}`;
  if (role !== undefined) {
    place.username = role;
    place.password = ROLE_PASSWORD;
  }
  return place.href;
}

/** Runs statements as the superuser. */
export async function asSuperuser(url: string, ...statements: readonly string[]): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

/** What this fails with. Bun's own `rejects` holds up the sockets that it waits for: 300 ms instead of 10. */
export function failureOf(attempt: Promise<unknown>): Promise<unknown> {
  return attempt.then(
    () => {
      throw new Error("It was done, and should have failed.");
    },
    (error: unknown) => error,
  );
}

/** Makes both roles, once. */
let roles: Promise<void> | undefined;
export function makeRoles(): Promise<void> {
  roles ??= (async () => {
    const admin = inDatabase(await serverUrl(), "postgres");
    for (const role of [RUNTIME_ROLE, OWNER_ROLE]) {
      await asSuperuser(
        admin,
        `do $$ begin create role ${role} login; exception when duplicate_object then null; end $$`,
        `alter role ${role} password '${ROLE_PASSWORD}'`,
      );
    }
  })();
  return roles;
}

const RUN = crypto.randomUUID().slice(0, 8);
/** Another one for each schema, so that a server that was given keeps a few of them, and not one a run. */
const TEMPLATE = `keyturn_template_${sha256([...AUTHORITY_MIGRATIONS, ...EVIDENCE_MIGRATIONS, ...POSTGRES_MIGRATIONS].join()).slice(0, 16)}`;
let made = 0;

/** A database that was brought to the newest schema once: to copy it takes 30 ms, to make it anew 200. */
let template: Promise<void> | undefined;
async function makeTemplate(): Promise<void> {
  const url = await serverUrl();
  const making = asSuperuser(inDatabase(url, "postgres"), `create database ${TEMPLATE}`);
  await making.catch((error: unknown) => {
    if (!(error instanceof DatabaseError) || error.code !== "42P04") throw error;
  });
  await migratePostgres({ url: inDatabase(url, TEMPLATE) });
}

export interface TestDatabase {
  readonly url: string;
  /** The same database as another role. */
  as(role: string): string;
  drop(): Promise<void>;
}

/** A database of a test's own: at the newest schema, or with nothing in it. */
export async function newDatabase(content: "migrated" | "empty" = "migrated"): Promise<TestDatabase> {
  const server = await serverUrl();
  made += 1;
  const name = `keyturn_test_${RUN}_${made}`;
  const admin = inDatabase(server, "postgres");
  if (content === "migrated") {
    template ??= makeTemplate();
    await template;
    // Another run may be at work on the template.
    await until("the template can be copied", () =>
      asSuperuser(admin, `create database ${name} template ${TEMPLATE}`).then(
        () => true,
        (error: unknown) => {
          if (error instanceof DatabaseError && error.code === "55006") return false;
          throw error;
        },
      ),
    );
  } else {
    await asSuperuser(admin, `create database ${name}`);
  }
  const url = inDatabase(server, name);
  return {
    url,
    as: (role) => inDatabase(server, name, role),
    drop: async () => {
      await keepRows(url);
      await asSuperuser(admin, `drop database ${name} with (force)`);
    },
  };
}

/** What a database held is for the canary scan. One that a test has ended can't be asked any more. */
export async function keepRows(url: string): Promise<void> {
  if (TRACES === undefined) return;
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  try {
    await client.connect();
  } catch {
    return;
  }
  try {
    const { rows: tables } = await client.query<{ name: string }>(
      "select relname as name from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace",
    );
    const file = join(newFolder("postgres-rows"), "rows.jsonl");
    for (const { name } of tables) {
      // Tables of digests are the places where a digest may stand.
      if (name === "digests" || name === "setup_tokens") continue;
      const { rows } = await client.query<{ row: string }>(
        `select row_to_json(held)::text as row from ${escapeIdentifier(name)} as held`,
      );
      appendFileSync(file, rows.map(({ row }) => `${row}\n`).join(""));
    }
  } finally {
    await client.end();
  }
}

/** A store over a database that is gone when it is closed. */
export async function openThrowawayPostgres(options: Partial<PostgresOptions> = {}): Promise<Storage> {
  const database = await newDatabase();
  const storage = await openPostgresStorage({ url: database.url, ...options });
  return {
    ...storage,
    close: async () => {
      await storage.close();
      await database.drop();
    },
  };
}

/** Two stores over one such database, as two processes have them. */
export async function openThrowawayPostgresPair(): Promise<Pair> {
  const database = await newDatabase();
  const [one, other] = await Promise.all([
    openPostgresStorage({ url: database.url }),
    openPostgresStorage({ url: database.url }),
  ]);
  return {
    one,
    other,
    close: async () => {
      await one.close();
      await other.close();
      await database.drop();
    },
  };
}

/** An authority over a database of its own, which is gone when it is closed. */
export async function startPostgresWorld(): Promise<World> {
  const database = await newDatabase();
  const world = await startWorld({ open: () => openPostgresStorage({ url: database.url }) });
  return droppingAtEnd(world, database);
}

function droppingAtEnd(world: World, database: TestDatabase): World {
  return {
    ...world,
    restart: async () => droppingAtEnd(await world.restart(), database),
    crash: async () => droppingAtEnd(await world.crash(), database),
    close: async () => {
      await world.close();
      await database.drop();
    },
  };
}
