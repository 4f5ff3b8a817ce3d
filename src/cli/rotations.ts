import { type Client, KeyturnError, type Rotation } from "@keyturn/sdk";
import type { Command } from "commander";
import { z } from "zod";
import { type Act, type Context, wholeNumber } from "./context.ts";
import { EXIT } from "./exit.ts";
import { keyIdOf } from "./find.ts";
import { addPageOptions, listed, pageOptions } from "./lists.ts";
import { problemText } from "./problem.ts";
import { rotationTable } from "./show.ts";
import { callerText } from "./table.ts";
import { say } from "./terminal.ts";
import { addWaitOption, tellWait, waiting, waitOption } from "./wait.ts";
import { addWatch } from "./watch.ts";
import { watchFrame } from "./watch-frame.ts";

const STATE = z.enum(
  ["issued", "adopting", "adopted", "completed", "closed", "cancelled"],
  "--state: issued, adopting, adopted, completed, closed or cancelled",
);
const forceOption = z.object({ force: z.boolean().optional() });

/** A rotation as it stands, at its full length. */
function rotationText(rotation: Rotation): string {
  return watchFrame(rotation, Date.now(), { columns: 1_000, rows: 1_000 });
}

/** `keyturn rotations …`. */
export function addRotations(program: Command, act: Act): void {
  const rotations = program.command("rotations").description("hand-overs from a key to its successor");
  const answer = (context: Context, rotation: Rotation) =>
    context.answer(rotation, () => rotationText(rotation));

  const list = addPageOptions(
    rotations
      .command("list")
      .description("list rotations, newest first")
      .option("--state <state>", "issued, adopting, adopted, completed, closed or cancelled")
      .option("--of <key>", "only those of a key, by its id or name"),
    wholeNumber,
  );
  const listOptions = z.object({ ...pageOptions, state: STATE.optional(), of: z.string().optional() });
  act(list, listOptions, async (context, options) => {
    const client = context.client();
    const key_id = options.of === undefined ? undefined : await keyIdOf(client, options.of);
    const page = await listed(options, (query) =>
      client.rotations.list({ ...query, state: options.state, key_id }),
    );
    context.answer(page, () => rotationTable(page.data, Date.now()));
  });

  const get = rotations
    .command("get")
    .description("who has moved, who has not, and whether completing is safe")
    .argument("<id>");
  act(get, z.object({}), async (context, _, [id = ""]) =>
    answer(context, await context.client().rotations.get(id)),
  );

  addWatch(rotations, act);

  const extend = rotations
    .command("extend")
    .description("give a rotation more time, or change how it completes")
    .argument("<id>")
    .option("--overlap <span>")
    .option("--deadline <span-or-instant>")
    .option("--completion <when>", "when_adopted, manual or at_deadline");
  const extendOptions = z.object({
    overlap: z.string().optional(),
    deadline: z.string().optional(),
    completion: z
      .enum(["when_adopted", "manual", "at_deadline"], "--completion: when_adopted, manual or at_deadline")
      .optional(),
  });
  act(extend, extendOptions, async (context, options, [id = ""]) =>
    answer(context, await context.client().rotations.extend(id, options)),
  );

  const complete = addWaitOption(
    rotations
      .command("complete")
      .description("refuse the old key from now on; refused itself while somebody is still on it")
      .argument("<id>")
      .option("--force", "against the evidence; audited as forced"),
  );
  const completeOptions = forceOption.extend(waitOption);
  act(complete, completeOptions, async (context, { force, wait }, [id = ""]) => {
    const client = context.client();
    try {
      const rotation = await client.rotations.complete(id, { force }, waiting(wait));
      answer(context, rotation);
      tellWait(context, wait, rotation);
    } catch (error) {
      if (!(error instanceof KeyturnError) || error.code !== "not_safe_to_complete" || context.json)
        throw error;
      say(problemText(error));
      say(await wayOut(client, id));
      context.endWith(EXIT.refused);
    }
  });

  const cancel = rotations
    .command("cancel")
    .description("give the successor up: it is revoked, the old key goes on")
    .argument("<id>")
    .option("--force", "even though the successor is in use");
  act(cancel, forceOption, async (context, { force }, [id = ""]) =>
    answer(context, await context.client().rotations.cancel(id, { force })),
  );

  const rollback = rotations
    .command("rollback")
    .description("within the undo window: the old key is good again")
    .argument("<id>");
  act(rollback, z.object({}), async (context, _, [id = ""]) =>
    answer(context, await context.client().rotations.rollback(id)),
  );

  const dismiss = rotations
    .command("dismiss")
    .description("vouch that a silent caller need not be waited for")
    .argument("<id>")
    .argument("<caller>", "its name, as the rotation shows it")
    .requiredOption("--reason <text>", "why; it stays in the audit log")
    .addHelpText(
      "after",
      "\nExample:\n  keyturn rotations dismiss rot_01… old-batch --reason 'switched off in May, INFRA-12'",
    );
  act(dismiss, z.object({ reason: z.string() }), async (context, { reason }, [id = "", caller = ""]) =>
    answer(context, await context.client().rotations.dismiss(id, { caller, reason })),
  );

  const brownout = rotations
    .command("brownout")
    .description(
      "announce a short window in which the old key is refused, to find the callers nobody knew of",
    )
    .argument("<id>")
    .option("--starts-at <instant>", "now unless said")
    .option("--duration <span>", "at most 1h (5m)")
    .option("--stop-after-callers <n>", "stop once so many were hit (3)", wholeNumber)
    .option("--stop-after-refusals <n>", "stop after so many refusals (100)", wholeNumber);
  const brownoutOptions = z.object({
    startsAt: z.string().optional(),
    duration: z.string().optional(),
    stopAfterCallers: z.number().optional(),
    stopAfterRefusals: z.number().optional(),
  });
  act(brownout, brownoutOptions, async (context, options, [id = ""]) => {
    const rotation = await context.client().rotations.announceBrownout(id, {
      starts_at: options.startsAt,
      duration: options.duration,
      stop_after_callers: options.stopAfterCallers,
      stop_after_refusals: options.stopAfterRefusals,
    });
    answer(context, rotation);
  });
}

/** Who stands in the way of completing, and what can be done about it. */
async function wayOut(client: Client, id: string): Promise<string> {
  const rotation = await client.rotations.get(id).catch(() => null);
  const blocking = rotation?.callers.filter((caller) => caller.blocking) ?? [];
  const rows = blocking.map(
    (caller) =>
      `  ${callerText(caller)}: ${caller.status}, last seen on the old key at ${caller.last_seen_old_at}`,
  );
  return [
    ...rows,
    `Watch them move:             keyturn rotations watch ${id}`,
    `Vouch for one that's silent: keyturn rotations dismiss ${id} CALLER --reason …`,
    `Insist all the same:         keyturn rotations complete ${id} --force`,
  ].join("\n");
}
