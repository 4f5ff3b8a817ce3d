import type { Logger } from "pino";
import type { Config } from "../config.ts";
import { endBrownoutsAtStop, endLostBrownouts } from "../worker/worker.ts";
import { createClosing } from "./closing.ts";
import { createCrew, portOf } from "./crew.ts";
import { provideFirstKey } from "./first-key.ts";
import { HostError, lockInstallation, type OpenInstallation, openInstallation } from "./open.ts";
import { listening } from "./serving.ts";
import { assertFit, giveUp, takeOver, telling } from "./start.ts";

/**
 * The server as several processes that share a port: this one holds the folder, starts the others, and starts them again
 * when they end. It serves nothing itself. Resolves to its clean stop. Throws `HostError` where it must not serve, and the
 * signal's reason where that came before all of them were ready.
 */
export async function supervise(
  config: Config,
  version: string,
  log: Logger,
  toldToStop: AbortSignal,
): Promise<() => Promise<void>> {
  const closing = createClosing();
  try {
    assertMetricsPorts(config);
    const lock = lockInstallation(config);
    closing.add(lock.release);
    const crew = createCrew({
      version,
      log,
      toldToStop,
      nameOf: (number) => `${config.processName}#${number}`,
      onDeath: (name) => withOpened(config, log, ({ authority }) => giveUp(authority, name)),
    });
    const url = await withOpened(config, log, async (installation) => {
      await assertFit(installation, config);
      await takeOver(installation.authority);
      await endLostBrownouts(installation.authority);
      assertPortIsFree(config);
      lock.admitWorkers();
      closing.add(crew.stop);
      // One first: what is wrong with the settings is wrong for all, and it finds the port where any will do.
      const url = await crew.start(1, config.port);
      const port = config.port === 0 ? portOf(url) : config.port;
      const others = Array.from({ length: config.workers - 1 }, (_, index) => index + 2);
      await Promise.all(others.map((number) => crew.start(number, port)));
      await provideFirstKey(installation.authority, config, config.publicUrl ?? url);
      return url;
    });
    log.info({ url, data: config.dataFolder, version, workers: config.workers }, "ready");
    closing.add(() => withOpened(config, log, afterWorkers), crew.stop);
    return closing.close;
  } catch (error) {
    await closing.close();
    throw error;
  }
}

/** Opened for a moment only: this process follows nothing, and would soon know less than its workers. */
async function withOpened<T>(
  config: Config,
  log: Logger,
  work: (installation: OpenInstallation) => Promise<T>,
): Promise<T> {
  const installation = await openInstallation(config, telling(log, config));
  try {
    return await work(installation);
  } finally {
    await installation.close();
  }
}

/** Each worker has left a running brownout to the others; now nobody counts any more. */
async function afterWorkers({ authority }: OpenInstallation): Promise<void> {
  await takeOver(authority);
  await endBrownoutsAtStop(authority);
}

function assertMetricsPorts({ metricsPort, workers }: Config): void {
  if ((metricsPort ?? 0) + workers - 1 > 65_535)
    throw new HostError("KEYTURN_METRICS_PORT: there is no port for each worker from there on.");
}

/** Workers share their port with whoever shares it, so another server there must be found before they start. */
function assertPortIsFree({ host, port }: Config): void {
  if (port === 0) return;
  const probe = listening(() =>
    Bun.serve({
      hostname: host,
      port,
      reusePort: false,
      development: false,
      fetch: () => new Response(null),
    }),
  );
  void probe.stop(true);
}
