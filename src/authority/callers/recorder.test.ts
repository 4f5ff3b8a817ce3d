import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  createTestClock,
  DAY,
  HOUR,
  MINUTE,
  SECOND,
  START,
  type TestClock,
} from "../../../test/support/authority.ts";
import { dropFolder, newFolder } from "../../../test/support/traces.ts";
import { openSqliteStorage } from "../../storage/sqlite-storage.ts";
import { createTimekeeper } from "../clock.ts";
import { type KeyId, newId } from "../ids.ts";
import { VERDICT_CODES, type VerdictCode } from "../keys/verdict.ts";
import { watchedSince } from "../rotations/evidence.ts";
import type { EvidenceStore, Storage, UsageBatch } from "../storage.ts";
import { MOST_COUNTS, MOST_ROWS } from "./backlog.ts";
import { type AddressKept, MOST_CALLERS_PER_KEY, OVERFLOW } from "./caller.ts";
import { createRecorder, flushesIn, type Recorder } from "./recorder.ts";

let folder: string;
let storage: Storage;
beforeAll(() => {
  folder = newFolder("recorder");
  storage = openSqliteStorage(folder);
});
afterAll(async () => {
  await storage.close();
  dropFolder(folder);
});

interface Bench {
  readonly clock: TestClock;
  readonly recorder: Recorder;
  readonly key: KeyId;
}

/** A running recorder over the store, or over `store` in front of it. Each test starts where no other was. */
let era = START;
async function start(store: EvidenceStore = storage.evidence, kept: AddressKept = "full"): Promise<Bench> {
  era += 1_000 * DAY;
  const clock = createTestClock(era);
  const recorder = createRecorder(store, clock, createTimekeeper(clock, 0), kept, "test");
  await recorder.start();
  return { clock, recorder, key: newId("key") };
}

const callersOf = (key: KeyId) => storage.evidence.callersOf(key);
const watchedFrom = async (since: number) => watchedSince((await storage.evidence.watched()).watches, since);
async function usageOf(key: KeyId, unit: "minute" | "hour") {
  return storage.evidence.usage(key, unit, 0, era + 1_000 * DAY);
}

describe("counting", () => {
  test("R16: what was recorded is what is stored: by caller, by minute and by hour, for any course of events", async () => {
    const uses = fc.array(
      fc.record({
        name: fc.option(fc.constantFrom("api", "batch", ""), { nil: undefined }),
        address: fc.option(fc.constantFrom("10.0.0.1", "10.0.0.2"), { nil: undefined }),
        code: fc.constantFrom(...VERDICT_CODES),
        after: fc.constantFrom(0, 1, 20 * SECOND, MINUTE, HOUR),
        flush: fc.boolean(),
        hold: fc.boolean(),
      }),
      { minLength: 1, maxLength: 60 },
    );
    await fc.assert(
      fc.asyncProperty(uses, async (course) => {
        const { clock, recorder, key } = await start();
        const expected: Partial<Record<VerdictCode, number>> = {};
        let held: ReturnType<Recorder["record"]> | null = null;
        for (const { name, address, code, after, flush, hold } of course) {
          clock.pass(after);
          held = recorder.record(key, hold ? held : null, { name, address }, code, clock.wall());
          expected[code] = (expected[code] ?? 0) + 1;
          if (flush) await recorder.flush();
        }
        await recorder.stop();
        const byCaller: Partial<Record<VerdictCode, number>> = {};
        for (const caller of await callersOf(key)) {
          for (const code of VERDICT_CODES) {
            const count = caller.counts[code] ?? 0;
            if (count > 0) byCaller[code] = (byCaller[code] ?? 0) + count;
          }
        }
        expect(byCaller).toEqual(expected);
        for (const unit of ["minute", "hour"] as const) {
          const total: Partial<Record<VerdictCode, number>> = {};
          for (const { code, count } of await usageOf(key, unit)) total[code] = (total[code] ?? 0) + count;
          expect(total).toEqual(expected);
        }
      }),
      { numRuns: 40 },
    );
  });

  test("uses stand in the minute in which they were made", async () => {
    const { clock, recorder, key } = await start();
    const first = clock.wall();
    const held = recorder.record(key, null, { name: "api" }, "valid", first);
    recorder.record(key, held, { name: "api" }, "valid", first + MINUTE - 1);
    recorder.record(key, held, { name: "api" }, "valid", first + MINUTE);
    await recorder.stop();
    expect(await usageOf(key, "minute")).toEqual([
      { from: first, code: "valid", count: 2 },
      { from: first + MINUTE, code: "valid", count: 1 },
    ]);
  });

  test("first and last use are kept apart by whether they were let through", async () => {
    const { clock, recorder, key } = await start();
    const at = (code: VerdictCode) => {
      clock.pass(SECOND);
      recorder.record(key, null, { name: "api" }, code, clock.wall());
    };
    const began = clock.wall();
    for (const code of ["expired", "valid", "valid", "suspended"] as const) at(code);
    await recorder.flush();
    at("brownout");
    await recorder.stop();
    expect(await callersOf(key)).toMatchObject([
      {
        id: "n:api",
        firstSeenAt: began + SECOND,
        firstValidAt: began + 2 * SECOND,
        lastValidAt: began + 3 * SECOND,
        lastSeenAt: began + 5 * SECOND,
        counts: { expired: 1, valid: 2, suspended: 1, brownout: 1 },
      },
    ]);
  });

  test("a name keeps one row through a deploy, with the newest address and agent", async () => {
    const { clock, recorder, key } = await start();
    recorder.record(key, null, { name: "api", address: "10.0.0.1", agent: "api/1" }, "valid", clock.wall());
    recorder.record(key, null, { name: "api", address: "10.0.0.9", agent: "api/2" }, "valid", clock.wall());
    recorder.record(key, null, { name: "api" }, "valid", clock.wall());
    await recorder.stop();
    expect(await callersOf(key)).toMatchObject([
      { id: "n:api", address: "10.0.0.9", agent: "api/2", counts: { valid: 3 } },
    ]);
  });
});

describe("the bound of callers", () => {
  const meet = (bench: Bench, from: number, count: number, prefix = "caller") => {
    for (let i = from; i < from + count; i += 1) {
      bench.recorder.record(bench.key, null, { name: `${prefix}-${i}` }, "valid", bench.clock.wall());
    }
  };

  test("256 are told apart, and nobody is in the overflow", async () => {
    const bench = await start();
    meet(bench, 0, MOST_CALLERS_PER_KEY);
    await bench.recorder.stop();
    const callers = await callersOf(bench.key);
    expect(callers).toHaveLength(256);
    expect(callers.some((caller) => caller.id === OVERFLOW)).toBe(false);
  });

  test("the 257th and all after are counted together, with no name and no address; known ones stay apart", async () => {
    const bench = await start();
    meet(bench, 0, MOST_CALLERS_PER_KEY + 44);
    meet(bench, 0, MOST_CALLERS_PER_KEY + 44);
    bench.recorder.record(
      bench.key,
      null,
      { address: "10.0.0.1", agent: "curl" },
      "valid",
      bench.clock.wall(),
    );
    await bench.recorder.stop();
    const callers = await callersOf(bench.key);
    expect(callers).toHaveLength(257);
    expect(callers.find((caller) => caller.id === OVERFLOW)).toMatchObject({
      name: null,
      address: null,
      counts: { valid: 2 * 44 + 1 },
    });
    expect(callers.find((caller) => caller.id === "n:caller-0")?.counts).toEqual({ valid: 2 });
  });

  test("holds in memory as well: no batch tells more callers of a key apart, however many came between flushes", async () => {
    const sizes: number[] = [];
    const store: EvidenceStore = {
      ...storage.evidence,
      apply: async (batch) => {
        sizes.push(batch.callers.length);
        return storage.evidence.apply(batch);
      },
    };
    const bench = await start(store);
    meet(bench, 0, 1_000);
    for (let i = 0; i < 1_000; i += 1) {
      bench.recorder.record(
        bench.key,
        null,
        { address: `10.0.${i % 250}.${i % 7}` },
        "valid",
        bench.clock.wall(),
      );
    }
    await bench.recorder.stop();
    expect(sizes).toEqual([MOST_CALLERS_PER_KEY + 1]);
    expect(await callersOf(bench.key)).toHaveLength(MOST_CALLERS_PER_KEY + 1);
  });

  test("holds across flushes and restarts, and for unnamed callers", async () => {
    const bench = await start();
    meet(bench, 0, 200);
    await bench.recorder.flush();
    meet(bench, 200, 56);
    await bench.recorder.stop();
    await bench.recorder.start();
    meet(bench, 300, 1);
    meet(bench, 0, 1);
    for (let i = 0; i < 10; i += 1) {
      bench.recorder.record(bench.key, null, { address: `10.0.0.${i}` }, "valid", bench.clock.wall());
    }
    await bench.recorder.stop();
    const callers = await callersOf(bench.key);
    expect(callers).toHaveLength(257);
    expect(callers.find((caller) => caller.id === OVERFLOW)?.counts).toEqual({ valid: 11 });
    expect(callers.find((caller) => caller.id === "n:caller-0")?.counts).toEqual({ valid: 2 });
  });
});

describe("what is kept of addresses", () => {
  const store = async (kept: AddressKept) => {
    const { clock, recorder, key } = await start(storage.evidence, kept);
    recorder.record(key, null, { address: "203.0.113.77", agent: "curl/8" }, "valid", clock.wall());
    recorder.record(key, null, { name: "api", address: "203.0.113.78" }, "valid", clock.wall());
    await recorder.stop();
    return callersOf(key);
  };

  test("full, prefix or none is what is stored, of named and unnamed callers", async () => {
    expect((await store("full")).map(({ id, address }) => [id, address])).toEqual([
      ["n:api", "203.0.113.78"],
      ["u:203.0.113.77 curl", "203.0.113.77"],
    ]);
    expect((await store("prefix")).map(({ id, address }) => [id, address])).toEqual([
      ["n:api", "203.0.113.0/24"],
      ["u:203.0.113.0/24 curl", "203.0.113.0/24"],
    ]);
    expect((await store("none")).map(({ id, address }) => [id, address])).toEqual([
      ["n:api", null],
      ["u: curl", null],
    ]);
  });
});

describe("a store that fails", () => {
  /** Fails as often as told, before or after the batch was stored: both happen to real disks. */
  function faulty(fail: { times: number; after: boolean }) {
    const sent: UsageBatch[] = [];
    const store: EvidenceStore = {
      ...storage.evidence,
      apply: async (batch) => {
        sent.push(batch);
        if (fail.times > 0) {
          fail.times -= 1;
          if (fail.after) await storage.evidence.apply(batch);
          throw new Error("disk I/O error");
        }
        return storage.evidence.apply(batch);
      },
    };
    return { store, sent };
  }

  for (const after of [false, true]) {
    test(`R16: a batch that failed ${after ? "after" : "before"} it was stored goes again under its own number, counted once`, async () => {
      const { store, sent } = faulty({ times: 2, after });
      const { clock, recorder, key } = await start(store);
      const use = () => {
        clock.pass(SECOND);
        recorder.record(key, null, { name: "api" }, "valid", clock.wall());
      };
      use();
      await expect(recorder.flush()).rejects.toThrow();
      use();
      await expect(recorder.flush()).rejects.toThrow();
      use();
      await recorder.flush();
      expect(sent.map((batch) => flushesIn(batch.batchSeq))).toEqual([1, 1, 1, 2]);
      expect(sent[1]).toEqual(sent[0] as UsageBatch);
      await recorder.stop();
      expect((await callersOf(key))[0]?.counts).toEqual({ valid: 3 });
      expect((await usageOf(key, "minute")).map((row) => row.count)).toEqual([3]);
    });
  }

  test("time is watched up to the newest batch that was stored, and no further", async () => {
    const fail = { times: 0, after: false };
    const { store } = faulty(fail);
    const { clock, recorder } = await start(store);
    const began = clock.wall();
    clock.pass(MINUTE);
    await recorder.flush();
    expect(await watchedFrom(began)).toBe(MINUTE);
    fail.times = 1;
    clock.pass(MINUTE);
    await expect(recorder.flush()).rejects.toThrow();
    expect(await watchedFrom(began)).toBe(MINUTE);
    clock.pass(MINUTE);
    await recorder.flush();
    expect(await watchedFrom(began)).toBe(3 * MINUTE);
    await recorder.stop();
  });

  test("a jump of the wall clock while the store fails is no watched time either", async () => {
    const fail = { times: 1, after: false };
    const { store } = faulty(fail);
    const { clock, recorder } = await start(store);
    const began = clock.wall();
    clock.pass(MINUTE);
    await expect(recorder.flush()).rejects.toThrow();
    clock.jump(30 * SECOND);
    await recorder.flush();
    expect(await watchedFrom(began)).toBe(MINUTE);
    await recorder.stop();
  });

  test("R16: for 600 minutes with 1,000 keys in use: what is held grows by the keys and not by the minutes, goes in parts, and adds up", async () => {
    const KEYS = 1_000;
    const MINUTES = 600;
    let away = true;
    const sent: UsageBatch[] = [];
    const watermarks: (number | null)[] = [];
    const store: EvidenceStore = {
      ...storage.evidence,
      apply: async (batch) => {
        if (away) throw new Error("disk I/O error");
        const session = await storage.evidence.apply(batch);
        sent.push(batch);
        watermarks.push((await storage.evidence.watched()).watermark);
        return session;
      },
    };
    const { clock, recorder } = await start(store);
    const began = clock.wall();
    const keys = Array.from({ length: KEYS }, () => newId("key"));
    const held = new Map<KeyId, ReturnType<Recorder["record"]>>();
    for (let minute = 0; minute < MINUTES; minute += 1) {
      for (const key of keys) {
        const was = held.get(key) ?? null;
        held.set(key, recorder.record(key, was, { name: "api" }, "valid", clock.wall()));
      }
      await expect(recorder.flush()).rejects.toThrow();
      clock.pass(MINUTE);
    }
    const last = keys.at(-1) ?? newId("key");
    // In the batch whose fate is unknown, in what waits behind it, and in the minute under way.
    expect(recorder.pendingOf(last)).toHaveLength(3);
    expect(recorder.pendingOf(last).at(-1)).toEqual({
      caller: "n:api",
      lastSeenAt: clock.wall() - MINUTE,
    });
    away = false;
    await recorder.flush();

    const rowsOf = ({ callers, usage }: UsageBatch) => callers.length + usage.length;
    const total = sent.reduce((sum, batch) => sum + rowsOf(batch), 0);
    // What went out with the first flush, and then a row for each caller and its counts.
    expect(total).toBeLessThanOrEqual(2 * KEYS + KEYS * (1 + MOST_COUNTS));
    expect(sent.length).toBeGreaterThan(3);
    for (const batch of sent) expect(rowsOf(batch)).toBeLessThanOrEqual(MOST_ROWS + 1 + MOST_COUNTS);
    // Each is told under a number of its own, and none but the last claims that all was.
    expect(new Set(sent.map(({ batchSeq }) => batchSeq)).size).toBe(sent.length);
    expect(sent.map(({ batchSeq }) => flushesIn(batchSeq))).toEqual([...sent.slice(1).map(() => 1), 2]);
    expect(watermarks.map((at) => at === clock.wall())).toEqual([...sent.slice(1).map(() => false), true]);

    for (const key of [keys[0] ?? last, last]) {
      expect(await callersOf(key)).toMatchObject([
        { firstSeenAt: began, lastSeenAt: began + (MINUTES - 1) * MINUTE, counts: { valid: MINUTES } },
      ]);
      const hours = await usageOf(key, "hour");
      expect(hours.map(({ count }) => count)).toEqual(Array.from({ length: MINUTES / 60 }, () => 60));
      const minutes = await usageOf(key, "minute");
      expect(minutes.reduce((sum, { count }) => sum + count, 0)).toBe(MINUTES);
      // The newest are known to the minute.
      expect(minutes.slice(-60).map(({ count }) => count)).toEqual(Array.from({ length: 60 }, () => 1));
    }
    await recorder.stop();
  });

  test("R16: that fails in the midst of many parts goes on with the rest: none is lost, none counted twice", async () => {
    const seen: number[] = [];
    let failsAt = 2;
    const store: EvidenceStore = {
      ...storage.evidence,
      apply: async (batch) => {
        seen.push(batch.batchSeq);
        const session = await storage.evidence.apply(batch);
        if (seen.length === failsAt) throw new Error("the connection is gone");
        return session;
      },
    };
    const { clock, recorder } = await start(store);
    const began = clock.wall();
    const keys = Array.from({ length: 1.3 * MOST_ROWS }, () => newId("key"));
    for (const key of keys) recorder.record(key, null, { name: "api" }, "valid", clock.wall());
    clock.pass(SECOND);
    // Not by `rejects`: while that waits, Bun may run no immediates, and between two portions there is one.
    expect(await recorder.flush().catch(String)).toContain("could not be stored");
    expect(await watchedFrom(began)).toBe(0);
    for (const key of keys) recorder.record(key, null, { name: "api" }, "valid", clock.wall());
    failsAt = 0;
    await recorder.flush();
    expect(await watchedFrom(began)).toBe(SECOND);
    expect(seen.toSorted((one, other) => one - other)).toEqual(seen);
    expect(seen[2]).toBe(seen[1] ?? 0);
    for (const key of [keys[0], keys[MOST_ROWS / 2], keys.at(-1)])
      expect((await callersOf(key ?? newId("key"))).map(({ counts }) => counts)).toEqual([{ valid: 2 }]);
    await recorder.stop();
  });

  test("tells no more callers of a key apart than the bound, also where each minute brings others", async () => {
    let away = true;
    const store: EvidenceStore = {
      ...storage.evidence,
      apply: async (batch) => {
        if (away) throw new Error("disk I/O error");
        return storage.evidence.apply(batch);
      },
    };
    const { clock, recorder, key } = await start(store);
    // What the first flush took is a batch by now, and stays as it is.
    await expect(recorder.flush()).rejects.toThrow();
    for (let minute = 0; minute < 5; minute += 1) {
      for (let i = 0; i < 100; i += 1)
        recorder.record(key, null, { name: `c${minute}-${i}` }, "valid", clock.wall());
      await expect(recorder.flush()).rejects.toThrow();
      clock.pass(MINUTE);
    }
    recorder.record(key, null, { name: "c0-0" }, "valid", clock.wall());
    clock.pass(MINUTE);
    recorder.record(key, null, { name: "c4-99" }, "valid", clock.wall());
    expect(recorder.pendingOf(key)).toHaveLength(MOST_CALLERS_PER_KEY + 1 + 1);
    away = false;
    await recorder.stop();
    const callers = await callersOf(key);
    expect(callers).toHaveLength(MOST_CALLERS_PER_KEY + 1);
    expect(callers.find(({ id }) => id === "n:c0-0")?.counts).toEqual({ valid: 2 });
    expect(callers.find(({ id }) => id === OVERFLOW)?.counts).toEqual({
      valid: 5 * 100 - MOST_CALLERS_PER_KEY + 1,
    });
  });

  test("a session that could not be opened loses nothing that was counted", async () => {
    let refuse = false;
    const store: EvidenceStore = {
      ...storage.evidence,
      startReporter: async (id, process, at) => {
        if (refuse) throw new Error("disk I/O error");
        await storage.evidence.startReporter(id, process, at);
      },
    };
    const { clock, recorder, key } = await start(store);
    recorder.record(key, null, { name: "api" }, "valid", clock.wall());
    clock.jump(HOUR);
    refuse = true;
    await expect(recorder.flush()).rejects.toThrow();
    refuse = false;
    recorder.record(key, null, { name: "api" }, "valid", clock.wall());
    await recorder.flush();
    recorder.record(key, null, { name: "api" }, "valid", clock.wall());
    await recorder.stop();
    expect((await callersOf(key))[0]?.counts).toEqual({ valid: 3 });
  });
});

describe("watched time", () => {
  test("grows by the time that passed between flushes", async () => {
    const { clock, recorder } = await start();
    const began = clock.wall();
    clock.pass(10 * SECOND);
    await recorder.flush();
    clock.pass(10 * SECOND);
    expect(await watchedFrom(began)).toBe(10 * SECOND);
    await recorder.stop();
    expect(await watchedFrom(began)).toBe(20 * SECOND);
  });

  test("does not grow by a jump of the wall clock; the watch goes on from after it", async () => {
    const { clock, recorder } = await start();
    const began = clock.wall();
    clock.pass(10 * SECOND);
    await recorder.flush();
    clock.jump(7 * DAY);
    await recorder.flush();
    expect(await watchedFrom(began)).toBe(10 * SECOND);
    clock.pass(5 * SECOND);
    await recorder.flush();
    expect(await watchedFrom(began)).toBe(15 * SECOND);
    await recorder.stop();
  });

  test("a wall clock up to 2 s ahead of the monotonic one is drift, a millisecond more is a jump", async () => {
    for (const [jump, watched] of [
      [2 * SECOND, 12 * SECOND],
      [2 * SECOND + 1, 0],
    ] as const) {
      const { clock, recorder } = await start();
      const began = clock.wall();
      clock.pass(10 * SECOND);
      clock.jump(jump);
      await recorder.flush();
      expect(await watchedFrom(began)).toBe(watched);
      await recorder.stop();
    }
  });

  test("a jump is no unclean stop: what was watched before it still counts", async () => {
    const { clock, recorder } = await start();
    const began = clock.wall();
    const before = await storage.evidence.watched();
    clock.pass(MINUTE);
    await recorder.flush();
    clock.jump(DAY);
    await recorder.flush();
    await recorder.stop();
    expect((await storage.evidence.watched()).restartedAt).toBe(before.restartedAt);
    expect(await watchedFrom(began)).toBe(MINUTE);
  });

  test("goes on when a false future ends, instead of waiting for it to come", async () => {
    era += 1_000 * DAY;
    const clock = createTestClock(era);
    const time = createTimekeeper(clock, 0);
    const recorder = createRecorder(storage.evidence, clock, time, "full", "test");
    await recorder.start();
    const began = clock.wall();
    clock.jump(300 * DAY);
    await recorder.flush();
    clock.pass(MINUTE);
    await recorder.flush();
    clock.jump(-300 * DAY);
    time.noteEntry(clock.wall(), true);
    await recorder.flush();
    clock.pass(HOUR);
    await recorder.flush();
    const { watches } = await storage.evidence.watched();
    const real = watches.filter((watch) => watch.until < began + DAY);
    expect(watchedSince(real, began)).toBe(HOUR);
    await recorder.stop();
  });

  test("R16: a process that can't open the session after a jump is one that is still waited for", async () => {
    let fails = false;
    const store: EvidenceStore = {
      ...storage.evidence,
      startReporter: (...session) =>
        fails ? Promise.reject(new Error("disk I/O error")) : storage.evidence.startReporter(...session),
    };
    const { clock, recorder, key } = await start(store);
    const other = createRecorder(storage.evidence, clock, createTimekeeper(clock, 0), "full", "other");
    await other.start();
    fails = true;
    clock.jump(3 * SECOND);
    await expect(recorder.flush()).rejects.toThrow();
    recorder.record(key, null, { name: "api" }, "valid", clock.wall());
    const usedAt = clock.wall();
    clock.pass(MINUTE);
    await other.flush();
    expect((await storage.evidence.watched()).watermark).toBeLessThanOrEqual(usedAt);
    fails = false;
    await recorder.flush();
    await recorder.flush();
    expect(await callersOf(key)).toHaveLength(1);
    expect((await storage.evidence.watched()).watermark).toBe(clock.wall());
    await other.stop();
    await recorder.stop();
  });

  test("starts anew after an unclean stop, and a clean one leaves no gap but the time between", async () => {
    const { clock, recorder } = await start();
    const began = clock.wall();
    clock.pass(MINUTE);
    await recorder.stop();
    clock.pass(HOUR);
    await recorder.start();
    clock.pass(MINUTE);
    await recorder.flush();
    expect(await watchedFrom(began)).toBe(2 * MINUTE);
    // The process dies here: another recorder starts while this one never ended.
    clock.pass(SECOND);
    const next = createRecorder(storage.evidence, clock, createTimekeeper(clock, 0), "full", "test");
    await next.start();
    expect(await watchedFrom(began)).toBe(0);
    expect((await storage.evidence.watched()).restartedAt).toBe(clock.wall());
    clock.pass(MINUTE);
    await next.stop();
    expect(await watchedFrom(began)).toBe(MINUTE);
  });
});

describe("a session that was given up meanwhile", () => {
  /** Nobody has heard of it for so long that the others gave it up; it was only cut off. */
  async function givenUp() {
    const bench = await start();
    bench.clock.pass(SECOND);
    await bench.recorder.flush();
    bench.recorder.record(bench.key, null, { name: "api" }, "valid", bench.clock.wall());
    bench.clock.pass(2 * MINUTE);
    await storage.evidence.endReporters(await storage.evidence.living(), bench.clock.wall());
    return bench;
  }

  test("R16: has what it saw counted all the same, once, and another session goes on from there", async () => {
    const { clock, recorder, key } = await givenUp();
    const { restartedAt, watermark } = await storage.evidence.watched();
    expect([restartedAt, watermark]).toEqual([clock.wall(), null]);
    await recorder.flush();
    expect((await callersOf(key))[0]?.counts).toEqual({ valid: 1 });
    expect((await storage.evidence.watched()).watermark).toBe(clock.wall());
    recorder.record(key, null, { name: "api" }, "valid", clock.wall());
    clock.pass(MINUTE);
    await recorder.flush();
    expect((await callersOf(key))[0]?.counts).toEqual({ valid: 2 });
    expect((await usageOf(key, "hour")).map(({ count }) => count)).toEqual([2]);
    expect(await watchedFrom(era)).toBe(MINUTE);
    await recorder.stop();
  });

  test("R16: the same where its last report was cut off in the midst of it: it goes again and counts once", async () => {
    let cut = true;
    const store: EvidenceStore = {
      ...storage.evidence,
      apply: async (batch) => {
        const session = await storage.evidence.apply(batch);
        if (cut) throw new Error("the connection is gone");
        return session;
      },
    };
    const { clock, recorder, key } = await start(store);
    recorder.record(key, null, { name: "api" }, "valid", clock.wall());
    await expect(recorder.flush()).rejects.toThrow();
    clock.pass(2 * MINUTE);
    await storage.evidence.endReporters(await storage.evidence.living(), clock.wall());
    cut = false;
    recorder.record(key, null, { name: "api" }, "valid", clock.wall());
    await recorder.flush();
    clock.pass(MINUTE);
    await recorder.flush();
    expect((await callersOf(key))[0]?.counts).toEqual({ valid: 2 });
    expect(await watchedFrom(era)).toBe(MINUTE);
    await recorder.stop();
  });

  test("R16: goes on beside one of its name that starts and stops, and ends when the process is known to have died", async () => {
    const { clock, recorder } = await givenUp();
    await recorder.flush();
    const sessions = async () => (await storage.evidence.living()).map(({ id }) => id);
    const own = recorder.session() ?? newId("rep");
    expect(await sessions()).toEqual([own]);
    const twin = createRecorder(storage.evidence, clock, createTimekeeper(clock, 0), "full", "test");
    for (let starts = 0; starts < 2; starts += 1) {
      await twin.start();
      expect(await sessions()).toContain(own);
      await twin.stop();
    }
    await storage.evidence.endReportersOf("test", clock.wall());
    expect(await sessions()).toEqual([]);
  });

  test("is another's business to give up: one that starts under another name ends no session but its own", async () => {
    const { clock, recorder } = await start();
    const began = clock.wall();
    const other = createRecorder(storage.evidence, clock, createTimekeeper(clock, 0), "full", "other");
    await other.start();
    clock.pass(MINUTE);
    await other.flush();
    // What is watched waits for both.
    expect(await watchedFrom(began)).toBe(0);
    await recorder.flush();
    expect(await watchedFrom(began)).toBe(MINUTE);
    await other.stop();
    await recorder.stop();
  });

  test("nothing is told of what was flushed before the first session", async () => {
    const { clock, recorder } = await start();
    const idle = createRecorder(storage.evidence, clock, createTimekeeper(clock, 0), "full", "idle");
    expect(idle.flushedAt()).toBeNull();
    const began = clock.wall();
    expect(recorder.flushedAt()).toBe(began);
    clock.pass(SECOND);
    expect(recorder.flushedAt()).toBe(began);
    await recorder.flush();
    expect(recorder.flushedAt()).toBe(began + SECOND);
    await recorder.stop();
  });
});

describe("stopping", () => {
  test("a clean stop loses nothing; without one at most what was counted since the last flush is lost", async () => {
    const { clock, recorder, key } = await start();
    recorder.record(key, null, { name: "kept" }, "valid", clock.wall());
    await recorder.flush();
    recorder.record(key, null, { name: "in memory" }, "valid", clock.wall());
    expect((await callersOf(key)).map((caller) => caller.name)).toEqual(["kept"]);
    await recorder.stop();
    expect((await callersOf(key)).map((caller) => caller.name)).toEqual(["in memory", "kept"]);
  });

  test("a flush ends, however fast more is counted while it is under way; that goes with the next", async () => {
    const keys = Array.from({ length: 2 * MOST_ROWS }, () => newId("key"));
    let now = era;
    let batches = 0;
    const store: EvidenceStore = {
      ...storage.evidence,
      apply: async () => {
        batches += 1;
        if (batches > 20) throw new Error("this goes on and on");
        now += MINUTE;
        useAll();
        return "living";
      },
    };
    const { recorder } = await start(store);
    const useAll = () => {
      for (const key of keys) recorder.record(key, null, { name: "api" }, "valid", now);
    };
    useAll();
    await recorder.flush();
    expect(batches).toBeLessThan(10);
    expect(recorder.pendingOf(keys[0] ?? newId("key"))).not.toEqual([]);
  });

  test("flushes at once follow one another, and each resolves when its own counts are stored", async () => {
    const { clock, recorder, key } = await start();
    const flushes: Promise<void>[] = [];
    for (let i = 0; i < 20; i += 1) {
      recorder.record(key, null, { name: "api" }, "valid", clock.wall());
      flushes.push(recorder.flush());
    }
    await Promise.all(flushes);
    expect((await callersOf(key))[0]?.counts).toEqual({ valid: 20 });
    await recorder.stop();
  });

  test("the lag is the time since the newest stored flush, on the monotonic clock", async () => {
    const { clock, recorder } = await start();
    clock.pass(7 * SECOND);
    expect(recorder.lagSeconds()).toBe(7);
    clock.jump(HOUR);
    expect(recorder.lagSeconds()).toBe(7);
    await recorder.flush();
    expect(recorder.lagSeconds()).toBe(0);
    await recorder.stop();
  });
});
