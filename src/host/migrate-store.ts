import { perform } from "../authority/operation.ts";
import { acceptLoss, type Closed, closeStore, openStore } from "../authority/setup/installation.ts";
import { HOST } from "../authority/setup/setup.ts";
import type { MovePlan, MoveTold } from "../cli/host-commands.ts";
import type { Config, DatabaseConfig } from "../config.ts";
import { connectedAtOnce, migratePostgres } from "../storage/migrate-postgres.ts";
import {
  type Copy,
  contentOf,
  copyAuthority,
  copyEvidence,
  emptyCopy,
  holdsEntry,
  type TargetConnection,
} from "../storage/move.ts";
import { type FolderLock, lockMove } from "../storage/sqlite-storage.ts";
import {
  assertInstallation,
  assertWitnessed,
  HostError,
  inDatabaseWords,
  inWords,
  lockInstallation,
  waitingFor,
  withInstallation,
  withUnwitnessed,
} from "./open.ts";

const LOCK_PAUSE_MS = 250;

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
    const prepare = async () => {
      const content = await inWords(() => contentOf(connection));
      if (content === "in use") throw new HostError(plan.cancel ? NOTHING_TO_CALL_OFF : await whyInUse());
      if (content !== "empty" && (await compare(source, content)) === "another's")
        throw new HostError(plan.cancel ? ANOTHERS_COPY : NOT_EMPTY);
      // Only now: what somebody else has there is not to be changed, not even by a step of the schema.
      if (!plan.cancel || content !== "empty")
        await inWords(() => migratePostgres(database, plan.cancel ? undefined : plan.runtimeRole));
      return content;
    };
    const whyInUse = async () => ((await wentHere(source, target)) ? MOVED_HERE : NOT_EMPTY);
    if (plan.cancel) return await alone(source, async () => callOff(source, target, await prepare(), tell));
    // What was left follows another log; whether that is the one to serve, the start there asks its witness.
    if ((await closedOf(source)) !== "moved")
      await withUnwitnessed(source, ({ authority }) => assertWitnessed(authority, source));
    const loss = await alone(source, async () => copy(source, target, await prepare(), plan, tell));
    const lock = await oldServersEnd(source, tell);
    try {
      await alone(source, async () => {
        // Before the new one is opened: whatever happens in between, only one database ever takes changes. And before use
        // is added: from here on nobody counts in the folder any more.
        await leaveFolder(source, target);
        // Whoever starts it now is told where it went.
        lock.release();
        await inWords(() => copyEvidence(source.dataFolder, connection));
        await withUnwitnessed({ ...config, database }, async ({ authority }) => {
          // A copy ends with the entry by which the folder was closed for it.
          const closedAt = (await authority.storage.read.audit.head()).at;
          // Either opens it. Whoever answers for the loss does so with the same entry, or not at all.
          const { seq } =
            loss === "accepted"
              ? await perform(authority, acceptLoss, HOST, { lacksUse: false })
              : await perform(authority, openStore, HOST, {});
          tell({ step: "opened", seq, closedSeconds: (authority.time.now() - closedAt) / 1000 });
        });
      });
    } finally {
      lock.release();
    }
  } finally {
    await connection.end();
  }
}

/** No other move of this folder is begun, ended or called off meanwhile. While one waits, it may be. */
async function alone<T>(source: Config, work: () => Promise<T>): Promise<T> {
  const lock = inWords(() => lockMove(source.dataFolder));
  try {
    return await work();
  } finally {
    lock.release();
  }
}

const NOT_EMPTY = "The database is not empty. Nothing is overwritten: name an empty one.";
const MOVED_HERE = "This installation was moved to that database already: there is nothing left to do.";
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
  content: "empty" | Copy,
  plan: MovePlan,
  tell: MoveTold,
): Promise<"none" | "accepted"> {
  // Copied before this was interrupted; processes may serve from it already.
  const isCopied = content !== "empty" && (await compare(source, content)) === "current";
  const closed = await closedOf(source);
  // A copy says what the folder was when it was made.
  const wasMoved = (isCopied ? content.closed : closed) === "moved";
  if (wasMoved && !plan.acceptLoss) throw new HostError(MOVED_BEFORE);
  if (!isCopied) await closeFolder(source, wasMoved ? "moved" : "moving");
  tell({ step: "closed", isAnew: !isCopied && closed !== null });
  if (!isCopied) {
    if (content !== "empty") await inWords(() => emptyCopy(connection));
    // It was closed for another copy before, in which uses may have been counted.
    if (closed !== null) await watchAnew(source);
    const { rows, head } = await inWords(() => copyAuthority(source.dataFolder, connection));
    tell({ step: "copied", rows, head });
  }
  return wasMoved ? "accepted" : "none";
}

/**
 * What a copy is to the folder: current where it was made for the move that the folder is closed for. The folder may have
 * been opened in between, and then the copy lacks what was revoked since; or been closed anew, for a copy somewhere else.
 */
function compare(
  source: Config,
  { head, move, isOriginal }: Copy,
): Promise<"current" | "outdated" | "another's"> {
  return withUnwitnessed(source, async ({ authority: { storage } }) => {
    const { continuous } = await storage.follow(head, 0);
    if (!continuous) return "another's";
    const isOfThisMove = move !== null && move === (await storage.read.facts.get("move"));
    return isOfThisMove && isOriginal ? "current" : "outdated";
  });
}

/** Whether the log of the target goes on from where the folder was left. */
function wentHere(source: Config, { connection, inWords }: Target): Promise<boolean> {
  return withUnwitnessed(source, async ({ authority: { storage } }) => {
    if ((await storage.read.facts.get("closed")) !== "moved") return false;
    // The last entry is the one by which it was left, which no copy has.
    const [last] = await storage.read.audit.lines((await storage.read.audit.head()).seq - 2, 1);
    return last !== undefined && inWords(() => holdsEntry(connection, last));
  });
}

/** Nobody tells the folder what was used where it was copied to. */
function watchAnew(source: Config): Promise<void> {
  return withUnwitnessed(source, ({ authority: { storage, time } }) =>
    storage.evidence.watchAnew(time.now()),
  );
}

function closedOf(source: Config): Promise<string | null> {
  return withUnwitnessed(source, ({ authority }) => authority.storage.read.facts.get("closed"));
}

function closeFolder(source: Config, why: Closed): Promise<void> {
  return withUnwitnessed(source, async ({ authority }) => {
    await perform(authority, closeStore, HOST, { why });
  });
}

/** Marks the folder as moved. Nobody serves from it, and it is held meanwhile. */
async function leaveFolder(source: Config, { connection, inWords }: Target): Promise<void> {
  const content = await inWords(() => contentOf(connection));
  if (typeof content === "string" || (await compare(source, content)) !== "current")
    throw new HostError("The move was called off, or ended elsewhere, while this one waited.");
  if ((await closedOf(source)) !== "moved") await closeFolder(source, "moved");
}

/**
 * What they saw at last is stored when they have stopped. The folder is held from then on: whoever looks after the old server
 * may start it again at once, and it would go on by what it knew while keys are revoked elsewhere.
 */
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
  content: "empty" | Copy,
  tell: MoveTold,
): Promise<void> {
  await withInstallation(source, async ({ authority }) => {
    const closed = await authority.storage.read.facts.get("closed");
    if (closed !== "moving") throw new HostError("The installation is not being moved.");
    // The copy first: nothing must serve a state that the folder leaves behind.
    if (content !== "empty") await inWords(() => emptyCopy(connection));
    await watchAnew(source);
    const { seq } = await perform(authority, openStore, HOST, {});
    tell({ step: "called off", seq });
  });
}
