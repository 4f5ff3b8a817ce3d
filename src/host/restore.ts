import { existsSync } from "node:fs";
import type { WitnessLine } from "../authority/audit/witness.ts";
import { perform } from "../authority/operation.ts";
import { acceptLoss, mergeWitness } from "../authority/setup/installation.ts";
import { HOST } from "../authority/setup/setup.ts";
import type { AuditHead, RestoreAnswer, RestorePlan } from "../cli/host-commands.ts";
import type { Config } from "../config.ts";
import { backupFolder, restoreFolder } from "../storage/backup.ts";
import { readWitnessFile } from "../storage/witness-file.ts";
import {
  assertInstallation,
  assertServable,
  HostError,
  lockInstallation,
  withInstallation,
  withUnwitnessed,
} from "./open.ts";

/** `keyturn backup`: online and consistent; the server goes on. */
export function backUp(config: Config, target: string): AuditHead {
  assertInstallation(config);
  return inWords(() => backupFolder(config.dataFolder, target));
}

/**
 * `keyturn restore`: puts a backup where no installation is, and makes what was restored servable: with the revocations
 * of a witness file, or with a person's word that nothing is missing (R14). Test: test/cli/restore.txt.
 */
export async function restore(config: Config, plan: RestorePlan): Promise<RestoreAnswer> {
  const { from } = plan;
  const witnessed = witnessLines(plan.witnessFile ?? (plan.acceptLoss ? null : config.witnessFile));
  const lock = lockInstallation(config);
  try {
    const head = from === undefined ? null : inWords(() => restoreFolder(from, config.dataFolder));
    assertInstallation(config);
    // The witness is told too: from here on the log is another than the one that it saw.
    const telling: Config = { ...config, witnessFile: config.witnessFile ?? plan.witnessFile ?? null };
    // Accepting what is not lost would only cut off what the witness has seen.
    if (await isServable(telling))
      throw new HostError("There is nothing to make good: a server may serve this database as it is.");
    if (plan.acceptLoss)
      await withInstallation(telling, ({ authority }) => perform(authority, acceptLoss, HOST, {}));
    const merged = witnessed === null ? null : await merge(telling, witnessed);
    return { head, merged, lossAccepted: plan.acceptLoss, servable: plan.acceptLoss || merged !== null };
  } finally {
    lock.release();
  }
}

function isServable(config: Config): Promise<boolean> {
  return withUnwitnessed(config, async ({ authority }) => {
    try {
      await assertServable(authority, config);
      return true;
    } catch (error) {
      if (error instanceof HostError) return false;
      throw error;
    }
  });
}

function witnessLines(path: string | null): readonly WitnessLine[] | null {
  if (path === null) return null;
  if (!existsSync(path)) throw new HostError(`There is no witness file at ${path}.`);
  return inWords(() => readWitnessFile(path));
}

function merge(config: Config, lines: readonly WitnessLine[]): Promise<number> {
  const revocations = lines.flatMap((line) => line.revoked);
  return withInstallation(config, async ({ authority }) => {
    return (await perform(authority, mergeWitness, HOST, { revocations })).output;
  });
}

/** What the storage has to say of folders and files is for people, not a bug. */
function inWords<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof Error) || "code" in error) throw error;
    throw new HostError(error.message);
  }
}
