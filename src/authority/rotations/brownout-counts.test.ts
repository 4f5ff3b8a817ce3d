import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { times } from "../../../test/support/counts.ts";
import { sampleBrownout } from "../../../test/support/samples.ts";
import { Refusal } from "../errors.ts";
import type { BrownoutHit, ClusterStore } from "../storage.ts";
import { createBrownoutCounts } from "./brownout-counts.ts";

type Count = Pick<ClusterStore, "countBrownout">;

/** What the store adds up. `before` is waited for ahead of the counting, `after` between it and the answer. */
function createTally(before = async () => {}, after = async () => {}) {
  const hits = new Map<string, number>();
  const sent: (readonly BrownoutHit[])[] = [];
  const store: Count = {
    countBrownout: async (_, more) => {
      await before();
      sent.push(more);
      for (const { caller, refusals } of more) hits.set(caller, (hits.get(caller) ?? 0) + refusals);
      const all = [...hits].map(([caller, refusals]) => ({ caller, refusals }));
      await after();
      return all;
    },
  };
  const refusals = () => [...hits.values()].reduce((sum, one) => sum + one, 0);
  return { store, sent, refusals };
}

const NEVER = () => new Promise<void>(() => undefined);
const settled = () => new Promise((resolve) => setImmediate(resolve));
const wide = sampleBrownout({ stopAfterCallers: 1_000, stopAfterRefusals: 1_000 });

describe("a brownout's refusals", () => {
  test("count at once, before anybody was told: its threshold holds in this process to the very refusal", () => {
    const counts = createBrownoutCounts(createTally(NEVER).store);
    const brownout = sampleBrownout({ stopAfterCallers: 9, stopAfterRefusals: 3 });
    for (const spent of [false, false, true]) {
      counts.hit(brownout, "cron");
      expect(counts.isSpent(brownout.id)).toBe(spent);
    }
    expect(counts.tallyOf(brownout.id)).toEqual({ refusals: 3, callersHit: ["cron"], spent: "refusals" });
  });

  test("the same holds for its callers, and one caller counts once", () => {
    const counts = createBrownoutCounts(createTally(NEVER).store);
    const brownout = sampleBrownout({ stopAfterCallers: 2, stopAfterRefusals: 100 });
    counts.hit(brownout, "cron");
    counts.hit(brownout, "cron");
    expect(counts.isSpent(brownout.id)).toBe(false);
    counts.hit(brownout, "batch");
    expect(counts.tallyOf(brownout.id)).toMatchObject({ callersHit: ["cron", "batch"], spent: "callers" });
  });

  test("of one brownout are none of another's, and of one that refused nobody nothing is known", () => {
    const counts = createBrownoutCounts(createTally().store);
    counts.hit(wide, "cron");
    expect(counts.tallyOf("bro_other")).toBeNull();
    expect(counts.isSpent("bro_other")).toBe(false);
  });

  test("of other processes are known with the answer to the next report, and spend it here as well", async () => {
    const { store } = createTally();
    const [one, other] = [createBrownoutCounts(store), createBrownoutCounts(store)];
    const brownout = sampleBrownout({ stopAfterCallers: 9, stopAfterRefusals: 4 });
    for (let i = 0; i < 3; i += 1) one.hit(brownout, "cron");
    await settled();
    other.hit(brownout, "batch");
    expect(other.isSpent(brownout.id)).toBe(false);
    await settled();
    expect(other.isSpent(brownout.id)).toBe(true);
    expect(other.tallyOf(brownout.id)).toEqual({
      refusals: 4,
      callersHit: ["batch", "cron"],
      spent: "refusals",
    });
  });

  test("of other processes are asked for by the total, also where this one has refused nobody", async () => {
    const { store } = createTally();
    const [one, other] = [createBrownoutCounts(store), createBrownoutCounts(store)];
    one.hit(wide, "cron");
    expect(await other.total(wide)).toEqual({ refusals: 1, callersHit: ["cron"], spent: null });
    one.hit(wide, "batch");
    expect(await other.total(wide)).toMatchObject({ refusals: 2, callersHit: ["cron", "batch"] });
  });
});

describe("telling the other processes", () => {
  test("is one report at a time: what comes in meanwhile goes together with the next", async () => {
    let answer: () => void = () => undefined;
    const { store, sent } = createTally(() => new Promise((resolve) => (answer = resolve)));
    const counts = createBrownoutCounts(store);
    counts.hit(wide, "cron");
    await settled();
    for (let i = 0; i < 5; i += 1) counts.hit(wide, "batch");
    await settled();
    answer();
    await settled();
    answer();
    await settled();
    expect(sent).toEqual([[{ caller: "cron", refusals: 1 }], [{ caller: "batch", refusals: 5 }]]);
    expect(counts.tallyOf(wide.id)?.refusals).toBe(6);
  });

  test("that fails loses nothing: the count stands, and goes with the next report", async () => {
    let away = true;
    const { store, refusals } = createTally(async () => {
      if (away) throw new Error("the connection is gone");
    });
    const counts = createBrownoutCounts(store);
    for (let i = 0; i < 4; i += 1) {
      counts.hit(wide, "cron");
      await settled();
    }
    expect(counts.tallyOf(wide.id)?.refusals).toBe(4);
    expect(await counts.total(wide)).toMatchObject({ refusals: 4, callersHit: ["cron"] });
    expect(refusals()).toBe(0);
    away = false;
    counts.hit(wide, "cron");
    await settled();
    expect(refusals()).toBe(5);
    expect(counts.tallyOf(wide.id)?.refusals).toBe(5);
  });

  test("of which nobody knows whether it was counted is not repeated: none is counted twice, and the count at hand stands", async () => {
    let fault: Refusal | null = null;
    const { store, refusals } = createTally(undefined, async () => {
      if (fault !== null) throw fault;
    });
    const counts = createBrownoutCounts(store);
    fault = new Refusal("outcome_unknown", "The answer to the commit was lost.");
    counts.hit(wide, "cron");
    await settled();
    fault = null;
    counts.hit(wide, "cron");
    await settled();
    expect([refusals(), counts.tallyOf(wide.id)?.refusals]).toEqual([2, 2]);

    // Where it was not counted after all, what this process knows is still true.
    const missed = createTally(async () => {
      if (fault !== null) throw fault;
    });
    const other = createBrownoutCounts(missed.store);
    fault = new Refusal("outcome_unknown", "The answer to the commit was lost.");
    other.hit(wide, "cron");
    await settled();
    fault = null;
    other.hit(wide, "cron");
    await settled();
    expect([missed.refusals(), other.tallyOf(wide.id)?.refusals]).toEqual([1, 2]);
  });

  test("R16: counts every refusal of every process once, in whatever order reports and answers come, and never takes one back", async () => {
    const course = fc.array(
      fc.record({
        process: fc.nat({ max: 2 }),
        caller: fc.constantFrom("cron", "batch", "api"),
        what: fc.constantFrom("hit" as const, "hit" as const, "total" as const),
      }),
      { minLength: 1, maxLength: 15 },
    );
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), course, async (order, steps) => {
        const wait = () => order.schedule(Promise.resolve());
        const { store, refusals } = createTally(wait, wait);
        const processes = [0, 1, 2].map(() => createBrownoutCounts(store));
        const own = [0, 0, 0];
        const works = steps.map(async ({ process, caller, what }) => {
          await wait();
          const counts = processes[process];
          if (counts === undefined) throw new Error("three processes");
          if (what === "hit") {
            own[process] = (own[process] ?? 0) + 1;
            counts.hit(wide, caller);
          } else await counts.total(wide);
          expect(counts.tallyOf(wide.id)?.refusals).toBeGreaterThanOrEqual(own[process] ?? 0);
        });
        await order.waitFor(Promise.all(works));
        const hits = steps.filter(({ what }) => what === "hit");
        for (const counts of processes) await order.waitFor(counts.total(wide));
        for (const counts of processes) {
          const { refusals: counted, callersHit } = await order.waitFor(counts.total(wide));
          expect(counted).toBe(hits.length);
          expect([...callersHit].sort()).toEqual([...new Set(hits.map(({ caller }) => caller))].sort());
        }
        expect(refusals()).toBe(hits.length);
      }),
      { numRuns: times(500) },
    );
  });
});
