import type { Logger } from "pino";
import { SYSTEM } from "../authority/audit/entry.ts";
import type { Authority } from "../authority/authority.ts";
import { SYSTEM_CLOCK } from "../authority/clock.ts";
import { createMembership } from "../authority/cluster/membership.ts";
import { perform } from "../authority/operation.ts";
import { noteDatabase } from "../authority/setup/installation.ts";
import type { Config } from "../config.ts";
import { startServer } from "../http/server.ts";
import type { WitnessFile } from "../storage/witness-file.ts";
import { dropAged, endBrownoutsAtStop, endLost, endLostBrownouts, workOnce } from "../worker/worker.ts";
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
    const membership = createMembership(authority);
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
    every(ROUND_MS, "the worker", async () => {
      if (await isMine(authority, "worker")) await work(authority, log);
    });
    every(HOUR_MS, "dropping what has aged out", async () => {
      if (await isMine(authority, "worker")) await dropAged(authority);
    });
    every(IDENTITY_MS, "looking which database this is", () => noteIdentity(authority));
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
    metricsPort: config.metricsPort,
    tls: config.tls,
    log: {
      request: (line: object) => log.info(line, "request"),
      error: (error: unknown) => log.error({ err: error }, "a request failed on our side"),
    },
  };
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
  await endLost(authority);
  const { steps, failures } = await workOnce(authority);
  for (const error of failures) log.error({ err: error }, "a rotation could not go on; it is tried again");
  for (const { rotation, step } of steps) {
    if (step === "raise_overdue")
      log.warn({ rotation }, "the rotation is overdue; the old key goes on working");
    else log.info({ rotation, step }, "the rotation moved on");
  }
}

/**
 * Notes which database holds the log, as long as it goes on where every process knows it to end: a standby that took
 * over with everything in it may be started on later, one that was put back from a backup may not (R14).
 */
async function noteIdentity(authority: Authority): Promise<void> {
  const { storage, follower, health } = authority;
  const identity = await storage.identity();
  if (identity === null || (await storage.read.facts.get("database_identity")) === identity) return;
  await follower.renew();
  const ahead = (await storage.cluster.processes()).filter((one) => one.appliedSeq > follower.appliedSeq());
  if (ahead.length > 0)
    throw new Error(`The database lacks entries that ${ahead.map(({ name }) => name).join(", ")} applied.`);
  if (health.writable()) await perform(authority, noteDatabase, SYSTEM, { identity });
}

/**
 * Tells the witness where the log ends. A head says that every revocation before it stands in the file, so those of
 * other processes are followed first, which tells the witness of them.
 */
async function witnessHead({ storage, follower, health }: Authority, witness: WitnessFile): Promise<void> {
  const head = await storage.read.audit.head();
  while (follower.appliedSeq() < head.seq) await follower.renew();
  if (head.seq > 0 && health.writable())
    witness.writeAll([{ ...head, at: SYSTEM_CLOCK.wall(), revoked: [] }]);
}
