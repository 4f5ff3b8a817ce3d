import type { Command } from "commander";
import { z } from "zod";
import { readLine } from "./connection.ts";
import { type Act, type Context, collect, wholeNumber } from "./context.ts";
import { EXIT } from "./exit.ts";
import { verdictText } from "./show.ts";
import { askSecret, readInput } from "./terminal.ts";

const verifyOptions = z.object({
  keyFromFile: z.string().optional(),
  scope: z.array(z.string()).optional(),
  role: z.enum(["none", "viewer", "editor", "admin"], "--role: none, viewer, editor or admin").optional(),
  caller: z.string().optional(),
  ip: z.string().optional(),
  userAgent: z.string().optional(),
  atLeast: z.number().optional(),
});

/** `keyturn verify`: is this key good, for this, now? The key is never an argument. */
export function addVerify(program: Command, act: Act): void {
  const verify = program
    .command("verify")
    .description(
      "whether a key is good. The key comes from standard input or a file, never from the command line",
    )
    .option("--key-from-file <path>", "a file with the key to verify (KEYTURN_VERIFY_KEY_FILE)")
    .option("--scope <scope>", "what it must be allowed to do; all of them; several times", collect)
    .option("--role <role>", "the least role it must have")
    .option("--caller <name>", "who presents it, by name")
    .option("--ip <address>", "where it is presented from")
    .option("--user-agent <text>", "with what program")
    .option("--at-least <seq>", "the audit entry that must be taken into account", wholeNumber)
    .addHelpText(
      "after",
      "\nExits with 0 for a valid key and 5 for one that is not.\n\nExample:\n  keyturn verify --scope invoices:read < ci.key",
    );
  act(verify, verifyOptions, async (context, options) => {
    const client = context.client();
    const caller = { name: options.caller, ip: options.ip, user_agent: options.userAgent };
    const isCallerGiven = Object.values(caller).some((value) => value !== undefined);
    const verdict = await client.keys.verify({
      key: await presentedKey(context, options.keyFromFile),
      scopes: options.scope,
      role: options.role,
      caller: isCallerGiven ? withoutAbsent(caller) : undefined,
      at_least: options.atLeast,
    });
    context.answer(verdict, () => verdictText(verdict, Date.now()));
    if (!verdict.valid) context.endWith(EXIT.notValid);
  });
}

async function presentedKey(context: Context, given: string | undefined): Promise<string> {
  const path = given ?? (context.environment.KEYTURN_VERIFY_KEY_FILE || undefined);
  if (path !== undefined) return readLine(path, "key to verify");
  if (context.asks) return askSecret("Which key? (It is not shown.)");
  return readInput("key to verify");
}

function withoutAbsent(caller: {
  readonly name: string | undefined;
  readonly ip: string | undefined;
  readonly user_agent: string | undefined;
}) {
  return {
    ...(caller.name === undefined ? {} : { name: caller.name }),
    ...(caller.ip === undefined ? {} : { ip: caller.ip }),
    ...(caller.user_agent === undefined ? {} : { user_agent: caller.user_agent }),
  };
}
