import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import { Client } from "pg";
import { startWorld, type World } from "../../test/support/authority.ts";
import {
  asSuperuser,
  failureOf,
  makeRoles,
  NO_POSTGRES,
  newDatabase,
  RUNTIME_ROLE,
  type TestDatabase,
} from "../../test/support/postgres.ts";
import { freePort } from "../../test/support/server.ts";
import { newFolder } from "../../test/support/traces.ts";
import { type Config, readConfig } from "../config.ts";
import { prepareDatabase } from "../storage/migrate-postgres.ts";
import { openPostgresStorage } from "../storage/postgres-storage.ts";
import { exportAudit, verifyAudit } from "./audit.ts";
import { examine } from "./doctor.ts";
import { migrateSchema, migrateStore } from "./migrate-store.ts";
import { assertNotLeftBehind, HostError, openInstallation, waitingFor } from "./open.ts";
import { recoverRootKey } from "./recover.ts";
import { restore } from "./restore.ts";

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

async function database(content: "migrated" | "empty"): Promise<TestDatabase> {
  const made = await newDatabase(content);
  closing.push(made.drop);
  return made;
}

/** An embedded installation, and the settings of a server over it. */
async function embedded(): Promise<World> {
  const world = await startWorld();
  closing.push(world.close);
  return world;
}

/** A database that somebody works with. */
async function inUse(): Promise<TestDatabase> {
  const made = await database("migrated");
  const world = await startWorld({ open: () => openPostgresStorage({ url: made.url }) });
  await world.close();
  return made;
}

/** As a program left it that knew a step less. */
const outdate = ({ url }: TestDatabase) =>
  asSuperuser(url, "update schema_versions set version = version - 1 where part = 'postgres'");

const configOf = (url: string, env: Record<string, string> = {}): Config =>
  readConfig({ KEYTURN_DATABASE_URL: url, KEYTURN_DATA: "/nowhere", ...env });

const move = (world: World, to: string, more: { runtimeRole?: string; cancel?: boolean } = {}) =>
  migrateStore(
    readConfig({ KEYTURN_DATA: world.folder }),
    { to, runtimeRole: more.runtimeRole, acceptLoss: false, cancel: more.cancel ?? false },
    () => {},
  );

async function refusalOf(attempt: Promise<unknown>): Promise<string> {
  const error = await failureOf(attempt);
  expect(error).toBeInstanceOf(HostError);
  return error instanceof Error ? error.message : "";
}

/** What stands in a database: each table with its number of columns, and the steps that were taken. */
async function schemaOf(url: string): Promise<unknown> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const { rows: tables } = await client.query<object>(
      "select relname, relnatts, relacl::text from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace order by relname",
    );
    const isFounded = tables.length > 1;
    const steps = isFounded
      ? await client.query<object>("select * from schema_versions order by part")
      : null;
    return { tables, steps: steps?.rows };
  } finally {
    await client.end();
  }
}

function changed(url: string, parts: { password?: string; pathname?: string }): string {
  return Object.assign(new URL(url), parts).href;
}

describe.skipIf(NO_POSTGRES)(
  "what PostgreSQL refuses is told under the setting's name, with the way out",
  () => {
    beforeAll(makeRoles);

    type Case = readonly [string, (url: string) => string, RegExp, string?];
    const CASES: readonly Case[] = [
      [
        "a wrong password",
        (url) => changed(url, { password: "not-the-password" }),
        /^password authentication failed for user "\w+"\. The password is read from the URL, PGPASSWORD or a pgpass file\.$/,
      ],
      [
        "no password",
        (url) => changed(url, { password: "" }),
        /^The server asks for a password\. The password is read from the URL, PGPASSWORD or a pgpass file\.$/,
      ],
      [
        "a database that is not there",
        (url) => changed(url, { pathname: "/keyturn_nowhere" }),
        /^database "keyturn_nowhere" does not exist\. Make it first, as docs\/postgresql\.md shows\.$/,
      ],
      [
        "a runtime role that is not there",
        (url) => url,
        /^The server has no role "keyturn_ap"\. Make it first \(create role … login\), or correct --runtime-role\.$/,
        "keyturn_ap",
      ],
    ];

    for (const [what, urlOf, words, runtimeRole] of CASES) {
      test(`${what}: of migrate, migrate-store and doctor, and the password stands nowhere`, async () => {
        const { url } = await database("empty");
        const world = await embedded();
        const bad = urlOf(url);
        const said = [
          await refusalOf(migrateSchema(configOf(bad), runtimeRole, () => {})),
          await refusalOf(move(world, bad, runtimeRole === undefined ? {} : { runtimeRole })),
        ];
        expect(said.map((text) => text.split(": ")[0])).toEqual(["KEYTURN_DATABASE_URL", "--to"]);
        for (const text of said) expect(text.slice(text.indexOf(": ") + 2)).toMatch(words);
        if (runtimeRole === undefined) {
          const findings = await examine(configOf(bad), {}, false);
          said.push(findings.find(({ check }) => check === "schema")?.message ?? "");
          expect(said[2]).toBe(said[0] ?? "");
        }
        expect(said.join()).not.toContain("not-the-password");
        expect(await schemaOf(url)).toMatchObject({ tables: [] });
      });
    }

    test("a role that may make no tables", async () => {
      const made = await database("empty");
      await asSuperuser(made.url, "revoke create on schema public from public");
      const said = await refusalOf(migrateSchema(configOf(made.as(RUNTIME_ROLE)), undefined, () => {}));
      expect(said).toMatch(
        /^KEYTURN_DATABASE_URL: permission denied for schema public\. Take the role that owns the tables/,
      );
    });

    test("a runtime role that is the owner itself, which would lose its own rights", async () => {
      const { url } = await database("empty");
      const said = await refusalOf(migrateSchema(configOf(url), new URL(url).username, () => {}));
      expect(said).toContain("which owns the tables. Name the role that serves.");
    });
  },
);

describe.skipIf(NO_POSTGRES)("a database that is not theirs is left as it is", () => {
  test("migrate-store and its --cancel refuse an installation of an older version, and migrate nothing", async () => {
    const made = await inUse();
    await outdate(made);
    const before = await schemaOf(made.url);
    const world = await embedded();
    await makeRoles();
    expect(await refusalOf(move(world, made.url, { runtimeRole: RUNTIME_ROLE }))).toContain("not empty");
    expect(await refusalOf(move(world, made.url, { cancel: true }))).toContain("no move to call off");
    expect(await schemaOf(made.url)).toEqual(before);
    expect(await world.authority.storage.read.facts.get("closed")).toBeNull();
  });

  test("another program's database is refused by migrate-store, migrate and serve, and stays as it was", async () => {
    const made = await database("empty");
    await asSuperuser(
      made.url,
      "create table orders (id bigint)",
      "create view open_orders as select * from orders",
    );
    const world = await embedded();
    const attempts = [
      () => move(world, made.url),
      () => move(world, made.url, { cancel: true }),
      () => migrateSchema(configOf(made.url), undefined, () => {}),
      () => openInstallation(configOf(made.url)),
    ];
    for (const attempt of attempts)
      expect(await refusalOf(attempt())).toContain(
        "holds another program's tables (open_orders, orders). Nothing was changed: name a database of Keyturn's own.",
      );
    expect(await schemaOf(made.url)).toMatchObject({ tables: [{ relname: "orders" }] });
  });

  test("--cancel touches no database in which nothing was begun", async () => {
    const made = await database("empty");
    expect(await refusalOf(move(await embedded(), made.url, { cancel: true }))).toContain("not being moved");
    expect(await schemaOf(made.url)).toMatchObject({ tables: [] });
  });

  const COMMANDS: readonly (readonly [string, (config: Config) => Promise<unknown>])[] = [
    [
      "audit verify",
      (config) => verifyAudit(config, { head: undefined, witnessFile: undefined, file: undefined }),
    ],
    ["audit export", (config) => exportAudit(config, undefined, () => {})],
    ["setup --recover", recoverRootKey],
    ["restore", (config) => restore(config, { from: undefined, witnessFile: undefined, acceptLoss: true })],
    [
      "doctor",
      async (config) => {
        const wrong = (await examine(config, {}, false)).filter(({ state }) => state === "wrong");
        throw new HostError(wrong.map(({ message }) => message).join());
      },
    ],
  ];
  for (const [name, run] of COMMANDS) {
    test(`${name} changes no schema: neither of an empty database nor of an older one`, async () => {
      const empty = await database("empty");
      expect(await refusalOf(run(configOf(empty.url)))).toBe(
        "KEYTURN_DATABASE_URL: There is no installation in this database: keyturn serve makes one.",
      );
      expect(await schemaOf(empty.url)).toMatchObject({ tables: [] });
      const older = await inUse();
      await outdate(older);
      const before = await schemaOf(older.url);
      expect(await refusalOf(run(configOf(older.url)))).toContain(
        "has an older schema than this program needs, and this command changes none: run `keyturn migrate`",
      );
      expect(await schemaOf(older.url)).toEqual(before);
    });
  }
});

describe.skipIf(NO_POSTGRES)("an empty database beside a folder with an installation", () => {
  const attempt = async (config: Config) => {
    const { authority, close } = await openInstallation(config);
    try {
      await assertNotLeftBehind(authority, config);
    } finally {
      await close();
    }
  };

  test("is refused with both ways out; another folder, or a database with an operator, is not", async () => {
    const { url } = await database("migrated");
    const world = await embedded();
    const both = configOf(url, { KEYTURN_DATA: world.folder });
    const said = await refusalOf(attempt(both));
    expect(said).toStartWith(
      `KEYTURN_DATABASE_URL: the database is empty, while ${world.folder} (KEYTURN_DATA)`,
    );
    expect(said).toContain("keyturn migrate-store moves that one");
    expect(said).toContain("let KEYTURN_DATA name a folder that holds none");
    const findings = await examine(both, {}, false);
    expect(findings.find(({ check }) => check === "servable")).toMatchObject({
      state: "wrong",
      message: said,
    });
    await attempt(configOf(url, { KEYTURN_DATA: newFolder("no-installation") }));
    const used = await inUse();
    await attempt(configOf(used.url, { KEYTURN_DATA: world.folder }));
  });
});

describe.skipIf(NO_POSTGRES)("keyturn doctor on PostgreSQL", () => {
  test("calls wrong what serve would refuse: a database with another identity than the one that was noted", async () => {
    const made = await inUse();
    const said = async () =>
      (await examine(configOf(made.url), {}, false)).find(({ check }) => check === "servable");
    expect(await said()).toMatchObject({ state: "ok" });
    await asSuperuser(
      made.url,
      "insert into facts (name, value) values ('database_identity', 'another') on conflict (name) do update set value = 'another'",
    );
    expect(await said()).toMatchObject({
      state: "wrong",
      message: expect.stringMatching(/restored from a backup.*--witness FILE.*--accept-loss/),
    });
  });
});

describe("a database that does not answer", () => {
  test("is waited for by a start and by migrate, which say so once and at once; and not by doctor", async () => {
    const url = `postgres://keyturn:secret-word@127.0.0.1:${await freePort()}/keyturn`;
    const config = configOf(url, { KEYTURN_DATABASE_START_TIMEOUT: "1s" });
    const { host } = new URL(url);
    const expected = expect.stringMatching(
      new RegExp(`^waiting for the database at postgres://${host}/keyturn, up to 1 s: .*ECONNREFUSED`),
    );
    const told: string[] = [];
    const tell = (message: string) => void told.push(message);
    const prepare = () => prepareDatabase({ url, startTimeoutSeconds: 1 }, waitingFor(config, tell));
    expect(await refusalOf(openInstallation(config, { prepare }))).toContain("ECONNREFUSED");
    expect(told).toEqual([expected]);
    await refusalOf(migrateSchema(config, undefined, tell));
    expect(told).toEqual([expected, expected]);
    const since = performance.now();
    const findings = await examine(configOf(url), {}, false);
    expect(findings.find(({ check }) => check === "schema")).toMatchObject({
      state: "wrong",
      message: expect.stringContaining("ECONNREFUSED"),
    });
    expect(performance.now() - since).toBeLessThan(5_000);
  });
});
