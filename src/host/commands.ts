import type { HostCommands } from "../cli/host-commands.ts";
import { type Environment, readConfig } from "../config.ts";
import { exportAudit, verifyAudit } from "./audit.ts";
import { examine } from "./doctor.ts";
import { explaining } from "./faults.ts";
import { migrateSchema, migrateStore } from "./migrate-store.ts";
import { recoverRootKey } from "./recover.ts";
import { backUp, restore } from "./restore.ts";
import { serveUntilSignal } from "./serve.ts";

/** What the command line does on the machine itself. The settings are read when a command needs them, not before. */
export function createHostCommands(environment: Environment, version: string): HostCommands {
  const config = () => readConfig(environment);
  return {
    serve: () => explaining(async () => serveUntilSignal(config(), version)),
    recover: () => explaining(async () => recoverRootKey(config())),
    verifyAudit: (question) => explaining(async () => verifyAudit(config(), question)),
    exportAudit: (account, write) => explaining(async () => exportAudit(config(), account, write)),
    backup: (target) => explaining(async () => backUp(config(), target)),
    restore: (plan) => explaining(async () => restore(config(), plan)),
    migrate: (runtimeRole, tell) => explaining(async () => migrateSchema(config(), runtimeRole, tell)),
    migrateStore: (plan, tell) => explaining(async () => migrateStore(config(), plan, tell)),
    doctor: (acceptClock) => explaining(async () => examine(config(), environment, acceptClock)),
  };
}
