import { type Client, KeyturnError, type Rotation } from "@keyturn/sdk";
import type { Command } from "commander";
import { z } from "zod";
import { parseSpan } from "../authority/time.ts";
import { isUnreachable } from "./connection.ts";
import type { Act, Context } from "./context.ts";
import { EXIT, misuse } from "./exit.ts";
import { tell } from "./terminal.ts";
import { changeLines, isOver, watchFrame } from "./watch-frame.ts";

const HIDE_CURSOR = "\x1b[?25l";
const SHOW_CURSOR = "\x1b[?25h";
/** Back to where the last picture began, and everything below wiped. */
const rewind = (lines: number) => (lines > 0 ? `\x1b[${lines}F\x1b[J` : "");
const INTERRUPTED = 130;

/** `keyturn rotations watch`: redraws as callers move, until the old key is refused or the rotation is over. */
export function addWatch(rotations: Command, act: Act): void {
  const watch = rotations
    .command("watch")
    .description("see callers move from the old key to the new one, until it is completed; Ctrl-C leaves")
    .argument("<id>")
    .option("--interval <span>", "how often to look (1s)", "1s");
  act(watch, z.object({ interval: z.string() }), async (context, { interval }, [id = ""]) => {
    const span = parseSpan(interval);
    if (!span.ok) throw misuse(`--interval: ${span.message}`);
    const stop = new AbortController();
    const onInterrupt = () => stop.abort();
    process.once("SIGINT", onInterrupt);
    const screen = screenOf(context);
    try {
      const last = await follow(context.client(), id, span.seconds * 1000, stop.signal, screen);
      if (last === null) context.endWith(INTERRUPTED);
      else if (last.state === "cancelled") context.endWith(EXIT.refused);
    } finally {
      process.off("SIGINT", onInterrupt);
      screen.close();
    }
  });
}

/** Looks until it is over. Null when a person has seen enough. A server that is away for a while is waited for. */
async function follow(
  client: Client,
  id: string,
  everyMs: number,
  signal: AbortSignal,
  screen: Screen,
): Promise<Rotation | null> {
  let last: Rotation | null = null;
  while (!signal.aborted) {
    try {
      last = await client.rotations.get(id, { signal });
      screen.show(last, null);
      if (isOver(last)) return last;
    } catch (error) {
      if (signal.aborted) return null;
      // What was never seen can't be waited for.
      if (last === null || !(isUnreachable(error) || isPassing(error))) throw error;
      screen.show(last, "No connection; this is the last that was seen. Trying again.");
    }
    await pause(everyMs, signal);
  }
  return null;
}

function isPassing(error: unknown): boolean {
  return error instanceof KeyturnError && error.status >= 500;
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}

interface Screen {
  show(rotation: Rotation, trouble: string | null): void;
  close(): void;
}

function screenOf(context: Context): Screen {
  if (context.json) return jsonLines();
  return process.stdout.isTTY ? redrawing() : lines();
}

function redrawing(): Screen {
  let drawn = 0;
  process.stdout.write(HIDE_CURSOR);
  return {
    show: (rotation, trouble) => {
      const size = { columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 };
      const frame = watchFrame(rotation, Date.now(), size, trouble);
      process.stdout.write(`${rewind(drawn)}${frame}\n`);
      // Lines that are above the screen can't be reached again.
      drawn = Math.min(frame.split("\n").length, size.rows - 1);
    },
    close: () => process.stdout.write(SHOW_CURSOR),
  };
}

function lines(): Screen {
  let before: Rotation | null = null;
  let troubled = false;
  return {
    show: (rotation, trouble) => {
      if (trouble !== null && !troubled) tell(trouble);
      troubled = trouble !== null;
      const now = Date.now();
      for (const line of changeLines(before, rotation, now)) tell(`${new Date(now).toISOString()}  ${line}`);
      before = rotation;
    },
    close: () => undefined,
  };
}

/** A line of JSON whenever something but the time has changed. */
function jsonLines(): Screen {
  let before = "";
  return {
    show: (rotation) => {
      const text = JSON.stringify(rotation);
      if (text !== before) tell(text);
      before = text;
    },
    close: () => undefined,
  };
}
