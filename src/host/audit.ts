import { createReadStream, existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { z } from "zod";
import { createChainCheck, type KnownHead, type LogLine } from "../authority/audit/verify-chain.ts";
import { witnessedHeads } from "../authority/audit/witness.ts";
import type { AccountId } from "../authority/ids.ts";
import type { Storage } from "../authority/storage.ts";
import type { AuditAnswer, AuditHead, AuditQuestion } from "../cli/host-commands.ts";
import type { Config } from "../config.ts";
import { readWitnessFile } from "../storage/witness-file.ts";
import { HostError, withUnwitnessed } from "./open.ts";

const PAGE = 1_000;

/** `keyturn audit verify`: follows the whole log, of the database or of an export, against all that is known of it. */
export async function verifyAudit(config: Config, question: AuditQuestion): Promise<AuditAnswer> {
  const witnessed = headsIn(question.witnessFile ?? config.witnessFile);
  const given = question.head === undefined ? [] : [question.head];
  const check = createChainCheck([...given, ...witnessed]);
  const { file } = question;
  if (file === undefined)
    await withUnwitnessed(config, ({ authority }) => checkStored(authority.storage, check));
  else {
    const unreadable = await checkExported(file, check);
    if (unreadable !== null) return unreadable;
  }
  const finding = check.end();
  if (!finding.ok) return finding;
  const { seq, chainHash } = finding.head;
  return {
    ok: true,
    entries: finding.entries,
    head: { seq, chainHash },
    comparedWith: { head: question.head !== undefined, witnessLines: witnessed.length },
  };
}

function headsIn(path: string | null): readonly KnownHead[] {
  if (path === null) return [];
  if (!existsSync(path)) throw new HostError(`There is no witness file at ${path}.`);
  return witnessedHeads(readWitnessFile(path));
}

type Check = ReturnType<typeof createChainCheck>;

async function checkStored(storage: Storage, check: Check): Promise<void> {
  for await (const line of allLines(storage)) if (!check.add(line)) return;
}

async function* allLines(storage: Storage) {
  let after = 0;
  for (;;) {
    const lines = await storage.read.audit.lines(after, PAGE);
    yield* lines;
    const last = lines.at(-1);
    if (last === undefined || lines.length < PAGE) return;
    // A stored number that does not ascend would be read for ever.
    after = Math.max(after + 1, last.seq);
  }
}

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const exportedLine = z.strictObject({
  seq: z.int().positive(),
  /** The entry's canonical JSON, as a text; absent in entries of other accounts. */
  entry: z.string().optional(),
  entry_hash: hash,
  chain_hash: hash,
});

async function checkExported(path: string, check: Check): Promise<AuditAnswer | null> {
  if (!existsSync(path)) throw new HostError(`There is no file ${path}.`);
  let seq = 0;
  for await (const text of createInterface({
    input: createReadStream(path, "utf8"),
    crlfDelay: Number.POSITIVE_INFINITY,
  })) {
    seq += 1;
    const line = parseExported(text);
    if (line === null)
      return { ok: false, seq, problem: `line ${seq} of ${path} is not a line of an exported log` };
    if (!check.add(line)) return null;
  }
  return null;
}

function parseExported(text: string): LogLine | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const parsed = exportedLine.safeParse(value);
  if (!parsed.success) return null;
  const { seq, entry, entry_hash, chain_hash } = parsed.data;
  return { seq, text: entry ?? null, entryHash: entry_hash, chainHash: chain_hash };
}

/**
 * `keyturn audit export`: the whole log, one JSON line an entry. Entries of other accounts are bare hashes, so that the
 * chain can be followed without telling what they did. The operator's own include what the host did to no account.
 */
export function exportAudit(
  config: Config,
  account: string | undefined,
  write: (line: string) => void,
): Promise<AuditHead> {
  return withUnwitnessed(config, async ({ authority }) => {
    const { storage } = authority;
    const operator = await storage.read.accounts.operator();
    const own = account ?? operator?.id;
    if (account !== undefined && (await storage.read.accounts.byId(account as AccountId)) === null) {
      throw new HostError(`There is no account ${account}.`);
    }
    let head: AuditHead = { seq: 0, chainHash: "" };
    for await (const line of allLines(storage)) {
      const isOwn = line.accountId === own || (line.accountId === null && own === operator?.id);
      write(
        JSON.stringify({
          seq: line.seq,
          ...(isOwn && line.text !== null ? { entry: line.text } : {}),
          entry_hash: line.entryHash,
          chain_hash: line.chainHash,
        }),
      );
      head = { seq: line.seq, chainHash: line.chainHash };
    }
    return head;
  });
}
