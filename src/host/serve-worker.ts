import { CliFailure, EXIT } from "../cli/exit.ts";
import { type Config, type Environment, readConfig } from "../config.ts";
import { shareFolder } from "../storage/sqlite-storage.ts";
import { createClosing } from "./closing.ts";
import { explaining } from "./faults.ts";
import { createLog } from "./log.ts";
import { HostError, openInstallation } from "./open.ts";
import { startServing } from "./serving.ts";
import { assertFit, telling } from "./start.ts";
import { orderIn, type WorkerMessage, type WorkerOrder } from "./worker-order.ts";

/** One of several processes on a port, started by `supervise`. Resolves to the exit code when it was told to stop. */
export async function serveAsWorker(
  args: readonly string[],
  environment: Environment,
  version: string,
): Promise<number> {
  const order = orderIn(args);
  if (order === null || process.send === undefined) {
    process.stderr.write("keyturn: workers are started by keyturn serve, see KEYTURN_WORKERS.\n");
    return EXIT.usage;
  }
  // However the server ends: without it nobody would know of this process, and another server may take the folder.
  process.on("disconnect", () => process.exit(EXIT.refused));
  // A terminal tells everybody; the server passes on what is meant for its workers.
  process.on("SIGINT", () => undefined);
  try {
    await explaining(() => serveUntilTold(order, workerConfig(readConfig(environment), order), version));
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof CliFailure)) throw error;
    await tell({ kind: "refused", why: error.message });
    return error.exit;
  }
}

function workerConfig(config: Config, { number, port }: WorkerOrder): Config {
  const { metricsPort, processName } = config;
  return {
    ...config,
    port,
    processName: `${processName}#${number}`,
    // Each one counts for itself, so each one has a port to be asked at. 0 takes a free one, whoever asks.
    metricsPort: metricsPort === null || metricsPort === 0 ? metricsPort : metricsPort + number - 1,
  };
}

async function serveUntilTold(order: WorkerOrder, config: Config, version: string): Promise<void> {
  // Sent to all processes at once it comes twice, because the server passes it on. The second one must change nothing.
  const told = new Promise<void>((resolve) => process.on("SIGTERM", () => resolve()));
  if (version !== order.version)
    throw new HostError(
      `The program was replaced by version ${version} while version ${order.version} runs: restart it.`,
    );
  const log = createLog(config.logLevel, config.processName);
  const closing = createClosing();
  try {
    closing.add(shareFolder(config.dataFolder).release);
    // With the lock at hand: a server that has ended before this can't have been followed by another one after it.
    if (process.ppid !== order.serverPid) throw new HostError("The server of this worker has ended.");
    const installation = await openInstallation(config, telling(log, config));
    closing.add(installation.close);
    await assertFit(installation, config);
    const serving = await startServing({ installation, config, version, log, sharesPort: true });
    closing.add(serving.stop);
    log.info({ pid: process.pid, url: serving.url, metricsUrl: serving.metricsUrl }, "the worker is ready");
    await tell({ kind: "ready", url: serving.url });
    await told;
    log.info("the worker is stopping");
  } catch (error) {
    await closing.close();
    throw error;
  }
  await closing.close();
}

function tell(message: WorkerMessage): Promise<void> {
  return new Promise((resolve) => {
    process.send?.(message, undefined, undefined, () => resolve());
  });
}
