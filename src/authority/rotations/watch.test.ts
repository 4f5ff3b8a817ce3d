import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { times } from "../../../test/support/counts.ts";
import { type ReporterSession, watchedIn } from "./watch.ts";

const living = (from: number, until: number): ReporterSession => ({
  from,
  until,
  ended: null,
  endedAt: null,
});
const clean = (from: number, until: number): ReporterSession => ({
  from,
  until,
  ended: "clean",
  endedAt: null,
});
const lost = (from: number, until: number, endedAt: number | null): ReporterSession => ({
  from,
  until,
  ended: "unclean",
  endedAt,
});

describe("the watch of several reporters", () => {
  test("is nothing where nobody ever reported", () => {
    expect(watchedIn([])).toEqual({ watches: [], restartedAt: null, watermark: null });
  });

  test("reaches to the lowest watermark of those that live: the slowest may have seen what it has yet to tell", () => {
    expect(watchedIn([living(0, 90), living(0, 40), living(0, 70)])).toEqual({
      watches: [{ from: 0, until: 40 }],
      restartedAt: null,
      watermark: 40,
    });
  });

  test("is not held up by one that has ended cleanly, whatever it told last", () => {
    expect(watchedIn([clean(0, 40), living(0, 90)]).watches).toEqual([{ from: 0, until: 90 }]);
  });

  test("holds what one that ended cleanly told beyond the others back until they have told as much", () => {
    const sessions = [clean(0, 90), living(0, 40)];
    expect(watchedIn(sessions).watches).toEqual([{ from: 0, until: 40 }]);
    expect(watchedIn([clean(0, 90), living(0, 80)]).watches).toEqual([{ from: 0, until: 80 }]);
  });

  test("goes on without a gap where one takes over from another, and has one where nobody verified", () => {
    expect(watchedIn([clean(0, 40), clean(40, 60), living(75, 90)]).watches).toEqual([
      { from: 0, until: 60 },
      { from: 75, until: 90 },
    ]);
  });

  test("one that joins makes nothing unwatched, and waits for its first report", () => {
    expect(watchedIn([living(0, 50), living(50, 50)]).watches).toEqual([{ from: 0, until: 50 }]);
    expect(watchedIn([living(0, 90), living(50, 50)]).watches).toEqual([{ from: 0, until: 50 }]);
  });

  test("begins anew when a lost one was given up, also for the others: what it saw at last nobody knows", () => {
    expect(watchedIn([lost(0, 20, 60), living(0, 90)])).toEqual({
      watches: [{ from: 60, until: 90 }],
      restartedAt: 60,
      watermark: 90,
    });
    expect(watchedIn([lost(0, 20, 60), lost(10, 30, 40), living(50, 90)]).watches).toEqual([
      { from: 60, until: 90 },
    ]);
  });

  test("does not begin anew at a moment that the others have yet to report", () => {
    expect(watchedIn([lost(0, 20, 60), living(0, 50)])).toEqual({
      watches: [],
      restartedAt: 60,
      watermark: 50,
    });
  });

  test("begins anew where a lost one fell silent, when nobody noted the moment of giving it up", () => {
    expect(watchedIn([lost(0, 20, null), living(0, 90)])).toMatchObject({
      watches: [{ from: 20, until: 90 }],
      restartedAt: 20,
    });
  });
});

const LATEST = 40;
const instant = fc.integer({ min: 0, max: LATEST });
const session: fc.Arbitrary<ReporterSession> = fc
  .tuple(instant, instant, instant, fc.constantFrom("living", "clean", "lost"))
  .map(([one, other, third, end]) => {
    const [from = 0, until = 0, endedAt = 0] = [one, other, third].toSorted((a, b) => a - b);
    if (end === "living") return living(from, until);
    return end === "clean" ? clean(from, until) : lost(from, until, endedAt);
  });

/** Whether all who verified at this moment have told of it, and somebody did; asked of each moment by itself. */
function isWatched(sessions: readonly ReporterSession[], moment: number): boolean {
  if (sessions.some(({ ended, endedAt }) => ended === "unclean" && moment < (endedAt ?? 0))) return false;
  const verifying = sessions.filter(
    ({ from, until, ended }) => ended !== "unclean" && from <= moment && (ended === null || moment < until),
  );
  return verifying.length > 0 && verifying.every(({ until }) => moment < until);
}

test("R16: the watch is exactly the moments that all who verified have told of, whoever came, went or was lost", () => {
  let watched = 0;
  fc.assert(
    fc.property(fc.array(session, { maxLength: 6 }), (sessions) => {
      const { watches } = watchedIn(sessions);
      for (let moment = 0; moment <= LATEST; moment += 1) {
        const isIn = watches.some(({ from, until }) => from <= moment && moment < until);
        expect([moment, isIn]).toEqual([moment, isWatched(sessions, moment)]);
        if (isIn) watched += 1;
      }
      for (const [index, { from, until }] of watches.entries()) {
        expect(from).toBeLessThan(until);
        expect(from).toBeGreaterThan(watches[index - 1]?.until ?? -1);
      }
      expect(watchedIn(sessions.toReversed())).toEqual(watchedIn(sessions));
    }),
    { numRuns: times(5_000) },
  );
  expect(watched).toBeGreaterThan(0);
});
