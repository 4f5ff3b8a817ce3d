import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  formatInstant,
  formatSpan,
  type LifetimeRequest,
  LONGEST_SPAN_SECONDS,
  parseInstant,
  parseSpan,
  resolveExpiry,
} from "./time.ts";

const HOW_TO_WRITE = "write a whole number and a unit: s, m, h, d, w, M (30 days) or y, such as 12h or 1d12h";

function secondsOf(text: string): number | string {
  const span = parseSpan(text);
  return span.ok ? span.seconds : span.message;
}

describe("a span", () => {
  test.each([
    ["1s", 1],
    ["1m", 60],
    ["1h", 3_600],
    ["1d", 86_400],
    ["1w", 604_800],
    ["1M", 2_592_000],
    ["1y", 31_536_000],
    ["90d", 7_776_000],
    ["1d12h", 129_600],
    ["1M1m", 2_592_060],
    ["1y1M1w1d1h1m1s", 31_536_000 + 2_592_000 + 604_800 + 86_400 + 3_600 + 60 + 1],
    ["100y", LONGEST_SPAN_SECONDS],
    ["36500d", LONGEST_SPAN_SECONDS],
  ])("%s is %d seconds", (text, seconds) => {
    expect(secondsOf(text)).toBe(seconds);
  });

  test.each([
    ["", "a span is missing"],
    ["0s", "cannot be zero"],
    ["0d0h", "cannot be zero"],
    ["1h0m", "cannot be zero"],
    ["000h", "cannot be zero"],
    ["01h", "no leading zero"],
    ["-1h", "cannot be negative"],
    ["+1h", "no sign"],
    ["1.5h", "no fractions"],
    ["1,5h", "no fractions"],
    ["abc12h", "starts with a number"],
    ["h", "starts with a number"],
    ["never", "starts with a number"],
    ["90", "unit is missing"],
    ["1h30", "not a span"],
    ["1hh", "not a span"],
    ["12h!", "not a span"],
    ["1h-1m", "not a span"],
    ["1h1d", "largest unit comes first"],
    ["1m1M", "largest unit comes first"],
    ["1h1h", "h is given twice"],
    ["1D", "D is not a unit"],
    ["1H", "H is not a unit"],
    ["1S", "S is not a unit"],
    ["1W", "W is not a unit"],
    ["1Y", "Y is not a unit"],
    ["1e3s", "e is not a unit"],
    ["0x1s", "x is not a unit"],
    [" 1h", "no spaces"],
    ["1h ", "no spaces"],
    ["1 h", "no spaces"],
    ["1h\n", "no spaces"],
    ["\u0661h", "not a span"],
    ["\uff11h", "not a span"],
    ["1\u043c", "not a span"],
    ["100y1s", "at most 100 years"],
    ["101y", "at most 100 years"],
    ["36501d", "at most 100 years"],
    [`${"9".repeat(60)}s`, "at most 100 years"],
    ["9".repeat(100_000), "much shorter"],
  ])("%j is refused by name, with the way out", (text, objection) => {
    const span = parseSpan(text);
    expect(span.ok).toBe(false);
    expect(secondsOf(text)).toContain(objection);
    expect(secondsOf(text)).toEndWith(HOW_TO_WRITE);
  });

  test("any text is either refused or a whole number of seconds within 100 years", () => {
    const fragment = fc.constantFrom("1", "90", "0", "s", "m", "h", "d", "w", "M", "y", "-", ".", " ", "é");
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(fragment, { maxLength: 8 }).map((all) => all.join("")),
        ),
        (text) => {
          const span = parseSpan(text);
          if (!span.ok) return span.message.endsWith(HOW_TO_WRITE);
          return (
            Number.isSafeInteger(span.seconds) && span.seconds > 0 && span.seconds <= LONGEST_SPAN_SECONDS
          );
        },
      ),
    );
  });

  test.each([
    [90 * 86_400, "90d"],
    [129_600, "1d12h"],
    [1, "1s"],
    [60, "1m"],
    [3_661, "1h1m1s"],
    [LONGEST_SPAN_SECONDS, "36500d"],
    [0, "0s"],
  ])("%d seconds are written as %s", (seconds, text) => {
    expect(formatSpan(seconds)).toBe(text);
  });

  test("every written span reads back as the same number of seconds", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: LONGEST_SPAN_SECONDS }), (seconds) => {
        expect(secondsOf(formatSpan(seconds))).toBe(seconds);
      }),
    );
  });

  test.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])("%d seconds are never written", (seconds) => {
    expect(() => formatSpan(seconds)).toThrow(RangeError);
  });
});

describe("an instant", () => {
  test("is written in UTC with milliseconds", () => {
    expect(formatInstant(0)).toBe("1970-01-01T00:00:00.000Z");
    expect(formatInstant(1_767_225_600_123)).toBe("2026-01-01T00:00:00.123Z");
  });

  test.each([
    ["2026-01-01T00:00:00Z", 1_767_225_600_000],
    ["2026-01-01t00:00:00z", 1_767_225_600_000],
    ["2026-01-01T00:00:00.5Z", 1_767_225_600_500],
    ["2026-01-01T00:00:00.1239999999Z", 1_767_225_600_123],
    ["2026-01-01T02:30:00+02:30", 1_767_225_600_000],
    ["2025-12-31T19:00:00-05:00", 1_767_225_600_000],
    ["2026-01-01T00:00:00-00:00", 1_767_225_600_000],
    ["2024-02-29T00:00:00Z", 1_709_164_800_000],
    ["2000-02-29T00:00:00Z", 951_782_400_000],
    ["1970-01-01T00:00:00Z", 0],
    ["9999-12-31T23:59:59.999Z", 253_402_300_799_999],
  ])("%s is read as RFC 3339", (text, at) => {
    expect(parseInstant(text)).toBe(at);
  });

  test.each([
    "",
    "2026-02-30T00:00:00Z",
    "2025-02-29T00:00:00Z",
    "2100-02-29T00:00:00Z",
    "2026-04-31T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-00-01T00:00:00Z",
    "2026-01-00T00:00:00Z",
    "2026-01-01T24:00:00Z",
    "2026-01-01T23:60:00Z",
    "2016-12-31T23:59:60Z",
    "2026-01-01T00:00:00+24:00",
    "2026-01-01T00:00:00+01:60",
    "2026-01-01T00:00:00+0100",
    "2026-01-01T00:00:00+01",
    "2026-01-01T00:00:00",
    "2026-01-01 00:00:00Z",
    "2026-01-01T00:00Z",
    "2026-01-01",
    "2026-1-1T00:00:00Z",
    "2026-01-01T00:00:00.Z",
    "2026-01-01T00:00:00,5Z",
    " 2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00Z\n",
    "+002026-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
    "1969-12-31T23:59:59Z",
    "0070-01-01T00:00:00Z",
    "1970-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
    "\u0662026-01-01T00:00:00Z",
    "1767225600",
    "tomorrow",
  ])("%j is not an instant", (text) => {
    expect(parseInstant(text)).toBeUndefined();
  });

  test("every instant of the years 1970 to 9999 survives being written and read", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 253_402_300_799_999 }), (at) => {
        expect(parseInstant(formatInstant(at))).toBe(at);
      }),
    );
  });

  test("an offset names the same instant as its UTC text", () => {
    const offset = fc.tuple(
      fc.constantFrom("+", "-"),
      fc.integer({ min: 0, max: 23 }),
      fc.integer({ min: 0, max: 59 }),
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 86_400_000, max: 4_102_444_800_000 }),
        offset,
        (at, [sign, hours, minutes]) => {
          const shift = (hours * 60 + minutes) * 60_000;
          const local = formatInstant(sign === "+" ? at + shift : at - shift).slice(0, -1);
          const zone = `${sign}${String(hours).padStart(2, "0")}:${String(minutes).padStart(2, "0")}`;
          expect(parseInstant(local + zone)).toBe(at);
        },
      ),
    );
  });
});

describe("a key", () => {
  const now = 1_767_225_600_000;
  const days90 = 90 * 86_400;

  function expiryOf(request: LifetimeRequest): number | null | string {
    const resolved = resolveExpiry(request, now, days90);
    return resolved.ok ? resolved.expiresAt : `${resolved.field}: ${resolved.message}`;
  }

  test("may live for the default span when nothing is said", () => {
    expect(expiryOf({})).toBe(now + days90 * 1_000);
    expect(expiryOf({ ttl: undefined, expiresAt: undefined })).toBe(now + days90 * 1_000);
  });

  test("may live for the span it was given", () => {
    expect(expiryOf({ ttl: "1d12h" })).toBe(now + 129_600_000);
    expect(expiryOf({ ttl: "1s" })).toBe(now + 1_000);
    expect(expiryOf({ ttl: "100y" })).toBe(now + LONGEST_SPAN_SECONDS * 1_000);
  });

  test("may live for ever only when that is asked for by name", () => {
    expect(expiryOf({ ttl: "never" })).toBeNull();
    for (const ttl of ["", "Never", "NEVER", "never ", "null", "0", "0s", "-1"]) {
      expect(expiryOf({ ttl })).toStartWith("ttl: ");
    }
    expect(expiryOf({ expiresAt: "never" })).toStartWith("expires_at: write an RFC 3339");
  });

  test("may live until an instant that is still to come, to the millisecond", () => {
    expect(expiryOf({ expiresAt: formatInstant(now + 1) })).toBe(now + 1);
    expect(expiryOf({ expiresAt: formatInstant(now) })).toStartWith("expires_at: this time has passed");
    expect(expiryOf({ expiresAt: formatInstant(now - 1) })).toStartWith("expires_at: this time has passed");
  });

  test("may live for at most 100 years, to the millisecond", () => {
    const last = now + LONGEST_SPAN_SECONDS * 1_000;
    expect(expiryOf({ expiresAt: formatInstant(last) })).toBe(last);
    expect(expiryOf({ expiresAt: formatInstant(last + 1) })).toStartWith(
      "expires_at: a key may live for at most",
    );
    expect(expiryOf({ ttl: "100y1s" })).toStartWith("ttl: a span is at most 100 years");
  });

  test("is refused when both a ttl and an expires_at are given, whatever they say", () => {
    for (const ttl of ["1d", "never", ""]) {
      expect(expiryOf({ ttl, expiresAt: formatInstant(now + 1) })).toBe(
        "expires_at: give either ttl or expires_at, not both",
      );
    }
  });

  test("is told that never is a way out when its ttl can't be read", () => {
    expect(expiryOf({ ttl: "forever" })).toEndWith('; or "never"');
  });
});
