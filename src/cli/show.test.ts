import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ago, until } from "./show.ts";
import { card, plain, table } from "./table.ts";

describe("spans are exact to the second", () => {
  test.each([
    [0.9, "now"],
    [1, "in 1s"],
    [59.999, "in 59s"],
    [86_400 * 12, "in 12d"],
    [86_400 * 12 - 0.001, "in 11d23h59m59s"],
    [86_400 * 365 * 3 + 3_600, "in 1095d1h"],
  ])("%p s is left: %s", (seconds, text) => {
    expect(until(seconds)).toBe(text);
  });

  test("what is past is told in the same words, and what never was is never", () => {
    const now = Date.UTC(2026, 0, 5, 12);
    expect(ago(new Date(now - 61_500).toISOString(), now)).toBe("1m1s ago");
    expect(ago(new Date(now - 999).toISOString(), now)).toBe("just now");
    expect(ago(null, now)).toBe("never");
  });
});

describe("tables", () => {
  test("columns are aligned under their headings, by the width on a terminal", () => {
    expect(
      table(
        ["A", "LONGER"],
        [
          ["x", "1"],
          ["größer", "2"],
          ["日本", "3"],
        ],
      ),
    ).toBe(["A       LONGER", "x       1", "größer  2", "日本    3"].join("\n"));
  });

  test("a card names its values one under the other", () => {
    expect(
      card([
        ["id", "key_1"],
        ["owner", "sa_1"],
      ]),
    ).toBe("id     key_1\nowner  sa_1");
  });

  test("no text has a control or formatting character left", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(plain(text))),
    );
  });
});
