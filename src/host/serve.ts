import type { Logger } from "pino";
import { type Config, placeOf, unknownVariables } from "../config.ts";
import { createClosing } from "./closing.ts";
import { provideFirstKey } from "./first-key.ts";
import { createLog } from "./log.ts";
import { lockInstallation, openInstallation } from "./open.ts";
import { startServing } from "./serving.ts";
import { assertFit, takeOver, tellingFaults } from "./start.ts";
import { supervise } from "./supervise.ts";

/** Serves until SIGTERM or SIGINT; resolves when everything is stored and closed. A second signal ends it at once. */
export async function serveUntilSignal(config: Config, version: string): Promise<void> {
  const log = createLog(config.logLevel, config.workers > 1 ? config.processName : undefined);
  for (const name of unknownVariables(process.env))
    log.warn({ name }, "this variable is not one of Keyturn's");
  const stop = await (config.workers > 1 ? supervise : serveAlone)(config, version, log);
  await new Promise<void>((resolve) => {
    process.once("SIGTERM", resolve);
    process.once("SIGINT", resolve);
  });
  process.once("SIGTERM", () => process.exit(143));
  process.once("SIGINT", () => process.exit(130));
  log.info("stopping");
  await stop();
  log.info("stopped");
}

/** The server as one process. Resolves to its clean stop. Throws `HostError` where it must not serve. */
async function serveAlone(config: Config, version: string, log: Logger): Promise<() => Promise<void>> {
  const closing = createClosing();
  try {
    // On PostgreSQL any number of processes serve; a folder belongs to one server.
    if (config.database === null) closing.add(lockInstallation(config).release);
    const installation = await openInstallation(config, tellingFaults(log));
    closing.add(installation.close);
    const { authority } = installation;
    await assertFit(installation, config);
    if (config.database === null) await takeOver(authority);
    const serving = await startServing({ installation, config, version, log, sharesPort: false });
    closing.add(serving.stop);
    if (!(await provideFirstKey(authority, config, config.publicUrl ?? serving.url)))
      log.info("no root key yet; another process that has just started says how to get it");
    log.info({ url: serving.url, data: placeOf(config), version }, "ready");
    return closing.close;
  } catch (error) {
    await closing.close();
    throw error;
  }
}
