import type { Command } from "commander";
import { z } from "zod";
import type { Act } from "./context.ts";
import { keyCard } from "./show.ts";
import { askSecret, readInput, say } from "./terminal.ts";

/** `keyturn setup`: the first root key, or another one for people who have the machine and no key. */
export function addSetup(program: Command, act: Act): void {
  const setup = program
    .command("setup")
    .description("redeem the set-up token that the server printed; the root key goes to standard output")
    .option("--recover", "on the server's own machine: issue a root key without a token")
    .addHelpText(
      "after",
      "\nThe token is asked for, or read from standard input.\n\nExamples:\n  keyturn setup > root.key\n  keyturn setup --recover > root.key",
    );
  act(setup, z.object({ recover: z.boolean().optional() }), async (context, { recover }) => {
    if (recover) {
      const { keyId, hint, secret } = await (await context.host()).recover();
      const answer = { key_id: keyId, hint, secret };
      return context.answerSecret(
        answer,
        secret,
        () => `Root key ${keyId} (${hint}) is issued; the audit log says so, by host.`,
      );
    }
    const token = context.asks
      ? await askSecret("The set-up token? (It is not shown.)")
      : await readInput("set-up token");
    const made = await context.openClient().setup(token);
    context.answerSecret(made, made.secret, () => keyCard(made.key, Date.now()));
    if (!context.json)
      say("Keep it safe: it holds every right. KEYTURN_KEY_FILE can name the file it is in.");
  });
}
