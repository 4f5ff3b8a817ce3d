import { describe, expect, test } from "bun:test";
import { DAY, HOUR, MINUTE, SECOND, START } from "../../../test/support/authority.ts";
import { sampleCaller, sampleEvidence, sampleRotation } from "../../../test/support/samples.ts";
import { type CallerId, OVERFLOW } from "../callers/caller.ts";
import { assess, type Evidence, quietMilliseconds, watchedSince } from "./evidence.ts";

const USED = START + HOUR;
const rotation = sampleRotation({ state: "adopting", firstUsedAt: USED });
const QUIET = DAY;

/** Evidence of one caller: last on the old key at `oldAt`, on the successor at `newAt` (null: never). */
function oneCaller(
  id: CallerId,
  oldAt: number,
  newAt: number | null,
  changes: Partial<Evidence> = {},
): Evidence {
  return sampleEvidence({
    oldCallers: [sampleCaller(id, oldAt)],
    successorCallers: newAt === null ? [] : [sampleCaller(id, newAt)],
    successorFirstUsedAt: newAt ?? USED,
    ...changes,
  });
}

/** Everything was watched up to `now`, and not beyond. */
const watchedUntil = (now: number) => ({ watches: [{ from: START - 30 * DAY, until: now }] });

function at(now: number, evidence: Evidence, successorActive = true) {
  return assess(rotation, { ...evidence, ...watchedUntil(now) }, successorActive, now);
}
const codes = (assessment: { readonly blocking: readonly { readonly code: string }[] }) =>
  assessment.blocking.map((reason) => reason.code);

describe("watched time", () => {
  test("is what lies in the watches after the instant", () => {
    const watches = [
      { from: 100, until: 200 },
      { from: 300, until: 400 },
    ];
    expect([0, 100, 150, 200, 250, 350, 400, 500].map((since) => watchedSince(watches, since))).toEqual([
      200, 200, 150, 100, 100, 50, 0, 0,
    ]);
    expect(watchedSince([], 0)).toBe(0);
  });

  test("counts no moment twice where a clock that was set back made watches overlap", () => {
    const watches = [
      { from: 100, until: 200 },
      { from: 150, until: 250 },
      { from: 160, until: 180 },
    ];
    expect(watchedSince(watches, 0)).toBe(150);
    expect(watchedSince(watches, 190)).toBe(60);
  });

  test("the quiet period is the rotation's own, and at least two flush intervals", () => {
    const quiet = (quietPeriodSeconds: number, flushSeconds: number) =>
      quietMilliseconds({ ...rotation, quietPeriodSeconds }, sampleEvidence({ flushSeconds }));
    expect(quiet(60, 10)).toBe(60_000);
    expect(quiet(20, 10)).toBe(20_000);
    expect(quiet(19, 10)).toBe(20_000);
    expect(quiet(0, 10)).toBe(20_000);
  });
});

describe("a named caller", () => {
  const lastOld = USED + HOUR;
  const moving = oneCaller("n:api", lastOld, USED);

  test("has moved once it was off the old key for a whole quiet period, to the millisecond", () => {
    expect(at(lastOld + QUIET - 1, moving).callers[0]).toMatchObject({
      status: "still_on_old",
      blocking: true,
    });
    expect(at(lastOld + QUIET, moving).callers[0]).toMatchObject({
      status: "moved",
      blocking: false,
      quietAt: null,
    });
  });

  test("is told when it will count as off the old key", () => {
    const now = lastOld + HOUR;
    expect(at(now, moving).callers[0]?.quietAt).toBe(lastOld + QUIET);
  });

  test("has not moved by being refused with the successor: only a valid use counts", () => {
    const refused = {
      ...moving,
      successorCallers: [sampleCaller("n:api", USED, { firstValidAt: null, lastValidAt: null })],
    };
    expect(at(lastOld + 2 * QUIET, refused).callers[0]).toMatchObject({
      status: "still_on_old",
      blocking: true,
    });
  });

  test("has not moved because somebody else uses the successor", () => {
    const other = { ...moving, successorCallers: [sampleCaller("n:other", USED)] };
    const assessment = at(lastOld + 2 * QUIET, other);
    expect(assessment.callers[0]).toMatchObject({ status: "still_on_old", blocking: true });
    expect(assessment.newCallers).toEqual(["other"]);
  });

  test("is still on the old key whatever the verdict was that it got", () => {
    const refused = sampleCaller("n:api", lastOld, {
      firstValidAt: null,
      lastValidAt: null,
      counts: { expired: 1 },
    });
    const evidence = { ...moving, oldCallers: [refused] };
    expect(at(lastOld + 1, evidence).callers[0]?.status).toBe("still_on_old");
  });

  test("that was known before the start and seen on neither key since is silent, and blocks until dismissed", () => {
    const silent = oneCaller("n:monthly", START - 1, null);
    for (const now of [USED, START + 29 * DAY, START + 300 * DAY]) {
      const assessment = at(now, silent);
      expect(assessment.callers[0]).toMatchObject({ status: "silent", blocking: true });
      expect(codes(assessment)).toEqual(["silent"]);
      expect(assessment.safeToComplete).toBe(false);
    }
  });

  test("seen at the very start of the rotation is still on the old key, a millisecond before it is silent", () => {
    expect(at(USED, oneCaller("n:api", START, null)).callers[0]?.status).toBe("still_on_old");
    expect(at(USED, oneCaller("n:api", START - 1, null)).callers[0]?.status).toBe("silent");
  });

  test("that was silent counts as moved when it turns up on the successor", () => {
    expect(
      at(START + 3 * DAY, oneCaller("n:monthly", START - 20 * DAY, START + 2 * DAY)).callers[0]?.status,
    ).toBe("moved");
  });

  test("unseen for longer than the look-back before the start is not known, to the millisecond", () => {
    const edge = START - 30 * DAY;
    expect(at(USED, oneCaller("n:api", edge, null)).callers).toHaveLength(1);
    expect(at(USED, oneCaller("n:api", edge - 1, null)).callers).toHaveLength(0);
  });

  test("keeps its name through a deploy: another address and agent on the successor make it no other caller", () => {
    const evidence = sampleEvidence({
      oldCallers: [sampleCaller("n:api", USED, { address: "10.0.0.1", agent: "api/1.0" })],
      successorCallers: [sampleCaller("n:api", USED, { address: "10.9.9.9", agent: "api/2.0" })],
      successorFirstUsedAt: USED,
    });
    const assessment = at(USED + QUIET, evidence);
    expect(assessment.callers[0]?.status).toBe("moved");
    expect(assessment.newCallers).toEqual([]);
    expect(assessment.adopted).toBe(true);
  });
});

describe("an unnamed caller", () => {
  const id: CallerId = "u:10.0.0.1 curl";
  const WEEK = 7 * DAY;

  test("never counts as moved, however long it uses the successor", () => {
    for (const now of [USED + QUIET, USED + 2 * WEEK]) {
      expect(at(now, oneCaller(id, USED, USED)).callers[0]).toMatchObject({
        unnamed: true,
        status: expect.not.stringMatching("moved"),
      });
    }
  });

  test("stops blocking after 7 quiet days, to the millisecond", () => {
    const evidence = oneCaller(id, USED, USED);
    const before = at(USED + WEEK - 1, evidence);
    expect(before.callers[0]).toMatchObject({ status: "still_on_old", blocking: true, quietAt: USED + WEEK });
    const after = at(USED + WEEK, evidence);
    expect(after.callers[0]).toMatchObject({ status: "silent", blocking: false, quietAt: null });
    expect(after.blocking).toEqual([]);
  });

  test("that was silent from the start also stops blocking after 7 quiet days", () => {
    const evidence = oneCaller(id, START - 6 * DAY, null);
    expect(at(START + DAY - 1, evidence).callers[0]).toMatchObject({ status: "silent", blocking: true });
    expect(at(START + DAY, evidence).callers[0]).toMatchObject({ status: "silent", blocking: false });
  });

  test("waits for the rotation's own quiet period where that is longer", () => {
    const slow = { ...rotation, quietPeriodSeconds: (10 * DAY) / SECOND };
    const evidence = oneCaller(id, USED, USED);
    const blocks = (now: number) =>
      assess(slow, { ...evidence, ...watchedUntil(now) }, true, now).callers[0]?.blocking;
    expect([USED + 10 * DAY - 1, USED + 10 * DAY].map(blocks)).toEqual([true, false]);
  });
});

describe("a dismissal", () => {
  const silent = (dismissedAt: number, id: CallerId = "n:monthly", seen = START - DAY) =>
    oneCaller(id, seen, null, { dismissals: [{ caller: "n:monthly", reason: "gone", at: dismissedAt }] });

  test("lets a silent caller no longer block", () => {
    const assessment = at(USED, silent(USED));
    expect(assessment.callers[0]).toMatchObject({ status: "dismissed", blocking: false });
    expect(assessment.blocking).toEqual([]);
  });

  test("is void when the caller is seen on the old key a millisecond later", () => {
    expect(at(USED + DAY, silent(USED, "n:monthly", USED)).callers[0]?.status).toBe("dismissed");
    expect(at(USED + DAY, silent(USED, "n:monthly", USED + 1)).callers[0]).toMatchObject({
      status: "still_on_old",
      blocking: true,
    });
  });

  test("is of one caller and no other", () => {
    expect(at(USED, silent(USED, "n:yearly")).callers[0]).toMatchObject({ status: "silent", blocking: true });
  });

  test("gives way to evidence: whoever has moved is moved", () => {
    const evidence = oneCaller("n:api", USED, USED, {
      dismissals: [{ caller: "n:api", reason: "?", at: USED }],
    });
    expect(at(USED + QUIET, evidence).callers[0]?.status).toBe("moved");
  });
});

describe("what completing would be refused for", () => {
  test("the successor was never used", () => {
    const assessment = at(START + 60 * DAY, sampleEvidence());
    expect(codes(assessment)).toEqual(["successor_unused"]);
    expect(assessment.adopted).toBe(false);
  });

  test("the successor itself is refused", () => {
    const assessment = at(USED + 2 * DAY, oneCaller("n:api", USED, USED), false);
    expect(codes(assessment)).toEqual(["successor_not_active"]);
    expect(assessment.adopted).toBe(false);
  });

  test("callers by name, those still on the old key apart from the silent ones", () => {
    const evidence = sampleEvidence({
      oldCallers: [
        sampleCaller("n:api", USED),
        sampleCaller("n:batch", USED),
        sampleCaller("n:monthly", START - DAY),
        sampleCaller("u:10.0.0.1 curl", USED),
      ],
      successorFirstUsedAt: USED,
    });
    expect(at(USED, evidence).blocking.map(({ code, callers }) => [code, callers])).toEqual([
      ["still_on_old", ["api", "batch", "10.0.0.1 curl"]],
      ["silent", ["monthly"]],
    ]);
  });

  test("more callers than can be told apart, and nothing takes that away", () => {
    const evidence = oneCaller(OVERFLOW, USED, null, {
      dismissals: [{ caller: OVERFLOW, reason: "?", at: USED + DAY }],
    });
    for (const now of [USED, USED + 300 * DAY]) {
      const assessment = at(now, evidence);
      expect(codes(assessment)).toEqual(["too_many_callers"]);
      expect(assessment.callers).toEqual([]);
      expect(assessment.adopted).toBe(false);
    }
  });

  test("an unclean stop since the start, until a whole quiet period was watched again, to the millisecond", () => {
    const restart = USED + DAY;
    const evidence = sampleEvidence({ successorFirstUsedAt: USED, watchRestartedAt: restart });
    const seen = (now: number) =>
      assess(rotation, { ...evidence, watches: [{ from: restart, until: now }] }, true, now);
    expect(codes(seen(restart))).toEqual(["watching"]);
    expect(codes(seen(restart + QUIET - 1))).toEqual(["watching"]);
    expect(codes(seen(restart + QUIET))).toEqual([]);
  });

  test("an unclean stop before the start is no matter", () => {
    const evidence = sampleEvidence({
      successorFirstUsedAt: START,
      watchRestartedAt: START,
      watches: [{ from: START, until: START + 1 }],
    });
    expect(codes(assess(rotation, evidence, true, START + 1))).toEqual([]);
  });
});

describe("an unclean stop", () => {
  test("makes quiet start anew: time before it was watched in vain", () => {
    const restart = USED + QUIET - MINUTE;
    const evidence = oneCaller("n:api", USED, USED, { watchRestartedAt: restart });
    const status = (now: number) =>
      assess(rotation, { ...evidence, watches: [{ from: restart, until: now }] }, true, now).callers[0]
        ?.status;
    expect(status(USED + QUIET)).toBe("still_on_old");
    expect(status(restart + QUIET - 1)).toBe("still_on_old");
    expect(status(restart + QUIET)).toBe("moved");
  });

  test("time that nobody watched is no quiet, however long", () => {
    const evidence = oneCaller("n:api", USED, USED, { watches: [{ from: START - DAY, until: USED + HOUR }] });
    expect(assess(rotation, evidence, true, USED + 300 * DAY).callers[0]?.status).toBe("still_on_old");
  });
});

describe("adopted", () => {
  test("not before one quiet period was watched since the start, to the millisecond", () => {
    const evidence = oneCaller("n:api", START - DAY, START + 1);
    const adopted = (now: number) => at(now, evidence).adopted;
    expect([START + QUIET - 1, START + QUIET].map(adopted)).toEqual([false, true]);
  });

  test("not while anybody blocks", () => {
    expect(at(USED + 40 * DAY, oneCaller("n:monthly", START - DAY, null)).adopted).toBe(false);
  });

  test("a key nobody used says no_evidence: that is neither safe nor adopted, and blocks nobody who completes by hand", () => {
    const assessment = at(USED + 2 * DAY, sampleEvidence({ successorFirstUsedAt: USED }));
    expect(assessment.reasons.map((reason) => reason.code)).toEqual(["no_evidence"]);
    expect(assessment).toMatchObject({ blocking: [], safeToComplete: false, adopted: false });
  });

  test("callers who all moved are safe, with nothing to say against it", () => {
    const assessment = at(USED + QUIET, oneCaller("n:api", USED, USED));
    expect(assessment).toMatchObject({ reasons: [], blocking: [], safeToComplete: true, adopted: true });
  });
});
