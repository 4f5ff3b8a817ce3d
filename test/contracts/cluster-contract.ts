import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { newId, type ProcessId } from "../../src/authority/ids.ts";
import type { BrownoutHit, ClusterStore, ServingProcess, Storage } from "../../src/authority/storage.ts";
import { MINUTE, START } from "../support/authority.ts";
import { times } from "../support/counts.ts";
import { appendEntry, newDigest } from "../support/storage.ts";
import { until } from "../support/until.ts";

/** Stores over one database, as two processes have them. */
export interface Pair {
  readonly one: Storage;
  readonly other: Storage;
  close(): Promise<void>;
}

/** What the processes of one installation rely on to know of each other, whatever engine keeps it. */
export function clusterContract(engine: string, open: () => Promise<Pair>): void {
  let pair: Pair;
  let one: ClusterStore;
  let other: ClusterStore;

  function suite(name: string, tests: () => void): void {
    describe(`${engine}: ${name}`, () => {
      beforeAll(async () => {
        pair = await open();
        one = pair.one.cluster;
        other = pair.other.cluster;
      });
      afterAll(() => pair.close());
      tests();
    });
  }

  const serving = (name: string, changes: Partial<ServingProcess> = {}): ServingProcess => ({
    id: newId("prc"),
    name,
    version: "1.2.3",
    startedAt: START,
    boundedSeconds: 10,
    appliedSeq: 7,
    stalenessMs: 12,
    flushedAt: START + 1,
    at: START + 2,
    ...changes,
  });
  const names = async () => (await other.processes()).map(({ name }) => name);

  suite("the list of processes", () => {
    test("has each that joined, every member of it, in the order of their names", async () => {
      await one.clear();
      const second = serving("b:8420");
      const first = serving("a:8420", { stalenessMs: null, flushedAt: null });
      await one.join(second);
      await other.join(first);
      for (const store of [one, other]) expect(await store.processes()).toEqual([first, second]);
    });

    test("has one process under a name that has died: whoever joins takes the place of the one before", async () => {
      await one.clear();
      const before = serving("a:8420");
      const after = serving("a:8420", { version: "2.0.0" });
      await one.join(before);
      await other.join(after);
      expect(await one.processes()).toEqual([after]);
      // The one before is told so at its next report, and changes nothing of its successor's.
      expect(await one.report(before.id, { ...before, appliedSeq: 99 })).toBe(false);
      expect(await one.processes()).toEqual([after]);
    });

    test("R12: has both of two under one name, when the one whose place was taken lives", async () => {
      await one.clear();
      const [before, after] = [serving("a:8420"), serving("a:8420", { appliedSeq: 9 })];
      await one.join(before);
      await other.join(after);
      await one.rejoin({ ...before, appliedSeq: 8 });
      // Once more, as a process does whose answer was lost.
      await one.rejoin(before);
      const seqs = async () =>
        new Map((await other.processes()).map(({ id, appliedSeq }) => [id, appliedSeq]));
      expect(await seqs()).toEqual(
        new Map([
          [before.id, 8],
          [after.id, 9],
        ]),
      );
      expect(await other.report(after.id, { ...after, appliedSeq: 11 })).toBe(true);
      expect(await seqs()).toEqual(
        new Map([
          [before.id, 8],
          [after.id, 11],
        ]),
      );
      await other.leave(after.id);
      expect([...(await seqs()).keys()]).toEqual([before.id]);
    });

    test("holds what each told last", async () => {
      await one.clear();
      const process = serving("a:8420");
      await one.join(process);
      const report = { appliedSeq: 40, stalenessMs: null, flushedAt: null, at: START + MINUTE };
      expect(await one.report(process.id, report)).toBe(true);
      expect(await other.processes()).toEqual([{ ...process, ...report }]);
      expect(await one.report(newId("prc"), report)).toBe(false);
    });

    test("loses whoever leaves, and no other; and all of them when it is cleared", async () => {
      await one.clear();
      const [staying, leaving] = [serving("a:8420"), serving("b:8420")];
      await one.join(staying);
      await other.join(leaving);
      await other.leave(leaving.id);
      expect(await names()).toEqual(["a:8420"]);
      expect(await other.report(leaving.id, leaving)).toBe(false);
      await other.clear();
      expect(await one.processes()).toEqual([]);
      expect(await one.report(staying.id, staying)).toBe(false);
    });
  });

  suite("a question for reports", () => {
    test("is heard by every process, the newest of them, until the list is cleared", async () => {
      await one.clear();
      expect(await other.reportsAsked()).toBeNull();
      await one.askForReports("first");
      await other.askForReports("second");
      for (const store of [one, other]) expect(await store.reportsAsked()).toBe("second");
      await one.leave(newId("prc"));
      expect(await other.reportsAsked()).toBe("second");
      await one.clear();
      expect(await other.reportsAsked()).toBeNull();
    });
  });

  suite("R15: a piece of work", () => {
    const [a, b]: readonly ProcessId[] = [newId("prc"), newId("prc")];
    if (a === undefined || b === undefined) throw new Error("two processes");
    let works = 0;
    const fresh = () => `work-${++works}`;

    test("is one process's until its claim has lapsed, to the millisecond, and then another's", async () => {
      const work = fresh();
      expect(await one.claim(work, a, START, START + 5_000)).toBe(true);
      expect(await other.claim(work, b, START, START + 5_000)).toBe(false);
      expect(await other.claim(work, b, START + 5_000, START + 10_000)).toBe(false);
      expect(await other.claim(work, b, START + 5_001, START + 10_001)).toBe(true);
      expect(await one.claim(work, a, START + 5_001, START + 10_001)).toBe(false);
    });

    test("is kept by whoever keeps claiming it, and one claim says nothing of another", async () => {
      const work = fresh();
      expect(await one.claim(work, a, START, START + 5_000)).toBe(true);
      expect(await one.claim(work, a, START + 3_000, START + 8_000)).toBe(true);
      expect(await other.claim(work, b, START + 6_000, START + 11_000)).toBe(false);
      expect(await other.claim(fresh(), b, START + 6_000, START + 11_000)).toBe(true);
    });

    test("is free as soon as its process leaves, and not when another does", async () => {
      const work = fresh();
      await one.claim(work, a, START, START + 5_000);
      await other.leave(newId("prc"));
      expect(await other.claim(work, b, START, START + 5_000)).toBe(false);
      await one.leave(a);
      expect(await other.claim(work, b, START, START + 5_000)).toBe(true);
    });

    test("is one process's of all that claim it at once", async () => {
      for (let round = 0; round < times(50); round += 1) {
        const work = fresh();
        const claims = [one, other, one, other].map((store) =>
          store.claim(work, newId("prc"), START, START + 5_000),
        );
        expect((await Promise.all(claims)).filter(Boolean)).toHaveLength(1);
      }
    });
  });

  suite("R16: what a brownout refused", () => {
    const sorted = (hits: readonly BrownoutHit[]) =>
      hits.toSorted((first, second) => (first.caller < second.caller ? -1 : 1));

    test("adds up over processes and callers, each answer holding all of it, and is none of another's", async () => {
      const id = newId("bro");
      expect(await one.countBrownout(id, [])).toEqual([]);
      expect(await one.countBrownout(id, [{ caller: "cron", refusals: 2 }])).toEqual([
        { caller: "cron", refusals: 2 },
      ]);
      const more = [
        { caller: "batch", refusals: 1 },
        { caller: "cron", refusals: 5 },
      ];
      const all = [
        { caller: "batch", refusals: 1 },
        { caller: "cron", refusals: 7 },
      ];
      expect(sorted(await other.countBrownout(id, more))).toEqual(all);
      expect(sorted(await one.countBrownout(id, []))).toEqual(all);
      expect(await one.countBrownout(newId("bro"), [])).toEqual([]);
    });

    test("adds up to what was reported, whichever process reports how much at once", async () => {
      const hits = fc.array(
        fc.record({
          caller: fc.constantFrom("api", "batch", "cron"),
          refusals: fc.integer({ min: 1, max: 9 }),
        }),
        { maxLength: 4 },
      );
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(fc.boolean(), hits), { minLength: 2, maxLength: 8 }),
          async (reports) => {
            const id = newId("bro");
            const answers = await Promise.all(
              reports.map(([here, counted]) => (here ? one : other).countBrownout(id, counted)),
            );
            const total = new Map<string, number>();
            for (const { caller, refusals } of reports.flatMap(([, counted]) => counted))
              total.set(caller, (total.get(caller) ?? 0) + refusals);
            const stored = await one.countBrownout(id, []);
            expect(new Map(stored.map(({ caller, refusals }) => [caller, refusals]))).toEqual(total);
            // No answer says more than there is, and each says at least what it was told itself.
            for (const [index, answer] of answers.entries()) {
              const seen = new Map(answer.map(({ caller, refusals }) => [caller, refusals]));
              for (const { caller, refusals } of reports[index]?.[1] ?? [])
                expect(seen.get(caller)).toBeGreaterThanOrEqual(refusals);
              for (const [caller, refusals] of seen)
                expect(refusals).toBeLessThanOrEqual(total.get(caller) ?? 0);
            }
          },
        ),
        { numRuns: times(50) },
      );
    });
  });

  suite("R34: a set-up token", () => {
    test("is good in any process until its end, to the millisecond, and once", async () => {
      const token = newDigest();
      await one.offerSetup(token, START + MINUTE);
      expect(await other.takeSetup(token, START + MINUTE)).toBe(false);
      expect(await other.takeSetup(newDigest(), START)).toBe(false);
      expect(await other.takeSetup(token, START + MINUTE - 1)).toBe(true);
      expect(await one.takeSetup(token, START)).toBe(false);
    });

    test("kills all that were offered before it, also those that would be good for longer", async () => {
      const tokens = [newDigest(), newDigest(), newDigest()];
      for (const [index, token] of tokens.entries())
        await [one, other][index % 2]?.offerSetup(token, START + MINUTE - index);
      const [first = "", second = "", newest = ""] = tokens;
      expect(await one.takeSetup(first, START)).toBe(false);
      expect(await one.takeSetup(second, START)).toBe(false);
      expect(await one.takeSetup(newest, START)).toBe(true);
    });

    test("is one of two that are offered at once", async () => {
      for (let round = 0; round < times(50); round += 1) {
        const tokens = [newDigest(), newDigest()] as const;
        await Promise.all([
          one.offerSetup(tokens[0], START + MINUTE),
          other.offerSetup(tokens[1], START + MINUTE),
        ]);
        const taken = [await one.takeSetup(tokens[0], START), await one.takeSetup(tokens[1], START)];
        expect(taken.filter(Boolean)).toHaveLength(1);
      }
    });

    test("R15: is taken by one of all that show it at once", async () => {
      for (let round = 0; round < times(50); round += 1) {
        const token = newDigest();
        await one.offerSetup(token, START + MINUTE);
        const taken = await Promise.all(
          [one, other, one, other].map((store) => store.takeSetup(token, START)),
        );
        expect(taken.filter(Boolean)).toHaveLength(1);
      }
    });
  });

  suite("news of the log", () => {
    test("R12: reach whoever hears, soon after another process has appended, until it hears no more", async () => {
      let news = 0;
      const stop = pair.one.hear(() => {
        news += 1;
      });
      // An engine may call back once when it has begun to listen, which may be late: that is news of one change at most.
      for (let changes = 0; changes < 3; changes += 1) {
        const before = news;
        await pair.other.change((tx) => appendEntry(tx));
        await until("the change was heard", () => news > before);
      }
      stop();
      const heard = news;
      await pair.other.change((tx) => appendEntry(tx));
      await Bun.sleep(100);
      expect(news).toBe(heard);
    });
  });
}
