import type { Command } from "commander";
import { z } from "zod";
import type { Context } from "./context.ts";
import { EXIT } from "./exit.ts";
import { plain } from "./table.ts";
import { say } from "./terminal.ts";

/** `--wait`, as a schema's member. */
export const waitOption = { wait: z.boolean().optional() } as const;

export function addWaitOption(command: Command): Command {
  return command.option(
    "--wait",
    `until every process knows, or can't judge by what it knew; exit code ${EXIT.notEverywhere} if nobody can tell`,
  );
}

/** What a call is told. */
export function waiting(wait: boolean | undefined): { readonly wait?: "all" } {
  return wait ? { wait: "all" } : {};
}

/** Says what came of the waiting, where somebody asked for it. False when the change may not be in force everywhere. */
export function tellWait(context: Context, wait: boolean | undefined, answer: unknown): boolean {
  if (!wait) return true;
  const silent = silentIn(answer);
  if (silent === null) {
    if (!context.json) say("In force everywhere.");
    return true;
  }
  if (!context.json)
    say(
      `Done, but not known to be in force everywhere. Nothing was heard of: ${silent.map(plain).join(", ")}.`,
    );
  context.endWith(EXIT.notEverywhere);
  return false;
}

const silentAnswer = z.object({ silent_processes: z.array(z.string()) });

function silentIn(answer: unknown): readonly string[] | null {
  const parsed = silentAnswer.safeParse(answer);
  return parsed.success ? parsed.data.silent_processes : null;
}
