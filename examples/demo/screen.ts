import { frame, type Line, type Paint, paint, storyLines, type View } from "./frame.ts";

/** Where the demo is seen: redrawn on a terminal, told line by line anywhere else. */
export interface Screen {
  readonly ink: Paint;
  show(view: View): void;
  tell(line: Line): void;
  /** Gives the terminal back. Safe to call twice. */
  close(): void;
}

const REDRAW = "\u001b[H";
const CLEAR_TO_LINE_END = "\u001b[K";
const CLEAR_BELOW = "\u001b[J";
const OTHER_SCREEN = "\u001b[?1049h\u001b[?25l\u001b[2J";
const OWN_SCREEN = "\u001b[?25h\u001b[?1049l";
/** How often the traffic is told where nothing can be redrawn. */
const TELL_EVERY_SECONDS = 2;

export function openScreen(out: NodeJS.WriteStream): Screen {
  return out.isTTY ? terminal(out) : lines(out);
}

function terminal(out: NodeJS.WriteStream): Screen {
  const ink = paint(!process.env.NO_COLOR);
  let open = true;
  out.write(OTHER_SCREEN);
  return {
    ink,
    show: (view) => {
      if (!open) return;
      const text = frame(view, { columns: out.columns || 80, rows: out.rows || 24 }, ink);
      // Each line is written over the one before: clearing first would flicker.
      out.write(
        `${REDRAW}${text.replaceAll("\n", `${CLEAR_TO_LINE_END}\n`)}${CLEAR_TO_LINE_END}${CLEAR_BELOW}`,
      );
    },
    tell: () => undefined,
    close: () => {
      if (open) out.write(OWN_SCREEN);
      open = false;
    },
  };
}

function lines(out: NodeJS.WriteStream): Screen {
  const ink = paint(false);
  let toldAt = 0;
  return {
    ink,
    show: (view) => {
      if (view.seconds - toldAt < TELL_EVERY_SECONDS) return;
      toldAt = view.seconds;
      const callers = view.callers.map((one) => `${one.name} ${one.old}/s old ${one.new}/s new`);
      const state = view.state ?? "no rotation";
      out.write(`       ${state}: ${callers.join(", ")}; ${view.requests} requests, ${view.failed} failed\n`);
    },
    tell: (line) => {
      const [first = "", ...more] = storyLines(line, 100, ink);
      const at = `${line.at.toFixed(1)} s`.padStart(6);
      for (const [index, text] of [first, ...more].entries())
        out.write(`${index === 0 ? at : " ".repeat(6)} ${text}\n`);
    },
    close: () => undefined,
  };
}
