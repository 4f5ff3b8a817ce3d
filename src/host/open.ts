import { resolve } from "node:path";
import { z } from "zod";
import packageFile from "../../package.json" with { type: "json" };
import type { KnownHead } from "../authority/audit/verify-chain.ts";
import { revocationsIn, vouchedSeq, type WitnessLine, witnessedHeads } from "../authority/audit/witness.ts";
import { type Authority, createAuthority, type Fault } from "../authority/authority.ts";
import { SYSTEM_CLOCK } from "../authority/clock.ts";
import type { Seconds } from "../authority/time.ts";
import { type Config, placeOf } from "../config.ts";
import { assertPrepared, prepareDatabase } from "../storage/migrate-postgres.ts";
import type { PostgresOptions } from "../storage/postgres.ts";
import { wordsOf } from "../storage/postgres-faults.ts";
import { openPostgresStorage } from "../storage/postgres-storage.ts";
import {
  type FolderLock,
  hasInstallation,
  lockFolder,
  openSqliteStorage,
} from "../storage/sqlite-storage.ts";
import { openWitnessFile, readWitnessFile, type WitnessFile } from "../storage/witness-file.ts";

export interface OpenInstallation {
  readonly authority: Authority;
  readonly witness: WitnessFile | null;
  close(): Promise<void>;
}

/** Something on this machine is in the way; the message says what, and the way out. */
export class HostError extends Error {
  override readonly name = "HostError";
}

/** Refuses a folder in which there is nothing yet: a command in the wrong place must not found a new installation. */
export function assertInstallation(config: Config): void {
  // A database that somebody made and named is no wrong place.
  if (config.database !== null || hasInstallation(config.dataFolder)) return;
  throw new HostError(
    `There is no installation in ${resolve(config.dataFolder)}. KEYTURN_DATA names the folder; keyturn serve makes one.`,
  );
}

/** Takes the data folder for this server alone. Throws `HostError` while another serves from it. */
export function lockInstallation(config: Config): FolderLock {
  const lock = inWords(() => lockFolder(config.dataFolder));
  return { ...lock, admitWorkers: () => inWords(lock.admitWorkers) };
}

/** What the storage has to say of folders and files is for people, not a bug. */
export function inWords<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof Error) || "code" in error) throw error;
    throw new HostError(error.message);
  }
}

/** The same of a database, under the name of the setting or option that leads to it. */
export async function inDatabaseWords<T>(setting: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    // The folder's own faults have words of their own.
    if (error instanceof Error && "code" in error && /^SQLITE_/.test(String(error.code))) throw error;
    throw new HostError(`${setting}: ${wordsOf(error)}`, { cause: error });
  }
}

/** What is told, and to whom, of a database that is not there yet. */
export function waitingFor(
  config: Config,
  tell: (message: string) => void,
): (cause: unknown, seconds: Seconds) => void {
  return (cause, seconds) =>
    tell(`waiting for the database at ${placeOf(config)}, up to ${seconds} s: ${wordsOf(cause)}`);
}

/**
 * Opens what is there, for one command on the host. A server may be running on the same folder or database; the schema of
 * a database is left as it is.
 */
export async function withInstallation<T>(
  config: Config,
  work: (installation: OpenInstallation) => Promise<T>,
): Promise<T> {
  assertInstallation(config);
  const installation = await openInstallation(config, { prepare: assertPrepared });
  try {
    return await work(installation);
  } finally {
    await installation.close();
  }
}

/** The same for a command that changes nothing anybody would have to witness: the witness file is left alone. */
export function withUnwitnessed<T>(
  config: Config,
  work: (installation: OpenInstallation) => Promise<T>,
): Promise<T> {
  return withInstallation({ ...config, witnessFile: null }, work);
}

export interface Opening {
  /** Told of what ends writing. */
  readonly onFault?: (fault: Fault, cause: unknown) => void;
  /** What is done to a PostgreSQL database first: it is waited for, made and migrated where needed. */
  readonly prepare?: (database: PostgresOptions) => Promise<void>;
}

/** Puts an authority together over the database, made and migrated where needed. */
export async function openInstallation(
  config: Config,
  { onFault, prepare = prepareDatabase }: Opening = {},
): Promise<OpenInstallation> {
  const { database } = config;
  const storage =
    database === null
      ? openSqliteStorage(config.dataFolder)
      : await inDatabaseWords("KEYTURN_DATABASE_URL", () => openPostgresStorage(database, prepare));
  const witness = config.witnessFile === null ? null : openWitnessFile(config.witnessFile);
  const { version } = packageFile;
  const authority = await createAuthority({
    settings: {
      format: config.format,
      callerAddress: config.callerAddress,
      flushSeconds: config.flushSeconds,
      cacheKeys: config.cacheKeys,
      boundedSeconds: config.boundedSeconds,
    },
    storage,
    clock: SYSTEM_CLOCK,
    random: (size) => crypto.getRandomValues(new Uint8Array(size)),
    witness,
    process: { name: config.processName, version },
    ...(onFault === undefined ? {} : { onFault }),
  });
  return {
    authority,
    witness,
    close: async () => {
      witness?.close();
      await storage.close();
    },
  };
}

/** Where an installation went, from here on only the other database counts. */
const MOVED =
  "This installation was moved to PostgreSQL: name the database in KEYTURN_DATABASE_URL. What is here is kept as it was then.";

const COPY_OF_MOVED =
  "This database holds a copy of an installation that had been moved elsewhere before, and nobody has answered for what was changed there. Run keyturn migrate-store --accept-loss once more, or keyturn restore --accept-loss where the folder is lost.";

/** A start after this database was put back, or another one was put in its place (R14). */
const RESTORED =
  "This database was restored from a backup, and revocations made after it may be missing. Run keyturn restore with --witness FILE to make them good, or with --accept-loss to answer for them.";

/**
 * Refuses a database that is older than what the witness saw, is not the one that it saw, or was restored and not
 * accepted: serving it would bring revoked keys back to life (R14). Throws `HostError`.
 */
export async function assertServable(authority: Authority, config: Config): Promise<void> {
  const { read } = authority.storage;
  if ((await read.facts.get("restored_unaccepted")) !== null) {
    throw new HostError(RESTORED);
  }
  await assertNotMoved(authority, config);
  await assertWitnessed(authority, config);
  // Of a witness file, too: what it has not seen, because its process was away, may be missing all the same.
  const noted = await read.facts.get("database_identity");
  if (noted !== null && noted !== (await authority.storage.identity())) throw new HostError(RESTORED);
}

/**
 * Refuses a folder that was left for another database, and a copy of such a folder for which nobody has answered yet. Throws
 * `HostError`.
 */
export async function assertNotMoved({ storage: { read } }: Authority, config: Config): Promise<void> {
  if ((await read.facts.get("closed")) === "moved")
    throw new HostError(config.database === null ? MOVED : COPY_OF_MOVED);
}

/** Refuses what is older than what the witness saw. Throws `HostError`. */
export async function assertWitnessed({ storage: { read } }: Authority, config: Config): Promise<void> {
  if (config.witnessFile === null) return;
  const newest = newestOf(witnessedHeads(readWitnessFile(config.witnessFile)));
  if (newest === null) return;
  const head = await read.audit.head();
  if (newest.seq > head.seq) {
    throw new HostError(
      `The witness file has seen entry ${newest.seq}, but the database ends with entry ${head.seq}: it is an older copy. Run keyturn restore --witness ${config.witnessFile} to make the revocations since good.`,
    );
  }
  const [line] = await read.audit.lines(newest.seq - 1, 1);
  if (line?.chainHash === newest.chainHash) return;
  throw new HostError(
    `Entry ${newest.seq} of the database is not the one that the witness file has seen: KEYTURN_WITNESS_FILE is another database's, or the log was rewritten. Run keyturn audit verify to learn where.`,
  );
}

/**
 * Refuses a database in which nobody has founded anything, beside a folder that holds an installation: who meant to go on
 * with that one would serve none of its keys, and find out late. Throws `HostError`.
 */
export async function assertNotLeftBehind({ storage }: Authority, config: Config): Promise<void> {
  if (config.database === null || !hasInstallation(config.dataFolder)) return;
  if ((await storage.read.accounts.operator()) !== null) return;
  throw new HostError(
    `KEYTURN_DATABASE_URL: the database is empty, while ${resolve(config.dataFolder)} (KEYTURN_DATA) holds an installation. keyturn migrate-store moves that one to the database; to start a new one, let KEYTURN_DATA name a folder that holds none.`,
  );
}

function newestOf(heads: readonly KnownHead[]): KnownHead | null {
  return heads.reduce<KnownHead | null>(
    (newest, head) => (newest === null || head.seq >= newest.seq ? head : newest),
    null,
  );
}

const fields = z.record(z.string(), z.unknown()).nullable();
const revocationText = z.object({
  at: z.string(),
  subjects: z.array(
    z.object({
      kind: z.enum(["account", "service_account", "key", "rotation", "brownout", "installation"]),
      id: z.string(),
      before: fields,
      after: fields,
    }),
  ),
});

/** Cheaper than parsing, and true of every entry with a revocation. */
const MAY_REVOKE = /"state":"revoked"|"deleted":true|"secret_ordinal"/;
const PAGE = 1_000;

/**
 * Tells the witness of revocations that it has not seen: made before there was a witness file, or durable a moment
 * before a crash, so that nobody got the answer, but whoever asks now sees the key revoked; or made by another process
 * before one that stands in the file.
 */
export async function catchUpWitness(
  authority: Authority,
  witness: WitnessFile,
  path: string,
): Promise<void> {
  const told = readWitnessFile(path);
  const known = new Set(told.filter(({ revoked }) => revoked.length > 0).map(({ chainHash }) => chainHash));
  let after = vouchedSeq(told);
  for (;;) {
    const lines = await authority.storage.read.audit.lines(after, PAGE);
    const missed = lines.flatMap(({ seq, text, chainHash }): WitnessLine[] => {
      if (text === null || known.has(chainHash) || !MAY_REVOKE.test(text)) return [];
      const { at, subjects } = revocationText.parse(JSON.parse(text));
      const revoked = revocationsIn(subjects);
      return revoked.length === 0 ? [] : [{ seq, chainHash, at: Date.parse(at), revoked }];
    });
    if (missed.length > 0) witness.writeAll(missed);
    after = lines.at(-1)?.seq ?? after;
    if (lines.length < PAGE) return;
  }
}
