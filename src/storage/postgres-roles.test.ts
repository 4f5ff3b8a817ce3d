import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { storageContract } from "../../test/contracts/storage-contract.ts";
import {
  asSuperuser,
  failureOf,
  makeRoles,
  NO_POSTGRES,
  newDatabase,
  OWNER_ROLE,
  RUNTIME_ROLE,
  type TestDatabase,
} from "../../test/support/postgres.ts";
import { appendEntry } from "../../test/support/storage.ts";
import { migratePostgres } from "./migrate-postgres.ts";
import { openPostgresStorage } from "./postgres-storage.ts";

/** A database that belongs to the owner, where the other role may do what `serve` needs. */
async function ownedDatabase(): Promise<TestDatabase> {
  await makeRoles();
  const database = await newDatabase("empty");
  const name = new URL(database.url).pathname.slice(1);
  await asSuperuser(
    database.url,
    `alter database ${name} owner to ${OWNER_ROLE}`,
    `alter schema public owner to ${OWNER_ROLE}`,
    "revoke create on schema public from public",
  );
  return database;
}

describe.skipIf(NO_POSTGRES)("as a role that owns nothing", () => {
  storageContract("PostgreSQL", async () => {
    const database = await ownedDatabase();
    await migratePostgres({ url: database.as(OWNER_ROLE) }, RUNTIME_ROLE);
    const storage = await openPostgresStorage({ url: database.as(RUNTIME_ROLE) });
    return {
      ...storage,
      close: async () => {
        await storage.close();
        await database.drop();
      },
    };
  });
});

/** The newest step makes a table, to which nobody but its owner has a right yet. */
const AS_BEFORE_THE_LAST_STEP = [
  "drop table audit_head",
  "update schema_versions set version = version - 1 where part = 'postgres'",
];

describe.skipIf(NO_POSTGRES)("R20: the role that serves", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await ownedDatabase();
    await migratePostgres({ url: database.as(OWNER_ROLE) }, RUNTIME_ROLE);
    const storage = await openPostgresStorage({ url: database.as(RUNTIME_ROLE) });
    await storage.change((tx) =>
      appendEntry(tx, { subjects: [{ kind: "key", id: "key_1", before: null, after: {} }] }),
    );
    await storage.close();
  });
  afterAll(() => database.drop());

  const LOG = ["audit_entries", "audit_subjects", "audit_hidden_texts"] as const;
  const ATTEMPTS = LOG.flatMap((table) => [
    `update ${table} set seq = seq + 1`,
    `delete from ${table}`,
    `truncate ${table} cascade`,
    `drop table ${table} cascade`,
    `alter table ${table} disable trigger all`,
    `alter table ${table} add column more text`,
    `alter table ${table} rename to gone`,
    `create trigger t before insert on ${table} execute function suppress_redundant_updates_trigger()`,
    `create rule r as on insert to ${table} do instead nothing`,
    `do $$ begin lock table ${table} in exclusive mode; end $$`,
    `select seq from ${table} for update`,
  ]);

  test.each([
    ...ATTEMPTS,
    "update audit_entries set entry = 'x'",
    "insert into audit_entries select * from audit_entries on conflict (seq) do update set entry = 'x'",
    "delete from audit_head",
    "insert into audit_head (single, seq, chain_hash, at) values (false, 0, '', 0)",
    "update schema_versions set version = 0",
    "drop schema public cascade",
    "create table more (x text)",
    `set role ${OWNER_ROLE}`,
    `set session authorization ${OWNER_ROLE}`,
  ])("can't: %s", async (statement) => {
    const failure = await failureOf(asSuperuser(database.as(RUNTIME_ROLE), statement));
    expect(failure).toMatchObject({ code: "42501" });
  });

  test("has no right to rewrite the log after all that was tried, and the log is as it was", async () => {
    const storage = await openPostgresStorage({ url: database.as(RUNTIME_ROLE) });
    const lines = await storage.read.audit.lines(0, 10);
    expect(lines.map((line) => line.seq)).toEqual([1]);
    await storage.change((tx) => appendEntry(tx));
    await storage.close();
    // PostgreSQL answers this with a warning, and does nothing.
    await asSuperuser(database.as(RUNTIME_ROLE), `grant update on audit_entries to ${RUNTIME_ROLE}`);
    const again = asSuperuser(database.as(RUNTIME_ROLE), "update audit_entries set entry = 'x'");
    expect(await failureOf(again)).toMatchObject({ code: "42501" });
  });

  test("R39: without a right that serving needs is told so, with the way out, and goes on when it has it", async () => {
    const storage = await openPostgresStorage({ url: database.as(RUNTIME_ROLE) });
    await asSuperuser(database.url, `revoke insert on audit_hidden_texts from ${RUNTIME_ROLE}`);
    expect(await failureOf(storage.change((tx) => appendEntry(tx)))).toMatchObject({
      code: "storage_unavailable",
      message: expect.stringContaining("keyturn migrate --runtime-role"),
      cause: expect.objectContaining({ code: "42501" }),
    });
    await asSuperuser(database.url, `grant insert on audit_hidden_texts to ${RUNTIME_ROLE}`);
    await storage.change((tx) => appendEntry(tx));
    await storage.close();
  });

  test("is told to have the owner migrate when the schema is not the newest", async () => {
    const outdated = await ownedDatabase();
    const open = () => openPostgresStorage({ url: outdated.as(RUNTIME_ROLE) });
    const told = expect.objectContaining({
      message: expect.stringContaining(`run \`keyturn migrate --runtime-role ${RUNTIME_ROLE}\` with the URL`),
    });
    expect(await failureOf(open())).toEqual(told);
    await migratePostgres({ url: outdated.as(OWNER_ROLE) }, RUNTIME_ROLE);
    await (await open()).close();
    await asSuperuser(
      outdated.url,
      "update schema_versions set version = version - 1 where part = 'postgres'",
    );
    expect(await failureOf(open())).toEqual(told);
    await outdated.drop();
  });

  test("is given nothing under a name that would be SQL, and an unknown one is an error", async () => {
    const granting = migratePostgres(
      { url: database.as(OWNER_ROLE) },
      `${RUNTIME_ROLE}; drop table facts; --`,
    );
    expect(String(await failureOf(granting))).toContain("correct --runtime-role");
  });

  test("keeps its rights over an upgrade that doesn't name it, and gets those of new tables", async () => {
    const upgraded = await ownedDatabase();
    await migratePostgres({ url: upgraded.as(OWNER_ROLE) }, RUNTIME_ROLE);
    await asSuperuser(upgraded.url, ...AS_BEFORE_THE_LAST_STEP);
    await migratePostgres({ url: upgraded.as(OWNER_ROLE) });
    const storage = await openPostgresStorage({ url: upgraded.as(RUNTIME_ROLE) });
    expect((await storage.change((tx) => appendEntry(tx))).seq).toBe(1);
    await storage.close();
    const forbidden = asSuperuser(upgraded.as(RUNTIME_ROLE), "update audit_entries set entry = 'x'");
    expect(await failureOf(forbidden)).toMatchObject({ code: "42501" });
    await upgraded.drop();
  });

  test("gets those of new tables also from a start of the owner, and a role that only reads gets none", async () => {
    const upgraded = await ownedDatabase();
    await migratePostgres({ url: upgraded.as(OWNER_ROLE) }, RUNTIME_ROLE);
    await asSuperuser(
      upgraded.url,
      ...AS_BEFORE_THE_LAST_STEP,
      "grant select on audit_entries to pg_monitor",
    );
    await (await openPostgresStorage({ url: upgraded.as(OWNER_ROLE) })).close();
    const storage = await openPostgresStorage({ url: upgraded.as(RUNTIME_ROLE) });
    expect((await storage.change((tx) => appendEntry(tx))).seq).toBe(1);
    await storage.close();
    await asSuperuser(
      upgraded.url,
      "do $$ begin assert not has_table_privilege('pg_monitor', 'keys', 'select'); end $$",
    );
    await upgraded.drop();
  });
});
