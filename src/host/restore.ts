import { existsSync } from "node:fs";
import { type WitnessLine, witnessedHeads } from "../authority/audit/witness.ts";
import type { Authority } from "../authority/authority.ts";
import { perform } from "../authority/operation.ts";
import { acceptLoss, mergeWitness } from "../authority/setup/installation.ts";
import { HOST } from "../authority/setup/setup.ts";
import type { AuditHead, RestoreAnswer, RestorePlan } from "../cli/host-commands.ts";
import type { Config } from "../config.ts";
import { backupFolder, restoreFolder } from "../storage/backup.ts";
import { readWitnessFile } from "../storage/witness-file.ts";
import {
  assertInstallation,
  assertNotMoved,
  assertServable,
  catchUpWitness,
  HostError,
  inWords,
  lockInstallation,
  withInstallation,
  withUnwitnessed,
} from "./open.ts";

/** `keyturn backup`: online and consistent; the server goes on. */
export function backUp(config: Config, target: string): AuditHead {
  if (config.database !== null)
    throw new HostError(
      "KEYTURN_DATABASE_URL: a PostgreSQL database is backed up by its own tools, such as pg_dump.",
    );
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
  if (config.database !== null && from !== undefined)
    throw new HostError(
      "--from: a PostgreSQL database is put back by its own tools; then run keyturn restore with --witness or --accept-loss.",
    );
  const lock = config.database === null ? lockInstallation(config) : null;
  try {
    const head = from === undefined ? null : inWords(() => restoreFolder(from, config.dataFolder));
    assertInstallation(config);
    // The witness is told too: from here on the log is another than the one that it saw.
    const telling: Config = { ...config, witnessFile: config.witnessFile ?? plan.witnessFile ?? null };
    await assertNeeded(telling, plan);
    // Before it may be served.
    if (plan.acceptLoss || witnessed !== null) await leavePast(config);
    if (plan.acceptLoss) await accept(telling);
    const merged = witnessed === null ? null : await merge(telling, witnessed);
    const accepted = Number(plan.acceptLoss) + Number(merged !== null);
    if (accepted > 0) await forgetPast(telling, accepted);
    return { head, merged, lossAccepted: plan.acceptLoss, servable: plan.acceptLoss || merged !== null };
  } finally {
    lock?.release();
  }
}

const NEVER_OPENED =
  "This database holds a copy that keyturn migrate-store never opened. Run that again to go on; or, where the folder is lost, keyturn restore --accept-loss.";

/** Accepting what is not lost would only cut off what the witness has seen, or open what was left for another database. */
function assertNeeded(config: Config, plan: RestorePlan): Promise<void> {
  return withUnwitnessed(config, async ({ authority }) => {
    const { facts } = authority.storage.read;
    const isRestored = (await facts.get("restored_unaccepted")) !== null;
    // A backup of it is another matter, and so is a copy whose folder is lost.
    if (!isRestored && config.database === null) await assertNotMoved(authority, config);
    const isBeingMoved = (await facts.get("closed")) !== null;
    if (isBeingMoved && plan.acceptLoss) return;
    // No witness knows what is missing in it: the folder, or another copy, may be the one that goes on.
    if (isBeingMoved && config.database !== null) throw new HostError(NEVER_OPENED);
    if (await isServable(authority, config))
      throw new HostError("There is nothing to make good: a server may serve this database as it is.");
  });
}

async function isServable(authority: Authority, config: Config): Promise<boolean> {
  try {
    await assertServable(authority, config);
    return true;
  } catch (error) {
    if (error instanceof HostError) return false;
    throw error;
  }
}

function witnessLines(path: string | null): readonly WitnessLine[] | null {
  if (path === null) return null;
  if (!existsSync(path)) throw new HostError(`There is no witness file at ${path}.`);
  return inWords(() => readWitnessFile(path));
}

function accept(config: Config): Promise<unknown> {
  return withInstallation(config, async ({ authority }) => {
    // Use is added to a copy last of all.
    const isCopy = config.database !== null && (await authority.storage.read.facts.get("move")) !== null;
    return perform(authority, acceptLoss, HOST, { lacksUse: isCopy });
  });
}

function merge(config: Config, lines: readonly WitnessLine[]): Promise<number> {
  const revocations = lines.flatMap((line) => line.revoked);
  return withInstallation(config, async ({ authority }) => {
    return (await perform(authority, mergeWitness, HOST, { revocations })).output;
  });
}

/** Of what is gone nobody will tell how keys were used in it, nor do those serve by now that served then. */
function leavePast(config: Config): Promise<void> {
  return withUnwitnessed(config, async ({ authority: { storage, time } }) => {
    await storage.evidence.watchAnew(time.now());
    await storage.cluster.clear();
  });
}

/**
 * The past that is gone may have begun before the entry that accepted that here: where processes have a witness each, the
 * first of them to be restored accepted it for the log, and each accepts it for its own file.
 */
async function forgetPast(config: Config, accepted: number): Promise<void> {
  const path = config.witnessFile;
  if (path === null) return;
  await withInstallation(config, async ({ authority, witness }) => {
    const { audit } = authority.storage.read;
    const lineAt = async (seq: number) => (await audit.lines(seq - 1, 1))[0];
    let begin: WitnessLine | null = null;
    // Last stands what was accepted just now.
    for (const head of witnessedHeads(readWitnessFile(path)).slice(0, -accepted).toReversed()) {
      const line = await lineAt(head.seq);
      if (line === undefined || line.chainHash === head.chainHash) break;
      begin = {
        seq: line.seq,
        chainHash: line.chainHash,
        at: authority.time.now(),
        revoked: [],
        restored: true,
      };
    }
    if (begin === null) return;
    const end = await audit.head();
    witness?.writeAll([begin]);
    // The head that comes next says that all revocations before it stand in this file.
    if (witness !== null) await catchUpWitness(authority, witness, path);
    witness?.writeAll([{ ...end, revoked: [] }]);
  });
}
