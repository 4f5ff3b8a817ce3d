import { SYSTEM_CLOCK } from "../authority/clock.ts";
import { type Config, unknownVariables } from "../config.ts";
import { type RunningServer, startServer } from "../http/server.ts";
import { dropAged, endBrownoutsAtStop, endLostBrownouts, workOnce } from "../worker/worker.ts";
import { provideFirstKey } from "./first-key.ts";
import { createLog } from "./log.ts";
import { assertServable, catchUpWitness, HostError, lockInstallation, openInstallation } from "./open.ts";

interface Serving {
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
async function serve(config: Config, version: string): Promise<Serving> {
  const log = createLog(config.logLevel);
  for (const name of unknownVariables(process.env))
    log.warn({ name }, "this variable is not one of Keyturn's");
  // What was opened is closed in the opposite order, at a stop as well as when the start fails half-way.
  const closing: (() => Promise<void> | void)[] = [];
  const close = async () => {
    for (const end of closing.toReversed()) await end();
  };
  try {
    const lock = lockInstallation(config);
    closing.push(lock.release);
    const installation = await openInstallation(config, (cause) =>
      log.fatal({ err: cause }, "the disk is at fault; writing stops"),
    );
    closing.push(installation.close);
    const { authority, witness } = installation;

    await assertServable(authority, config);
    if (witness !== null && config.witnessFile !== null)
      await catchUpWitness(authority, witness, config.witnessFile);
    await authority.recorder.start();
    closing.push(authority.recorder.stop);
    await endLostBrownouts(authority);

    const server = listen(() =>
      startServer({
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
      }),
    );
    closing.push(() => endBrownoutsAtStop(authority), server.stop);
    await provideFirstKey(authority, config, config.publicUrl ?? server.url);

    const rounds = createRounds((error, what) =>
      log.error({ err: error }, `${what} failed; it is tried again`),
    );
    closing.push(rounds.stop);
    const { every } = rounds;
    every(config.flushSeconds * 1000, "storing usage", () => authority.recorder.flush());
    every(ROUND_MS, "the worker", async () => {
      const { steps, failures } = await workOnce(authority);
      for (const error of failures)
        log.error({ err: error }, "a rotation could not go on; it is tried again");
      for (const { rotation, step } of steps) {
        if (step === "raise_overdue")
          log.warn({ rotation }, "the rotation is overdue; the old key goes on working");
        else log.info({ rotation, step }, "the rotation moved on");
      }
    });
    every(FOLLOW_MS, "following the log", () =>
      authority.storage.changedElsewhere() ? authority.followOthers() : undefined,
    );
    every(HOUR_MS, "dropping what has aged out", () => dropAged(authority));
    if (witness !== null) {
      every(MINUTE_MS, "writing the witness", async () => {
        const head = await authority.storage.read.audit.head();
        if (head.seq > 0 && authority.health.writable())
          witness.write({ ...head, at: SYSTEM_CLOCK.wall(), revoked: [] });
      });
    }
    log.info({ url: server.url, data: config.dataFolder, version }, "ready");

    return {
      url: server.url,
      metricsUrl: server.metricsUrl,
      stop: async () => {
        log.info("stopping");
        await close();
        log.info("stopped");
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The runtime's own words for a port that is taken or a certificate that can't be read name no setting. */
function listen(start: () => RunningServer): RunningServer {
  try {
    return start();
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    const named =
      code === "EADDRINUSE" || code === "EACCES" || code === "EADDRNOTAVAIL"
        ? "KEYTURN_HOST, KEYTURN_PORT, KEYTURN_METRICS_PORT"
        : "KEYTURN_TLS_CERT_FILE, KEYTURN_TLS_KEY_FILE";
    throw new HostError(`${named}: the server can't listen there: ${said}`, { cause: error });
  }
}

/** Work that comes round again and again. A round that takes longer than its interval is not started twice. */
function createRounds(onError: (error: unknown, what: string) => void) {
  const timers: ReturnType<typeof setInterval>[] = [];
  const underWay = new Set<Promise<void>>();
  return {
    every: (milliseconds: number, what: string, work: () => Promise<unknown> | unknown) => {
      let busy = false;
      const round = async () => {
        try {
          await work();
        } catch (error) {
          onError(error, what);
        }
      };
      const timer = setInterval(() => {
        if (busy) return;
        busy = true;
        const running = round().finally(() => {
          busy = false;
          underWay.delete(running);
        });
        underWay.add(running);
      }, milliseconds);
      timers.push(timer);
    },
    /** What is under way ends first: a revocation is told to the witness after it is durable. */
    stop: async () => {
      for (const timer of timers) clearInterval(timer);
      await Promise.all(underWay);
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
