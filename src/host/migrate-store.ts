import { performance } from "node:perf_hooks";
import type { KnownHead } from "../authority/audit/verify-chain.ts";
import { perform } from "../authority/operation.ts";
import { type Closed, closeStore, openStore } from "../authority/setup/installation.ts";
import { HOST } from "../authority/setup/setup.ts";
import type { MovePlan, MoveTold } from "../cli/host-commands.ts";
import type { Config, DatabaseConfig } from "../config.ts";
import { migratePostgres } from "../storage/migrate-postgres.ts";
import {
  connectTarget,
  contentOf,
  copyAuthority,
  copyEvidence,
  emptyCopy,
  type Target,
} from "../storage/move.ts";
import {
  assertInstallation,
  HostError,
  lockInstallation,
  withInstallation,
  withUnwitnessed,
} from "./open.ts";

const LOCK_PAUSE_MS = 250;

/**
 * `keyturn migrate-store`: moves a live embedded installation to PostgreSQL. The folder is closed for changes and copied;
 * both serve verifications by the same state until the old server is stopped; then use is added, and the new database
 * opened. Whenever this is interrupted, it can be run again. Tests: test/postgres/migrate-store.test.ts.
 */
export async function migrateStore(config: Config, plan: MovePlan, tell: MoveTold): Promise<void> {
  const database = targetOf(config, plan);
  const source: Config = { ...config, database: null };
  assertInstallation(source);
  await migratePostgres(database, plan.runtimeRole);
  const target = await connectTarget(database);
  try {
    if (plan.cancel) return await callOff(source, target, tell);
    const closedAt = performance.now();
    await copy(source, target, tell);
    await oldServersEnd(source, tell);
    await copyEvidence(source.dataFolder, target);
    // Before the new one is opened: whatever happens in between, only one database ever takes changes.
    await closeFolder(source, "moved");
    await withUnwitnessed({ ...config, database }, async ({ authority }) => {
      const { seq } = await perform(authority, openStore, HOST, {});
      tell({ step: "opened", seq, closedSeconds: (performance.now() - closedAt) / 1000 });
    });
  } finally {
    await target.end();
  }
}

/** `keyturn migrate`: as the role that owns the tables. */
export async function migrateSchema(config: Config, runtimeRole: string | undefined): Promise<void> {
  if (config.database === null)
    throw new HostError(
      "KEYTURN_DATABASE_URL: names no database. The embedded one is brought up to date by each start.",
    );
  await migratePostgres(config.database, runtimeRole);
}

/** Everything but the address is as for a server. */
function targetOf(config: Config, plan: MovePlan): DatabaseConfig {
  const url = plan.to ?? config.database?.url;
  if (url === undefined || !/^postgres(ql)?:\/\//.test(url) || !URL.canParse(url))
    throw new HostError("--to: name the database, as in postgres://keyturn@db.example.com/keyturn");
  const settings = config.database ?? {
    poolSize: 10,
    connectTimeoutSeconds: 5,
    statementTimeoutSeconds: 10,
    startTimeoutSeconds: 30,
  };
  return { ...settings, url };
}

async function copy(source: Config, target: Target, tell: MoveTold): Promise<void> {
  const content = await contentOf(target);
  if (content === "in use")
    throw new HostError("The database is not empty. Nothing is overwritten: name an empty one.");
  await closeFolder(source, "moving");
  tell({ step: "closed" });
  if (content !== "empty") {
    // Copied before this was interrupted; processes may serve from it already.
    if (await isSeenBy(source, content)) return;
    await emptyCopy(target);
  }
  const { rows, head } = await copyAuthority(source.dataFolder, target);
  tell({ step: "copied", rows, head });
}

/** Nothing but its closing was changed in the folder since it was copied: it was closed all the time. */
function isSeenBy(source: Config, head: KnownHead): Promise<boolean> {
  return withUnwitnessed(source, async ({ authority }) => {
    const [line] = await authority.storage.read.audit.lines(head.seq - 1, 1);
    return line?.chainHash === head.chainHash;
  });
}

/** Only once: a move that goes on after an interruption finds it closed. */
function closeFolder(source: Config, why: Closed): Promise<void> {
  return withUnwitnessed(source, async ({ authority }) => {
    const closed = await authority.storage.read.facts.get("closed");
    if (closed === why || closed === "moved") return;
    await perform(authority, closeStore, HOST, { why });
  });
}

/** What they saw at last is stored when they have stopped. */
async function oldServersEnd(source: Config, tell: MoveTold): Promise<void> {
  for (let told = false; ; ) {
    try {
      lockInstallation(source).release();
      return;
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
    }
    if (!told) tell({ step: "waiting" });
    told = true;
    await new Promise((resolve) => setTimeout(resolve, LOCK_PAUSE_MS));
  }
}

/** The copy first: nothing must serve a state that the folder leaves behind. */
async function callOff(source: Config, target: Target, tell: MoveTold): Promise<void> {
  if ((await contentOf(target)) === "in use")
    throw new HostError("The database is open for changes: there is no move to call off.");
  await emptyCopy(target);
  await withInstallation(source, async ({ authority }) => {
    const closed = await authority.storage.read.facts.get("closed");
    if (closed !== "moving") throw new HostError("The installation is not being moved.");
    const { seq } = await perform(authority, openStore, HOST, {});
    tell({ step: "called off", seq });
  });
}
