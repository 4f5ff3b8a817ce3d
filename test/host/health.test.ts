import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { newId } from "../../src/authority/ids.ts";
import { OPERATIONS } from "../../src/authority/operations.ts";
import { HOST } from "../../src/authority/setup/setup.ts";
import { DAY, HOUR, MINUTE } from "../support/authority.ts";
import { startHttp } from "../support/http.ts";
import { issueAt, newPlace, type Place, type Served, serveAt } from "../support/installation.ts";
import { freePort } from "../support/server.ts";
import { cleanUp } from "../support/traces.ts";

afterAll(cleanUp);

const running: Served[] = [];

async function started(place: Place, env = {}): Promise<Served> {
  const served = await serveAt(place, env);
  running.push(served);
  return served;
}

afterEach(async () => {
  for (const { process } of running.splice(0)) await process.stop();
});

describe("/readyz tells what is wrong, and answers all the same", () => {
  test("a clock that lies behind the newest entry by more than five minutes", async () => {
    const http = await startHttp();
    await http.world.owner();
    http.world.clock.jump(-5 * MINUTE);
    await http.world.follow();
    expect((await http.call("GET", "/readyz")).body.at("status")).toBe("ready");
    http.world.clock.jump(-1);
    await http.world.follow();
    const answer = await http.call("GET", "/readyz");
    expect([answer.status, answer.body.at("status")]).toEqual([200, "degraded"]);
    expect(answer.body.at("warnings", 0)).toStartWith("clock: the wall clock lies behind");
    await http.close();
  });

  test("a clock that jumped by more than an hour against the monotonic one", async () => {
    const http = await startHttp();
    http.world.clock.pass(3 * DAY);
    http.world.clock.jump(HOUR);
    await http.world.authority.recorder.flush();
    await http.world.follow();
    expect((await http.call("GET", "/readyz")).body.at("warnings")).toEqual([]);
    http.world.clock.jump(1);
    await http.world.follow();
    const answer = await http.call("GET", "/readyz");
    expect(answer.body.at("warnings", 0)).toStartWith("clock: the wall clock jumped");
    expect((await http.call("GET", "/metrics")).text).toContain("\nkeyturn_clock_trouble 1\n");
    await http.close();
  });

  test("a disk at fault, while verification goes on", async () => {
    const http = await startHttp();
    http.world.authority.health.stopWriting("disk", new Error("the disk"));
    const answer = await http.call("GET", "/readyz");
    const warnings = [
      "storage: the database reported a fault; no change is accepted until the service is restarted",
    ];
    expect(answer.body.at("warnings")).toEqual(warnings);
    expect(answer.text).not.toContain("the disk");
    // Once it is restarted the end of a move counts; before that it helps nobody.
    http.world.authority.health.close(true);
    expect((await http.call("GET", "/readyz")).body.at("warnings")).toEqual(warnings);
    expect((await http.call("POST", "/v1/accounts", { body: { name: "acme" } })).text).toContain("restarted");
    expect((await http.verify(http.world.root.secret)).body.at("code")).toBe("valid");
    expect((await http.call("GET", "/metrics")).text).toContain("\nkeyturn_writable 0\n");
    await http.close();
  });

  test("R14: a database that was put back or replaced, whatever went wrong before: nobody is told to restart", async () => {
    const http = await startHttp();
    const { health } = http.world.authority;
    health.stopWriting("disk", new Error("the disk"));
    health.stopWriting("history", new Error("another log"));
    health.stopWriting("disk", new Error("the disk"));
    const { code, text } = await http.call("POST", "/v1/accounts", { body: { name: "acme" } });
    expect(code).toBe("storage_unavailable");
    expect(text).toContain("Stop all processes, then run keyturn restore");
    expect(text).not.toContain("until the service is restarted");
    expect((await http.call("GET", "/readyz")).text).not.toContain("restarted");
    await http.close();
  });

  test("a witness file that can't be written", async () => {
    const http = await startHttp();
    http.world.authority.health.stopWriting("witness", new Error("the other disk"));
    expect((await http.call("GET", "/readyz")).body.at("warnings")).toEqual([
      "storage: the witness file could not be written; no change is accepted until the service is restarted",
    ]);
    expect((await http.call("POST", "/v1/accounts", { body: { name: "acme" } })).text).toContain(
      "The witness file could not be written",
    );
    await http.close();
  });

  test("R12: a process of the same name, and one with another ceiling", async () => {
    const http = await startHttp();
    const { authority, clock } = http.world;
    const other = { version: "1", startedAt: 0, appliedSeq: 0, stalenessMs: 0, flushedAt: null };
    const heard = { ...other, at: clock.wall() };
    authority.neighbours.note(
      [
        { ...heard, id: newId("prc"), name: authority.process.name, boundedSeconds: 10 },
        { ...heard, id: newId("prc"), name: "lax", boundedSeconds: 45 },
        { ...heard, id: newId("prc"), name: "gone", boundedSeconds: 30, at: clock.wall() - MINUTE - 1 },
      ],
      clock.wall(),
    );
    expect((await http.call("GET", "/readyz")).body.at("warnings")).toEqual([
      "name: another process that serves is called test, too; give each a KEYTURN_PROCESS_NAME of its own",
      "ceiling: bounded keys have 10 s here, and 45 s at lax; give all processes one KEYTURN_BOUNDED_CEILING",
    ]);
    await http.close();
  });

  test("an installation that is being moved, until it is opened again", async () => {
    const http = await startHttp();
    const { world } = http;
    await world.as(HOST, OPERATIONS.closeStore, { why: "moving" });
    expect((await http.call("GET", "/readyz")).body.at("warnings")).toEqual([
      "storage: the installation is being moved; no change is accepted until that is done",
    ]);
    expect((await http.verify(world.root.secret)).body.at("code")).toBe("valid");
    expect((await http.call("GET", "/metrics")).text).toContain("\nkeyturn_writable 0\n");
    await world.as(HOST, OPERATIONS.openStore, {});
    expect((await http.call("GET", "/readyz")).body.at("status")).toBe("ready");
    expect((await http.call("GET", "/metrics")).text).toContain("\nkeyturn_writable 1\n");
    await http.close();
  });

  test("an installation that was moved to another database: nothing is judged there any more", async () => {
    const http = await startHttp();
    const { world } = http;
    await world.as(HOST, OPERATIONS.closeStore, { why: "moved" });
    expect((await http.call("GET", "/readyz")).body.at("warnings", 0)).toBe(
      "history: the installation was moved to another database; nothing is judged here any more",
    );
    await http.close();
  });

  test("evidence that was not stored for long", async () => {
    const http = await startHttp();
    http.world.clock.pass(105_001);
    await http.world.follow();
    expect((await http.call("GET", "/readyz")).body.at("warnings", 0)).toStartWith(
      "evidence: not stored for 105 s",
    );
    await http.world.authority.recorder.flush();
    expect((await http.call("GET", "/readyz")).body.at("status")).toBe("ready");
    await http.close();
  });
});

describe("metrics", () => {
  test("bear no key, owner, account or caller: labels are of closed lists alone, and of the process itself", async () => {
    const http = await startHttp();
    const owner = await http.world.owner({ scopes: ["invoices:read"] }, "an-owner-to-find");
    const key = await http.world.key(owner.id, { name: "a-key-to-find" });
    const rotated = await http.world.rotate(key.key.id);
    await http.verify(key.secret, { caller: { name: "a-caller-to-find", ip: "203.0.113.77" } });
    await http.forwardAuth(rotated.secret, "", { "keyturn-caller": "another-caller-to-find" });
    await http.call("GET", "/v1/keys", { key: "kts_nobody" });
    await http.call("GET", `/v1/keys/${key.key.id}`);
    const { text } = await http.call("GET", "/metrics");
    for (const id of [
      key.key.id,
      key.key.lineageId,
      owner.id,
      http.world.account,
      rotated.rotation.id,
      "to-find",
      "203.0.113",
    ]) {
      expect(text).not.toContain(id);
    }
    const labels = new Set([...text.matchAll(/[{,]([a-z_]+)="/g)].map((match) => match[1]));
    expect([...labels].sort()).toEqual(["code", "operation", "process", "state", "status", "version"]);
    expect(text).toContain('keyturn_verdicts_total{code="valid"} 2');
    await http.close();
  });

  test("KEYTURN_METRICS_PORT moves them away from the API", async () => {
    const port = await freePort();
    const served = await started(newPlace("metrics"), { KEYTURN_METRICS_PORT: String(port) });
    expect((await fetch(`${served.url}/metrics`)).status).toBe(404);
    const away = await fetch(`http://127.0.0.1:${port}/metrics`);
    expect([away.status, (await away.text()).includes("keyturn_audit_seq 1")]).toEqual([200, true]);
    expect((await fetch(`http://127.0.0.1:${port}/v1/keys/self`)).status).toBe(404);
  });
});

describe("KEYTURN_CALLER_ADDRESS: what is kept of callers' addresses", () => {
  const ADDRESSES = ["203.0.113.77", "2001:db8:1:2:3:4:5:6"];

  async function keptWith(kept: string): Promise<{ file: string; listed: readonly unknown[] }> {
    const place = newPlace(`address-${kept}`, { KEYTURN_CALLER_ADDRESS: kept });
    const served = await started(place);
    const key = await issueAt(served.call, "billing");
    for (const ip of ADDRESSES) {
      for (const caller of [{ name: "web", ip }, { ip, user_agent: "curl/8.5.0" }, { ip }]) {
        await served.call("POST", "/v1/keys/verify", { body: { key: key.secret, caller } });
      }
    }
    const callers = await served.call("GET", `/v1/keys/${key.id}/callers`);
    const listed = Array.from({ length: 10 }, (_, index) => callers.body.at("data", index, "address"));
    await served.process.stop();
    // The file and its log as they lie there, freed pages and all.
    const files = ["evidence.db", "evidence.db-wal"].map((name) => join(place.data, name)).filter(existsSync);
    return {
      file: files.map((path) => readFileSync(path, "latin1")).join(""),
      listed: listed.filter((one) => one !== undefined),
    };
  }

  test("full: the address", async () => {
    const { file, listed } = await keptWith("full");
    for (const address of ADDRESSES) expect(file).toContain(address);
    expect(listed).toContain("203.0.113.77");
  });

  test("prefix: the network alone, nowhere a whole address", async () => {
    const { file, listed } = await keptWith("prefix");
    for (const address of [...ADDRESSES, "3:4:5:6"]) expect(file).not.toContain(address);
    expect(file).toContain("203.0.113.0/24");
    expect(listed).toContain("203.0.113.0/24");
  });

  test("none: nothing of it", async () => {
    const { file, listed } = await keptWith("none");
    for (const part of ["203.0.113", "2001:db8"]) expect(file).not.toContain(part);
    expect(listed.every((one) => one === null)).toBe(true);
    expect(listed.length).toBe(3);
  });
});

describe("/metrics tells how many rotations are open", () => {
  test("by state, and how many of them are overdue", async () => {
    const http = await startHttp();
    const { key } = await http.world.key((await http.world.owner()).id);
    const { rotation } = await http.world.rotate(key.id, { deadlineAt: http.world.clock.wall() + MINUTE });
    const before = (await http.call("GET", "/metrics")).text;
    expect(before).toContain('\nkeyturn_rotations{state="issued"} 1\n');
    expect(before).toContain("\nkeyturn_rotations_overdue 0\n");
    http.world.clock.pass(MINUTE);
    await http.world.work(rotation.id);
    expect((await http.call("GET", "/metrics")).text).toContain("\nkeyturn_rotations_overdue 1\n");
    await http.close();
  });
});
