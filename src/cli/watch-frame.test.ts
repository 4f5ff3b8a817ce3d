import { describe, expect, test } from "bun:test";
import type { Rotation } from "@keyturn/sdk";
import { changeLines, isOver, watchFrame } from "./watch-frame.ts";

const NOW = Date.UTC(2026, 0, 5, 12);
const WIDE = { columns: 120, rows: 40 };
const at = (seconds: number) => new Date(NOW + seconds * 1000).toISOString();

function caller(
  name: string,
  changes: Partial<Rotation["callers"][number]> = {},
): Rotation["callers"][number] {
  return {
    name,
    unnamed: false,
    status: "moved",
    blocking: false,
    last_seen_old_at: at(-3_600),
    first_seen_new_at: at(-1_800),
    last_seen_new_at: at(-5),
    quiet_at: null,
    address: null,
    user_agent: null,
    ...changes,
  };
}

const LAGGING = {
  status: "still_on_old",
  blocking: true,
  last_seen_old_at: at(-2),
  last_seen_new_at: null,
} as const;

function rotation(changes: Partial<Rotation> = {}): Rotation {
  return {
    id: "rot_one",
    account_id: "acc_one",
    owner_id: "sa_one",
    lineage_id: "lin_one",
    old_key_id: "key_old",
    successor_key_id: "key_new",
    state: "adopting",
    overdue: false,
    completion: "when_adopted",
    reason: "quarterly",
    overlap_seconds: 604_800,
    quiet_period_seconds: 86_400,
    look_back_seconds: 2_592_000,
    undo_window_seconds: 86_400,
    started_at: at(-7_200),
    deadline_at: at(86_400 * 30),
    first_used_at: at(-3_000),
    due_at: at(86_400 * 6 + 30),
    old_key_ends_at: null,
    adopted_at: null,
    completed_at: null,
    undo_until: null,
    ended_at: null,
    forced: false,
    warnings: [],
    safe_to_complete: false,
    reasons: [{ code: "still_on_old", message: "Still using the old key: reports.", callers: ["reports"] }],
    callers: [caller("billing"), caller("reports", LAGGING), caller("cron")],
    new_callers: [],
    dismissals: [],
    brownouts: [],
    ...changes,
  };
}

describe("a picture of a rotation", () => {
  test("shows where it stands, who blocks first, how far the callers are, and what is in the way", () => {
    expect(watchFrame(rotation(), NOW, WIDE)).toBe(
      [
        "rot_one  adopting  due in 6d30s",
        "old key    key_old",
        "successor  key_new, first used 50m ago",
        "reason     quarterly",
        "",
        "████████████████████░░░░░░░░░░  66 %  2 of 3 callers moved",
        "",
        "CALLER   OLD KEY LAST SEEN  NEW KEY LAST SEEN  STATUS",
        "reports  2s ago             never              still on the old key  blocks",
        "billing  1h ago             5s ago             moved",
        "cron     1h ago             5s ago             moved",
        "",
        "Not safe to complete yet (completion: when_adopted):",
        "  still_on_old: Still using the old key: reports.",
      ].join("\n"),
    );
  });

  test("says loudly that it is overdue, and that the connection is gone", () => {
    const frame = watchFrame(rotation({ overdue: true, due_at: at(-60) }), NOW, WIDE, "No connection.");
    expect(frame.split("\n")[0]).toBe(`rot_one  adopting, OVERDUE  was due ${at(-60)}`);
    expect(frame.endsWith("\n\nNo connection.")).toBe(true);
  });

  test("says until when a completed one can be rolled back, and whether it was forced", () => {
    const completed = rotation({ state: "completed", forced: true, undo_until: at(90), completed_at: at(0) });
    const lines = watchFrame(completed, NOW, WIDE).split("\n");
    expect(lines[0]).toBe(`rot_one  completed  can be rolled back until ${at(90)}, ends in 1m30s`);
    expect(lines.at(-1)).toBe(
      `Completed (forced): the old key is refused. Until ${at(90)} it can be rolled back.`,
    );
  });

  test("the bar is full when everybody has moved, and not before", () => {
    const callers = Array.from({ length: 200 }, (_, i) => caller(`c${i}`, i === 0 ? LAGGING : {}));
    const bar = (of: Rotation) => watchFrame(of, NOW, WIDE).split("\n")[5] ?? "";
    expect(bar(rotation({ callers }))).toContain("░  99 %  199 of 200");
    expect(bar(rotation({ callers: callers.slice(1) }))).toMatch(/^█+ {2}100 % {2}199 of 199/);
    expect(bar(rotation({ callers: [] }))).toContain("no callers are known");
  });

  test("fits into every screen: no line is wider, and callers that block are shown before those left out", () => {
    const callers = Array.from({ length: 60 }, (_, i) => caller(`caller-${i}`, i === 59 ? LAGGING : {}));
    for (const size of [
      { columns: 80, rows: 24 },
      { columns: 40, rows: 18 },
      { columns: 200, rows: 70 },
    ]) {
      const lines = watchFrame(rotation({ callers }), NOW, size).split("\n");
      expect(lines.length).toBeLessThan(size.rows);
      for (const line of lines) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(size.columns);
      expect(lines[8]).toStartWith("caller-59");
    }
    expect(watchFrame(rotation({ callers }), NOW, { columns: 80, rows: 24 })).toMatch(/… and \d+ more/);
  });

  test("nothing that a caller sends can move the cursor or recolour the screen", () => {
    const hostile = "evil\x1b[2J\x1b]0;owned\x07\u202e\r\nname";
    const callers = [caller(hostile, { unnamed: true })];
    const frame = watchFrame(
      rotation({
        callers,
        reason: hostile,
        warnings: [hostile],
        new_callers: [hostile],
        reasons: [{ code: "silent", message: hostile, callers: [] }],
      }),
      NOW,
      WIDE,
    );
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there.
    expect(frame).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
    expect(frame).toContain("(unnamed)");
  });

  test("a caller of which nothing is known has words of its own", () => {
    expect(
      watchFrame(rotation({ callers: [caller("(nothing known)", { unnamed: true })] }), NOW, WIDE),
    ).toContain("(nothing known)");
  });
});

describe("for pipes, a line for each change", () => {
  const first = rotation();

  test("everything at the first look, and nothing when nothing but the time has changed", () => {
    expect(changeLines(null, first, NOW)).toEqual([
      "rot_one is adopting, due in 6d30s",
      "billing moved",
      "reports still on the old key, blocks",
      "cron moved",
      "Not safe to complete yet (completion: when_adopted):",
      "  still_on_old: Still using the old key: reports.",
    ]);
    expect(changeLines(first, first, NOW + 60_000)).toEqual([]);
  });

  test("the successor's first use", () => {
    const unused = rotation({ state: "issued", first_used_at: null });
    expect(changeLines(unused, first, NOW)).toEqual([
      "rot_one is adopting, due in 6d30s",
      "the successor was used",
    ]);
  });

  test("who has moved, and what that means", () => {
    const moved = rotation({
      callers: [caller("billing"), caller("reports"), caller("cron")],
      reasons: [],
      safe_to_complete: true,
    });
    expect(changeLines(first, moved, NOW)).toEqual([
      "reports moved",
      "Safe to complete (completion: when_adopted).",
    ]);
  });

  test("of one that is over only that it is", () => {
    const closed = rotation({ state: "closed", ended_at: at(-5) });
    expect(changeLines(null, closed, NOW)).toEqual(["rot_one is closed, ended 5s ago"]);
  });
});

test("it is over when the old key is refused or the successor was given up", () => {
  const over = (["issued", "adopting", "adopted", "completed", "closed", "cancelled"] as const).filter(
    (state) => isOver(rotation({ state })),
  );
  expect(over).toEqual(["completed", "closed", "cancelled"]);
});
