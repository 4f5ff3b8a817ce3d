import { Database } from "bun:sqlite";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { Refusal } from "../authority/errors.ts";
import type { FollowedEntry, Storage } from "../authority/storage.ts";
import { readerOver, transactionOver } from "./authority-store.ts";
import { evidenceStoreOver, evidenceWriterOver } from "./evidence-store.ts";
import { createMatch } from "./match.ts";
import { AUTHORITY_MIGRATIONS, EVIDENCE_MIGRATIONS, migrate } from "./migrate.ts";
import { prepare } from "./prepared.ts";
import { closeFile, kyselyOver, openFile, transactionsOn } from "./sqlite.ts";
import type { AuthorityTables, EvidenceTables } from "./tables.ts";

export const AUTHORITY_FILE = "keyturn.db";
export const EVIDENCE_FILE = "evidence.db";
const LOCK_FILE = "keyturn.lock";

/** Takes the folder for one serving process, or throws. The lock dies with the process, however that ends. */
export function lockFolder(folder: string): { release(): void } {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = openLock(join(folder, LOCK_FILE));
  return { release: () => file.close() };
}

function openLock(path: string): Database {
  const file = new Database(path, { create: true });
  try {
    // At once: whoever holds the lock holds it until it ends.
    file.run("pragma busy_timeout = 0");
    file.run("pragma journal_mode = delete");
    file.run("begin exclusive");
    return file;
  } catch (cause) {
    file.close();
    if (isDiskFault(cause)) throw cause;
    throw new Error("Another keyturn process is serving from this data folder.", { cause });
  }
}

/** Whether a folder holds an installation. */
export function hasInstallation(folder: string): boolean {
  return existsSync(join(folder, AUTHORITY_FILE));
}

/**
 * The embedded database: two files in one folder, made and migrated where needed. One writer; readers on a
 * connection of their own never see an unfinished change.
 */
export function openSqliteStorage(folder: string): Storage {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const writeFile = openFile(join(folder, AUTHORITY_FILE), "full");
  migrate(writeFile, AUTHORITY_MIGRATIONS);
  const evidenceWriteFile = openFile(join(folder, EVIDENCE_FILE), "normal");
  migrate(evidenceWriteFile, EVIDENCE_MIGRATIONS);
  const readFile = openFile(join(folder, AUTHORITY_FILE), "full", true);
  const evidenceReadFile = openFile(join(folder, EVIDENCE_FILE), "normal", true);

  const writer = kyselyOver<AuthorityTables>(writeFile);
  const reader = kyselyOver<AuthorityTables>(readFile);
  const evidenceWriter = kyselyOver<EvidenceTables>(evidenceWriteFile);
  const transactEvidence = transactionsOn(evidenceWriteFile, evidenceWriterOver(evidenceWriter));
  const evidenceReader = kyselyOver<EvidenceTables>(evidenceReadFile);

  const transact = transactionsOn(writeFile, transactionOver(writer));
  const committed = readerOver(reader);
  const digestsOf = prepare(reader, (at: { key: string }) =>
    reader.selectFrom("digests").select("digest").where("key_id", "=", at.key),
  );
  const dataVersion = readFile.query<{ data_version: number }, []>("pragma data_version");
  let seenVersion = dataVersion.get()?.data_version ?? 0;

  return {
    change: async (work) => {
      try {
        return await transact(work);
      } catch (error) {
        throw isDiskFault(error) ? diskFault(error) : error;
      }
    },
    read: committed,
    evidence: evidenceStoreOver(transactEvidence, evidenceReader),
    match: createMatch(reader, readFile),
    digestsOf: async (key) => (await digestsOf({ key })).map((row) => row.digest),
    changedElsewhere: () => {
      // The connection sees every commit of others, our own writer's among them: a cheap "look again".
      const version = dataVersion.get()?.data_version ?? 0;
      const changed = version !== seenVersion;
      seenVersion = version;
      return changed;
    },
    follow: async (after, limit) => {
      const lines = await committed.audit.lines(after, limit);
      return lines.map((line) => followed(line.seq, line.text ?? "{}", line.chainHash));
    },
    close: async () => {
      // What is under way is let to end.
      await transactEvidence(async () => undefined);
      // Read connections first: the last writer to close folds the WAL back into the file.
      for (const file of [readFile, evidenceReadFile, writeFile, evidenceWriteFile]) closeFile(file);
    },
  };
}

const followedText = z.object({
  at: z.string(),
  operation: z.string(),
  subjects: z.array(
    z.object({
      kind: z.enum(["account", "service_account", "key", "rotation", "brownout", "installation"]),
      id: z.string(),
    }),
  ),
});

function followed(seq: number, text: string, chainHash: string): FollowedEntry {
  const { at, operation, subjects } = followedText.parse(JSON.parse(text));
  return { seq, at: Date.parse(at), chainHash, operation, subjects };
}

// What SQLite reports when the disk, not the statement, is at fault (https://www.sqlite.org/rescode.html).
const DISK_FAULTS = [
  "SQLITE_IOERR",
  "SQLITE_FULL",
  "SQLITE_CORRUPT",
  "SQLITE_NOTADB",
  "SQLITE_READONLY",
  "SQLITE_CANTOPEN",
];

function isDiskFault(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return DISK_FAULTS.some((fault) => code.startsWith(fault));
}

function diskFault(cause: unknown): Refusal {
  return new Refusal(
    "outcome_unknown",
    "The database reported a fault, so it is unknown whether the change was made. Retry with the same Idempotency-Key once the service accepts changes again.",
    { cause },
  );
}
