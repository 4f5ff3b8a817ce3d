import type { StartedRotation } from "@keyturn/sdk";
import type { Command } from "commander";
import { z } from "zod";
import type { Act } from "./context.ts";
import { keyIdOf } from "./find.ts";
import { keyCard } from "./show.ts";

const COMPLETION = z.enum(
  ["when_adopted", "manual", "at_deadline"],
  "--completion: when_adopted, manual or at_deadline",
);

const planOptions = z.object({
  overlap: z.string().optional(),
  deadline: z.string().optional(),
  completion: COMPLETION.optional(),
  quietPeriod: z.string().optional(),
  lookBack: z.string().optional(),
  undoWindow: z.string().optional(),
  reason: z.string().optional(),
});

function addPlanOptions(command: Command): Command {
  return command
    .option("--overlap <span>", "how long both are good once the successor is used (7d)")
    .option("--deadline <span-or-instant>", "when it should be done at the latest (30d)")
    .option("--completion <when>", "when_adopted, manual or at_deadline (when_adopted)")
    .option("--quiet-period <span>", "how long a caller must be off the old key to count as moved (1d)")
    .option("--look-back <span>", "whom of the old key's callers to wait for: those seen since (30d)")
    .option("--undo-window <span>", "how long it can be rolled back once completed (1d)")
    .option("--reason <text>", "for the audit log");
}

function planOf(options: z.infer<typeof planOptions>) {
  return {
    overlap: options.overlap,
    deadline: options.deadline,
    completion: options.completion,
    quiet_period: options.quietPeriod,
    look_back: options.lookBack,
    undo_window: options.undoWindow,
    reason: options.reason,
  };
}

/** `keyturn keys rotate` and `keys rotate-self`. */
export function addRotate(keys: Command, act: Act): void {
  const rotate = addPlanOptions(
    keys
      .command("rotate")
      .description("issue a successor; both keys are good from now on. Its secret goes to standard output")
      .argument("<id-or-name>"),
  ).addHelpText(
    "after",
    "\nExample:\n  keyturn keys rotate ci --overlap 3d --reason 'quarterly' > successor.key",
  );
  act(rotate, planOptions, async (context, options, [given = ""]) => {
    const client = context.client();
    const started = await client.keys.rotate(await keyIdOf(client, given), planOf(options));
    context.answerSecret(started, started.secret, () => startedText(started));
  });

  const rotateSelf = addPlanOptions(
    keys.command("rotate-self").description("the key that asks rotates itself"),
  );
  act(rotateSelf, planOptions, async (context, options) => {
    const started = await context.client().keys.rotateSelf(planOf(options));
    context.answerSecret(started, started.secret, () => startedText(started));
  });
}

function startedText({ rotation, key }: StartedRotation): string {
  return [
    `Rotation ${rotation.id} has started: ${rotation.old_key_id} and its successor are both good.`,
    ...rotation.warnings.map((warning) => `Warning: ${warning}`),
    `Give the successor to everybody who uses the old key, then watch them move:`,
    `  keyturn rotations watch ${rotation.id}`,
    "",
    keyCard(key, Date.now()),
  ].join("\n");
}
