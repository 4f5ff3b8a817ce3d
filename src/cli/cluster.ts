import type { Command } from "commander";
import { z } from "zod";
import type { Act } from "./context.ts";
import { misuse } from "./exit.ts";
import { clusterText } from "./show.ts";
import { plain } from "./table.ts";
import { askTyped } from "./terminal.ts";

/** `keyturn cluster`: the processes of the installation. */
export function addCluster(program: Command, act: Act): void {
  const cluster = program
    .command("cluster")
    .description("the processes that serve, and how far each has followed the log; for the operator");
  act(cluster, z.object({}), async (context) => {
    const view = await context.client().cluster.read();
    context.answer(view, () => clusterText(view));
  });

  const forget = cluster
    .command("forget")
    .description("take a process that died without a word off the list; nobody waits for it any more")
    .argument("<name>")
    .option("--yes", "do not ask");
  act(forget, z.object({ yes: z.boolean().optional() }), async (context, { yes }, [name = ""]) => {
    const client = context.client();
    if (!yes) {
      if (!context.asks) throw misuse("Nobody waits for what is forgotten. Say --yes if it is surely dead.");
      await askTyped(
        "Nobody waits for it any more. If it is only cut off, it goes on accepting static keys that were revoked.",
        name,
      );
    }
    await client.cluster.forget(name);
    context.answer({ name, forgotten: true }, () => `${plain(name)} is off the list.`);
  });
}
