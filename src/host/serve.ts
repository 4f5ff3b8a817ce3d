import { SYSTEM_CLOCK } from "../authority/clock.ts";
import { type Config, unknownVariables } from "../config.ts";
import { startServer } from "../http/server.ts";
import { lockFolder } from "../storage/sqlite-storage.ts";
import { dropAged, endLostBrownouts, workOnce } from "../worker/worker.ts";
import { provideFirstKey } from "./first-key.ts";
import { createLog } from "./log.ts";
import { assertServable, openInstallation } from "./open.ts";

export interface Serving {
  readonly url: string;
  readonly metricsUrl: string | null;
  /** Answers what is under way, stores what was counted, and closes the files. */
  stop(): Promise<void>;
}

/** How often the worker looks for what is due, and for changes made by commands on the host. */
const ROUND_MS = 500;
const FOLLOW_MS = 250;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** Runs the server over the data folder until it is stopped. Throws `HostError` where it must not serve. */
export async function serve(config: Config, version: string): Promise<Serving> {
  const log = createLog(config.logLevel);
  for (const name of unknownVariables(process.env)) log.warn({ name }, "this variable is not one of Keyturn's");
  const lock = lockFolder(config.dataFolder);
  const installation = await openInstallation(config, (cause) => log.fatal({ err: cause }, "the disk is at fault; writing stops"));
  const { authority, witness } = installation;
  const timers: ReturnType<typeof setInterval>[] = [];
  const every = (milliseconds: number, what: string, work: () => Promise<unknown> | unknown) => {
    let busy = false;
    const timer = setInterval(async () => {
      // A round that takes longer than its interval is not started twice.
      if (busy) return;
      busy = true;
      try {
        await work();
      } catch (error) {
        log.error({ err: error }, `${what} failed; it is tried again`);
      } finally {
        busy = false;
      }
    }, milliseconds);
    timers.push(timer);
  };

  try {
    await assertServable(authority, config);
    await authority.recorder.start();
    await endLostBrownouts(authority);
  } catch (error) {
    await installation.close();
    lock.release();
    throw error;
  }
  const server = startServer({
    authority,
    version,
    host: config.host,
    port: config.port,
    publicUrl: config.publicUrl,
    trustedProxies: config.trustedProxies,
    servesMetrics: config.metricsPort === null,
    metricsPort: config.metricsPort,
    tls: config.tls,
    log: {
      request: (line) => log.info(line, "request"),
      error: (error) => log.error({ err: error }, "a request failed on our side"),
    },
  });
  try {
    await provideFirstKey(authority, config, config.publicUrl ?? server.url);
  } catch (error) {
    await server.stop();
    await authority.recorder.stop();
    await installation.close();
    lock.release();
    throw error;
  }

  every(config.flushSeconds * 1000, "storing usage", () => authority.recorder.flush());
  every(ROUND_MS, "the worker", async () => {
    for (const { rotation, step } of (await workOnce(authority)).steps) {
      if (step === "raise_overdue") log.warn({ rotation }, "the rotation is overdue; the old key goes on working");
      else log.info({ rotation, step }, "the rotation moved on");
    }
  });
  every(FOLLOW_MS, "following the log", () => (authority.storage.changedElsewhere() ? authority.followOthers() : undefined));
  every(HOUR_MS, "dropping what has aged out", () => dropAged(authority));
  if (witness !== null) {
    every(MINUTE_MS, "writing the witness", async () => {
      const head = await authority.storage.read.audit.head();
      if (head.seq > 0) witness.write({ ...head, at: SYSTEM_CLOCK.wall(), revoked: [] });
    });
  }
  log.info({ url: server.url, data: config.dataFolder, version }, "ready");

  return {
    url: server.url,
    metricsUrl: server.metricsUrl,
    stop: async () => {
      log.info("stopping");
      for (const timer of timers) clearInterval(timer);
      await server.stop();
      await authority.recorder.stop();
      await installation.close();
      lock.release();
      log.info("stopped");
    },
  };
}

/** Serves until SIGTERM or SIGINT; resolves when everything is stored and closed. A second signal ends it at once. */
export async function serveUntilSignal(config: Config, version: string): Promise<void> {
  const serving = await serve(config, version);
  await new Promise<void>((resolve) => {
    process.once("SIGTERM", resolve);
    process.once("SIGINT", resolve);
  });
  process.once("SIGTERM", () => process.exit(143));
  process.once("SIGINT", () => process.exit(130));
  await serving.stop();
}
