import { expect, test } from "bun:test";
import { frame, type Line, paint, type View } from "./frame.ts";

const LONG = "word ".repeat(60).trim();
const story: readonly Line[] = Array.from({ length: 30 }, (_, at) => ({
  kind: (["step", "command", "note", "good", "refused"] as const)[at % 5] ?? "note",
  text: at % 3 === 0 ? LONG : `line ${at}`,
  at,
}));
const view: View = {
  seconds: 12.3,
  route: LONG,
  oldHint: "kts_…aaaa",
  newHint: "kts_…bbbb",
  state: "adopting",
  callers: ["web-shop", "mobile-app", "a-caller-with-a-very-long-name"].map((name, index) => ({
    name,
    old: 40 - 20 * index,
    new: 25 * index,
    status: "a status that is too long",
    moved: index === 2,
  })),
  fullRate: 40,
  requests: 1_234_567,
  failed: 3,
  story,
};

test.each([
  [80, 24],
  [120, 40],
  [60, 15],
  [200, 10],
])("a frame for %i columns and %i rows fits, with and without colour", (columns, rows) => {
  for (const shown of [view, { ...view, newHint: null, state: null, callers: [], story: [] }]) {
    for (const inColour of [true, false]) {
      const lines = Bun.stripANSI(frame(shown, { columns, rows }, paint(inColour))).split("\n");
      expect(lines.length).toBeLessThanOrEqual(Math.max(rows, 13));
      expect(Math.max(...lines.map((line) => Bun.stringWidth(line)))).toBeLessThan(columns);
    }
  }
});

test("bars show what share of a caller's requests goes to which key", () => {
  const lines = frame(view, { columns: 80, rows: 24 }, paint(false)).split("\n");
  const [shop = "", app = ""] = lines.filter((line) => /^(web-shop|mobile-app)/.test(line));
  const cells = (line: string) => [...line].filter((character) => character === "█").length;
  expect(shop).toMatch(/40\/s.*0\/s/);
  expect(cells(shop)).toBeGreaterThan(10);
  expect(app).toMatch(/20\/s.*25\/s/);
});

test("failures are told, and the newest chapter is always to be seen", () => {
  const text = frame(view, { columns: 80, rows: 24 }, paint(false));
  expect(text).toContain("3 failed");
  expect(text).toContain("line 29");
});
