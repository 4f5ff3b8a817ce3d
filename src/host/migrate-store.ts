import { performance } from "node:perf_hooks";
import type { KnownHead } from "../authority/audit/verify-chain.ts";
import { perform } from "../authority/operation.ts";
import { acceptLoss, type Closed, closeStore, openStore } from "../authority/setup/installation.ts";
import { HOST } from "../authority/setup/setup.ts";
import type { MovePlan, MoveTold } from "../cli/host-commands.ts";
import type { Config, DatabaseConfig } from "../config.ts";
import { connectedAtOnce, migratePostgres } from "../storage/migrate-postgres.ts";
import { contentOf, copyAuthority, copyEvidence, emptyCopy, type TargetConnection } from "../storage/move.ts";
import type { FolderLock } from "../storage/sqlite-storage.ts";
import {
  assertInstallation,
  HostError,
  inDatabaseWords,
  lockInstallation,
  waitingFor,
  withInstallation,
  withUnwitnessed,
} from "./open.ts";

const LOCK_PAUSE_MS = 250;
/** Closing a folder takes two entries at most, so whatever else there is stands among these. */
const LINES = 10;

/**
 * `keyturn migrate-store`: moves a live embedded installation to PostgreSQL. The folder is closed for changes and copied;
 * both serve verifications by the same state until the old server is stopped; then use is added, and the new database
 * opened. Whenever this is interrupted, it can be run again. Tests: test/cluster/migrate-store.test.ts.
 */
export async function migrateStore(config: Config, plan: MovePlan, tell: MoveTold): Promise<void> {
  const database = targetOf(config, plan);
  const source: Config = { ...config, database: null };
  assertInstallation(source);
  const inWords: InWords = (work) =>
    inDatabaseWords(plan.to === undefined ? "KEYTURN_DATABASE_URL" : "--to", work);
  const connection = await inWords(() => connectedAtOnce(database));
  const target: Target = { connection, inWords };
  try {
    const content = await inWords(() => contentOf(connection));
    if (content === "in use") throw new HostError(plan.cancel ? NOTHING_TO_CALL_OFF : NOT_EMPTY);
    if (content !== "empty" && (await compare(source, content)) === "another's")
      throw new HostError(plan.cancel ? ANOTHERS_COPY : NOT_EMPTY);
    // Only now: what somebody else has there is not to be changed, not even by a step of the schema.
    if (!plan.cancel || content !== "empty")
      await inWords(() => migratePostgres(database, plan.cancel ? undefined : plan.runtimeRole));
    if (plan.cancel) return await callOff(source, target, content, tell);
    const closedAt = performance.now();
    const loss = await copy(source, target, plan, tell);
    // Before the new one is opened: whatever happens in between, only one database ever takes changes. And before use is
    // added: from here on nobody counts in the folder any more.
    await leaveFolder(source, target, tell);
    await inWords(() => copyEvidence(source.dataFolder, connection));
    await withUnwitnessed({ ...config, database }, async ({ authority }) => {
      const { seq } = await perform(authority, openStore, HOST, {});
      if (loss === "accepted") await perform(authority, acceptLoss, HOST, {});
      tell({ step: "opened", seq, closedSeconds: (performance.now() - closedAt) / 1000 });
    });
  } finally {
    await connection.end();
  }
}

const NOT_EMPTY = "The database is not empty. Nothing is overwritten: name an empty one.";
const MOVED_BEFORE =
  "This installation was moved before, to another database. What was changed there since, revocations among it, is not in this folder. If that database is lost for good, say --accept-loss.";
const NOTHING_TO_CALL_OFF = "The database is open for changes: there is no move to call off.";
const ANOTHERS_COPY =
  "The database holds the copy of another installation: name the one that this one is moved to.";

type InWords = <T>(work: () => Promise<T>) => Promise<T>;

interface Target {
  readonly connection: TargetConnection;
  /** What it has to say, under the name that it was given by. */
  readonly inWords: InWords;
}

/** `keyturn migrate`: as the role that owns the tables. Tells, once, when it has to wait for the database. */
export async function migrateSchema(
  config: Config,
  runtimeRole: string | undefined,
  tell: (message: string) => void,
): Promise<void> {
  const { database } = config;
  if (database === null)
    throw new HostError(
      "KEYTURN_DATABASE_URL: names no database. The embedded one is brought up to date by each start.",
    );
  await inDatabaseWords("KEYTURN_DATABASE_URL", () =>
    migratePostgres(database, runtimeRole, waitingFor(config, tell)),
  );
}

/** Everything but the address is as for a server. */
function targetOf(config: Config, plan: MovePlan): DatabaseConfig {
  const url = plan.to ?? config.database?.url;
  if (url === undefined || !/^postgres(ql)?:\/\//.test(url) || !URL.canParse(url))
    throw new HostError("--to: name the database, as in postgres://keyturn@db.example.com/keyturn");
  const settings = config.database ?? {
    poolSize: undefined,
    connectTimeoutSeconds: undefined,
    statementTimeoutSeconds: undefined,
    startTimeoutSeconds: undefined,
  };
  return { ...settings, url };
}

/** Makes the copy, unless it is there. Says whether something may be missing in it, and somebody answers for that. */
async function copy(
  source: Config,
  { connection, inWords }: Target,
  plan: MovePlan,
  tell: MoveTold,
): Promise<"none" | "accepted"> {
  const content = await inWords(() => contentOf(connection));
  if (content === "in use") throw new HostError(NOT_EMPTY);
  // Copied before this was interrupted; processes may serve from it already.
  const isCopied = content !== "empty" && (await compare(source, content)) === "current";
  const wasMoved = !isCopied && (await closedOf(source)) === "moved";
  if (wasMoved && !plan.acceptLoss) throw new HostError(MOVED_BEFORE);
  await closeFolder(source, "moving");
  tell({ step: "closed" });
  if (!isCopied) {
    if (content !== "empty") await inWords(() => emptyCopy(connection));
    const { rows, head } = await inWords(() => copyAuthority(source.dataFolder, connection));
    tell({ step: "copied", rows, head });
  }
  return wasMoved ? "accepted" : "none";
}

/**
 * What a copy with this head is to the folder: current where nothing but the folder's closing came after it. The folder
 * may have been opened in between, and then the copy lacks what was revoked since.
 */
function compare(source: Config, head: KnownHead): Promise<"current" | "outdated" | "another's"> {
  return withUnwitnessed(source, async ({ authority }) => {
    const { continuous, entries } = await authority.storage.follow(head, LINES);
    if (!continuous) return "another's";
    return entries.every(({ operation }) => operation === closeStore.name) ? "current" : "outdated";
  });
}

function closedOf(source: Config): Promise<string | null> {
  return withUnwitnessed(source, ({ authority }) => authority.storage.read.facts.get("closed"));
}

/** Only once: a move that goes on after an interruption finds it closed. */
function closeFolder(source: Config, why: Closed): Promise<void> {
  return withUnwitnessed(source, async ({ authority }) => {
    const closed = await authority.storage.read.facts.get("closed");
    if (closed === why || closed === "moved") return;
    await perform(authority, closeStore, HOST, { why });
  });
}

/**
 * Marks the folder as moved once nobody serves from it, and holds it until then: whoever looks after the old server may
 * start it again at once, and it would go on by what it knew while keys are revoked elsewhere.
 */
async function leaveFolder(source: Config, { connection, inWords }: Target, tell: MoveTold): Promise<void> {
  const lock = await oldServersEnd(source, tell);
  try {
    const content = await inWords(() => contentOf(connection));
    if (typeof content === "string" || (await compare(source, content)) !== "current")
      throw new HostError("The move was called off, or ended elsewhere, while this one waited.");
    await closeFolder(source, "moved");
  } finally {
    lock.release();
  }
}

/** What they saw at last is stored when they have stopped. The folder is held from then on. */
async function oldServersEnd(source: Config, tell: MoveTold): Promise<FolderLock> {
  for (let told = false; ; ) {
    try {
      return lockInstallation(source);
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
    }
    if (!told) tell({ step: "waiting" });
    told = true;
    await new Promise((resolve) => setTimeout(resolve, LOCK_PAUSE_MS));
  }
}

async function callOff(
  source: Config,
  { connection, inWords }: Target,
  content: "empty" | KnownHead,
  tell: MoveTold,
): Promise<void> {
  await withInstallation(source, async ({ authority }) => {
    const closed = await authority.storage.read.facts.get("closed");
    if (closed !== "moving") throw new HostError("The installation is not being moved.");
    // The copy first: nothing must serve a state that the folder leaves behind.
    if (content !== "empty") await inWords(() => emptyCopy(connection));
    const { seq } = await perform(authority, openStore, HOST, {});
    tell({ step: "called off", seq });
  });
}
