import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { Client } from "pg";
import { times } from "../support/counts.ts";
import { sessionsOf, storedUses } from "../support/evidence-file.ts";
import { issueAt, newPlace, type Place, type Served, serveAt } from "../support/installation.ts";
import { spawnKeyturn } from "../support/keyturn-process.ts";
import { NO_POSTGRES, newDatabase } from "../support/postgres.ts";
import { freePort } from "../support/server.ts";
import { cleanUp } from "../support/traces.ts";
import { until } from "../support/until.ts";
import { crewEnv } from "../support/workers.ts";

afterAll(cleanUp);

const running: Served[] = [];

async function started(place: Place, env = {}): Promise<Served> {
  const served = await serveAt(place, env);
  running.push(served);
  return served;
}

afterEach(async () => {
  for (const { process } of running.splice(0)) {
    process.signal("SIGKILL");
    await process.exited;
  }
});

/** A request whose body comes in two parts, so that it is under way for as long as the test likes. */
function slowly(url: string, key: string, path: string, body: string) {
  const { port } = new URL(url);
  const half = Math.floor(body.length / 2);
  const socket = connect(Number(port), "127.0.0.1");
  let answer = "";
  socket.on("data", (chunk) => {
    answer += chunk.toString();
  });
  socket.on("error", () => undefined);
  const head = [
    `POST ${path} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    `Authorization: Bearer ${key}`,
    "Content-Type: application/json",
    `Content-Length: ${body.length}`,
  ];
  socket.write(`${head.join("\r\n")}\r\n\r\n${body.slice(0, half)}`);
  return { finish: () => socket.write(body.slice(half)), answer: () => answer, socket };
}

async function verifyOften(served: Served, secret: string, count: number): Promise<void> {
  let left = count;
  const lane = async () => {
    while (left > 0) {
      left -= 1;
      const answer = await served.call("POST", "/v1/keys/verify", {
        body: { key: secret, caller: { name: "web" } },
      });
      expect(answer.body.at("valid")).toBe(true);
    }
  };
  await Promise.all(Array.from({ length: 8 }, lane));
}

describe("a clean stop", () => {
  test("SIGTERM: what is under way is answered, what comes later is not, and the exit code is 0", async () => {
    const place = newPlace("sigterm");
    const served = await started(place);
    const slow = slowly(
      served.url,
      served.rootKey,
      "/v1/service-accounts",
      JSON.stringify({ name: "made while stopping" }),
    );
    // The request is in the server's hands once the one sent after it was answered.
    await served.call("GET", "/v1/keys/self");
    served.process.signal("SIGTERM");
    await until("the server says that it is stopping", () =>
      served.process.errors().includes('"msg":"stopping"'),
    );
    await until("new connections are refused", () =>
      fetch(`${served.url}/healthz`).then(
        () => false,
        () => true,
      ),
    );
    slow.finish();
    await until(
      "the answer came",
      () => slow.answer().includes("\r\n\r\n") && slow.answer().includes("made while stopping"),
    );
    expect(slow.answer()).toStartWith("HTTP/1.1 201");
    expect(await served.process.exited).toBe(0);

    const again = await started(place);
    const list = await again.call("GET", "/v1/service-accounts");
    expect(list.text).toContain("made while stopping");
  });

  test("loses no use: what was sent is what is stored, and the watch goes on without a gap in trust", async () => {
    const place = newPlace("clean-usage", { KEYTURN_FLUSH_INTERVAL: "60s" });
    const served = await started(place);
    const key = await issueAt(served.call, "billing");
    await verifyOften(served, key.secret, 500);
    expect(storedUses(place.data, key.id)).toBe(0);
    expect(await served.process.stop()).toBe(0);
    expect(storedUses(place.data, key.id)).toBe(500);
    expect(sessionsOf(place.data).map((session) => session.ended)).toEqual(["clean"]);
  });

  test("SIGTERM told twice at once, as service managers do to groups, is told once", async () => {
    const served = await started(newPlace("twice"));
    for (let told = 0; told < 2; told += 1) served.process.signal("SIGTERM");
    expect(await served.process.exited).toBe(0);
  });

  test("a second one ends it at once, whatever is under way, and does no harm", async () => {
    const place = newPlace("impatient");
    const served = await started(place);
    slowly(served.url, served.rootKey, "/v1/service-accounts", JSON.stringify({ name: "never sent" }));
    await served.call("GET", "/v1/keys/self");
    served.process.signal("SIGTERM");
    await Bun.sleep(600);
    served.process.signal("SIGTERM");
    expect(await served.process.exited).toBe(143);
    expect((await (await started(place)).call("GET", "/v1/keys/self")).status).toBe(200);
  });
});

test("SIGTERM at the very moment at which it is ready is a clean stop, and during the start it is one as soon as it is ready", async () => {
  const place = newPlace("at-once");
  const starting = () => spawnKeyturn(["serve"], { env: place.env, logFile: place.logFile });
  const first = starting();
  await until("it has begun", () => existsSync(join(place.data, "keyturn.lock")));
  expect(await first.stop()).toBe(0);
  expect(first.errors()).toContain('"msg":"stopped"');
  for (let start = 0; start < times(20); start += 1) {
    const process = starting();
    await process.ready;
    expect(await process.stop()).toBe(0);
  }
});

describe("a start that waits for PostgreSQL", () => {
  const LONG_BEFORE_ANY_LIMIT_MS = 25_000;

  const startOn = (port: number) => {
    const place = newPlace("waiting");
    const url = `postgres://keyturn:unused@127.0.0.1:${port}/keyturn`;
    const env = { ...place.env, KEYTURN_DATABASE_URL: url, KEYTURN_DATABASE_CONNECT_TIMEOUT: "60s" };
    return spawnKeyturn(["serve"], { env, logFile: place.logFile });
  };

  async function expectCleanStop(
    server: ReturnType<typeof startOn>,
    signal: "SIGTERM" | "SIGINT",
  ): Promise<void> {
    process.kill(server.pid, signal);
    const code = await server.exited;
    const said = server.errors().matchAll(/"msg":"(\w+)"/g);
    expect({ code, said: [...said].map(([, word]) => word) }).toEqual({
      code: 0,
      said: ["stopping", "stopped"],
    });
  }

  test.each(["SIGTERM", "SIGINT"] as const)(
    "ends at once and cleanly by %s while nobody listens there",
    async (signal) => {
      const server = startOn(await freePort());
      await until("it waits", () => server.errors().includes("waiting for the database"));
      await expectCleanStop(server, signal);
    },
    LONG_BEFORE_ANY_LIMIT_MS,
  );

  test.skipIf(NO_POSTGRES)(
    "ends at once and cleanly while another process brings the schema up to date",
    async () => {
      const { url, drop } = await newDatabase("empty");
      const other = new Client({ connectionString: url });
      await other.connect();
      await other.query("select pg_advisory_lock(hashtext('keyturn'), hashtext('migrate'))");
      const place = newPlace("waiting-for-schema");
      const env = { ...place.env, KEYTURN_DATABASE_URL: url };
      const server = spawnKeyturn(["serve"], { env, logFile: place.logFile });
      await until("it waits", async () => {
        const { rows } = await other.query(
          "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        );
        return rows.length > 0;
      });
      await expectCleanStop(server, "SIGTERM");
      await other.end();
      await drop();
    },
    LONG_BEFORE_ANY_LIMIT_MS,
  );

  test(
    "ends at once and cleanly while somebody listens there who says nothing",
    async () => {
      let isReached = false;
      const silent = createServer((socket) => {
        isReached = true;
        socket.on("error", () => undefined);
      });
      await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
      const address = silent.address();
      const server = startOn(typeof address === "object" && address !== null ? address.port : 0);
      await until("it is connected", () => isReached);
      await expectCleanStop(server, "SIGTERM");
      silent.close();
    },
    LONG_BEFORE_ANY_LIMIT_MS,
  );
});

describe("a signal to the server and all its workers at once", () => {
  // The server leads a group of its own, so that the signal reaches nobody else.
  const limits = { through: ["setsid"] };

  test.each(["SIGTERM", "SIGINT"] as const)(
    "is a clean stop by %s, however far the start has come",
    async (signal) => {
      for (const afterMs of [0, 50, 100, 200, 300, 400, 500, 600, 800, 1_000]) {
        const place = newPlace("group");
        const env = { ...place.env, ...crewEnv(3) };
        const server = spawnKeyturn(["serve"], { env, logFile: place.logFile, ...limits });
        await until("it has begun", () => existsSync(join(place.data, "keyturn.lock")));
        await Bun.sleep(afterMs);
        process.kill(-server.pid, signal);
        const code = await server.exited;
        expect({ afterMs, code, said: server.errors() }).toEqual({
          afterMs,
          code: 0,
          said: expect.stringMatching(/"msg":"stopping".*"msg":"stopped"/s),
        });
      }
    },
  );

  test("loses no use that a worker has counted", async () => {
    const place = newPlace("group-usage", { KEYTURN_FLUSH_INTERVAL: "60s" });
    const served = await serveAt(place, crewEnv(3), limits);
    running.push(served);
    const key = await issueAt(served.call, "billing");
    await verifyOften(served, key.secret, 300);
    process.kill(-served.process.pid, "SIGTERM");
    expect(await served.process.exited).toBe(0);
    expect(storedUses(place.data, key.id)).toBe(300);
    expect(sessionsOf(place.data).map(({ ended }) => ended)).toEqual(["clean", "clean", "clean"]);
    expect(served.process.errors()).not.toContain("it is started again");
  });
});

test("a worker that is ended before it is ready ends the start, with exit code 1, where nobody asked for a stop", async () => {
  const place = newPlace("worker-ended");
  const env = { ...place.env, ...crewEnv(2) };
  const server = spawnKeyturn(["serve"], { env, logFile: place.logFile });
  const worker = await until("it has started a worker", () => childrenOf(server.pid)[0]);
  process.kill(worker, "SIGTERM");
  expect(await server.exited).toBe(1);
  expect(server.errors()).toMatch(/^keyturn: crew#1 ended before it was ready \(SIGTERM\)\.$/m);
});

function childrenOf(pid: number): readonly number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return children.split(" ").filter(Boolean).map(Number);
}

describe("a crash", () => {
  test("loses at most what came since the last flush, and never invents a use", async () => {
    const place = newPlace("crash-usage", { KEYTURN_FLUSH_INTERVAL: "1s" });
    const served = await started(place);
    const key = await issueAt(served.call, "billing");
    await verifyOften(served, key.secret, 200);
    // Nobody asks for it: the interval alone brings it to the disk.
    await until("the first uses are stored", () => storedUses(place.data, key.id) === 200);
    await verifyOften(served, key.secret, 100);
    served.process.signal("SIGKILL");
    await served.process.exited;
    const again = await started(place);
    const stored = storedUses(place.data, key.id);
    expect(stored).toBeGreaterThanOrEqual(200);
    expect(stored).toBeLessThanOrEqual(300);
    expect(sessionsOf(place.data).map((session) => session.ended)).toEqual(["unclean", null]);
    expect(again.url).not.toBe("");
  });

  test("the lag metric says how much: whatever was answered before it is stored", async () => {
    const place = newPlace("lag", { KEYTURN_FLUSH_INTERVAL: "2s" });
    const served = await started(place);
    const key = await issueAt(served.call, "billing");
    const answeredAt: number[] = [];
    let goesOn = true;
    const load = (async () => {
      while (goesOn) {
        await served.call("POST", "/v1/keys/verify", { body: { key: key.secret } });
        answeredAt.push(Date.now());
        await Bun.sleep(5);
      }
    })();
    const asked = await until("a flush lies between two uses", async () => {
      const at = Date.now();
      const lag = await lagOf(served);
      const before = answeredAt.filter((one) => one < at - lag * 1000).length;
      return before > 20 ? { before } : false;
    });
    served.process.signal("SIGKILL");
    goesOn = false;
    await load.catch(() => undefined);
    await served.process.exited;
    expect(storedUses(place.data, key.id)).toBeGreaterThanOrEqual(asked.before);
    expect(storedUses(place.data, key.id)).toBeLessThanOrEqual(answeredAt.length + 1);
  });
});

async function lagOf(served: Served): Promise<number> {
  const text = await (await fetch(`${served.url}/metrics`)).text();
  const value = /^keyturn_last_used_flush_lag_seconds ([0-9.e+-]+)$/m.exec(text)?.[1];
  if (value === undefined) throw new Error(`no lag in:\n${text}`);
  return Number(value);
}
