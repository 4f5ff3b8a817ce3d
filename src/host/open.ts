import { createAuthority, type Authority } from "../authority/authority.ts";
import { SYSTEM_CLOCK } from "../authority/clock.ts";
import type { WitnessLine } from "../authority/audit/witness.ts";
import type { Config } from "../config.ts";
import { openSqliteStorage } from "../storage/sqlite-storage.ts";
import { openWitnessFile, readWitnessFile } from "../storage/witness-file.ts";

export interface OpenInstallation {
  readonly authority: Authority;
  readonly witness: ReturnType<typeof openWitnessFile> | null;
  close(): Promise<void>;
}

/** Something on this machine is in the way; the message says what, and the way out. */
export class HostError extends Error {
  override readonly name = "HostError";
}

/** Puts an authority together over the data folder, made and migrated where needed. */
export async function openInstallation(config: Config, onFault?: (cause: unknown) => void): Promise<OpenInstallation> {
  const storage = openSqliteStorage(config.dataFolder);
  const witness = config.witnessFile === null ? null : openWitnessFile(config.witnessFile);
  const authority = await createAuthority({
    settings: {
      format: config.format,
      callerAddress: config.callerAddress,
      flushSeconds: config.flushSeconds,
      cacheKeys: config.cacheKeys,
    },
    storage,
    clock: SYSTEM_CLOCK,
    random: (size) => crypto.getRandomValues(new Uint8Array(size)),
    witness,
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

/**
 * Refuses a database that is older than what the witness saw, or that was restored and not accepted: serving it would
 * bring revoked keys back to life (R14). Throws `HostError`.
 */
export async function assertServable(authority: Authority, config: Config): Promise<void> {
  const { read } = authority.storage;
  if ((await read.facts.get("restored_unaccepted")) !== null) {
    throw new HostError(
      "This database was restored from a backup, and revocations made after it may be missing. Run keyturn restore with --witness FILE to make them good, or with --accept-loss to answer for them.",
    );
  }
  if (config.witnessFile === null) return;
  const newest = newestLine(readWitnessFile(config.witnessFile));
  const head = await read.audit.head();
  if (newest === null || newest.seq <= head.seq) return;
  throw new HostError(
    `The witness file has seen entry ${newest.seq}, but the database ends with entry ${head.seq}: it is an older copy. Run keyturn restore --witness ${config.witnessFile} to make the revocations since good.`,
  );
}

function newestLine(lines: readonly WitnessLine[]): WitnessLine | null {
  return lines.reduce<WitnessLine | null>((newest, line) => (newest === null || line.seq > newest.seq ? line : newest), null);
}
