import { beforeEach, describe, expect, test } from "bun:test";
import {
  createTestClock,
  HOUR,
  refusalIn,
  refusalOf,
  SECOND,
  START,
  startWorld,
  type TestClock,
  type World,
} from "../../test/support/authority.ts";
import { createMemoryLog, type MemoryLog } from "../../test/support/memory-log.ts";
import { GENESIS } from "./audit/entry.ts";
import { createTimekeeper, type Timekeeper } from "./clock.ts";
import { createFollower, type Follower, momentOf } from "./follower.ts";
import type { Freshness } from "./freshness.ts";
import { newId } from "./ids.ts";
import { OPERATIONS } from "./operations.ts";
import { HOST } from "./setup/setup.ts";
import type { Storage } from "./storage.ts";

let clock: TestClock;
let time: Timekeeper;
let log: MemoryLog;
let follower: Follower;
let forgotten: number[];
let told: number[][];
let faults: unknown[];
beforeEach(() => {
  clock = createTestClock();
  time = createTimekeeper(clock, 0);
  log = createMemoryLog();
  forgotten = [];
  told = [];
  faults = [];
  follower = createFollower({
    storage: log,
    clock,
    time,
    boundedSeconds: 10,
    head: GENESIS,
    since: momentOf(clock),
    forget: async ({ seq }) => void forgotten.push(seq),
    onFollowed: (entries) => void told.push(entries.map(({ seq }) => seq)),
    onBroken: (cause) => void faults.push(cause),
  });
});

/** The kinds of keys that may be judged now. */
function allowed(atLeast = 0): readonly Freshness[] {
  return (["strict", "bounded", "static"] as const).filter((one) => follower.allows(one, atLeast));
}
const ALL = ["strict", "bounded", "static"] as const;

/** The machine's own time goes by, and nobody sets its wall clock along: it was asleep, or the clock is stopped. */
function passMonotonicOnly(milliseconds: number): void {
  clock.pass(milliseconds);
  clock.jump(-milliseconds);
}

describe("R12: a lease", () => {
  test("lasts 1 s for strict keys and half a second less than the ceiling for bounded ones, to the millisecond", () => {
    clock.pass(1_000);
    expect(allowed()).toEqual([...ALL]);
    clock.pass(1);
    expect(allowed()).toEqual(["bounded", "static"]);
    clock.pass(8_499);
    expect(allowed()).toEqual(["bounded", "static"]);
    clock.pass(1);
    expect(allowed()).toEqual(["static"]);
  });

  test("counts from before the look, not from its answer: what happened in between may not be in it", async () => {
    log.underWay = async () => clock.pass(700);
    clock.pass(HOUR);
    await follower.renew();
    expect(follower.stalenessMs()).toBe(700);
    clock.pass(300);
    expect(allowed()).toEqual([...ALL]);
    clock.pass(1);
    expect(allowed()).toEqual(["bounded", "static"]);
  });

  test("is not renewed by a look that took longer than it lasts", async () => {
    log.underWay = async () => clock.pass(1_001);
    await follower.renew();
    expect(allowed()).toEqual(["bounded", "static"]);
  });

  test("is lost when the monotonic clock alone has passed it", () => {
    passMonotonicOnly(1_001);
    expect(allowed()).toEqual(["bounded", "static"]);
    passMonotonicOnly(HOUR);
    expect(allowed()).toEqual(["static"]);
  });

  test("is lost when the wall clock alone has passed it: a machine that slept has a monotonic clock that did, too", async () => {
    clock.jump(1_001);
    expect(allowed()).toEqual(["bounded", "static"]);
    clock.jump(HOUR);
    expect(allowed()).toEqual(["static"]);
    await follower.renew();
    expect(allowed()).toEqual([...ALL]);
  });

  test("is lost when the wall clock goes back, were it by a millisecond, until the next look", async () => {
    clock.pass(10);
    expect(allowed()).toEqual([...ALL]);
    clock.jump(-1);
    expect(allowed()).toEqual(["static"]);
    expect(follower.stalenessMs()).toBe(Number.POSITIVE_INFINITY);
    clock.jump(5);
    expect(allowed()).toEqual(["static"]);
    await follower.renew();
    expect(allowed()).toEqual([...ALL]);
  });

  test("stays lost after a look in the midst of which the clock went back; the next one renews it", async () => {
    log.underWay = async () => {
      clock.jump(-10 * SECOND);
      follower.stalenessMs();
    };
    await follower.renew();
    expect(allowed()).toEqual(["static"]);
    log.underWay = async () => undefined;
    await follower.renew();
    expect(allowed()).toEqual([...ALL]);
  });

  test("is not renewed by a look that failed, and goes on until its own end", async () => {
    clock.pass(600);
    log.away = true;
    expect((await refusalOf(follower.renew())).code).toBe("storage_unavailable");
    clock.pass(400);
    expect(allowed()).toEqual([...ALL]);
    clock.pass(1);
    expect(allowed()).toEqual(["bounded", "static"]);
  });
});

describe("what is asked for by its number", () => {
  test("may be judged once it is applied, by static keys as well", async () => {
    expect(allowed(1)).toEqual([]);
    log.append();
    expect(allowed(1)).toEqual([]);
    await follower.renew();
    expect(allowed(1)).toEqual([...ALL]);
    expect(allowed(2)).toEqual([]);
  });

  test("is looked for: found where it is, and no by what the log does not have", async () => {
    log.append();
    expect(await follower.catchUp("static", 1)).toBe(true);
    expect(await follower.catchUp("static", 2)).toBe(false);
    expect(forgotten).toEqual([1]);
  });
});

describe("catching up", () => {
  test("asks the store when the lease is lost, and is current afterwards", async () => {
    clock.pass(HOUR);
    expect(await follower.catchUp("strict", 0)).toBe(true);
    expect(log.looks).toBe(1);
  });

  test("shares a look that is under way, and starts another when that one began too early", async () => {
    let answer: () => void = () => undefined;
    log.underWay = () => new Promise((resolve) => (answer = resolve));
    const early = follower.renew();
    clock.pass(2 * SECOND);
    const waiting = [follower.catchUp("strict", 0), follower.catchUp("bounded", 0)];
    expect(log.looks).toBe(1);
    log.underWay = async () => undefined;
    answer();
    await early;
    expect(await Promise.all(waiting)).toEqual([true, true]);
    expect(log.looks).toBe(2);
  });

  test("gives up after a look of its own: a store that is too slow can't vouch for a strict key", async () => {
    log.underWay = async () => clock.pass(1_001);
    expect(await follower.catchUp("strict", 0)).toBe(false);
    expect(log.looks).toBe(1);
  });

  test("does not wait for a store that has just failed: it is not even asked, until a look has worked again", async () => {
    clock.pass(HOUR);
    log.away = true;
    expect(await follower.catchUp("strict", 0)).toBe(false);
    expect(log.looks).toBe(1);
    for (let i = 0; i < 5; i += 1) expect(await follower.catchUp("bounded", 0)).toBe(false);
    expect(log.looks).toBe(1);
    log.away = false;
    await follower.renew();
    clock.pass(HOUR);
    expect(await follower.catchUp("strict", 0)).toBe(true);
  });
});

describe("following", () => {
  test("applies every entry once and in order, however many there are", async () => {
    for (let i = 0; i < 2_345; i += 1) log.append();
    await follower.renew();
    expect(forgotten).toEqual(Array.from({ length: 2_345 }, (_, i) => i + 1));
    expect(told.flat()).toEqual(forgotten);
    await follower.renew();
    expect(forgotten).toHaveLength(2_345);
  });

  test("keeps to what the log says of the time, and an entry that is applied twice brings no false future back", async () => {
    const future = log.append({ at: START + HOUR });
    await follower.renew();
    expect(time.now()).toBe(START + HOUR);
    log.append({ operation: "clock.accept" });
    await follower.renew();
    expect(time.now()).toBe(START);
    await follower.applyOwn(future);
    expect(time.now()).toBe(START);
    expect(follower.appliedSeq()).toBe(2);
  });

  test("what this process has made durable is applied after what others have appended before it", async () => {
    log.append();
    log.append();
    await follower.applyOwn(log.append());
    expect(forgotten).toEqual([1, 2, 3]);
    expect(follower.appliedSeq()).toBe(3);
    await follower.applyOwn(log.append());
    expect(forgotten).toEqual([1, 2, 3, 4]);
    // The next in line needs no look.
    expect(log.looks).toBe(1);
  });

  test("an entry that could not be applied is not passed over: it is applied at the next look", async () => {
    const parts = { storage: log, clock, time, boundedSeconds: 10, head: GENESIS, since: momentOf(clock) };
    let fails = true;
    const failing = createFollower({
      ...parts,
      forget: async ({ seq }) => {
        if (fails && seq === 2) throw new Error("the connection is gone");
        forgotten.push(seq);
      },
      onFollowed: () => undefined,
      onBroken: () => undefined,
    });
    for (let i = 0; i < 3; i += 1) log.append();
    await expect(failing.renew()).rejects.toThrow("the connection is gone");
    expect(failing.appliedSeq()).toBe(1);
    fails = false;
    await failing.renew();
    expect(forgotten).toEqual([1, 2, 3]);
  });

  test("R14: what was applied is told of even where the one after it could not be applied: no revocation escapes the witness", async () => {
    let fails = true;
    const failing = createFollower({
      ...{ storage: log, clock, time, boundedSeconds: 10, head: GENESIS, since: momentOf(clock) },
      forget: async ({ seq }) => {
        if (fails && seq === 2) throw new Error("the connection is gone");
      },
      onFollowed: (entries) => void told.push(entries.map(({ seq }) => seq)),
      onBroken: () => undefined,
    });
    for (let i = 0; i < 3; i += 1) log.append();
    await expect(failing.renew()).rejects.toThrow("the connection is gone");
    expect(told).toEqual([[1]]);
    fails = false;
    await failing.renew();
    expect(told).toEqual([[1], [2, 3]]);
  });
});

describe("R14: a log that turns out to be another", () => {
  const breaks: readonly (readonly [string, () => void])[] = [
    ["another entry stands in the place of the newest one", () => log.replace(3)],
    ["it ends before the newest one", () => log.cutTo(2)],
    ["it is empty", () => log.cutTo(0)],
  ];
  for (const [what, happen] of breaks) {
    test(`${what}: strict and bounded keys are judged no more, for good; static ones are`, async () => {
      for (let i = 0; i < 3; i += 1) log.append();
      await follower.renew();
      expect(follower.history()).toBe("whole");
      happen();
      expect((await refusalOf(follower.renew())).code).toBe("storage_unavailable");
      expect(follower.history()).toBe("broken");
      expect(allowed()).toEqual(["static"]);
      expect(await follower.catchUp("bounded", 0)).toBe(false);
      expect(faults).toHaveLength(1);
      await refusalOf(follower.renew());
      expect(faults).toHaveLength(1);
      expect(forgotten).toEqual([1, 2, 3]);
    });
  }

  test("an own entry that a look doesn't find is asked for once, not without end", async () => {
    for (let i = 0; i < 3; i += 1) log.append();
    const own = { ...log.append(), seq: 6 };
    log.cutTo(3);
    expect((await refusalOf(follower.applyOwn(own))).code).toBe("storage_unavailable");
    expect(log.looks).toBe(1);
    expect([follower.history(), follower.appliedSeq(), faults.length]).toEqual(["broken", 3, 1]);
  });

  test("the end of the log that a change has locked must be where it was followed to, or further", async () => {
    for (let i = 0; i < 3; i += 1) log.append();
    await follower.renew();
    const [, second, third] = log.entries;
    if (second === undefined || third === undefined) throw new Error("there are three");
    follower.assertGoesOn(third);
    follower.assertGoesOn({ seq: 4, chainHash: "of another process" });
    expect(follower.history()).toBe("whole");
    for (const end of [second, { ...third, chainHash: "another" }]) {
      expect(refusalIn(() => follower.assertGoesOn(end)).code).toBe("storage_unavailable");
      expect(follower.history()).toBe("broken");
    }
    expect(faults).toHaveLength(1);
  });

  test("is not gone on with: a change that meets it before a look does is refused, and so is the entry of a refusal", async () => {
    let isCut = false;
    const through = (storage: Storage): Storage => ({
      ...storage,
      change: (work, scope) =>
        storage.change(async (tx) => {
          const head = async () => {
            const end = await tx.audit.head();
            const [line] = await tx.audit.lines(end.seq - 2, 1);
            return isCut && line !== undefined ? { ...end, ...line } : end;
          };
          return work({ ...tx, audit: { ...tx.audit, head } });
        }, scope),
    });
    const refused = async (attempt: (world: World) => Promise<unknown>) => {
      isCut = false;
      const world = await startWorld({ through });
      await world.owner();
      const { seq } = await world.authority.storage.read.audit.head();
      isCut = true;
      expect((await refusalOf(attempt(world))).code).toBe("storage_unavailable");
      expect(world.authority.follower.history()).toBe("broken");
      expect((await world.authority.storage.read.audit.head()).seq).toBe(seq);
      await world.close();
    };
    await refused((world) => world.owner());
    await refused((world) => world.do(OPERATIONS.revokeKey, { id: newId("key") }));
  });

  test("coming back does not heal it: nobody knows what was answered meanwhile", async () => {
    log.append();
    await follower.renew();
    const { entries } = log;
    log.cutTo(0);
    await refusalOf(follower.renew());
    log.append({ chainHash: entries[0]?.chainHash ?? "" });
    await follower.renew();
    expect(allowed()).toEqual(["static"]);
    expect(follower.history()).toBe("broken");
  });

  test("ends writing, while what is static is answered for", async () => {
    let isAnother = false;
    const through = (storage: Storage): Storage => ({
      ...storage,
      follow: (after, limit) =>
        isAnother ? Promise.resolve({ continuous: false, entries: [] }) : storage.follow(after, limit),
    });
    const world = await startWorld({ through });
    const { secret } = await world.keyWith({ scopes: ["a:b"] }, { freshness: "static" });
    expect(world.verify(secret)).toBe("valid");
    isAnother = true;
    await refusalOf(world.follow());
    const refused = await refusalOf(world.owner());
    expect(refused.code).toBe("storage_unavailable");
    const bySystem = world.as({ kind: "host", id: "host", accountId: null }, OPERATIONS.acceptClock, {});
    expect((await refusalOf(bySystem)).code).toBe("storage_unavailable");
    expect(world.verify(secret)).toBe("valid");
    await world.close();
  });
});

describe("a store that is left for another database", () => {
  test("is judged by until it is left, and by nobody from then on: not even static keys, nor keys seen for the first time", async () => {
    const world = await startWorld();
    const keys = [];
    for (const freshness of ["static", "bounded", "strict"] as const)
      keys.push(await world.keyWith({ scopes: ["a:b"] }, { freshness }));
    const unseen = await world.keyWith({ scopes: ["a:b"] }, { freshness: "static" });
    const mover = await startWorld({ folder: world.folder, clock: world.clock, process: "mover" });
    await mover.as(HOST, OPERATIONS.closeStore, { why: "moving" });
    await world.follow();
    for (const { secret } of keys) expect(await world.judged(secret)).toBe("valid");
    await mover.as(HOST, OPERATIONS.closeStore, { why: "moved" });
    await world.follow();
    for (const { secret } of [...keys, unseen]) expect(await world.judged(secret)).toBe("stale");
    expect(world.authority.follower.history()).toBe("moved");
    await mover.leave();
    await world.close();
  });
});
