import type { Command } from "commander";
import { z } from "zod";
import type { Act } from "./context.ts";
import { EXIT, misuse } from "./exit.ts";
import type { Finding, RestoreAnswer } from "./host-commands.ts";
import { table } from "./table.ts";

/** Commands on the server's own machine: they read the server's settings (`KEYTURN_DATA` and so on). */
export function addHost(program: Command, act: Act): void {
  const serve = program
    .command("serve")
    .description("run the server until it is stopped; its settings come from the environment")
    .addHelpText(
      "after",
      "\nThe settings, such as KEYTURN_PORT and KEYTURN_DATA, are explained in docs/running.md.",
    );
  act(serve, z.object({}), async (context) => (await context.host()).serve());

  const backup = program
    .command("backup")
    .description("on the host: copy the database, consistent, while the server runs")
    .argument("<folder>", "a new or empty folder");
  act(backup, z.object({}), async (context, _, [folder = ""]) => {
    const head = await (await context.host()).backup(folder);
    context.answer(
      { folder, seq: head.seq, chain_hash: head.chainHash },
      () => `Backed up to ${folder}, up to entry ${head.seq}.\nHead: ${head.seq}:${head.chainHash}`,
    );
  });

  const restore = program
    .command("restore")
    .description(
      "on the host, with the server stopped: put a backup in place, or make a restored database servable",
    )
    .option("--from <folder>", "the backup")
    .option(
      "--witness <file>",
      "make the revocations good that the witness file knows of (KEYTURN_WITNESS_FILE)",
    )
    .option("--accept-loss", "answer for it that nothing revoked since the backup comes back to life")
    .addHelpText(
      "after",
      "\nExample:\n  keyturn restore --from backups/monday --witness /mnt/other/witness.jsonl",
    );
  const restoreOptions = z.object({
    from: z.string().optional(),
    witness: z.string().optional(),
    acceptLoss: z.boolean().optional(),
  });
  act(restore, restoreOptions, async (context, { from, witness, acceptLoss = false }) => {
    if (witness !== undefined && acceptLoss) throw misuse("Give either --witness or --accept-loss.");
    if (from === undefined && witness === undefined && !acceptLoss)
      throw misuse("Give --from, --witness or --accept-loss.");
    const done = await (await context.host()).restore({ from, witnessFile: witness, acceptLoss });
    context.answer(done, () => restoreText(done));
  });

  const doctor = program
    .command("doctor")
    .description("on the host: look for what is wrong or soon will be")
    .option("--accept-clock", "take the machine's clock as it is, after one that ran ahead wrote entries")
    .addHelpText("after", "\nExits with 1 when something is wrong; warnings alone are 0.");
  act(doctor, z.object({ acceptClock: z.boolean().optional() }), async (context, { acceptClock = false }) => {
    const findings = await (await context.host()).doctor(acceptClock);
    const isWrong = findings.some(({ state }) => state === "wrong");
    context.answer({ ok: !isWrong, findings }, () => findingTable(findings));
    if (isWrong) context.endWith(EXIT.refused);
  });
}

function restoreText(done: RestoreAnswer): string {
  return [
    ...(done.head === null ? [] : [`Restored, up to entry ${done.head.seq}.`]),
    ...(done.merged === null ? [] : [`Made good from the witness file: ${done.merged} revocations.`]),
    ...(done.lossAccepted ? ["The loss is accepted, and stands in the audit log."] : []),
    done.servable
      ? "The server may serve it."
      : "The server will not serve it yet: revocations made after the backup may be missing. Run keyturn restore with --witness FILE, or with --accept-loss.",
  ].join("\n");
}

const MARKS: Readonly<Record<Finding["state"], string>> = { ok: "ok", warning: "WARNING", wrong: "WRONG" };

function findingTable(findings: readonly Finding[]): string {
  return table(
    ["", "CHECK", "WHAT WAS FOUND"],
    findings.map((finding) => [MARKS[finding.state], finding.check, finding.message]),
  );
}
