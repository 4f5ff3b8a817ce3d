import type { RotationState } from "@keyturn/sdk";

/** What happened, as the reader is told of it. `step` opens a chapter; `command` is what one would type. */
export interface Line {
  readonly kind: "step" | "command" | "note" | "good" | "refused";
  readonly text: string;
  /** Seconds since the demo began. */
  readonly at: number;
}

/** What there is to see of one caller at this moment. */
export interface CallerView {
  readonly name: string;
  readonly old: number;
  readonly new: number;
  readonly status: string;
  readonly moved: boolean;
}

export interface View {
  readonly seconds: number;
  readonly route: string;
  readonly oldHint: string;
  readonly newHint: string | null;
  readonly state: RotationState | null;
  readonly callers: readonly CallerView[];
  /** Requests per second that fill a bar. */
  readonly fullRate: number;
  readonly requests: number;
  readonly failed: number;
  readonly story: readonly Line[];
}

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** Paints a text, or leaves it as it is where the terminal has no colours. */
export type Paint = Readonly<
  Record<"bold" | "dim" | "old" | "new" | "bad" | "title", (text: string) => string>
>;

export function paint(inColour: boolean): Paint {
  const with_ = (code: string) => (text: string) =>
    inColour && text !== "" ? `\u001b[${code}m${text}\u001b[0m` : text;
  return {
    bold: with_("1"),
    dim: with_("2"),
    old: with_("33"),
    new: with_("32"),
    bad: with_("1;31"),
    title: with_("1;36"),
  };
}

const PATH: readonly RotationState[] = ["issued", "adopting", "adopted", "completed", "closed"];
const WHOLE_PATH_WIDTH = 72;
const EIGHTHS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
const NAME_WIDTH = 15;
const STATUS_WIDTH = 14;
const RATE_WIDTH = 5;
const GAP = "  ";
const WIDEST = 120;

/** One picture of the whole scene. Pure; no line is wider than the terminal, and they are no more than its rows. */
export function frame(view: View, size: Size, ink: Paint): string {
  const columns = Math.min(size.columns, WIDEST) - 1;
  const clock = `${Math.floor(view.seconds)} s`;
  const title = "Keyturn: one key is turned over while its callers keep calling";
  const head = [
    `${ink.title(pad(title, columns - clock.length))}${ink.dim(clock)}`,
    ink.dim(cut(view.route, columns)),
    "",
    ...table(view, columns, ink),
    "",
    stateLine(view.state, columns, ink),
    `${ink.bold(view.requests.toLocaleString("en-US"))} requests, ${failed(view.failed, ink)}`,
    "",
  ];
  // One row stays free: a full screen would scroll.
  const room = Math.max(1, size.rows - head.length - 1);
  return [...head, ...latest(view.story, columns, room, ink)].join("\n");
}

function table(view: View, columns: number, ink: Paint): readonly string[] {
  const bar = Math.max(
    4,
    Math.floor((columns - NAME_WIDTH - STATUS_WIDTH - 2 * RATE_WIDTH - 4 * GAP.length) / 2),
  );
  const cell = bar + RATE_WIDTH;
  const heading = [
    ink.dim(pad("CALLER", NAME_WIDTH)),
    ink.old(pad(`OLD KEY ${view.oldHint}`, cell + 1)),
    ink.new(pad(view.newHint === null ? "" : `NEW KEY ${view.newHint}`, cell + 1)),
    ink.dim("STATUS"),
  ];
  const rows = view.callers.map((caller) => {
    const old = `${ink.old(pad(blocks(caller.old / view.fullRate, bar), bar))} ${rate(caller.old, ink)}`;
    const newRate = view.newHint === null ? " ".repeat(RATE_WIDTH) : rate(caller.new, ink);
    const fresh = `${ink.new(pad(blocks(caller.new / view.fullRate, bar), bar))} ${newRate}`;
    const status = cut(caller.status, STATUS_WIDTH);
    return [pad(caller.name, NAME_WIDTH), old, fresh, caller.moved ? ink.new(status) : status].join(GAP);
  });
  return [heading.join(GAP), ...rows];
}

/** A bar in eighths of a cell, so that a change of one request a second is seen. */
function blocks(share: number, width: number): string {
  const eighths = Math.round(Math.min(1, Math.max(0, share)) * width * 8);
  return `${"█".repeat(Math.floor(eighths / 8))}${EIGHTHS[eighths % 8] ?? ""}`;
}

function rate(perSecond: number, ink: Paint): string {
  const text = `${perSecond}/s`.padStart(RATE_WIDTH);
  return perSecond === 0 ? ink.dim(text) : text;
}

function stateLine(state: RotationState | null, columns: number, ink: Paint): string {
  if (state === null) return ink.dim("no rotation yet");
  if (columns < WHOLE_PATH_WIDTH) return `rotation  ${ink.bold(`● ${state}`)}`;
  const reached = PATH.indexOf(state);
  const marks = PATH.map((name, index) => {
    if (index === reached) return ink.bold(`● ${name}`);
    return ink.dim(`${index < reached ? "✓" : "○"} ${name}`);
  });
  return `rotation  ${marks.join(ink.dim(" ─ "))}`;
}

function failed(count: number, ink: Paint): string {
  return count === 0 ? ink.new("0 failed") : ink.bad(`${count} failed`);
}

const MARKS: Readonly<Record<Line["kind"], string>> = {
  step: "▸ ",
  command: "  $ ",
  note: "  ",
  good: "  ✓ ",
  refused: "  ✗ ",
};

/** A line of the story in as many lines as it takes; what belongs to an earlier chapter steps back. */
export function storyLines(line: Line, columns: number, ink: Paint, isPast = false): readonly string[] {
  const mark = MARKS[line.kind];
  const style = {
    step: isPast ? plain : ink.bold,
    command: ink.title,
    note: ink.dim,
    good: ink.new,
    refused: ink.old,
  }[line.kind];
  const wrapped = wrap(line.text, columns - mark.length);
  return wrapped.map((text, index) => style(`${index === 0 ? mark : " ".repeat(mark.length)}${text}`));
}

const plain = (text: string) => text;

/** As many of the newest chapters as there is room for, whole; of the newest alone the end, where even that is long. */
function latest(story: readonly Line[], columns: number, room: number, ink: Paint): readonly string[] {
  const current = story.findLastIndex((line) => line.kind === "step");
  let shown: readonly string[] = [];
  let chapter: readonly string[] = [];
  for (const [index, line] of [...story.entries()].reverse()) {
    chapter = [...storyLines(line, columns, ink, index < current), ...chapter];
    if (line.kind !== "step") continue;
    if (shown.length > 0 && shown.length + chapter.length > room) break;
    shown = [...chapter, ...shown];
    chapter = [];
  }
  return shown.slice(-room);
}

function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    const longer = line === "" ? word : `${line} ${word}`;
    if (longer.length > width && line !== "") {
      lines.push(line);
      line = word;
    } else {
      line = longer;
    }
  }
  return [...lines, line];
}

// Every character that stands in a frame takes one column, so lengths are widths.
function pad(text: string, width: number): string {
  return cut(text, width).padEnd(width);
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, width - 1)}…`;
}
