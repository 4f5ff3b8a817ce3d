import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { Client as Database } from "pg";
import type { Client } from "../support/client.ts";
import { times } from "../support/counts.ts";
import { issueAt, newPlace, type Place, refusedAt, type Served, serveAt } from "../support/installation.ts";
import { type KeyturnProcess, spawnKeyturn } from "../support/keyturn-process.ts";
import { NO_POSTGRES, newDatabase, type TestDatabase } from "../support/postgres.ts";
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
  const process = spawnKeyturn(["migrate-store", "--to", to, "--json", ...more], { env: place.env });
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
    const wrong: string[] = [];
    let asked = 0;
    let going = true;
    const traffic = (async () => {
      while (going) {
        for (const call of [...calls]) {
          asked += 1;
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
    await until("both were asked", () => asked > 20);
    calls.shift();
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
    // What is left behind serves no more.
    expect((await refusedAt(place)).said).toContain("was moved to PostgreSQL");
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
  }, 60_000);

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

  test("killed at any moment it can be run again, and takes no change at two places meanwhile", async () => {
    const database = await emptyDatabase();
    const place = newPlace("moving-killed");
    const old = await serve(place);
    const key = await issueAt(old.call, "moved at last");
    for (const pause of [150, 400, 800, 1_600]) {
      const moving = move(place, database.url);
      await Promise.race([Bun.sleep(pause), moving.exited]);
      moving.signal("SIGKILL");
      await moving.exited;
      expect(await verdictOf(old.call, key.secret)).toBe("valid");
    }
    await old.process.stop();
    expect(await move(place, database.url).exited).toBe(0);
    const now = await serve(movedFrom(place, database));
    expect(await verdictOf(now.call, key.secret)).toBe("valid");
    const verify = spawnKeyturn(["audit", "verify", "--json"], {
      env: { KEYTURN_DATABASE_URL: database.url },
    });
    expect(await verify.exited).toBe(0);
  }, 300_000);

  test("called off it accepts changes at the old place again, and the copy serves nothing", async () => {
    const database = await emptyDatabase();
    const place = newPlace("called-off");
    const old = await serve(place);
    const moving = move(place, database.url);
    await waiting(moving);
    moving.signal("SIGKILL");
    await moving.exited;
    expect(await move(place, database.url, "--cancel").exited).toBe(0);
    await until(
      "changes are accepted",
      async () =>
        (await old.call("POST", "/v1/service-accounts", { body: { name: "again" } })).status === 201,
    );
    expect(await rowsOf(database.url, "select 1 from keys")).toEqual([]);
  }, 60_000);
});
