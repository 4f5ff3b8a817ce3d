import type { Logger } from "pino";
import { type Config, placeOf, unknownVariables } from "../config.ts";
import { createClosing } from "./closing.ts";
import { provideFirstKey } from "./first-key.ts";
import { createLog } from "./log.ts";
import { lockInstallation, openInstallation } from "./open.ts";
import { startServing } from "./serving.ts";
import { assertFit, takeOver, telling } from "./start.ts";
import { supervise } from "./supervise.ts";

/** Serves until SIGTERM or SIGINT; resolves when everything is stored and closed. A second signal ends it at once. */
export async function serveUntilSignal(config: Config, version: string): Promise<void> {
  const isAmongOthers = config.workers > 1 || config.database !== null;
  const log = createLog(config.logLevel, isAmongOthers ? config.processName : undefined);
  for (const name of unknownVariables(process.env))
    log.warn({ name }, "this variable is not one of Keyturn's");
  const toldToStop = heedSignals(log);
  try {
    const stop = await (config.workers > 1 ? supervise : serveAlone)(config, version, log, toldToStop);
    await comes(toldToStop);
    await stop();
  } catch (error) {
    if (!isThatStop(error, toldToStop)) throw error;
    log.info("stopped");
    // The look-up of a name can't be given up, and would keep the process for as long as it takes.
    process.exit(0);
  }
  log.info("stopped");
}

/** What tells whole groups of processes, and whoever passes signals on, tell the same one twice. Nobody else is so quick. */
const SAME_SIGNAL_MS = 500;

/** From here on the first signal is a wish, also to a server that is still starting, and the second one an order. */
function heedSignals(log: Logger): AbortSignal {
  const told = new AbortController();
  let since = 0;
  for (const [signal, exitCode] of [
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const) {
    process.on(signal, () => {
      if (told.signal.aborted && performance.now() - since > SAME_SIGNAL_MS) process.exit(exitCode);
      if (told.signal.aborted) return;
      since = performance.now();
      log.info("stopping");
      told.abort();
    });
  }
  return told.signal;
}

function comes(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve());
  });
}

/** A start that was broken off throws the signal's own reason, around which there may be words about the database. */
function isThatStop(error: unknown, { aborted, reason }: AbortSignal): boolean {
  return aborted && (error === reason || (error instanceof Error && error.cause === reason));
}

/**
 * The server as one process. Resolves to its clean stop. Throws `HostError` where it must not serve, also around the
 * signal's reason where that came while it waited for the database.
 */
async function serveAlone(
  config: Config,
  version: string,
  log: Logger,
  toldToStop: AbortSignal,
): Promise<() => Promise<void>> {
  const closing = createClosing();
  try {
    // On PostgreSQL any number of processes serve; a folder belongs to one server.
    if (config.database === null) closing.add(lockInstallation(config).release);
    const installation = await openInstallation(config, telling(log, config, toldToStop));
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
