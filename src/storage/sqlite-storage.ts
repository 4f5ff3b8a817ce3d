import { Database } from "bun:sqlite";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { sql } from "kysely";
import { closedForChanges } from "../authority/authority.ts";
import { Refusal } from "../authority/errors.ts";
import type { Storage } from "../authority/storage.ts";
import { readerOver, transactionOver } from "./authority-store.ts";
import { clusterStoreOver, clusterWriterOver } from "./cluster-store.ts";
import { SQLITE } from "./engine.ts";
import { evidenceStoreOver, evidenceWriterOver } from "./evidence-store.ts";
import { followLog } from "./follow.ts";
import { rewriteJournal } from "./journal.ts";
import { createMatch } from "./match.ts";
import { AUTHORITY_MIGRATIONS, EVIDENCE_MIGRATIONS, migrate } from "./migrate.ts";
import { prepare } from "./prepared.ts";
import { closeFile, kyselyOver, openFile, transactionsOn } from "./sqlite.ts";
import type { AuthorityTables, EvidenceTables } from "./tables.ts";

export const AUTHORITY_FILE = "keyturn.db";
export const EVIDENCE_FILE = "evidence.db";
const LOCK_FILE = "keyturn.lock";
const MOVE_LOCK_FILE = "migrate-store.lock";

const HEAR_MS = 20;

/** A data folder that one server has to itself. It is let go when the process ends, however that comes about. */
export interface FolderLock {
  /** Lets workers of this server in. Throws when another server came in between. */
  admitWorkers(): void;
  /** Once more does nothing. */
  release(): void;
}

/** How long the workers of a server that was killed are waited for: they end as soon as they notice. */
const ORPHANS_WAIT_MS = 5_000;

/**
 * Takes the folder for one server, or throws at once: neither another server may hold it, nor a worker that another
 * server left behind. Test: test/host/workers.test.ts.
 */
export function lockFolder(folder: string, orphansWaitMs = ORPHANS_WAIT_MS): FolderLock {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = openLock(folder);
  try {
    if (!takes(file, "begin exclusive")) waitForOrphans(file, orphansWaitMs);
  } catch (error) {
    file.close();
    throw error;
  }
  return {
    admitWorkers: () => {
      // A reserved lock keeps other servers out, and goes together with the shared ones of workers.
      file.run("rollback");
      if (!takes(file, "begin immediate")) throw new Error(TAKEN);
    },
    release: () => file.close(),
  };
}

/** A worker's part in its server's lock: until it ends, no other server gets the folder. */
export function shareFolder(folder: string): { release(): void } {
  const file = openLock(folder);
  file.run("begin");
  // In this journal mode a read transaction is a shared lock on the file.
  file.query("select count(*) from sqlite_schema").get();
  return { release: () => file.close() };
}

/** Takes what only one `keyturn migrate-store` at a time may do to the folder, or throws at once. A server may run on it. */
export function lockMove(folder: string): { release(): void } {
  const file = openLock(folder, MOVE_LOCK_FILE);
  if (takes(file, "begin exclusive")) return { release: () => file.close() };
  file.close();
  throw new Error("Another keyturn migrate-store is at work on this data folder: wait for it, or end it.");
}

/** Without such facts. */
const OPEN = "[]";

const TAKEN = "Another keyturn process is serving from this data folder.";

function openLock(folder: string, name = LOCK_FILE): Database {
  const file = new Database(join(folder, name), { create: true });
  // At once: whoever holds the lock holds it until it ends.
  file.run("pragma busy_timeout = 0");
  return file;
}

function takes(file: Database, begin: "begin exclusive" | "begin immediate"): boolean {
  try {
    file.run(begin);
    return true;
  } catch (error) {
    if (isDiskFault(error)) throw error;
    return false;
  }
}

function waitForOrphans(file: Database, waitMs: number): void {
  // A server holds more than its workers do.
  if (!takes(file, "begin immediate")) throw new Error(TAKEN);
  file.run("rollback");
  for (const end = performance.now() + waitMs; !takes(file, "begin exclusive"); Bun.sleepSync(20)) {
    if (performance.now() > end)
      throw new Error(
        "A worker process of a server that is gone still serves from this data folder. It ends by itself unless it was halted: end it, then start again.",
      );
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
  rewriteJournal(writeFile, join(folder, AUTHORITY_FILE));
  migrate(writeFile, AUTHORITY_MIGRATIONS);
  const evidenceWriteFile = openFile(join(folder, EVIDENCE_FILE), "normal");
  rewriteJournal(evidenceWriteFile, join(folder, EVIDENCE_FILE));
  migrate(evidenceWriteFile, EVIDENCE_MIGRATIONS);
  const readFile = openFile(join(folder, AUTHORITY_FILE), "full", true);
  const evidenceReadFile = openFile(join(folder, EVIDENCE_FILE), "normal", true);

  const writer = kyselyOver<AuthorityTables>(writeFile);
  const reader = kyselyOver<AuthorityTables>(readFile);
  const evidenceWriter = kyselyOver<EvidenceTables>(evidenceWriteFile);
  const evidenceChanges = transactionsOn(evidenceWriteFile, {
    ...evidenceWriterOver(evidenceWriter, SQLITE),
    ...clusterWriterOver(evidenceWriter),
  });
  const evidenceReader = kyselyOver<EvidenceTables>(evidenceReadFile);

  const changes = transactionsOn(writeFile, transactionOver(writer));
  const committed = readerOver(reader);
  const digestsOf = prepare(reader, (at: { key: string }) =>
    reader.selectFrom("digests").select("digest").where("key_id", "=", at.key),
  );
  const dataVersion = readFile.query<{ data_version: number }, []>("pragma data_version");
  const closed = prepare(writer, (_: object) =>
    writer
      .selectFrom("facts")
      .select(["name", "value"])
      .where("name", "in", [sql.lit("closed"), sql.lit("move")])
      .orderBy("name"),
  );
  const whyClosed = async () => JSON.stringify(await closed({}));
  let isBroken = false;

  return {
    change: async (work) => {
      try {
        return await changes.transact(async (tx) => {
          // Those that waited for their turn while the one before them met the fault.
          if (isBroken) throw unavailable();
          const before = await whyClosed();
          const result = await work(tx);
          // What is being moved must not change, whatever this process has heard of it; but for how it is closed.
          if (before !== OPEN && before === (await whyClosed())) throw closedForChanges();
          return result;
        });
      } catch (error) {
        if (!isDiskFault(error)) throw error;
        isBroken = true;
        throw diskFault(error);
      }
    },
    read: committed,
    stopsAtFault: true,
    evidence: evidenceStoreOver(evidenceChanges.transact, evidenceReader),
    cluster: clusterStoreOver(evidenceChanges.transact, evidenceReader),
    match: createMatch(reader, readFile),
    digestsOf: async (key) => (await digestsOf({ key })).map((row) => row.digest),
    follow: (after, limit) => followLog(committed.audit, after, limit),
    hear: (onNews) => {
      // The connection sees every commit of others, our own writer's among them, for 1 µs a look.
      const versionNow = () => {
        try {
          return dataVersion.get()?.data_version ?? null;
        } catch {
          // A disk at fault, or a journal that another process is putting in order: who follows is told what is wrong.
          return null;
        }
      };
      let seen = versionNow();
      const timer = setInterval(() => {
        const version = versionNow();
        if (version === null || version !== seen) onNews();
        seen = version;
      }, HEAR_MS);
      return () => clearInterval(timer);
    },
    identity: async () => null,
    close: async () => {
      // What is under way is let to end.
      await Promise.all([changes.settled(), evidenceChanges.settled()]);
      // Read connections first: the last writer to close folds the WAL back into the file.
      for (const file of [readFile, evidenceReadFile, writeFile, evidenceWriteFile]) closeFile(file);
    },
  };
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

function unavailable(): Refusal {
  return new Refusal(
    "storage_unavailable",
    "The database reported a fault; no change is accepted until the service is restarted.",
  );
}
