import type { Rotation } from "@keyturn/sdk";
import { ago, dueText, stateText } from "./show.ts";
import { callerText, plain, table, widthOf } from "./table.ts";

export interface FrameSize {
  readonly columns: number;
  readonly rows: number;
}

const BAR_CELLS = 30;
/** Lines of a frame that are there whatever the callers do. */
const LEAST_CALLERS = 3;

/**
 * One picture of a rotation: where it stands, who has moved, and what is in the way. Pure. Fits into `size`: when there
 * are more callers than rows, those who block come first and the rest is a count.
 */
export function watchFrame(
  rotation: Rotation,
  now: number,
  size: FrameSize,
  trouble: string | null = null,
): string {
  const head = [
    `${rotation.id}  ${stateText(rotation)}  ${dueText(rotation, now)}`,
    `old key    ${rotation.old_key_id}`,
    `successor  ${rotation.successor_key_id}, first used ${ago(rotation.first_used_at, now)}`,
    ...(rotation.reason === null ? [] : [`reason     ${plain(rotation.reason)}`]),
    "",
    progressBar(rotation),
    "",
  ];
  const tail = ["", ...verdictLines(rotation), ...(trouble === null ? [] : ["", trouble])];
  const room = Math.max(LEAST_CALLERS, size.rows - head.length - tail.length - 1);
  return [...head, ...callerLines(rotation, now, room), ...tail]
    .map((line) => cut(line, size.columns))
    .join("\n");
}

/** Once nothing more will change by itself: the old key is refused, or the rotation is over. */
export function isOver(rotation: Rotation): boolean {
  return rotation.state === "completed" || rotation.state === "closed" || rotation.state === "cancelled";
}

/** For logs and pipes: what changed since the last look, a line each; everything at the first look. */
export function changeLines(before: Rotation | null, after: Rotation, now: number): readonly string[] {
  const lines: string[] = [];
  if (before === null || stateText(before) !== stateText(after)) {
    lines.push(`${after.id} is ${stateText(after)}, ${dueText(after, now)}`);
  }
  if (before?.first_used_at === null && after.first_used_at !== null) lines.push("the successor was used");
  // Once it is over nobody is waited for any more.
  for (const caller of isOver(after) && before === null ? [] : after.callers) {
    const had = before?.callers.find((one) => one.name === caller.name && one.unnamed === caller.unnamed);
    if (had?.status === caller.status && had.blocking === caller.blocking) continue;
    lines.push(`${callerText(caller)} ${statusText(caller)}${caller.blocking ? ", blocks" : ""}`);
  }
  const reasons = (rotation: Rotation | null) => rotation?.reasons.map((reason) => reason.code).join() ?? "";
  if (reasons(before) !== reasons(after) && !isOver(after)) lines.push(...verdictLines(after));
  return lines;
}

function progressBar(rotation: Rotation): string {
  const all = rotation.callers.length;
  const moved = rotation.callers.filter((caller) => caller.status === "moved").length;
  // Rounded down: the bar is full when everybody has moved, and not before.
  const percent = all === 0 ? 0 : Math.floor((100 * moved) / all);
  const full = all === 0 ? 0 : Math.floor((BAR_CELLS * moved) / all);
  const bar = `${"█".repeat(full)}${"░".repeat(BAR_CELLS - full)}`;
  return all === 0
    ? `${bar}  no callers are known`
    : `${bar}  ${percent} %  ${moved} of ${all} callers moved`;
}

type RotationCaller = Rotation["callers"][number];

function callerLines(rotation: Rotation, now: number, room: number): readonly string[] {
  const callers = rotation.callers.toSorted(
    (a, b) => Number(b.blocking) - Number(a.blocking) || a.name.localeCompare(b.name),
  );
  // One row is for the headings, and one for the count of those left out.
  const shown = callers.length < room ? callers : callers.slice(0, room - 2);
  const rows = table(
    ["CALLER", "OLD KEY LAST SEEN", "NEW KEY LAST SEEN", "STATUS", ""],
    shown.map((caller) => [
      callerText(caller),
      ago(caller.last_seen_old_at, now),
      ago(caller.last_seen_new_at, now),
      statusText(caller),
      caller.blocking ? "blocks" : "",
    ]),
  ).split("\n");
  const left = callers.length - shown.length;
  const news =
    rotation.new_callers.length === 0
      ? []
      : [`New with the successor: ${rotation.new_callers.map(plain).join(", ")}`];
  return [...rows, ...(left > 0 ? [`… and ${left} more`] : []), ...news];
}

const STATUS_TEXT: Readonly<Record<RotationCaller["status"], string>> = {
  moved: "moved",
  still_on_old: "still on the old key",
  silent: "silent",
  dismissed: "dismissed",
};

function statusText(caller: RotationCaller): string {
  return STATUS_TEXT[caller.status];
}

function verdictLines(rotation: Rotation): readonly string[] {
  const warnings = rotation.warnings.map((warning) => `Warning: ${plain(warning)}`);
  if (rotation.state === "completed") {
    return [
      ...warnings,
      `Completed${rotation.forced ? " (forced)" : ""}: the old key is refused. Until ${rotation.undo_until} it can be rolled back.`,
    ];
  }
  if (rotation.state === "closed") return ["Closed: the old key is revoked for ever."];
  if (rotation.state === "cancelled") return ["Cancelled: the successor is revoked, the old key goes on."];
  if (rotation.safe_to_complete)
    return [...warnings, `Safe to complete (completion: ${rotation.completion}).`];
  return [
    ...warnings,
    `Not safe to complete yet (completion: ${rotation.completion}):`,
    ...rotation.reasons.map((reason) => `  ${reason.code}: ${plain(reason.message)}`),
  ];
}

function cut(line: string, columns: number): string {
  if (widthOf(line) <= columns) return line;
  let kept = "";
  for (const character of line) {
    if (widthOf(kept) + widthOf(character) > columns - 1) break;
    kept += character;
  }
  return `${kept}…`;
}
