import { describe, expect, test } from "bun:test";
import { DAY, HOUR, refusalIn, START } from "../../../test/support/authority.ts";
import { sampleBrownout } from "../../../test/support/samples.ts";
import { brownoutNow, planBrownout } from "./brownout.ts";

describe("a brownout", () => {
  test("is coming before its start, running from its start, over at its end, to the millisecond", () => {
    const brownout = sampleBrownout({ startsAt: START, endsAt: START + 300_000 });
    const at = [-1, 0, 299_999, 300_000].map((after) => brownoutNow(brownout, START + after));
    expect(at).toEqual(["coming", "running", "running", "over"]);
  });

  test("is over once it was stopped, whatever the time", () => {
    const stopped = sampleBrownout({ stoppedAt: START, stopReason: "callers" });
    expect([START - 1, START, START + 1].map((now) => brownoutNow(stopped, now))).toEqual([
      "over",
      "over",
      "over",
    ]);
  });
});

describe("planning a brownout", () => {
  const refused = (asked: Parameters<typeof planBrownout>[0]) =>
    refusalIn(() => planBrownout(asked, START)).errors[0]?.field;

  test("starts now, for 5 minutes, until 3 callers or 100 refusals, when nobody says otherwise", () => {
    expect(planBrownout({}, START)).toEqual({
      startsAt: START,
      endsAt: START + 5 * 60_000,
      stopAfterCallers: 3,
      stopAfterRefusals: 100,
    });
  });

  test("lasts an hour at most", () => {
    expect(planBrownout({ durationSeconds: 3_600 }, START).endsAt).toBe(START + HOUR);
    expect(refused({ durationSeconds: 3_601 })).toBe("duration");
  });

  test("starts neither in the past nor more than 30 days ahead, to the millisecond", () => {
    expect(planBrownout({ startsAt: START }, START).startsAt).toBe(START);
    expect(refused({ startsAt: START - 1 })).toBe("starts_at");
    expect(planBrownout({ startsAt: START + 30 * DAY }, START).startsAt).toBe(START + 30 * DAY);
    expect(refused({ startsAt: START + 30 * DAY + 1 })).toBe("starts_at");
  });

  test("keeps the thresholds that were asked for", () => {
    const plan = planBrownout({ stopAfterCallers: 1, stopAfterRefusals: 7 }, START);
    expect([plan.stopAfterCallers, plan.stopAfterRefusals]).toEqual([1, 7]);
  });
});
