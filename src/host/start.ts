import type { Logger } from "pino";
import type { Authority } from "../authority/authority.ts";
import { newId } from "../authority/ids.ts";
import type { Config } from "../config.ts";
import { assertServable, catchUpWitness, type OpenInstallation } from "./open.ts";

/** For `openInstallation`: what ends writing is the worst that a log can tell. */
export function tellingFaults(log: Logger): (cause: unknown) => void {
  return (cause) => log.fatal({ err: cause }, "the disk is at fault; writing stops");
}

/** Throws `HostError` where this installation must not be served; tells the witness what it has missed. */
export async function assertFit({ authority, witness }: OpenInstallation, config: Config): Promise<void> {
  await assertServable(authority, config);
  if (witness !== null && config.witnessFile !== null)
    await catchUpWitness(authority, witness, config.witnessFile);
}

/** Whoever has the folder to itself knows that nobody else serves, or verifies, any more. */
export async function takeOver({ storage, time }: Authority): Promise<void> {
  await storage.cluster.clear();
  await storage.evidence.endLostReporters(Number.MAX_SAFE_INTEGER, time.now());
}

/**
 * For whoever knows that a process has died, with what it had seen: nobody must wait for its word any more, and what it
 * had taken on is anybody's.
 */
export async function giveUp({ storage, time }: Authority, processName: string): Promise<void> {
  // A session under its name ends the one before, and nothing was seen in this one.
  const session = newId("rep");
  await storage.evidence.startReporter(session, processName, time.now());
  await storage.evidence.stopReporter(session);
  for (const { id, name } of await storage.cluster.processes())
    if (name === processName) await storage.cluster.leave(id);
}
