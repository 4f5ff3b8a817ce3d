import { Database } from "bun:sqlite";
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readWitnessFile } from "../../src/storage/witness-file.ts";
import { checkStored } from "../crash/stored-state.ts";
import { clientOf } from "../support/client.ts";
import { IS_FULL_RUN, times } from "../support/counts.ts";
import { sessionsOf, storedUses } from "../support/evidence-file.ts";
import { Json } from "../support/http.ts";
import { issueAt, newPlace, type Place, refusedAt, type Served, serveAt } from "../support/installation.ts";
import { type KeyturnProcess, spawnKeyturn, urlOf } from "../support/keyturn-process.ts";
import { freePort } from "../support/server.ts";
import { cleanUp, noteSecret } from "../support/traces.ts";
import { until } from "../support/until.ts";
import {
  crewEnv,
  isAlive,
  type Line,
  linesTo,
  metricOf,
  successorOf,
  type Worker,
  workersOf,
} from "../support/workers.ts";

afterAll(cleanUp);

const WORKERS = 3;
const running: KeyturnProcess[] = [];
const holding: (() => Promise<void>)[] = [];
const halted: number[] = [];

interface Crew extends Served {
  readonly workers: readonly Worker[];
}

async function startCrew(place: Place, env = {}): Promise<Crew> {
  const served = await serveAt(place, { ...crewEnv(WORKERS), ...env });
  running.push(served.process);
  const workers = workersOf(served);
  expect(workers.map(({ name }) => name)).toEqual(["crew#1", "crew#2", "crew#3"]);
  return { ...served, workers };
}

function halt(pid: number): void {
  process.kill(pid, "SIGSTOP");
  halted.push(pid);
}

/** Between two transactions: in the midst of one it would keep the others from writing for as long as it is. */
function haltAtRest(pid: number): void {
  for (;;) {
    halt(pid);
    while (!/^\d+ \(.*\) T/.test(readFileSync(`/proc/${pid}/stat`, "utf8"))) Bun.sleepSync(1);
    if (!new RegExp(` WRITE +${pid} `).test(readFileSync("/proc/locks", "utf8"))) return;
    resume(pid);
    Bun.sleepSync(1);
  }
}

function resume(pid: number): void {
  process.kill(pid, "SIGCONT");
}

afterEach(async () => {
  for (const pid of halted.splice(0)) if (isAlive(pid)) resume(pid);
  for (const end of holding.splice(0)) await end();
  for (const process of running.splice(0)) await process.stop();
});

/** Asks on a connection of its own, so that the system deals it out anew. */
async function verifyAnywhere(served: Served, secret: string): Promise<string> {
  const response = await fetch(`${served.url}/v1/keys/verify`, {
    method: "POST",
    keepalive: false,
    headers: { authorization: `Bearer ${served.rootKey}`, "content-type": "application/json" },
    body: JSON.stringify({ key: secret, caller: { name: "web" } }),
  });
  return String(Reflect.get(Object(await response.json()), "code"));
}

/** So many verifications, eight at a time; resolves to how often each verdict came. */
async function verifyOften(served: Served, secret: string, count: number): Promise<Map<string, number>> {
  const verdicts = new Map<string, number>();
  let left = count;
  const lane = async () => {
    while (left > 0) {
      left -= 1;
      const code = await verifyAnywhere(served, secret);
      verdicts.set(code, (verdicts.get(code) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: 8 }, lane));
  return verdicts;
}

async function verdictOn(line: Line, served: Served, secret: string): Promise<unknown> {
  const { body } = await line.ask("POST", "/v1/keys/verify", served.rootKey, { key: secret });
  return body.at("code");
}

/** How often each operation was performed on a subject, by the log. */
function entriesOf(place: Place, subject: string): Readonly<Record<string, number>> {
  const file = new Database(join(place.data, "keyturn.db"), { readonly: true });
  try {
    file.run("pragma busy_timeout = 5000");
    const rows = file
      .query<{ operation: string; count: number }, [string]>(
        "select operation, count(*) as count from audit_entries where seq in (select seq from audit_subjects where subject_id = ?) group by operation",
      )
      .all(subject);
    return Object.fromEntries(rows.map(({ operation, count }) => [operation, count]));
  } finally {
    file.close();
  }
}

/** The steps that a rotation took by itself, by the log. */
function stepsOf(place: Place, rotation: string): readonly unknown[] {
  const file = new Database(join(place.data, "keyturn.db"), { readonly: true });
  try {
    file.run("pragma busy_timeout = 5000");
    const rows = file
      .query<{ entry: string }, [string]>(
        "select entry from audit_entries where operation = 'rotations.advance' and seq in (select seq from audit_subjects where subject_id = ?) order by seq",
      )
      .all(rotation);
    return rows.map(({ entry }) => new Json(JSON.parse(entry)).at("details", "step"));
  } finally {
    file.close();
  }
}

/** A process of its own that holds the write lock of a file, until it is ended. */
async function holdLock(path: string) {
  const program = `
    import { Database } from "bun:sqlite";
    const file = new Database(${JSON.stringify(path)});
    file.run("pragma busy_timeout = 10000");
    file.run("begin immediate");
    console.log("held");
    // Named in here, or it would be collected, and closed.
    setInterval(() => file.inTransaction, 1000);`;
  const holder = Bun.spawn([process.execPath, "-e", program], { stdout: "pipe", stderr: "inherit" });
  const end = async () => {
    holder.kill("SIGKILL");
    await holder.exited;
  };
  holding.push(end);
  const { value } = await holder.stdout.getReader().read();
  expect(new TextDecoder().decode(value)).toContain("held");
  return { end };
}

describe("several workers on one port", () => {
  test("all of them serve, and GET /v1/cluster lists them by name", async () => {
    const place = newPlace("workers");
    const crew = await startCrew(place);
    const key = await issueAt(crew.call, "billing");
    expect(await verifyOften(crew, key.secret, 120)).toEqual(new Map([["valid", 120]]));
    const served = await Promise.all(crew.workers.map((one) => metricOf(one, "keyturn_verdicts_total")));
    expect(served.reduce((sum, count) => sum + count, 0)).toBe(120);
    expect(served.filter((count) => count > 0)).toHaveLength(WORKERS);
    const { body } = await crew.call("GET", "/v1/cluster");
    const names = Array.from({ length: WORKERS + 1 }, (_, index) => body.at("processes", index, "name"));
    expect(names).toEqual(["crew#1", "crew#2", "crew#3", undefined]);
    for (const { name } of crew.workers) {
      const line = crew.process
        .errors()
        .split("\n")
        .find((one) => one.includes(`"process":"${name}"`));
      expect(line).toContain('"msg":"the worker is ready"');
    }
  });

  test("a second server on the folder is refused, and so is another one on the port", async () => {
    const place = newPlace("one-crew");
    const port = String(await freePort());
    const crew = await startCrew(place, { KEYTURN_PORT: port });
    for (const workers of ["1", "2"]) {
      const second = await refusedAt(place, { KEYTURN_WORKERS: workers });
      expect(second.said).toContain("Another keyturn process is serving from this data folder");
      const other = await refusedAt(newPlace("same-port"), { KEYTURN_WORKERS: workers, KEYTURN_PORT: port });
      expect(other.said).toMatch(/KEYTURN_PORT.*can't listen/);
      expect(other.said).not.toContain("    at ");
    }
    expect((await crew.call("GET", "/v1/keys/self")).status).toBe(200);
  });

  test("what a worker can't do is what the start says", async () => {
    // Below the ports that the system hands out itself.
    const metrics = String(20_000 + Math.floor(Math.random() * 10_000));
    const other = await startCrew(newPlace("taken"), { KEYTURN_METRICS_PORT: metrics });
    const { code, said } = await refusedAt(newPlace("takes"), {
      KEYTURN_WORKERS: "2",
      KEYTURN_METRICS_PORT: metrics,
    });
    expect(code).toBe(1);
    expect(said).toMatch(/^keyturn: .*KEYTURN_METRICS_PORT: the server can't listen there/m);
    expect(other.workers.map((worker) => Number(new URL(worker.metricsUrl).port))).toEqual([
      Number(metrics),
      Number(metrics) + 1,
      Number(metrics) + 2,
    ]);
  });

  test("R34: one set-up token is printed, and is good once, whichever worker it is shown to", async () => {
    const place = newPlace("crew-token", { KEYTURN_ROOT_KEY_FILE: "" });
    const process = spawnKeyturn(["serve"], { env: { ...place.env, ...crewEnv(WORKERS) } });
    running.push(process);
    const url = await urlOf(process);
    const tokens = process.errors().match(/setup_[0-9A-Za-z]{32}/g) ?? [];
    expect(tokens).toHaveLength(1);
    const token = tokens[0] ?? "";
    noteSecret(token);
    const call = clientOf(url);
    const answers = await Promise.all(
      Array.from({ length: 12 }, () => call("POST", "/v1/setup", { body: { token } })),
    );
    expect(answers.map(({ status }) => status).toSorted()).toEqual([201, ...Array(11).fill(403)]);
    expect(await process.stop()).toBe(0);
  });

  test("R15: 50 rotations of one key at once give one successor", async () => {
    const place = newPlace("crew-rotations");
    const crew = await startCrew(place);
    const key = await issueAt(crew.call, "billing");
    const answers = await Promise.all(
      Array.from({ length: 50 }, () =>
        fetch(`${crew.url}/v1/keys/${key.id}/rotations`, {
          method: "POST",
          keepalive: false,
          headers: { authorization: `Bearer ${crew.rootKey}`, "content-type": "application/json" },
          body: "{}",
        }),
      ),
    );
    const made = answers.filter(({ status }) => status === 201);
    expect(made).toHaveLength(1);
    noteSecret(String(Reflect.get(Object(await made[0]?.json()), "secret")));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([201, ...Array(49).fill(409)]);
    const { keys } = checkStored(place.data, place.witness);
    expect([...keys.values()].filter(({ name }) => name === "billing")).toHaveLength(2);
  });
});

describe("freshness over workers", () => {
  const CEILING_MS = 2_000;

  test("a revocation that one has acknowledged is soon refused by all, and by each in any request sent beyond the ceiling", async () => {
    const place = newPlace("crew-revoke");
    const crew = await startCrew(place, { KEYTURN_BOUNDED_CEILING: "2s" });
    const lines = await linesTo(crew, crew.workers);
    for (let round = 0; round < times(100); round += 1) {
      const key = await issueAt(crew.call, `billing ${round}`);
      for (const line of lines) expect(await verdictOn(line, crew, key.secret)).toBe("valid");
      const revoking = lines[round % WORKERS];
      const revoked = await revoking?.ask("POST", `/v1/keys/${key.id}/revoke`, crew.rootKey, {});
      const acknowledgedAt = performance.now();
      expect(revoked?.status).toBe(200);
      const told = readWitnessFile(place.witness).flatMap((line) => line.revoked.map(({ id }) => id));
      expect(told).toContain(key.id);
      await Promise.all(
        lines.map((line) =>
          until("the revocation is known", async () => {
            const sentAt = performance.now();
            const verdict = await verdictOn(line, crew, key.secret);
            if (verdict === "revoked") return true;
            expect({ verdict, isBeyond: sentAt - acknowledgedAt > CEILING_MS }).toEqual({
              verdict: "valid",
              isBeyond: false,
            });
            return false;
          }),
        ),
      );
    }
    for (const line of lines) line.close();
  });

  test("a worker that was halted goes on with the newest state, and meanwhile holds up nobody else", async () => {
    const place = newPlace("crew-halted");
    const crew = await startCrew(place, { KEYTURN_BOUNDED_CEILING: "2s" });
    const lines = await linesTo(crew, crew.workers);
    const [one, sleeper, other] = lines;
    if (one === undefined || sleeper === undefined || other === undefined) throw new Error("three lines");
    const key = await issueAt(crew.call, "billing");
    for (const line of lines) expect(await verdictOn(line, crew, key.secret)).toBe("valid");

    const { pid } = crew.workers[1] ?? { pid: 0 };
    haltAtRest(pid);
    expect((await one.ask("POST", `/v1/keys/${key.id}/revoke`, crew.rootKey, {})).status).toBe(200);
    const acknowledgedAt = performance.now();
    for (const line of [one, other])
      await until("the others know", async () => (await verdictOn(line, crew, key.secret)) === "revoked");
    await until("the ceiling has passed", () => performance.now() - acknowledgedAt > CEILING_MS);
    const asked = verdictOn(sleeper, crew, key.secret);
    resume(pid);
    expect(await asked).toBe("revoked");
    for (const line of lines) line.close();
  });
});

describe("usage over workers", () => {
  test("R16: what all of them counted adds up, at a clean stop to the last one", async () => {
    const place = newPlace("crew-usage");
    const crew = await startCrew(place);
    const key = await issueAt(crew.call, "billing");
    await verifyOften(crew, key.secret, times(3_000));
    await until("everything is stored", () => storedUses(place.data, key.id) === times(3_000));
    await verifyOften(crew, key.secret, 200);
    expect(await crew.process.stop()).toBe(0);
    expect(storedUses(place.data, key.id)).toBe(times(3_000) + 200);
    expect(sessionsOf(place.data).map(({ ended }) => ended)).toEqual(["clean", "clean", "clean"]);
    expect(crew.process.errors()).not.toContain('"level":50');
  });

  test("a brownout's threshold counts what all of them refuse, and ends once", async () => {
    const place = newPlace("crew-brownout");
    const crew = await startCrew(place);
    const lines = await linesTo(crew, crew.workers);
    const old = await issueAt(crew.call, "billing");
    const rotated = await crew.call("POST", `/v1/keys/${old.id}/rotations`, { body: {} });
    await verifyAnywhere(crew, rotated.body.text("secret"));
    const rotation = rotated.body.text("rotation", "id");
    const announced = await crew.call("POST", `/v1/rotations/${rotation}/brownouts`, {
      body: { duration: "5m", stop_after_refusals: 20, stop_after_callers: 3 },
    });
    expect([announced.status, announced.text]).toEqual([200, announced.text]);
    for (const line of lines)
      await until("each knows of it", async () => (await verdictOn(line, crew, old.secret)) === "brownout");
    const verdicts = await verifyOften(crew, old.secret, 400);
    const refused = verdicts.get("brownout") ?? 0;
    // Each may refuse on while it hears of the others: some, of the hundreds that were asked for.
    expect(refused).toBeLessThan(20 + WORKERS * 20);
    expect(verdicts.get("valid")).toBe(400 - refused);
    for (const line of lines) expect(await verdictOn(line, crew, old.secret)).toBe("valid");
    await until(
      "its end is in the log",
      () => entriesOf(place, old.id)["rotations.end-brownout"] !== undefined,
    );
    for (const line of lines) line.close();
    expect(await crew.process.stop()).toBe(0);
    expect(entriesOf(place, old.id)["rotations.end-brownout"]).toBe(1);
  });

  test("a brownout that is running ends with a clean stop of all, and not with that of one", async () => {
    const place = newPlace("crew-brownout-stop");
    const crew = await startCrew(place);
    const old = await issueAt(crew.call, "billing");
    const rotated = await crew.call("POST", `/v1/keys/${old.id}/rotations`, { body: {} });
    await verifyAnywhere(crew, rotated.body.text("secret"));
    const rotation = rotated.body.text("rotation", "id");
    await crew.call("POST", `/v1/rotations/${rotation}/brownouts`, { body: { duration: "5m" } });
    const [first] = crew.workers;
    if (first === undefined) throw new Error("there is a first worker");
    process.kill(first.pid, "SIGTERM");
    await successorOf(crew, first);
    expect(entriesOf(place, old.id)["rotations.end-brownout"]).toBeUndefined();
    expect(await crew.process.stop()).toBe(0);
    expect(entriesOf(place, old.id)["rotations.end-brownout"]).toBe(1);
  });
});

describe("scheduled work", () => {
  test("each step of each rotation is taken once", async () => {
    const place = newPlace("crew-work");
    const crew = await startCrew(place);
    const rotations: string[] = [];
    for (let n = 0; n < 6; n += 1) {
      const old = await issueAt(crew.call, `billing ${n}`);
      await verifyAnywhere(crew, old.secret);
      const rotated = await crew.call("POST", `/v1/keys/${old.id}/rotations`, {
        body: { quiet_period: "2s", undo_window: "1s" },
      });
      await verifyAnywhere(crew, rotated.body.text("secret"));
      rotations.push(rotated.body.text("rotation", "id"));
    }
    for (const id of rotations)
      await until("it is closed", async () => {
        return (await crew.call("GET", `/v1/rotations/${id}`)).body.at("state") === "closed";
      });
    for (const id of rotations) {
      expect(stepsOf(place, id)).toEqual(["start_adopting", "adopt", "complete", "close"]);
    }
    checkStored(place.data, place.witness);
  });
});

describe("when a process ends", () => {
  test("a worker that is killed under load is there again, the others go on, and each use that they counted is stored", async () => {
    const place = newPlace("crew-kill");
    const crew = await startCrew(place);
    const key = await issueAt(crew.call, "billing");
    const lines = await linesTo(crew, crew.workers);
    const [, victim] = crew.workers;
    if (victim === undefined) throw new Error("there is a second worker");
    let sent = 0;
    let isOver = false;
    const others = lines.filter((_, index) => index !== 1);
    const load = others.map(async (line) => {
      while (!isOver) {
        sent += 1;
        expect(await verdictOn(line, crew, key.secret)).toBe("valid");
      }
    });
    process.kill(victim.pid, "SIGKILL");
    const again = await successorOf(crew, victim);
    const during = sent;
    await until("the others go on", () => sent > during + 100);
    isOver = true;
    await Promise.all(load);
    const fresh = await linesTo(crew, [again]);
    for (const line of fresh) expect(await verdictOn(line, crew, key.secret)).toBe("valid");
    for (const line of [...lines, ...fresh]) line.close();
    expect(crew.process.errors()).toContain("a worker has ended; it is started again");
    expect(
      sessionsOf(place.data)
        .map(({ ended }) => ended)
        .toSorted(),
    ).toEqual([null, null, null, "unclean"]);
    expect(await crew.process.stop()).toBe(0);
    expect(storedUses(place.data, key.id)).toBe(sent + 1);
  });

  test("killed -9, the server leaves no worker behind that serves, and a new start works", async () => {
    const place = newPlace("crew-orphans");
    const crew = await startCrew(place);
    crew.process.signal("SIGKILL");
    await until("no worker is left", () => crew.workers.every(({ pid }) => !isAlive(pid)));
    await until("nobody listens", () =>
      fetch(`${crew.url}/healthz`).then(
        () => false,
        () => true,
      ),
    );
    const again = await startCrew(place);
    expect((await again.call("GET", "/v1/keys/self")).status).toBe(200);
  });

  test("as long as a worker is left that could serve, the folder is nobody else's", async () => {
    const place = newPlace("crew-left");
    const crew = await startCrew(place);
    const [, left] = crew.workers;
    if (left === undefined) throw new Error("there is a second worker");
    // It can't notice that its server has ended.
    haltAtRest(left.pid);
    crew.process.signal("SIGKILL");
    await until("the other workers have ended", () =>
      crew.workers.every(({ pid }) => pid === left.pid || !isAlive(pid)),
    );
    const { code, said } = await refusedAt(place);
    expect(code).not.toBe(0);
    expect(said).toContain("A worker process of a server that is gone still serves from this data folder");
    resume(left.pid);
    await until("it notices", () => !isAlive(left.pid));
    const alone = await serveAt(place);
    running.push(alone.process);
    expect((await alone.call("GET", "/v1/keys/self")).status).toBe(200);
  });

  // The limit is half a minute, which is long for every day.
  test.skipIf(!IS_FULL_RUN)(
    "a worker that does not end at a stop is killed with what it had counted, and the stop says so",
    async () => {
      const place = newPlace("crew-stuck");
      const crew = await startCrew(place);
      const [, stuck] = crew.workers;
      if (stuck === undefined) throw new Error("there is a second worker");
      haltAtRest(stuck.pid);
      expect(await crew.process.stop()).toBe(1);
      expect(crew.process.errors()).toContain("These workers did not end cleanly: crew#2.");
      expect(isAlive(stuck.pid)).toBe(false);
      expect(
        sessionsOf(place.data)
          .map(({ ended }) => ended)
          .toSorted(),
      ).toEqual(["clean", "clean", "unclean"]);
    },
    60_000,
  );
});

describe("a process that keeps the database to itself", () => {
  test("holds up no verification; a change waits for it, and is made once", async () => {
    const place = newPlace("crew-lock");
    const crew = await startCrew(place);
    const lines = await linesTo(crew, crew.workers);
    const key = await issueAt(crew.call, "billing");
    const holder = await holdLock(join(place.data, "keyturn.db"));
    let answered = 0;
    const changes = Array.from({ length: 6 }, (_, index) =>
      crew
        .call("POST", "/v1/service-accounts", {
          body: { name: `while locked ${index}` },
        })
        .finally(() => {
          answered += 1;
        }),
    );
    for (let n = 0; n < 50; n += 1)
      for (const line of lines) expect(await verdictOn(line, crew, key.secret)).toBe("valid");
    expect(answered).toBe(0);
    await holder.end();
    expect((await Promise.all(changes)).map(({ status }) => status)).toEqual(Array(6).fill(201));
    for (const line of lines) line.close();
    checkStored(place.data, place.witness);
  });

  test("for longer than 10 s has a change refused as not made; usage that could not be stored meanwhile is not lost", async () => {
    const place = newPlace("crew-locked-out");
    const crew = await startCrew(place);
    const key = await issueAt(crew.call, "billing");
    const holders = await Promise.all(
      ["keyturn.db", "evidence.db"].map((name) => holdLock(join(place.data, name))),
    );
    const body = { name: "locked out" };
    const refused = crew.call("POST", "/v1/service-accounts", { body });
    const verdicts = await verifyOften(crew, key.secret, 200);
    const { status, code } = await refused;
    expect([status, code]).toEqual([503, "storage_unavailable"]);
    for (const holder of holders) await holder.end();
    expect(verdicts).toEqual(new Map([["valid", 200]]));
    expect((await crew.call("POST", "/v1/service-accounts", { body })).status).toBe(201);
    await until("the uses are stored", () => storedUses(place.data, key.id) === 200);
    expect((await crew.call("GET", "/readyz")).body.at("status")).toBe("ready");
  });

  test("and is a worker halted in the middle of a change: the others verify, and no change is half made", async () => {
    const place = newPlace("crew-halted-writing");
    const crew = await startCrew(place);
    const lines = await linesTo(crew, crew.workers);
    const [one, writer, other] = lines;
    const sleeper = crew.workers[1];
    if (one === undefined || writer === undefined || other === undefined || sleeper === undefined)
      throw new Error("three lines");
    const key = await issueAt(crew.call, "billing");
    const probe = new Database(join(place.data, "keyturn.db"));
    probe.run("pragma busy_timeout = 0");
    const isLocked = () => {
      try {
        probe.run("begin immediate");
        probe.run("rollback");
        return false;
      } catch {
        return true;
      }
    };
    let isOver = false;
    let made = 0;
    let lastId = "";
    const writing = (async () => {
      while (!isOver) {
        const told = await writer.ask("POST", "/v1/service-accounts", crew.rootKey, { name: `sa ${made}` });
        expect(told.status).toBe(201);
        lastId = told.body.text("id");
        made += 1;
      }
    })();
    // Nobody else writes, so where the lock is taken while it is halted, it is in the middle of a change.
    await until("it is halted in the middle of a change", async () => {
      halt(sleeper.pid);
      if (isLocked()) return true;
      resume(sleeper.pid);
      await Bun.sleep(Math.random() * 5);
      return false;
    });
    const pending = one.ask("POST", "/v1/service-accounts", crew.rootKey, { name: "by another one" });
    for (let n = 0; n < 50; n += 1) expect(await verdictOn(other, crew, key.secret)).toBe("valid");
    expect(isLocked()).toBe(true);
    isOver = true;
    resume(sleeper.pid);
    expect((await pending).status).toBe(201);
    await writing;
    probe.close();
    checkStored(place.data, place.witness);
    const newest = await crew.call("GET", `/v1/service-accounts/${lastId}`);
    expect(newest.body.text("name")).toBe(`sa ${made - 1}`);
    for (const line of lines) line.close();
  });
});
