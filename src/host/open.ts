import { resolve } from "node:path";
import { z } from "zod";
import packageFile from "../../package.json" with { type: "json" };
import type { KnownHead } from "../authority/audit/verify-chain.ts";
import { revocationsIn, type WitnessLine, witnessedHeads } from "../authority/audit/witness.ts";
import { type Authority, createAuthority } from "../authority/authority.ts";
import { SYSTEM_CLOCK } from "../authority/clock.ts";
import type { Storage } from "../authority/storage.ts";
import type { Config, DatabaseConfig } from "../config.ts";
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

/** Opens what is there, for one command on the host. A server may be running on the same folder. */
export async function withInstallation<T>(
  config: Config,
  work: (installation: OpenInstallation) => Promise<T>,
): Promise<T> {
  assertInstallation(config);
  const installation = await openInstallation(config);
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

async function openDatabase(database: DatabaseConfig): Promise<Storage> {
  try {
    return await openPostgresStorage(database);
  } catch (error) {
    // The client's own words name the host or the role, and never the password.
    const said = error instanceof Error ? error.message : String(error);
    throw new HostError(`KEYTURN_DATABASE_URL: ${said}`, { cause: error });
  }
}

/** Puts an authority together over the database, made and migrated where needed. */
export async function openInstallation(
  config: Config,
  onFault?: (cause: unknown) => void,
): Promise<OpenInstallation> {
  const storage =
    config.database === null ? openSqliteStorage(config.dataFolder) : await openDatabase(config.database);
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
  if ((await read.facts.get("closed")) === "moved") throw new HostError(MOVED);
  const newest =
    config.witnessFile === null ? null : newestOf(witnessedHeads(readWitnessFile(config.witnessFile)));
  if (newest === null) {
    const noted = await read.facts.get("database_identity");
    if (noted !== null && noted !== (await authority.storage.identity())) throw new HostError(RESTORED);
    return;
  }
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
 * before a crash, so that nobody got the answer, but whoever asks now sees the key revoked.
 */
export async function catchUpWitness(
  authority: Authority,
  witness: WitnessFile,
  path: string,
): Promise<void> {
  let after = newestOf(witnessedHeads(readWitnessFile(path)))?.seq ?? 0;
  for (;;) {
    const lines = await authority.storage.read.audit.lines(after, PAGE);
    const missed = lines.flatMap(({ seq, text, chainHash }): WitnessLine[] => {
      if (text === null || !MAY_REVOKE.test(text)) return [];
      const { at, subjects } = revocationText.parse(JSON.parse(text));
      const revoked = revocationsIn(subjects);
      return revoked.length === 0 ? [] : [{ seq, chainHash, at: Date.parse(at), revoked }];
    });
    if (missed.length > 0) witness.writeAll(missed);
    after = lines.at(-1)?.seq ?? after;
    if (lines.length < PAGE) return;
  }
}
