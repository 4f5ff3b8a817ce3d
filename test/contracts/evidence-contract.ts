import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { MOST_CALLERS_PER_KEY, OVERFLOW } from "../../src/authority/callers/caller.ts";
import { furtherSession } from "../../src/authority/callers/recorder.ts";
import { type KeyId, newId, type ReporterId } from "../../src/authority/ids.ts";
import { VERDICT_CODES } from "../../src/authority/keys/verdict.ts";
import { watchedSince } from "../../src/authority/rotations/evidence.ts";
import { type ReporterSession, watchedIn } from "../../src/authority/rotations/watch.ts";
import type { CallerRow, EvidenceStore, Storage, UsageBatch, UsageRow } from "../../src/authority/storage.ts";
import { DAY, HOUR, MINUTE, START } from "../support/authority.ts";
import { times } from "../support/counts.ts";

/** The half of the storage contract that is about use: who used which key, when, and over which time anybody watched. */
export function evidenceContract(engine: string, open: () => Promise<Storage>): void {
  let storage: Storage;
  let evidence: EvidenceStore;
  let key: KeyId;
  let reporter: ReporterId;
  let sent = 0;

  async function report(batch: Partial<UsageBatch>): Promise<UsageBatch> {
    sent += 1;
    const full = {
      reporterId: reporter,
      batchSeq: sent,
      coversFrom: START,
      coversUntil: START + 1,
      callers: [],
      usage: [],
      ...batch,
    };
    await evidence.apply(full);
    return full;
  }

  const row = (changes: Partial<CallerRow> = {}): CallerRow => ({
    keyId: key,
    caller: "n:api",
    name: "api",
    address: null,
    agent: null,
    firstSeenAt: START,
    lastSeenAt: START,
    firstValidAt: null,
    lastValidAt: null,
    counts: {},
    ...changes,
  });

  beforeAll(async () => {
    storage = await open();
    evidence = storage.evidence;
  });
  afterAll(() => storage.close());
  beforeEach(async () => {
    key = newId("key");
    reporter = newId("rep");
    sent = 0;
    await evidence.startReporter(reporter, "test", START);
  });

  describe(`${engine}: reports of use`, () => {
    test("R16: are counted once, however often they are sent", async () => {
      const batch = await report({
        callers: [row({ counts: { valid: 3, revoked: 1 } })],
        usage: [{ keyId: key, minute: START / MINUTE, code: "valid", count: 3 }],
      });
      for (let i = 0; i < 3; i += 1) await evidence.apply(batch);
      await evidence.apply({ ...batch, batchSeq: 0 });
      expect((await evidence.callersOf(key)).map((caller) => caller.counts)).toEqual([
        { valid: 3, revoked: 1 },
      ]);
      expect(await evidence.usage(key, "minute", START, START + MINUTE)).toEqual([
        { from: START, code: "valid", count: 3 },
      ]);
    });

    test("of a session that nobody opened are not counted", async () => {
      await evidence.apply({
        reporterId: newId("rep"),
        batchSeq: 1,
        coversFrom: START,
        coversUntil: START + 1,
        callers: [row()],
        usage: [],
      });
      expect(await evidence.callersOf(key)).toEqual([]);
    });

    test("R16: add up: nothing is lost or counted twice, whatever is sent in whatever order, with repeats", async () => {
      const caller = fc.constantFrom("n:a", "n:b", "u:10.0.0.1 curl" as const);
      const cell = fc.record({
        caller,
        code: fc.constantFrom(...VERDICT_CODES),
        count: fc.integer({ min: 1, max: 9 }),
        at: fc.integer({ min: 0, max: 3 * HOUR }),
      });
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.array(cell, { maxLength: 5 }), { maxLength: 6 }),
          fc.boolean(),
          async (batches, repeat) => {
            key = newId("key");
            for (const cells of batches) {
              const callers = cells.map(({ caller, code, count, at }) =>
                row({
                  caller: caller as CallerRow["caller"],
                  counts: { [code]: count },
                  firstSeenAt: START + at,
                  lastSeenAt: START + at,
                }),
              );
              const usage: UsageRow[] = cells.map(({ code, count, at }) => ({
                keyId: key,
                minute: Math.floor((START + at) / MINUTE),
                code,
                count,
              }));
              const batch = await report({ callers, usage });
              if (repeat) await evidence.apply(batch);
            }
            const cells = batches.flat();
            const total = (of: readonly { readonly count: number }[]) =>
              of.reduce((sum, { count }) => sum + count, 0);
            const stored = await evidence.callersOf(key);
            for (const { id, counts, firstSeenAt, lastSeenAt } of stored) {
              const own = cells.filter((one) => one.caller === id);
              for (const code of VERDICT_CODES)
                expect(counts[code] ?? 0).toBe(total(own.filter((one) => one.code === code)));
              expect(firstSeenAt).toBe(START + Math.min(...own.map((one) => one.at)));
              expect(lastSeenAt).toBe(START + Math.max(...own.map((one) => one.at)));
            }
            expect(stored.map((one) => one.id).sort()).toEqual(
              [...new Set(cells.map((one) => one.caller as CallerRow["caller"]))].sort(),
            );
            for (const unit of ["minute", "hour"] as const) {
              expect(total(await evidence.usage(key, unit, START, START + 4 * HOUR))).toBe(total(cells));
            }
          },
        ),
        { numRuns: times(100) },
      );
    });

    test("keep the first and the last of what was seen and let through, whichever report comes first", async () => {
      const seen = (at: number, valid: boolean) =>
        row({
          firstSeenAt: at,
          lastSeenAt: at,
          firstValidAt: valid ? at : null,
          lastValidAt: valid ? at : null,
        });
      await report({ callers: [seen(START + 50, false)] });
      expect(await evidence.callersOf(key)).toMatchObject([
        { firstSeenAt: START + 50, firstValidAt: null, lastValidAt: null },
      ]);
      await report({ callers: [seen(START + 90, true)] });
      await report({ callers: [seen(START + 70, true)] });
      await report({ callers: [seen(START + 99, false)] });
      await report({ callers: [seen(START + 10, false)] });
      expect(await evidence.callersOf(key)).toMatchObject([
        {
          firstSeenAt: START + 10,
          lastSeenAt: START + 99,
          firstValidAt: START + 70,
          lastValidAt: START + 90,
        },
      ]);
      expect(await evidence.useOf([key])).toEqual(
        new Map([[key, { firstValidAt: START + 70, lastValidAt: START + 90, lastSeenAt: START + 99 }]]),
      );
    });

    test("keep the newest address and agent that was told, and forget none for a report without", async () => {
      await report({ callers: [row({ address: "10.0.0.1", agent: "curl/8" })] });
      await report({ callers: [row({ address: "10.0.0.2" })] });
      expect(await evidence.callersOf(key)).toMatchObject([
        { address: "10.0.0.2", agent: "curl/8", name: "api" },
      ]);
    });

    test("leave together what they leave one after another, though their rows meet and callers differ by a NUL alone", async () => {
      const instant = fc.option(fc.integer({ min: START, max: START + HOUR }));
      const text = fc.option(fc.constantFrom("one", "other"));
      const rows = fc.array(
        fc.record({
          caller: fc.constantFrom<CallerRow["caller"]>("n:a", "u: b", "u: b\0", "u: b\u{fffd}"),
          address: text,
          agent: text,
          firstSeenAt: fc.integer({ min: START, max: START + HOUR }),
          lastSeenAt: fc.integer({ min: START, max: START + HOUR }),
          firstValidAt: instant,
          lastValidAt: instant,
          counts: fc.dictionary(fc.constantFrom("valid", "revoked"), fc.integer({ min: 1, max: 9 })),
        }),
        { maxLength: 6 },
      );
      const stored = async (reports: readonly (readonly Partial<CallerRow>[])[]) => {
        key = newId("key");
        for (const told of reports) await report({ callers: told.map((one) => row({ ...one, keyId: key })) });
        return [await evidence.callersOf(key), [...(await evidence.useOf([key])).values()]];
      };
      await fc.assert(
        fc.asyncProperty(rows, async (told) => {
          expect(await stored([told])).toEqual(await stored(told.map((one) => [one])));
        }),
        { numRuns: times(200) },
      );
    });

    test("tell callers apart up to the bound; all further ones are one row without a name, and nothing is lost", async () => {
      const crowd = (from: number, count: number) =>
        Array.from({ length: count }, (_, i): CallerRow => {
          const name = `c${from + i}`;
          return row({ caller: `n:${name}`, name, address: "10.0.0.1", counts: { valid: 1 } });
        });
      await report({ callers: crowd(0, MOST_CALLERS_PER_KEY - 1) });
      await report({ callers: crowd(MOST_CALLERS_PER_KEY - 1, 1) });
      expect(await evidence.callersOf(key)).toHaveLength(MOST_CALLERS_PER_KEY);
      expect((await evidence.callersOf(key)).map((one) => one.id)).not.toContain(OVERFLOW);
      await report({ callers: crowd(MOST_CALLERS_PER_KEY, 10) });
      await report({ callers: [...crowd(0, 1), ...crowd(1_000, 5)] });
      const callers = await evidence.callersOf(key);
      expect(callers).toHaveLength(MOST_CALLERS_PER_KEY + 1);
      const overflow = callers.find((one) => one.id === OVERFLOW);
      expect(overflow).toMatchObject({ name: null, address: null, agent: null, counts: { valid: 15 } });
      expect(callers.find((one) => one.id === "n:c0")?.counts).toEqual({ valid: 2 });
      const total = callers.reduce((sum, one) => sum + (one.counts.valid ?? 0), 0);
      expect(total).toBe(MOST_CALLERS_PER_KEY + 16);
    });

    test("of keys that nobody used say nothing", async () => {
      expect(await evidence.useOf([key, newId("key")])).toEqual(new Map());
      expect(await evidence.useOf([])).toEqual(new Map());
      expect(await evidence.callersOf(key)).toEqual([]);
      expect(await evidence.usage(key, "hour", 0, START + DAY)).toEqual([]);
    });

    test("are told by the minute and by the hour, from an instant on and before another", async () => {
      const minute = START / MINUTE;
      const use = (at: number, code: UsageRow["code"], count: number): UsageRow => ({
        keyId: key,
        minute: minute + at,
        code,
        count,
      });
      await report({
        usage: [use(0, "valid", 1), use(0, "expired", 2), use(1, "valid", 4), use(60, "valid", 8)],
      });
      await report({ usage: [use(1, "valid", 16)] });
      const minutes = await evidence.usage(key, "minute", START, START + 60 * MINUTE);
      expect(minutes).toEqual([
        { from: START, code: "expired", count: 2 },
        { from: START, code: "valid", count: 1 },
        { from: START + MINUTE, code: "valid", count: 20 },
      ]);
      expect(await evidence.usage(key, "minute", START + MINUTE, START + MINUTE + 1)).toEqual(
        minutes.slice(2),
      );
      expect(await evidence.usage(key, "hour", START, START + 2 * HOUR)).toEqual([
        { from: START, code: "expired", count: 2 },
        { from: START, code: "valid", count: 21 },
        { from: START + HOUR, code: "valid", count: 8 },
      ]);
    });
  });

  describe(`${engine}: a long report`, () => {
    test("lets other things happen while it is stored, and is seen whole or not at all", async () => {
      const keys = [key, ...Array.from({ length: 14 }, () => newId("key"))];
      const callers = keys.flatMap((keyId) =>
        Array.from({ length: 200 }, (_, i) =>
          row({ keyId, caller: `n:c${i}`, name: `c${i}`, counts: { valid: 1 } }),
        ),
      );
      let turns = 0;
      let done = false;
      const storing = report({ callers }).then(() => {
        done = true;
      });
      while (!done) {
        turns += 1;
        const seen = (await evidence.callersOf(key)).length;
        expect([0, 200]).toContain(seen);
        await new Promise((resolve) => setImmediate(resolve));
      }
      await storing;
      expect(turns).toBeGreaterThan(2);
      expect(await evidence.callersOf(key)).toHaveLength(200);
    });
  });

  describe(`${engine}: what was dropped`, () => {
    test("is what has aged out, and nothing younger", async () => {
      const minute = START / MINUTE;
      await report({
        callers: [
          row({ lastSeenAt: START - 1, counts: { valid: 1 } }),
          row({ caller: "n:young", name: "young", counts: { valid: 2 } }),
        ],
        usage: [
          { keyId: key, minute: minute - 1, code: "valid", count: 1 },
          { keyId: key, minute, code: "valid", count: 2 },
          { keyId: key, minute: minute - 60, code: "valid", count: 4 },
        ],
      });
      await evidence.dropBefore({ minutes: START, hours: START, callers: START });
      expect(await evidence.callersOf(key)).toMatchObject([{ id: "n:young", counts: { valid: 2 } }]);
      expect(await evidence.usage(key, "minute", 0, START + HOUR)).toEqual([
        { from: START, code: "valid", count: 2 },
      ]);
      expect(await evidence.usage(key, "hour", 0, START + HOUR)).toEqual([
        { from: START, code: "valid", count: 2 },
      ]);
      // When the key was last used outlives who used it.
      expect((await evidence.useOf([key])).get(key)?.lastSeenAt).toBe(START);
      // A caller that comes back starts anew.
      await report({
        callers: [row({ lastSeenAt: START + 5, firstSeenAt: START + 5, counts: { valid: 1 } })],
      });
      expect((await evidence.callersOf(key)).find((one) => one.id === "n:api")).toMatchObject({
        firstSeenAt: START + 5,
        counts: { valid: 1 },
      });
    });
  });

  describe(`${engine}: the time that was watched`, () => {
    const covers = (id: ReporterId, batchSeq: number, coversUntil: number) =>
      evidence.apply({ reporterId: id, batchSeq, coversFrom: START, coversUntil, callers: [], usage: [] });

    async function fresh(work: (start: (at: number) => Promise<ReporterId>) => Promise<void>): Promise<void> {
      const own = await open();
      evidence = own.evidence;
      await work(async (at) => {
        const id = newId("rep");
        await evidence.startReporter(id, "test", at);
        return id;
      });
      evidence = storage.evidence;
      await own.close();
    }

    test("is nothing before anybody started, and what each session covered", () =>
      fresh(async (start) => {
        expect(await evidence.watched()).toEqual({ watches: [], restartedAt: null, watermark: null });
        const first = await start(START);
        expect(await evidence.watched()).toEqual({
          watches: [],
          restartedAt: null,
          watermark: START,
        });
        await covers(first, 1, START + 10);
        await evidence.stopReporter(first);
        const second = await start(START + 20);
        await covers(second, 1, START + 30);
        expect(await evidence.watched()).toEqual({
          watches: [
            { from: START, until: START + 10 },
            { from: START + 20, until: START + 30 },
          ],
          restartedAt: null,
          watermark: START + 30,
        });
      }));

    test("begins anew after a session that did not end cleanly", () =>
      fresh(async (start) => {
        const clean = await start(START);
        await covers(clean, 1, START + 10);
        await evidence.stopReporter(clean);
        const crashed = await start(START + 10);
        await covers(crashed, 1, START + 20);
        const after = await start(START + 40);
        await covers(after, 1, START + 50);
        expect(await evidence.watched()).toEqual({
          watches: [{ from: START + 40, until: START + 50 }],
          restartedAt: START + 40,
          watermark: START + 50,
        });
        await evidence.stopReporter(after);
        await start(START + 60);
        expect((await evidence.watched()).restartedAt).toBe(START + 40);
      }));

    test("begins anew even where both sessions started in one millisecond", () =>
      fresh(async (start) => {
        await start(START);
        await start(START);
        expect(await evidence.watched()).toEqual({
          watches: [],
          restartedAt: START,
          watermark: START,
        });
      }));

    test("of several processes reaches to the slowest of them, and a start ends no session but its own process's", () =>
      fresh(async (start) => {
        const here = await start(START);
        const there = newId("rep");
        await evidence.startReporter(there, "another", START);
        await covers(here, 1, START + 50);
        await covers(there, 1, START + 20);
        const both = { watches: [{ from: START, until: START + 20 }], restartedAt: null };
        expect(await evidence.watched()).toEqual({ ...both, watermark: START + 20 });
        await evidence.startReporter(newId("rep"), "a third", START + 30);
        expect(await evidence.watched()).toEqual({ ...both, watermark: START + 20 });
      }));

    test("begins anew when a process is given up, and only one that has told nothing since it was looked at is", () =>
      fresh(async (start) => {
        const here = await start(START);
        const there = newId("rep");
        await evidence.startReporter(there, "another", START);
        await covers(there, 1, START + 20);
        const silent = [{ id: there, batchSeq: 1 }];
        await covers(there, 2, START + 20);
        await covers(here, 1, START + 90);
        await evidence.endReporters(silent, START + 80);
        expect((await evidence.watched()).watermark).toBe(START + 20);
        silent[0] = { id: there, batchSeq: 2 };
        await evidence.endReporters(silent, START + 80);
        const after = { watches: [{ from: START + 80, until: START + 90 }], restartedAt: START + 80 };
        expect(await evidence.watched()).toEqual({ ...after, watermark: START + 90 });
        // Given up once, and not again.
        await evidence.endReporters(silent, START + 85);
        expect((await evidence.watched()).restartedAt).toBe(START + 80);
      }));

    test("R16: what a process saw that was given up counts all the same, once, and it is told to start anew", () =>
      fresh(async () => {
        const lost = newId("rep");
        await evidence.startReporter(lost, "another", START);
        const batch = (batchSeq: number): UsageBatch => ({
          reporterId: lost,
          batchSeq,
          coversFrom: START,
          coversUntil: START + batchSeq,
          callers: [row({ counts: { valid: 1 } })],
          usage: [],
        });
        expect(await evidence.apply(batch(1))).toBe("living");
        await evidence.endReporters(await evidence.living(), START + DAY);
        for (let i = 0; i < 2; i += 1) expect(await evidence.apply(batch(2))).toBe("ended");
        expect((await evidence.callersOf(key)).map(({ counts }) => counts)).toEqual([{ valid: 2 }]);
        expect((await evidence.watched()).restartedAt).toBe(START + DAY);
      }));

    test("R16: stays what it was when sessions of long ago are dropped, and all but the newest unclean end of those are", () =>
      fresh(async (start) => {
        const first = await start(START);
        const second = await start(START + 10);
        await covers(second, 1, START + 20);
        const third = await start(START + 30);
        await evidence.stopReporter(third);
        const cut = (at: number) => evidence.dropBefore({ minutes: at, hours: at, callers: at });
        const batch = (reporterId: ReporterId, batchSeq: number): UsageBatch => ({
          reporterId,
          batchSeq,
          coversFrom: START,
          coversUntil: START + 5,
          callers: [row({ counts: { valid: 1 }, lastSeenAt: START + 500 * DAY })],
          usage: [],
        });
        const counted = async () => (await evidence.callersOf(key)).map(({ counts }) => counts.valid);
        const before = await evidence.watched();
        expect(before.restartedAt).toBe(START + 30);
        // Not yet: a process that was given up may live, and its reports must count.
        await cut(START + 10);
        await evidence.apply(batch(first, 1));
        expect(await counted()).toEqual([1]);
        await cut(START + 400 * DAY);
        expect((await evidence.watched()).restartedAt).toBe(START + 30);
        // What is gone is counted no more; the newest of them is still known.
        await evidence.apply(batch(first, 2));
        expect(await counted()).toEqual([1]);
        await evidence.apply(batch(second, 2));
        expect(await counted()).toEqual([2]);
      }));

    test("R16: is what all sessions say together, of which those before the newest unclean end say nothing", () =>
      fresh(async (start) => {
        const sessions: ReporterSession[] = [];
        for (let index = 0; index < 10; index += 1) {
          const from = START + 10 * index;
          const isClean = index % 3 !== 0 || index > 6;
          const id = await start(from);
          await covers(id, 1, from + 7);
          if (isClean) await evidence.stopReporter(id);
          // The next start finds those that have no end.
          const end = isClean ? { ended: "clean", endedAt: null } : { ended: "unclean", endedAt: from + 10 };
          sessions.push({ from, until: from + 7, ...end });
        }
        const living = await start(START + 100);
        await covers(living, 1, START + 120);
        sessions.push({ from: START + 100, until: START + 120, ended: null, endedAt: null });
        expect(await evidence.watched()).toEqual(watchedIn(sessions));
        expect(await evidence.living()).toEqual([{ id: living, batchSeq: 1 }]);
      }));

    test("R16: goes on where a session goes on from another: that one ends cleanly as this one begins, others uncleanly", () =>
      fresh(async (start) => {
        const first = await start(START);
        await covers(first, 1, START + 10);
        const second = newId("rep");
        await evidence.startReporter(second, "test", START + 500, first);
        await covers(second, 1, START + 510);
        expect(await evidence.watched()).toEqual({
          watches: [
            { from: START, until: START + 10 },
            { from: START + 500, until: START + 510 },
          ],
          restartedAt: null,
          watermark: START + 510,
        });
        await evidence.startReporter(newId("rep"), "test", START + 600, first);
        expect((await evidence.watched()).restartedAt).toBe(START + 600);
      }));

    test("R16: waits for no session of a process that died, under whatever names it went on, and for all others", () =>
      fresh(async (start) => {
        const others = ["another", "test 2", furtherSession("test 2", newId("rep"))];
        for (const process of [furtherSession("test", newId("rep")), ...others])
          await evidence.startReporter(newId("rep"), process, START);
        await start(START);
        // A start under the name is no proof: a living one may be called the same.
        await start(START + 10);
        expect(await evidence.living()).toHaveLength(5);
        await evidence.endReportersOf("test", START + 20);
        expect(await evidence.living()).toHaveLength(3);
        expect((await evidence.watched()).restartedAt).toBe(START + 20);
      }));

    test("R16: begins anew no later than now where a clock that was ahead had ended sessions", () =>
      fresh(async (start) => {
        await start(START);
        await start(START + 500 * DAY);
        await evidence.endNoneAfter(START + HOUR);
        expect((await evidence.watched()).restartedAt).toBe(START + HOUR);
        await evidence.endNoneAfter(START + 2 * HOUR);
        expect((await evidence.watched()).restartedAt).toBe(START + HOUR);
      }));

    test("R16: remembers an unclean end beside a living session that is years ahead", () =>
      fresh(async (start) => {
        await start(START);
        await evidence.endReportersOf("test", START + HOUR);
        const ahead = newId("rep");
        await evidence.startReporter(ahead, "another", START + 500 * DAY);
        await covers(ahead, 1, START + 501 * DAY);
        expect((await evidence.watched()).restartedAt).toBe(START + HOUR);
      }));

    test("R16: begins anew where keys were used elsewhere meanwhile, whatever had ended cleanly before", () =>
      fresh(async (start) => {
        const ended = await start(START);
        await covers(ended, 1, START + HOUR);
        await evidence.stopReporter(ended);
        const living = await start(START + HOUR);
        await covers(living, 1, START + 2 * HOUR);
        await evidence.watchAnew(START + 3 * HOUR);
        expect(await evidence.watched()).toEqual({
          watches: [],
          restartedAt: START + 3 * HOUR,
          watermark: null,
        });
        const late = { reporterId: living, batchSeq: 2, coversFrom: START, coversUntil: START + 4 * HOUR };
        expect(await evidence.apply({ ...late, callers: [], usage: [] })).toBe("ended");
        await covers(await start(START + 4 * HOUR), 1, START + 5 * HOUR);
        expect((await evidence.watched()).watches).toEqual([
          { from: START + 4 * HOUR, until: START + 5 * HOUR },
        ]);
      }));

    test("R16: is not hidden by a session of a clock that was years ahead, ended or living", () =>
      fresh(async (start) => {
        const before = await start(START);
        await covers(before, 1, START + HOUR);
        await evidence.stopReporter(before);
        const ahead = await start(START + 500 * DAY);
        await covers(ahead, 1, START + 501 * DAY);
        const living = newId("rep");
        await evidence.startReporter(living, "test", START + HOUR, ahead);
        await covers(living, 1, START + 2 * HOUR);
        const ofThatTime = async () =>
          (await evidence.watched()).watches.filter(({ until }) => until < START + DAY);
        expect(watchedSince(await ofThatTime(), START)).toBe(2 * HOUR);
        const another = newId("rep");
        await evidence.startReporter(another, "another", START + 600 * DAY);
        await covers(another, 1, START + 601 * DAY);
        expect((await evidence.watched()).watermark).toBe(START + 2 * HOUR);
        expect(watchedSince(await ofThatTime(), START + HOUR)).toBe(HOUR);
      }));

    test("ended cleanly is not ended uncleanly by the next start, nor is an unclean end made clean later", () =>
      fresh(async (start) => {
        const crashed = await start(START);
        await start(START + 10);
        await evidence.stopReporter(crashed);
        expect((await evidence.watched()).restartedAt).toBe(START + 10);
      }));
  });
}
