import type { Command } from "commander";
import { z } from "zod";
import type { Act } from "./context.ts";
import { EXIT, misuse } from "./exit.ts";
import type { Finding, MoveStep, RestoreAnswer } from "./host-commands.ts";
import { table } from "./table.ts";
import { say } from "./terminal.ts";

/** Commands on the server's own machine: they read the server's settings (`KEYTURN_DATA` and so on). */
export function addHost(program: Command, act: Act): void {
  addMoves(program, act);
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
    .option(
      "--accept-loss",
      "answer for it that nothing revoked since the backup, or at the lost side of a move, comes back to life",
    )
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

function addMoves(program: Command, act: Act): void {
  const migrate = program
    .command("migrate")
    .description("on the host: bring the PostgreSQL database of KEYTURN_DATABASE_URL to the newest schema")
    .option("--runtime-role <role>", "give this role what serving needs, and nothing more")
    .addHelpText(
      "after",
      "\nRun it as the role that owns the tables. docs/postgresql.md has the whole set-up.",
    );
  act(migrate, z.object({ runtimeRole: z.string().optional() }), async (context, { runtimeRole }) => {
    await (await context.host()).migrate(runtimeRole, say);
    context.answer({ migrated: true }, () => "The schema is the newest.");
  });

  const move = program
    .command("migrate-store")
    .description(
      "on the host: move the embedded database of KEYTURN_DATA to PostgreSQL, while keys keep verifying",
    )
    .option(
      "--to <url>",
      "an empty database (KEYTURN_DATABASE_URL); its password stands in PGPASSWORD or a pgpass file",
    )
    .option("--runtime-role <role>", "give this role what serving needs, and nothing more")
    .option("--cancel", "call the move off: changes are accepted here again")
    .option(
      "--accept-loss",
      "move once more, though the database of an earlier move is lost with what was changed there",
    )
    .addHelpText(
      "after",
      "\nExample:\n  keyturn migrate-store --to postgres://keyturn@db.example.com/keyturn",
    );
  const moveOptions = z.object({
    to: z.string().optional(),
    runtimeRole: z.string().optional(),
    cancel: z.boolean().optional(),
    acceptLoss: z.boolean().optional(),
  });
  act(move, moveOptions, async (context, { to, runtimeRole, cancel = false, acceptLoss = false }) => {
    if (to !== undefined && holdsPassword(to)) throw misuse(PASSWORD_IN_SIGHT);
    const steps: MoveStep[] = [];
    await (await context.host()).migrateStore({ to, runtimeRole, cancel, acceptLoss }, (step) => {
      steps.push(step);
      say(moveText(step));
    });
    context.answer({ steps }, () => "Done.");
  });
}

const PASSWORD_IN_SIGHT =
  "--to: a password must not stand on a command line: the process list and the shell's history show it. Leave it out, and give it in PGPASSWORD or a pgpass file; or give the whole URL in KEYTURN_DATABASE_URL instead of --to. And replace the password if it was real.";

/** In either of the places where PostgreSQL's clients look for one. Test: test/cli/secrets.test.ts. */
function holdsPassword(url: string): boolean {
  if (!URL.canParse(url)) return /:[^/@]*@/.test(url);
  const { password, searchParams } = new URL(url);
  return password !== "" || searchParams.has("password");
}

function moveText(step: MoveStep): string {
  switch (step.step) {
    case "closed":
      return [
        ...(step.isAnew
          ? ["It was copied before: stop what serves from that copy, which hears of nothing any more."]
          : []),
        "No change is accepted from now on; verification goes on. Copying.",
      ].join("\n");
    case "copied":
      return `Copied and compared: ${Object.entries(step.rows)
        .filter(([, count]) => count > 0)
        .map(([table, count]) => `${count} ${table}`)
        .join(", ")}.\nHead: ${step.head.seq}:${step.head.chainHash}`;
    case "waiting":
      return "Start the new processes with KEYTURN_DATABASE_URL, send the traffic there, then stop the old server. Waiting for that.";
    case "opened":
      return `Moved. Changes are accepted by the new database since entry ${step.seq}; they were refused for ${step.closedSeconds.toFixed(1)} s. The folder is kept, and serves no more.`;
    case "called off":
      return `Called off. Changes are accepted here again since entry ${step.seq}.`;
  }
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
