import { afterEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createTestClock, DAY, HOUR, startWorld, type World } from "../../test/support/authority.ts";
import { freePort } from "../../test/support/server.ts";
import { newId } from "../authority/ids.ts";
import { OPERATIONS } from "../authority/operations.ts";
import { readConfig } from "../config.ts";
import { openWitnessFile } from "../storage/witness-file.ts";
import { examine } from "./doctor.ts";
import { lockInstallation } from "./open.ts";

const worlds: World[] = [];

/** An installation whose clock differs from this machine's by `offset` milliseconds. */
async function installation(offset = -HOUR): Promise<World> {
  const world = await startWorld({ clock: createTestClock(Date.now() + offset) });
  worlds.push(world);
  return world;
}

afterEach(async () => {
  for (const world of worlds.splice(0)) await world.close();
});

const configOf = (world: World, env: Record<string, string> = {}) =>
  readConfig({ KEYTURN_DATA: world.folder, ...env });

/** What the doctor says of one check: its state and its words. */
async function said(
  world: World,
  check: string,
  env: Record<string, string> = {},
  accepts = false,
): Promise<string> {
  const findings = await examine(configOf(world, env), env, accepts);
  const found = findings.find((finding) => finding.check === check);
  return `${found?.state}: ${found?.message}`;
}

describe("keyturn doctor", () => {
  test("finds nothing wrong with a fresh installation, and changes nothing", async () => {
    const world = await installation();
    const { seq } = await world.authority.storage.read.audit.head();
    const findings = await examine(configOf(world), {}, false);
    expect(findings.filter(({ state }) => state === "wrong")).toEqual([]);
    expect((await world.authority.storage.read.audit.head()).seq).toBe(seq);
  });

  test("a false future is wrong until it is accepted, and the acceptance is audited once", async () => {
    const world = await installation(2 * DAY);
    expect(await said(world, "clock")).toStartWith("wrong:");
    expect(await said(world, "clock", {}, true)).toStartWith("ok:");
    expect(await said(world, "clock")).toStartWith("ok:");
    expect(await said(world, "accept-clock", {}, true)).toContain("nothing to accept");
    const entries = await world.entries();
    expect(entries.filter(({ operation }) => operation === "clock.accept")).toHaveLength(1);
    expect((await world.checkChain()).ok).toBe(true);
  });

  test("R16: accepting the clock ends no watch in a false future, also where that left no entry", async () => {
    const world = await installation();
    const { evidence } = world.authority.storage;
    await evidence.startReporter(newId("rep"), "lost", Date.now());
    await evidence.endReportersOf("lost", Date.now() + 500 * DAY);
    await said(world, "clock", {}, true);
    expect((await evidence.watched()).restartedAt).toBeLessThanOrEqual(Date.now());
  });

  test("an account without a good root key is wrong, with the way out", async () => {
    const world = await installation();
    await world.do(OPERATIONS.revokeKey, { id: world.root.key.id, force: true });
    expect(await said(world, "root-keys")).toBe(
      "wrong: the operator's account has no good one: run keyturn setup --recover",
    );
  });

  test("a root key that ends soon is a warning long before", async () => {
    const world = await installation();
    const expiresAt = new Date(Date.now() + 20 * DAY).toISOString();
    await world.do(OPERATIONS.updateKey, { id: world.root.key.id, own: {}, expiresAt, force: true });
    expect(await said(world, "root-keys")).toMatch(/^warning: the operator's last one ends in 19d23h/);
  });

  test("an overdue rotation is named", async () => {
    const world = await installation();
    const { key } = await world.key((await world.owner()).id);
    const { rotation } = await world.rotate(key.id, { deadlineAt: Date.now() - 60_000 });
    expect(await said(world, "rotations")).toContain(rotation.id);
  });

  test("a changed entry at the end of the log is found", async () => {
    const world = await installation();
    await world.owner();
    const { Database } = await import("bun:sqlite");
    const file = new Database(join(world.folder, "keyturn.db"));
    file.run("update audit_entries set entry = replace(entry, 'owner-1', 'owner-2') where seq = 2");
    file.close();
    expect(await said(world, "audit")).toBe(
      "wrong: entry 2 does not follow from the one before: run keyturn audit verify",
    );
  });

  test("a witness that has seen more, or something else, is wrong", async () => {
    const world = await installation();
    const path = join(world.folder, "witness.jsonl");
    const env = { KEYTURN_WITNESS_FILE: path };
    const head = await world.authority.storage.read.audit.head();
    writeFileSync(path, "");
    expect(await said(world, "witness", env)).toStartWith("warning:");
    const file = openWitnessFile(path);
    file.writeAll([{ seq: head.seq, chainHash: head.chainHash, at: Date.now(), revoked: [] }]);
    expect(await said(world, "witness", env)).toContain("same disk");
    file.writeAll([{ seq: head.seq + 5, chainHash: "0".repeat(64), at: Date.now(), revoked: [] }]);
    expect(await said(world, "witness", env)).toMatch(/^wrong: .*older copy/);
    file.close();
    writeFileSync(path, "");
    const other = openWitnessFile(path);
    other.writeAll([{ seq: head.seq, chainHash: "0".repeat(64), at: Date.now(), revoked: [] }]);
    other.close();
    expect(await said(world, "witness", env)).toMatch(/^wrong: .*not the one/);
  });

  test("settings that nothing reads are a warning, and a server is told from none, with its processes and those that are silent", async () => {
    const world = await installation();
    expect(await said(world, "settings", { KEYTURN_DTAA: "x" })).toBe(
      "warning: nothing reads KEYTURN_DTAA: a typing error?",
    );
    expect(await said(world, "server")).toContain("not running");
    const lock = lockInstallation(configOf(world));
    expect(await said(world, "server")).toBe("ok: is serving");
    const { storage } = world.authority;
    const at = Date.now();
    const report = {
      appliedSeq: 1,
      stalenessMs: 0,
      flushedAt: at,
      version: "1",
      startedAt: at,
      boundedSeconds: 10,
    };
    for (const name of ["keys#1", "keys#2"])
      await storage.cluster.join({ ...report, id: newId("prc"), name, at });
    expect(await said(world, "server")).toBe("ok: is serving, as 2 processes");
    await storage.cluster.join({ ...report, id: newId("prc"), name: "keys#2", at: at - 2 * HOUR });
    expect(await said(world, "server")).toMatch(
      /^warning: .*nothing is heard of keys#2: .*keyturn cluster forget <name>$/,
    );
    lock.release();
  });

  test("claims to know nothing of who serves where the database that lists them can't be read", async () => {
    const world = await installation();
    const url = `postgres://keyturn:unused@127.0.0.1:${await freePort()}/keyturn`;
    expect(await said(world, "server", { KEYTURN_DATABASE_URL: url })).toBe(
      "warning: it is unknown whether it is serving: the database that lists who serves can't be read",
    );
  });
});
