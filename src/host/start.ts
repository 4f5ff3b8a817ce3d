import type { Logger } from "pino";
import type { Authority, Fault } from "../authority/authority.ts";
import type { Config } from "../config.ts";
import { prepareDatabase } from "../storage/migrate-postgres.ts";
import {
  assertNotLeftBehind,
  assertServable,
  catchUpWitness,
  type OpenInstallation,
  type Opening,
  waitingFor,
} from "./open.ts";

/**
 * For whoever serves: the log tells what is waited for, and what ends writing, which is the worst that it can tell. A stop
 * ends the wait.
 */
export function telling(log: Logger, config: Config, toldToStop?: AbortSignal): Opening {
  return {
    onFault: (fault, cause) => log.fatal({ err: cause }, FAULTS[fault]),
    prepare: (database) =>
      prepareDatabase(
        database,
        waitingFor(config, (message) => log.warn(message)),
        toldToStop,
      ),
  };
}

const FAULTS: Readonly<Record<Fault, string>> = {
  disk: "the disk is at fault; writing stops",
  witness: "the witness file could not be written; writing stops",
  history:
    "the database was put back to an older state, or replaced by another; writing stops, and only static keys are judged: stop all processes, then run keyturn restore",
};

/** Throws `HostError` where this installation must not be served; tells the witness what it has missed. */
export async function assertFit({ authority, witness }: OpenInstallation, config: Config): Promise<void> {
  await assertServable(authority, config);
  await assertNotLeftBehind(authority, config);
  if (witness !== null && config.witnessFile !== null)
    await catchUpWitness(authority, witness, config.witnessFile);
}

/** Whoever has the folder to itself knows that nobody else serves, or verifies, any more. */
export async function takeOver({ storage, time }: Authority): Promise<void> {
  await storage.cluster.clear();
  await storage.evidence.endReporters(await storage.evidence.living(), time.now());
}

/**
 * For whoever knows that a process has died, with what it had seen: nobody must wait for its word any more, and what it
 * had taken on is anybody's.
 */
export async function giveUp({ storage, time }: Authority, processName: string): Promise<void> {
  await storage.evidence.endReportersOf(processName, time.now());
  for (const { id, name } of await storage.cluster.processes())
    if (name === processName) await storage.cluster.leave(id);
}
