import { closeSync, openSync, writeSync } from "node:fs";
import type { Command } from "commander";
import { z } from "zod";
import { type Act, wholeNumber } from "./context.ts";
import { CliFailure, EXIT, misuse } from "./exit.ts";
import type { AuditAnswer, AuditHead } from "./host-commands.ts";
import { addPageOptions, listed, pageOptions } from "./lists.ts";
import { auditTable } from "./show.ts";
import { say } from "./terminal.ts";

/** `keyturn audit …`: reading asks the server; checking and exporting work on the host, on the database itself. */
export function addAudit(program: Command, act: Act): void {
  const audit = program.command("audit").description("what was done, by whom; and that the log is whole");

  const list = addPageOptions(
    audit
      .command("list")
      .description("the account's entries, newest first")
      .option("--operation <name>", "such as keys.revoke")
      .option("--subject <id>", "entries that touched this thing")
      .option("--actor <id>", "entries of this key")
      .option("--from <instant>")
      .option("--until <instant>"),
    wholeNumber,
  );
  const listOptions = z.object({
    ...pageOptions,
    operation: z.string().optional(),
    subject: z.string().optional(),
    actor: z.string().optional(),
    from: z.string().optional(),
    until: z.string().optional(),
  });
  act(list, listOptions, async (context, options) => {
    const client = context.client();
    const filter = {
      operation: options.operation,
      subject_id: options.subject,
      actor_id: options.actor,
      from: options.from,
      until: options.until,
    };
    const page = await listed(options, (query) => client.audit.list({ ...query, ...filter }));
    context.answer(page, () => auditTable(page.data));
  });

  const verify = audit
    .command("verify")
    .description("on the host: find a deleted, changed, reordered or cut-off entry")
    .option("--head <seq:hash>", "an entry known from elsewhere; the log must hold it")
    .option("--witness <file>", "the witness file (KEYTURN_WITNESS_FILE); the log must hold all it has seen")
    .option("--file <export.jsonl>", "check an exported log in place of the database")
    .addHelpText("after", "\nExits with 0 for a whole log and 1 for a broken one.");
  const verifyOptions = z.object({
    head: z.string().optional(),
    witness: z.string().optional(),
    file: z.string().optional(),
  });
  act(verify, verifyOptions, async (context, options) => {
    const finding = await (await context.host()).verifyAudit({
      head: options.head === undefined ? undefined : parseHead(options.head),
      witnessFile: options.witness,
      file: options.file,
    });
    context.answer(finding, () => findingText(finding));
    if (!finding.ok) context.endWith(EXIT.refused);
  });

  const exporting = audit
    .command("export")
    .description("on the host: the log as JSON lines; other accounts' entries as bare hashes")
    .option("--account <id>", "whose entries are told in full (the operator's)")
    .option("--out <file>", "a new file, in place of standard output");
  act(
    exporting,
    z.object({ account: z.string().optional(), out: z.string().optional() }),
    async (context, { account, out }) => {
      const sink = out === undefined ? standardOutput() : newFile(out);
      try {
        const head = await (await context.host()).exportAudit(account, sink.write);
        say(
          `${head.seq} entries. Keep the head elsewhere, to check the log against later:\n  --head ${headText(head)}`,
        );
      } finally {
        sink.close();
      }
    },
  );
}

function standardOutput() {
  return { write: (line: string) => void process.stdout.write(`${line}\n`), close: () => undefined };
}

function newFile(path: string) {
  try {
    const file = openSync(path, "wx", 0o600);
    return { write: (line: string) => void writeSync(file, `${line}\n`), close: () => closeSync(file) };
  } catch (error) {
    throw new CliFailure(
      EXIT.usage,
      `--out: ${path} can't be made${error instanceof Error && "code" in error ? ` (${error.code})` : ""}.`,
    );
  }
}

function headText(head: AuditHead): string {
  return `${head.seq}:${head.chainHash}`;
}

function parseHead(text: string): AuditHead {
  const [, seq, chainHash] = /^(\d{1,15}):([0-9a-f]{64})$/.exec(text) ?? [];
  if (seq === undefined || chainHash === undefined)
    throw misuse("--head: write <seq>:<hash>, as export and verify print it.");
  return { seq: Number(seq), chainHash };
}

function findingText(finding: AuditAnswer): string {
  if (!finding.ok) return `BROKEN at entry ${finding.seq}: ${finding.problem}.`;
  const { head, witnessLines } = finding.comparedWith;
  const compared = [
    ...(head ? ["the given head"] : []),
    ...(witnessLines > 0 ? [`the witness file (${witnessLines})`] : []),
  ];
  return [
    `Whole: ${finding.entries} entries, each follows from the one before.`,
    compared.length > 0
      ? `Compared with ${compared.join(" and ")}: nothing is cut off up to there.`
      : "Compared with nothing: a log whose end was cut off looks whole too. Give --head or --witness to know.",
    `Head: ${headText(finding.head)}`,
  ].join("\n");
}
