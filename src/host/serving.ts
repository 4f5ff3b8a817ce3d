import type { Logger } from "pino";
import type { Authority } from "../authority/authority.ts";
import { createReportAnswers, LOOK_SECONDS } from "../authority/callers/gather-reports.ts";
import { SYSTEM_CLOCK } from "../authority/clock.ts";
import { createMembership } from "../authority/cluster/membership.ts";
import { createDatabaseWatch } from "../authority/cluster/watch-database.ts";
import type { Seconds } from "../authority/time.ts";
import type { Config } from "../config.ts";
import { startServer } from "../http/server.ts";
import { POSTGRES_DEFAULTS } from "../storage/postgres.ts";
import type { WitnessFile } from "../storage/witness-file.ts";
import {
  createLossWatch,
  dropAged,
  endBrownoutsAtStop,
  endLostBrownouts,
  workOnce,
} from "../worker/worker.ts";
import { createClosing } from "./closing.ts";
import { HostError, type OpenInstallation } from "./open.ts";
import { createRounds } from "./rounds.ts";

export interface Serving {
  readonly url: string;
  readonly metricsUrl: string | null;
  /** Answers what is under way, and stores what was counted. The installation stays open. */
  stop(): Promise<void>;
}

export interface ServingParts {
  readonly installation: OpenInstallation;
  readonly config: Config;
  readonly version: string;
  readonly log: Logger;
  /** Whether other processes of this server listen on the same port. */
  readonly sharesPort: boolean;
}

const ROUND_MS = 500;
/** How often the log is looked at, whatever is heard: half of the strictest lease would be too late. */
const FOLLOW_MS = 250;
const IDENTITY_MS = 2_000;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** Serves from an open installation that may be served. Throws `HostError` where it can't listen. */
export async function startServing(parts: ServingParts): Promise<Serving> {
  const { config, log } = parts;
  const { authority, witness } = parts.installation;
  const closing = createClosing();
  try {
    const membership = createMembership(authority, () =>
      log.error(
        { name: authority.process.name },
        "another process that serves has this name, too; give each one of its own with KEYTURN_PROCESS_NAME",
      ),
    );
    await membership.join();
    closing.add(membership.leave);
    // After joining: what was appended before somebody waits for this process, it knows.
    await authority.follower.renew();
    await authority.recorder.start();
    closing.add(authority.recorder.stop);
    await endLostBrownouts(authority);

    const server = listening(() => startServer(serverOptions(parts)));
    closing.add(() => endBrownoutsAtStop(authority), server.stop);

    const rounds = createRounds({
      failed: (error, what) => log.error({ err: error }, `${what} failed; it is tried again`),
      recovered: (what) => log.info(`${what} works again`),
    });
    closing.add(rounds.stop);
    const { every } = rounds;
    // Apart: to report may have to wait for a process that writes, and the log must be followed meanwhile.
    every(FOLLOW_MS, "following the log", authority.follower.renew);
    every(FOLLOW_MS, "telling the other processes", membership.report);
    const follow = () => authority.follower.renew().then(membership.report);
    closing.add(authority.storage.hear(() => rounds.ahead(follow)));
    every(config.flushSeconds * 1000, "storing usage", () => authority.recorder.flush());
    if (config.flushSeconds > LOOK_SECONDS)
      every(LOOK_SECONDS * 1000, "answering who waits for reports", createReportAnswers(authority));
    const endLost = createLossWatch(authority);
    every(ROUND_MS, "the due work", async () => {
      if (await isMine(authority, "worker")) await endLost().then(() => work(authority, log));
    });
    every(HOUR_MS, "dropping what has aged out", async () => {
      if (await isMine(authority, "worker")) await dropAged(authority);
    });
    every(IDENTITY_MS, "looking which database this is", createDatabaseWatch(authority));
    if (witness !== null) every(MINUTE_MS, "writing the witness", () => witnessHead(authority, witness));
    return { url: server.url, metricsUrl: server.metricsUrl, stop: closing.close };
  } catch (error) {
    await closing.close();
    throw error;
  }
}

function serverOptions({ installation, config, version, log, sharesPort }: ServingParts) {
  return {
    authority: installation.authority,
    version,
    host: config.host,
    port: config.port,
    sharesPort,
    publicUrl: config.publicUrl,
    trustedProxies: config.trustedProxies,
    servesMetrics: config.metricsPort === null,
    patienceSeconds: patienceOf(config),
    metricsPort: config.metricsPort,
    tls: config.tls,
    log: {
      request: (line: object) => log.info(line, "request"),
      error: (error: unknown) => log.error({ err: error }, "a request failed on our side"),
      trouble: (trouble: object) => log.warn(trouble, "the database could not do what was asked"),
    },
  };
}

/** What others have to tell before, and the embedded database's own wait for its turn, which no setting changes. */
const REPORTS_SECONDS = 5;
const EMBEDDED_SECONDS = 10;
/** With the longest ceiling after it, an answer must come before the runtime gives up its connection (255 s). */
const MOST_PATIENCE_SECONDS = 180;

/**
 * How long a call may take: its reports, then its turn, its connection, its locks, its statements and its commit, one of
 * which is most likely to be what fails, and the others quick. So a refusal with a reason comes before this is over.
 */
export function patienceOf({ database }: Pick<Config, "database">): Seconds {
  const { connectTimeoutSeconds, statementTimeoutSeconds } = POSTGRES_DEFAULTS;
  const [connect, statement] =
    database === null
      ? [0, EMBEDDED_SECONDS]
      : [
          database.connectTimeoutSeconds ?? connectTimeoutSeconds,
          database.statementTimeoutSeconds ?? statementTimeoutSeconds,
        ];
  return Math.min(REPORTS_SECONDS + connect + 4 * statement, MOST_PATIENCE_SECONDS);
}

/** The runtime's own words for a port that is taken or a certificate that can't be read name no setting. */
export function listening<Server>(start: () => Server): Server {
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

const CLAIM_MS = 5_000;

/** One process at a time does what is to be done once. Should two believe it is theirs, no step is taken twice. */
function isMine({ storage, process, time }: Authority, work: string): Promise<boolean> {
  const now = time.now();
  return storage.cluster.claim(work, process.id, now, now + CLAIM_MS);
}

async function work(authority: Authority, log: Logger): Promise<void> {
  const { steps, failures } = await workOnce(authority);
  for (const error of failures) log.error({ err: error }, "a rotation could not go on; it is tried again");
  for (const { rotation, step } of steps) {
    if (step === "raise_overdue")
      log.warn({ rotation }, "the rotation is overdue; the old key goes on working");
    else log.info({ rotation, step }, "the rotation moved on");
  }
}

/**
 * Tells the witness where the log ends. A head says that every revocation before it stands in the file, so those of
 * other processes are followed first, which tells the witness of them.
 */
async function witnessHead({ storage, follower, health }: Authority, witness: WitnessFile): Promise<void> {
  const head = await storage.read.audit.head();
  // One look at least: another that is still under way may have applied what it has yet to tell of.
  await follower.renew();
  if (head.seq > 0 && head.seq <= follower.appliedSeq() && health.writable())
    witness.writeAll([{ ...head, at: SYSTEM_CLOCK.wall(), revoked: [] }]);
}
