import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { cpSync, renameSync, rmSync } from "node:fs";
import { Client as Database, escapeIdentifier } from "pg";
import type { Client } from "../support/client.ts";
import { times } from "../support/counts.ts";
import { sessionsOf } from "../support/evidence-file.ts";
import {
  issueAt,
  newPlace,
  type Place,
  refusedAt,
  type Served,
  serveAt,
  usesAt,
} from "../support/installation.ts";
import { type KeyturnProcess, spawnKeyturn } from "../support/keyturn-process.ts";
import { asSuperuser, NO_POSTGRES, newDatabase, type TestDatabase } from "../support/postgres.ts";
import { randomFrom, SEED } from "../support/random.ts";
import { cleanUp } from "../support/traces.ts";
import { until } from "../support/until.ts";

afterAll(cleanUp);

const running: KeyturnProcess[] = [];
const databases: TestDatabase[] = [];

afterEach(async () => {
  for (const process of running.splice(0)) {
    process.signal("SIGKILL");
    await process.exited;
  }
  for (const database of databases.splice(0)) await database.drop();
});

async function serve(place: Place, env: Record<string, string> = {}): Promise<Served> {
  const served = await serveAt(place, env);
  running.push(served.process);
  return served;
}

async function emptyDatabase(): Promise<TestDatabase> {
  const database = await newDatabase("empty");
  databases.push(database);
  return database;
}

function move(place: Place, to: string, ...more: readonly string[]): KeyturnProcess {
  const url = new URL(to);
  const env = { ...place.env, PGPASSWORD: url.password };
  url.password = "";
  const process = spawnKeyturn(["migrate-store", "--to", url.href, "--json", ...more], { env });
  running.push(process);
  return process;
}

async function rowsOf<Row extends object>(url: string, sql: string): Promise<readonly Row[]> {
  const connection = new Database({ connectionString: url });
  await connection.connect();
  try {
    return (await connection.query<Row>(sql)).rows;
  } finally {
    await connection.end();
  }
}

async function verdictOf(call: Client, key: string, caller = "api"): Promise<string> {
  const answer = await call("POST", "/v1/keys/verify", { body: { key, caller: { name: caller } } });
  return answer.status === 200 ? answer.body.text("code") : String(answer.status);
}

/** The new process: it keeps a witness of its own. */
function movedFrom(place: Place, { url }: TestDatabase): Place {
  const witness = `${place.witness}.new`;
  return { ...place, env: { ...place.env, KEYTURN_DATABASE_URL: url, KEYTURN_WITNESS_FILE: witness } };
}

/** Takes a lock in the database, so that whoever needs it waits, until it is let go. */
async function holding(url: string, lock: string): Promise<{ readonly letGo: () => Promise<void> }> {
  const connection = new Database({ connectionString: url });
  await connection.connect();
  await connection.query("begin");
  await connection.query(lock);
  return { letGo: () => connection.end() };
}

async function killed(process: KeyturnProcess): Promise<void> {
  process.signal("SIGKILL");
  await process.exited;
}

/** What a move has made of a database so far. */
async function stateOf(url: string): Promise<"empty" | "copy" | "open"> {
  const [schema] = await rowsOf<{ made: boolean }>(url, "select to_regclass('facts') is not null as made");
  if (!schema?.made) return "empty";
  const [account] = await rowsOf(url, "select id from accounts");
  if (account === undefined) return "empty";
  const [closed] = await rowsOf(url, "select value from facts where name = 'closed'");
  return closed === undefined ? "open" : "copy";
}

const copyOf = (url: string, name: string) =>
  `create database ${escapeIdentifier(name)} template ${escapeIdentifier(new URL(url).pathname.slice(1))}`;

const waiting = (process: KeyturnProcess) =>
  until("the move waits", () => process.errors().includes("Waiting"));

describe.skipIf(NO_POSTGRES)("keyturn migrate-store", () => {
  test("R14: moves a live installation: every verification is answered, no change slips in, and what is dead stays dead", async () => {
    const database = await emptyDatabase();
    const place = newPlace("moving");
    const old = await serve(place);
    const keys = [];
    for (let n = 0; n < times(100); n += 1) keys.push(await issueAt(old.call, `key ${n}`));
    const [revoked, good] = [keys[0], keys[1]];
    if (revoked === undefined || good === undefined) throw new Error("no keys were made");
    await old.call("POST", `/v1/keys/${revoked.id}/revoke`, { body: {} });
    const rotation = await old.call("POST", `/v1/keys/${good.id}/rotations`, { body: {} });
    const successor = rotation.body.text("secret");
    await verdictOf(old.call, good.secret, "before");

    const moving = move(place, database.url);
    // Whatever is asked while it goes on is answered as before, at the old process and then at both.
    const calls: Client[] = [old.call];
    const asked = new Map<Client, number>();
    const wrong: string[] = [];
    let going = true;
    const traffic = (async () => {
      while (going) {
        for (const call of [...calls]) {
          asked.set(call, (asked.get(call) ?? 0) + 1);
          const told = [await verdictOf(call, good.secret, "traffic"), await verdictOf(call, revoked.secret)];
          if (told.join() !== "valid,revoked") wrong.push(told.join());
        }
      }
    })();
    await waiting(moving);
    const late = await old.call("POST", "/v1/service-accounts", { body: { name: "late" } });
    expect([late.status, late.code]).toEqual([503, "storage_unavailable"]);

    const env = { KEYTURN_DATABASE_URL: database.url };
    const other = await serve(movedFrom(place, database));
    calls.push(other.call);
    const early = await other.call("POST", "/v1/service-accounts", { body: { name: "early" } });
    expect([early.status, early.code]).toEqual([503, "storage_unavailable"]);
    const before = asked.get(old.call) ?? 0;
    await until("both were asked", () =>
      [(asked.get(old.call) ?? 0) - before, asked.get(other.call) ?? 0].every((count) => count >= 10),
    );
    calls.shift();
    // What was on its way to the old one is answered, and nothing is sent there any more.
    const since = asked.get(other.call) ?? 0;
    await until("the traffic is sent elsewhere", () => (asked.get(other.call) ?? 0) >= since + 2);
    await old.process.stop();
    expect(await moving.exited).toBe(0);
    going = false;
    await traffic;
    expect(wrong).toEqual([]);

    await until(
      "changes are accepted",
      async () =>
        (await other.call("POST", "/v1/service-accounts", { body: { name: "afterwards" } })).status === 201,
    );
    // Same ids, same digests, same chain, continued.
    expect(await verdictOf(other.call, successor)).toBe("valid");
    expect((await other.call("GET", `/v1/keys/${revoked.id}`)).body.text("state")).toBe("revoked");
    const verify = spawnKeyturn(["audit", "verify", "--witness", place.witness, "--json"], { env });
    expect(await verify.exited).toBe(0);
    // Nobody's use was lost or counted twice: the old process's, and the new one's.
    const callers = await other.call("GET", `/v1/keys/${good.id}/callers`);
    expect(callers.text).toContain("before");
    // What is left behind serves no more, which the doctor says as well.
    expect((await refusedAt(place)).said).toContain("was moved to PostgreSQL");
    const doctor = spawnKeyturn(["doctor"], { env: place.env });
    expect([await doctor.exited, doctor.output()]).toEqual([
      1,
      expect.stringMatching(/^WRONG +servable +This installation was moved to PostgreSQL/m),
    ]);
  }, 300_000);

  test("uses on both sides add up: each is counted once", async () => {
    const database = await emptyDatabase();
    const place = newPlace("moving-use");
    const old = await serve(place);
    const key = await issueAt(old.call, "counted");
    for (let n = 0; n < 7; n += 1) await verdictOf(old.call, key.secret, "job");
    const moving = move(place, database.url);
    await waiting(moving);
    for (let n = 0; n < 5; n += 1) await verdictOf(old.call, key.secret, "job");
    const now = await serve(movedFrom(place, database));
    for (let n = 0; n < 3; n += 1) await verdictOf(now.call, key.secret, "job");
    await old.process.stop();
    expect(await moving.exited).toBe(0);
    await now.process.stop();
    const [row] = await rowsOf<{ count: string }>(
      database.url,
      `select sum(count) as count from usage_minutes where key_id = '${key.id}' and code = 'valid'`,
    );
    expect(Number(row?.count)).toBe(15);
    const [caller] = await rowsOf<{ count: string }>(
      database.url,
      `select sum(count) as count from caller_counts where key_id = '${key.id}' and caller = 'n:job'`,
    );
    expect(Number(caller?.count)).toBe(15);
  }, 300_000);

  test("refuses a database that is not empty, and leaves both as they were", async () => {
    const database = await emptyDatabase();
    const inUse = await serve(newPlace("in-use"), { KEYTURN_DATABASE_URL: database.url });
    const place = newPlace("not-moved");
    const old = await serve(place);
    const moving = move(place, database.url);
    expect(await moving.exited).toBe(1);
    expect(moving.errors()).toContain("not empty");
    for (const { call } of [inUse, old])
      expect((await call("POST", "/v1/service-accounts", { body: { name: "goes on" } })).status).toBe(201);
  }, 300_000);

  test("calls nothing off where nothing is being moved, and touches no database that is open for changes", async () => {
    const place = newPlace("not-moving");
    const old = await serve(place);
    const empty = move(place, (await emptyDatabase()).url, "--cancel");
    expect([await empty.exited, empty.errors()]).toEqual([1, expect.stringContaining("not being moved")]);
    const database = await emptyDatabase();
    const inUse = await serve(newPlace("open"), { KEYTURN_DATABASE_URL: database.url });
    const taken = move(place, database.url, "--cancel");
    expect([await taken.exited, taken.errors()]).toEqual([1, expect.stringContaining("no move to call off")]);
    for (const { call } of [inUse, old])
      expect((await call("POST", "/v1/service-accounts", { body: { name: "goes on" } })).status).toBe(201);
  }, 300_000);

  const installations = times(10);
  test(`killed at random moments, ${installations * 6} times, it can be run again, and meanwhile no two places take a change`, async () => {
    const random = randomFrom(SEED);
    try {
      for (let n = 0; n < installations; n += 1) await moveWithKills(random);
    } catch (error) {
      console.error(`KEYTURN_TEST_SEED=${SEED}`);
      throw error;
    }
  }, 900_000);

  async function moveWithKills(random: () => number): Promise<void> {
    const database = await emptyDatabase();
    const place = newPlace("moving-killed");
    const made: string[] = [];
    let old: Served | null = await serve(place);
    let other: Served | null = null;
    const key = await issueAt(old.call, "moved at last");

    const moveForAWhile = async () => {
      const moving = move(place, database.url);
      await Promise.race([Bun.sleep(200 + random() * 700), moving.exited]);
      await killed(moving);
    };
    /** Wherever a server comes up is asked for a verdict and for a change. A database without a copy is left empty. */
    const askBoth = async () => {
      if ((await stateOf(database.url)) !== "empty") other ??= await serve(movedFrom(place, database));
      const places = [old, other].filter((one) => one !== null);
      for (const { call } of places) expect(await verdictOf(call, key.secret)).toBe("valid");
      const name = `made ${crypto.randomUUID()}`;
      const told = await Promise.all(
        places.map(({ call }) => call("POST", "/v1/service-accounts", { body: { name } })),
      );
      const refused = told.filter(({ status }) => status !== 201);
      for (const { status, code } of refused) expect([status, code]).toEqual([503, "storage_unavailable"]);
      expect(told.length - refused.length).toBeLessThanOrEqual(1);
      if (refused.length < told.length) made.push(name);
    };

    for (let kills = 0; kills < 4; kills += 1) {
      await moveForAWhile();
      await askBoth();
    }
    for (let kills = 0; kills < 2; kills += 1) {
      await old?.process.stop();
      await moveForAWhile();
      // Whoever looks after it starts it again; a folder that was left it does not serve.
      old = await serve(place).catch(() => null);
      await askBoth();
    }
    await old?.process.stop();
    if ((await stateOf(database.url)) !== "open") expect(await move(place, database.url).exited).toBe(0);
    const now = other ?? (await serve(movedFrom(place, database)));
    expect(await verdictOf(now.call, key.secret)).toBe("valid");
    const kept = await rowsOf<{ name: string }>(
      database.url,
      "select name from service_accounts where name like 'made %'",
    );
    expect(kept.map(({ name }) => name).toSorted()).toEqual(made.toSorted());
    const verify = spawnKeyturn(["audit", "verify", "--json"], {
      env: { KEYTURN_DATABASE_URL: database.url },
    });
    expect(await verify.exited).toBe(0);
    await now.process.stop();
  }

  test("called off it accepts changes at the old place again, and the copy serves nothing", async () => {
    const database = await emptyDatabase();
    const place = newPlace("called-off");
    const old = await serve(place);
    const moving = move(place, database.url);
    await waiting(moving);
    moving.signal("SIGKILL");
    await moving.exited;
    const doctor = spawnKeyturn(["doctor"], { env: place.env });
    expect([await doctor.exited, doctor.output()]).toEqual([
      0,
      expect.stringMatching(/^WARNING +servable +changes are refused, because keyturn migrate-store/m),
    ]);
    expect(await move(place, database.url, "--cancel").exited).toBe(0);
    await until(
      "changes are accepted",
      async () =>
        (await old.call("POST", "/v1/service-accounts", { body: { name: "again" } })).status === 201,
    );
    expect(await rowsOf(database.url, "select 1 from keys")).toEqual([]);
    // Nothing is left that a new installation would stumble over.
    await serve(newPlace("after-calling-off"), { KEYTURN_DATABASE_URL: database.url });
  }, 300_000);

  test("R14: once the old server has stopped it starts no more, however long use is added and whatever becomes of the move; use is added once", async () => {
    const database = await emptyDatabase();
    const place = newPlace("moved-for-good");
    const old = await serve(place);
    const key = await issueAt(old.call, "left behind");
    for (let n = 0; n < 3; n += 1) await verdictOf(old.call, key.secret, "job");

    const first = move(place, database.url);
    await waiting(first);
    const use = await holding(database.url, "lock table reporters in access exclusive mode");
    await old.process.stop();
    await until("use is being added", async () => {
      const waits = await rowsOf(
        database.url,
        "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
      );
      return waits.length > 0;
    });
    expect((await refusedAt(place)).said).toContain("was moved to PostgreSQL");
    await killed(first);
    await use.letGo();
    expect((await refusedAt(place)).said).toContain("was moved to PostgreSQL");

    const opening = await holding(
      database.url,
      "select pg_advisory_xact_lock_shared(hashtext('keyturn'), 0)",
    );
    const second = move(place, database.url);
    await until(
      "use was added",
      async () => (await rowsOf(database.url, "select 1 from reporters")).length > 0,
    );
    await killed(second);
    await opening.letGo();
    expect((await refusedAt(place)).said).toContain("was moved to PostgreSQL");

    expect(await move(place, database.url).exited).toBe(0);
    const now = await serve(movedFrom(place, database));
    expect(await usesAt(now.call, key.id)).toEqual({ valid: 3 });
  }, 120_000);

  test("R14: a folder that was moved is moved to no second database, unless somebody answers for what the first one knew", async () => {
    const [first, second] = [await emptyDatabase(), await emptyDatabase()];
    const place = newPlace("moved-twice");
    const old = await serve(place);
    const key = await issueAt(old.call, "revoked after the move");
    await old.process.stop();
    expect(await move(place, first.url).exited).toBe(0);
    // With the same witness, which goes on with the new one.
    const served = await serve(movedFrom(place, first), { KEYTURN_WITNESS_FILE: place.witness });
    await served.call("POST", `/v1/keys/${key.id}/revoke`, { body: {} });
    await served.process.stop();
    const again = move(place, second.url);
    expect([await again.exited, again.errors()]).toEqual([1, expect.stringContaining("--accept-loss")]);
    expect(await rowsOf(second.url, "select 1 from keys")).toEqual([]);
    const there = move(place, first.url);
    expect([await there.exited, there.errors()]).toEqual([1, expect.stringContaining("nothing left to do")]);

    expect(await move(place, second.url, "--accept-loss").exited).toBe(0);
    // Nobody knows how keys were used in the one that is lost.
    const sessions = await rowsOf<{ ended: string | null }>(second.url, "select ended from reporters");
    expect(new Set(sessions.map(({ ended }) => ended))).toEqual(new Set(["unclean"]));
    const now = await serve(movedFrom(place, second));
    expect(await verdictOf(now.call, key.secret)).toBe("valid");
    const log = await now.call("GET", "/v1/audit?limit=3");
    expect(log.text).toContain('"restore.accept-loss"');
  }, 120_000);

  test("R14: of two databases that it was moved to, one after the other or both at once, only one is ever opened", async () => {
    const [first, second, third] = [await emptyDatabase(), await emptyDatabase(), await emptyDatabase()];
    const place = newPlace("moved-to-two");
    const old = await serve(place);
    const interrupted = move(place, first.url);
    await waiting(interrupted);
    await killed(interrupted);
    const overtaken = move(place, second.url);
    await waiting(overtaken);
    expect(overtaken.errors()).toContain("stop what serves from that copy");
    const last = move(place, third.url);
    await waiting(last);
    await old.process.stop();
    expect(await last.exited).toBe(0);
    expect([await overtaken.exited, overtaken.errors()]).toEqual([1, expect.stringContaining("elsewhere")]);
    for (const { url } of [first, second]) {
      const again = move(place, url);
      expect([await again.exited, again.errors()]).toEqual([1, expect.stringContaining("--accept-loss")]);
      expect(await stateOf(url)).toBe("copy");
    }
    expect(await stateOf(third.url)).toBe("open");
  }, 120_000);

  test("R14: a loss that was answered for before an interruption is asked for again, and stands in the log", async () => {
    const [lost, database] = [await emptyDatabase(), await emptyDatabase()];
    const place = newPlace("loss-interrupted");
    const old = await serve(place);
    await issueAt(old.call, "moved on");
    await old.process.stop();
    expect(await move(place, lost.url).exited).toBe(0);
    const opening = await holding(
      database.url,
      "select pg_advisory_xact_lock_shared(hashtext('keyturn'), 0)",
    );
    const first = move(place, database.url, "--accept-loss");
    await until("it was copied", async () => (await stateOf(database.url)) === "copy");
    await killed(first);
    await opening.letGo();
    const again = move(place, database.url);
    expect([await again.exited, again.errors()]).toEqual([1, expect.stringContaining("--accept-loss")]);
    expect((await refusedAt(movedFrom(place, database))).said).toContain("nobody has answered");
    expect(await stateOf(database.url)).toBe("copy");
    expect(await move(place, database.url, "--accept-loss").exited).toBe(0);
    const now = await serve(movedFrom(place, database));
    expect((await now.call("GET", "/v1/audit?limit=3")).text).toContain('"restore.accept-loss"');
  }, 120_000);

  test("R14: a copy that the folder was opened after is made anew: what was revoked since stays revoked", async () => {
    const [database, wrong] = [await emptyDatabase(), await emptyDatabase()];
    const place = newPlace("copied-before");
    const old = await serve(place);
    const key = await issueAt(old.call, "revoked later");
    const first = move(place, database.url);
    await waiting(first);
    await killed(first);
    expect(await move(place, wrong.url, "--cancel").exited).toBe(0);
    await until(
      "changes are accepted",
      async () => (await old.call("POST", `/v1/keys/${key.id}/revoke`, { body: {} })).status === 200,
    );
    // Nothing is called off from a folder that is not being moved, and the copy stays as it is.
    const late = move(place, database.url, "--cancel");
    expect([await late.exited, late.errors()]).toEqual([1, expect.stringContaining("not being moved")]);
    expect(await rowsOf(database.url, "select 1 from keys")).not.toEqual([]);

    const second = move(place, database.url);
    await waiting(second);
    await old.process.stop();
    expect(await second.exited).toBe(0);
    const now = await serve(movedFrom(place, database));
    expect(await verdictOf(now.call, key.secret)).toBe("revoked");
    const verify = spawnKeyturn(["audit", "verify", "--json"], {
      env: { KEYTURN_DATABASE_URL: database.url },
    });
    expect(await verify.exited).toBe(0);
  }, 120_000);

  test("R14: a copy of the copy is neither served nor opened: there is one database that it was moved to", async () => {
    const database = await emptyDatabase();
    const place = newPlace("copied-twice");
    const old = await serve(place);
    const key = await issueAt(old.call, "revoked after the move");
    const first = move(place, database.url);
    await waiting(first);
    await killed(first);
    const name = `${new URL(database.url).pathname.slice(1)}_again`;
    await asSuperuser(database.url.replace(/[^/]*$/, "postgres"), copyOf(database.url, name));
    const again = { ...database, url: database.url.replace(/[^/]*$/, name) };
    await old.process.stop();
    expect(await move(place, database.url).exited).toBe(0);
    const now = await serve(movedFrom(place, database));
    await now.call("POST", `/v1/keys/${key.id}/revoke`, { body: {} });
    const unwitnessed = newPlace("copied-again", { KEYTURN_DATABASE_URL: again.url });
    expect((await refusedAt(unwitnessed)).said).toContain("restored from a backup");
    const moving = move(place, again.url);
    expect([await moving.exited, moving.errors()]).toEqual([1, expect.stringContaining("--accept-loss")]);
    expect(await stateOf(again.url)).toBe("copy");
    await asSuperuser(database.url, `drop database ${name} with (force)`);
  }, 120_000);

  test("R14: a folder on which no server may start, because its witness saw more, is not moved", async () => {
    const database = await emptyDatabase();
    const place = newPlace("older-copy");
    const old = await serve(place);
    const key = await issueAt(old.call, "revoked after the copy");
    await old.process.stop();
    cpSync(place.data, `${place.data}.saved`, { recursive: true });
    const again = await serve(place);
    await again.call("POST", `/v1/keys/${key.id}/revoke`, { body: {} });
    await again.process.stop();
    rmSync(place.data, { recursive: true });
    renameSync(`${place.data}.saved`, place.data);
    const moving = move(place, database.url);
    expect([await moving.exited, moving.errors()]).toEqual([1, expect.stringContaining("an older copy")]);
    expect(await stateOf(database.url)).toBe("empty");
  }, 120_000);

  test("leaves a way out where one side of it is lost: the other is opened by whoever answers for that", async () => {
    for (const isFolderLost of [true, false]) {
      const database = await newDatabase("empty");
      const place = newPlace("half-lost");
      const old = await serve(place);
      const key = await issueAt(old.call, "kept");
      const rotation = await old.call("POST", `/v1/keys/${key.id}/rotations`, { body: {} });
      const moving = move(place, database.url);
      await waiting(moving);
      await killed(moving);
      await old.process.stop();
      if (isFolderLost) rmSync(place.data, { recursive: true });
      else await database.drop();
      const left = isFolderLost ? movedFrom(place, database) : place;
      const restoring = spawnKeyturn(["restore", "--accept-loss"], { env: left.env });
      expect([await restoring.exited, restoring.errors()]).toEqual([0, ""]);
      const now = await serve(left);
      expect((await now.call("POST", "/v1/service-accounts", { body: { name: "on" } })).status).toBe(201);
      expect((await now.call("GET", "/v1/audit?limit=5")).text).toContain('"restore.accept-loss"');
      // Only the folder knows who was seen using the old key.
      const view = await now.call("GET", `/v1/rotations/${rotation.body.text("rotation", "id")}`);
      expect(view.body.text("completion")).toBe(isFolderLost ? "manual" : "when_adopted");
      await now.process.stop();
      if (isFolderLost) await database.drop();
    }
  }, 120_000);

  test("leaves the copy of another installation alone, moving and calling off", async () => {
    const database = await emptyDatabase();
    const [place, other] = [newPlace("copied"), newPlace("another")];
    const [old, another] = [await serve(place), await serve(other)];
    const key = await issueAt(old.call, "copied");
    const moving = move(place, database.url);
    await waiting(moving);
    const taken = move(other, database.url);
    expect([await taken.exited, taken.errors()]).toEqual([1, expect.stringContaining("not empty")]);
    const called = move(other, database.url, "--cancel");
    expect([await called.exited, called.errors()]).toEqual([
      1,
      expect.stringContaining("the copy of another installation"),
    ]);
    expect((await another.call("POST", "/v1/service-accounts", { body: { name: "goes on" } })).status).toBe(
      201,
    );
    await old.process.stop();
    expect(await moving.exited).toBe(0);
    const now = await serve(movedFrom(place, database));
    expect(await verdictOf(now.call, key.secret)).toBe("valid");
  }, 120_000);

  test("called off while it waits it opens nothing when the old server stops: the folder goes on", async () => {
    const database = await emptyDatabase();
    const place = newPlace("called-off-waiting");
    const old = await serve(place);
    const moving = move(place, database.url);
    await waiting(moving);
    expect(await move(place, database.url, "--cancel").exited).toBe(0);
    // What the copy was asked meanwhile nobody tells the folder, so quiet is watched for from here on.
    const [first] = sessionsOf(place.data);
    expect(first?.ended).toBe("unclean");
    await old.process.stop();
    expect([await moving.exited, moving.errors()]).toEqual([1, expect.stringContaining("was called off")]);
    const again = await serve(place);
    expect((await again.call("POST", "/v1/service-accounts", { body: { name: "on" } })).status).toBe(201);
  }, 120_000);
});
