import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { SECOND, startWorld, type World } from "../../../test/support/authority.ts";
import { newId } from "../ids.ts";
import { OPERATIONS } from "../operations.ts";
import type { Storage } from "../storage.ts";
import { createMembership, type Membership } from "./membership.ts";
import { createDatabaseWatch } from "./watch-database.ts";

let identity: string;
/** Whether the log does not go on where the other process has it end. */
let isCutForOther: boolean;
/** Whether it can't look at all. */
let isAway = false;
const through = (storage: Storage): Storage => ({ ...storage, identity: async () => identity });
const throughOther = (storage: Storage): Storage => ({
  ...through(storage),
  follow: (after, limit) =>
    isAway
      ? Promise.reject(new Error("the connection is gone"))
      : isCutForOther
        ? Promise.resolve({ continuous: false, entries: [] })
        : storage.follow(after, limit),
});

let one: World;
let other: World;
let members: readonly [Membership, Membership];
let watch: () => Promise<void>;
beforeEach(async () => {
  identity = "the first";
  isCutForOther = false;
  one = await startWorld({ process: "one", through });
  other = await startWorld({ folder: one.folder, clock: one.clock, process: "other", through: throughOther });
  members = [createMembership(one.authority), createMembership(other.authority)];
  for (const member of members) await member.join();
  watch = createDatabaseWatch(one.authority);
});
afterEach(async () => {
  await other.leave();
  await one.close();
});

/** The databases that were noted. */
async function noted(): Promise<readonly unknown[]> {
  const entries = await one.entries();
  return entries
    .filter(({ operation }) => operation === "database.note")
    .map(({ subjects }) => subjects[0]?.after?.identity);
}

/** After the first was noted, looks lead to the second. */
async function anotherTakesOver(): Promise<void> {
  await watch();
  identity = "the second";
  await watch();
}

/** A second goes by; the other process looks and tells how far it is; and the database is looked at. */
async function otherReports(): Promise<void> {
  one.clock.pass(SECOND);
  await other.follow().catch(() => undefined);
  await members[1].report();
  await watch().catch(() => undefined);
}

/** As often as it takes until a look of it is sure to be one of after the other database took over. */
async function otherReportsOnAndOn(): Promise<void> {
  for (let reports = 0; reports < 5; reports += 1) await otherReports();
}

/** What another process has seen, and this log does not have. */
async function otherIsAhead(): Promise<void> {
  const { process, storage } = other.authority;
  const { seq } = await storage.read.audit.head();
  const report = { appliedSeq: seq + 1, stalenessMs: 0, flushedAt: null, at: one.clock.wall() };
  await storage.cluster.report(process.id, report);
}

const SILENT = "other may have applied entries that it lacks: not heard of since";

describe("R14: a database that took the place of another", () => {
  test("the first of all is noted at once: there is none that it could lack something of", async () => {
    await watch();
    expect(await noted()).toEqual(["the first"]);
    await watch();
    expect(await noted()).toEqual(["the first"]);
  });

  test("is noted only once every process on its list has reported to it: the list itself is as old as the database", async () => {
    await watch();
    identity = "the second";
    for (let looks = 0; looks < 3; looks += 1) {
      const look = watch();
      if (looks > 0) await expect(look).rejects.toThrow(SILENT);
      else await look;
      one.clock.pass(2 * SECOND);
      await members[0].report();
    }
    expect(one.authority.neighbours.doubted()).toContain("keyturn cluster forget");
    expect(await noted()).toEqual(["the first"]);
    await otherReportsOnAndOn();
    expect(await noted()).toEqual(["the first", "the second"]);
    expect(one.authority.neighbours.doubted()).toBeNull();
  });

  test("is noted by no report of a look at the one before, however late it arrives", async () => {
    await anotherTakesOver();
    // On their way when it took over: the first was under way with its numbers, the next tells of a look from before.
    for (let reports = 0; reports < 4; reports += 1) {
      one.clock.pass(SECOND);
      await members[1].report();
      await expect(watch()).rejects.toThrow(SILENT);
    }
    expect(await noted()).toEqual(["the first"]);
    await otherReportsOnAndOn();
    expect(await noted()).toEqual(["the first", "the second"]);
  });

  test("is noted also where the newest entry is dated ahead, and time stands still", async () => {
    await watch();
    one.clock.jump(4 * 60 * SECOND);
    await one.owner();
    one.clock.jump(-4 * 60 * SECOND);
    await other.follow();
    identity = "the second";
    await watch();
    await otherReportsOnAndOn();
    expect(await noted()).toEqual(["the first", "the second"]);
  });

  test("is noted also where a clock was set back in the midst of it", async () => {
    await anotherTakesOver();
    await otherReportsOnAndOn();
    one.clock.jump(-60 * 60 * SECOND);
    identity = "the third";
    await watch();
    await otherReports();
    one.clock.jump(-60 * 60 * SECOND);
    await otherReportsOnAndOn();
    expect(await noted()).toEqual(["the first", "the second", "the third"]);
  });

  test("is not noted where one stopped that could not look before, or that its list did not name", async () => {
    await anotherTakesOver();
    isAway = true;
    await members[1].leave();
    isAway = false;
    await expect(watch()).rejects.toThrow(SILENT);
    expect(await noted()).toEqual(["the first"]);
    // Of one that joined after the last that the standby has of the list.
    isCutForOther = true;
    await one.authority.storage.cluster.leave(other.authority.process.id);
    await members[1].leave();
    const listed = (await one.authority.storage.cluster.processes()).map(({ name }) => name);
    expect(listed).toContain("other");
  });

  const found: Readonly<Record<string, () => Promise<unknown>>> = {
    "that reports": otherReportsOnAndOn,
    "that has stopped, by its last look,": () => {
      one.clock.pass(SECOND);
      return members[1].leave();
    },
    "that reported and has stopped": () => otherReportsOnAndOn().then(() => members[1].leave()),
  };
  test.each(Object.entries(found))(
    "is not noted where one %s found that the log does not go on",
    async (_, tells) => {
      await anotherTakesOver();
      isCutForOther = true;
      await tells();
      await expect(watch()).rejects.toThrow("the log does not go on");
      one.clock.pass(61 * SECOND);
      await expect(watch()).rejects.toThrow("the log does not go on");
      expect(await noted()).toEqual(["the first"]);
      await one.do(OPERATIONS.forgetProcess, { name: "other" });
      await watch();
      expect(await noted()).toEqual(["the first", "the second"]);
    },
  );

  test("is not noted where one that reports has applied what it lacks", async () => {
    await anotherTakesOver();
    one.clock.pass(SECOND);
    await otherIsAhead();
    await expect(watch()).rejects.toThrow("lacks entries that other applied");
    expect(one.authority.neighbours.doubted()).toContain("lacks entries that other applied");
    expect(await noted()).toEqual(["the first"]);
  });

  const gone: Readonly<Record<string, () => Promise<unknown>>> = {
    "has left": () => members[1].leave(),
    "was forgotten": () => one.do(OPERATIONS.forgetProcess, { name: "other" }),
    "has a successor of its name that looks": async () => {
      const { process } = other.authority;
      const successor = { ...other.authority, process: { ...process, id: newId("prc") } };
      members = [members[0], createMembership(successor)];
      await members[1].join();
      await otherReportsOnAndOn();
    },
  };
  test.each(Object.entries(gone))("waits for no process that %s", async (_, goes) => {
    await anotherTakesOver();
    one.clock.pass(61 * SECOND);
    await members[0].report();
    await expect(watch()).rejects.toThrow(SILENT);
    await goes();
    await watch();
    expect(await noted()).toEqual(["the first", "the second"]);
    expect(one.authority.neighbours.doubted()).toBeNull();
  });

  test("is looked at anew when it is another again, and forgotten when the noted one is back", async () => {
    await watch();
    for (identity of ["the second", "the third"]) await watch();
    await expect(watch()).rejects.toThrow(SILENT);
    identity = "the first";
    await watch();
    expect(one.authority.neighbours.doubted()).toBeNull();
    await otherReportsOnAndOn();
    identity = "the third";
    await watch();
    await expect(watch()).rejects.toThrow(SILENT);
    expect(await noted()).toEqual(["the first"]);
  });
});
