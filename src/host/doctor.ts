import { existsSync, statfsSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { chainHash, sha256 } from "../authority/audit/entry.ts";
import { witnessedHeads } from "../authority/audit/witness.ts";
import type { Authority } from "../authority/authority.ts";
import type { RotationId } from "../authority/ids.ts";
import { rootsEnd } from "../authority/keys/root-keys.ts";
import { perform } from "../authority/operation.ts";
import { isOverdue, type Rotation } from "../authority/rotations/rotation.ts";
import { acceptClock } from "../authority/setup/installation.ts";
import { HOST } from "../authority/setup/setup.ts";
import { formatInstant, formatSpan } from "../authority/time.ts";
import type { Finding } from "../cli/host-commands.ts";
import { type Config, type DatabaseConfig, type Environment, unknownVariables } from "../config.ts";
import { mayRewriteLog } from "../storage/migrate-postgres.ts";
import { readWitnessFile } from "../storage/witness-file.ts";
import {
  assertInstallation,
  assertNotLeftBehind,
  assertServable,
  HostError,
  lockInstallation,
  withUnwitnessed,
} from "./open.ts";

type Found = Omit<Finding, "check">;
const ok = (message: string): Found => ({ state: "ok", message });
const warning = (message: string): Found => ({ state: "warning", message });
const wrong = (message: string): Found => ({ state: "wrong", message });

const DAY_MS = 86_400_000;
const MIB = 1024 * 1024;
const LEAST_FREE = 100 * MIB;
const LITTLE_FREE = 1024 * MIB;
/** The server writes its head each minute. */
const OLD_WITNESS_MS = 5 * 60_000;
const CHAIN_TAIL = 1_000;
const LONGEST_SILENCE_MS = 5_000;
const ROOT_WARNING_MS = 30 * DAY_MS;

/** `keyturn doctor`: what is wrong or soon will be. Reads, and changes nothing but an accepted clock. */
export async function examine(
  config: Config,
  environment: Environment,
  accepts: boolean,
): Promise<readonly Finding[]> {
  assertInstallation(config);
  const isServing = serves(config);
  const { database } = config;
  const place =
    database === null
      ? [
          { check: "permissions", ...permissions(config) },
          { check: "disk", ...disk(config) },
        ]
      : [];
  const outside = (server: Found): readonly Finding[] => [
    { check: "settings", ...settings(environment) },
    { check: "server", ...server },
    ...place,
  ];
  try {
    return await withUnwitnessed(config, async ({ authority }) => {
      const accepted = accepts ? [{ check: "accept-clock", ...(await acceptTheClock(authority)) }] : [];
      return [
        ...outside(await servers(config, authority, isServing)),
        ...(database === null ? [] : [{ check: "permissions", ...(await privileges(database)) }]),
        { check: "schema", ...ok("is the one that this version knows") },
        ...accepted,
        { check: "clock", ...clock(authority) },
        { check: "audit", ...(await auditTail(authority)) },
        { check: "servable", ...(await servable(config, authority)) },
        { check: "witness", ...(await witness(config, authority, isServing)) },
        { check: "root-keys", ...(await rootKeys(authority)) },
        { check: "rotations", ...(await rotations(authority)) },
      ];
    });
  } catch (error) {
    // A database that can't be opened is a finding, not the end of the examination.
    const byLock = isServing ? SERVING : NOT_RUNNING;
    return [
      ...outside(database === null ? byLock : UNKNOWN),
      { check: "schema", ...wrong(error instanceof Error ? error.message : String(error)) },
    ];
  }
}

const SERVING = ok("is serving");
const NOT_RUNNING = ok("is not running");
const UNKNOWN = warning(
  "it is unknown whether it is serving: the database that lists who serves can't be read",
);

/** Each process says every second that it lives. */
async function servers(
  { database }: Config,
  { clock, storage }: Authority,
  isServing: boolean,
): Promise<Found> {
  const all = await storage.cluster.processes();
  if (!isServing || (database !== null && all.length === 0)) return NOT_RUNNING;
  const silent = all.filter(({ at }) => clock.wall() - at > LONGEST_SILENCE_MS).map(({ name }) => name);
  if (silent.length > 0)
    return warning(
      `is serving, but nothing is heard of ${silent.join(", ")}: halted, dead, or cut off from the database; one that is dead leaves the list with: keyturn cluster forget <name>`,
    );
  return all.length > 1 ? ok(`is serving, as ${all.length} processes`) : SERVING;
}

/** Whether the folder is taken. A database says by its list who serves from it. */
function serves(config: Config): boolean {
  if (config.database !== null) return true;
  try {
    lockInstallation(config).release();
    return false;
  } catch {
    return true;
  }
}

function settings(environment: Environment): Found {
  const unknown = unknownVariables(environment);
  return unknown.length === 0
    ? ok("every KEYTURN_ variable is one of Keyturn's")
    : warning(`nothing reads ${unknown.join(", ")}: a typing error?`);
}

function permissions({ dataFolder }: Config): Found {
  // Files inside a closed folder are closed, whatever their own mode says.
  if ((statSync(dataFolder).mode & 0o077) === 0) return ok(`${dataFolder} is open to its owner alone`);
  return wrong(`others on this machine can get into ${dataFolder}: chmod 700 ${dataFolder}`);
}

function disk({ dataFolder }: Config): Found {
  const { bavail, bsize } = statfsSync(dataFolder);
  const free = bavail * bsize;
  const told = `${Math.floor(free / MIB)} MiB are free`;
  if (free < LEAST_FREE) return wrong(`${told}: changes will soon be refused`);
  return free < LITTLE_FREE ? warning(told) : ok(told);
}

async function privileges(database: DatabaseConfig): Promise<Found> {
  return (await mayRewriteLog(database))
    ? warning(
        "the role of KEYTURN_DATABASE_URL could change the audit log: serve with a role that can't (docs/postgresql.md)",
      )
    : ok("the role of KEYTURN_DATABASE_URL can add to the audit log, and not change it");
}

async function acceptTheClock(authority: Authority): Promise<Found> {
  const { clock, storage } = authority;
  const head = await storage.read.audit.head();
  // Or nothing would count as watched before the date at which a process was given up in a false future.
  await storage.evidence.endNoneAfter(clock.wall());
  if (head.at <= clock.wall())
    return ok("the clock is not behind the newest entry: there was nothing to accept");
  await perform(authority, acceptClock, HOST, {});
  return ok(`the machine's clock counts from now on; the newest entry was dated ${formatInstant(head.at)}`);
}

function clock(authority: Authority): Found {
  const wall = authority.clock.wall();
  const ahead = authority.time.now() - wall;
  if (authority.time.trouble() === null) return ok(`${formatInstant(wall)}, not behind the newest entry`);
  return wrong(
    `${formatInstant(wall)} lies ${formatSpan(Math.floor(ahead / 1000))} behind the newest entry, so deadlines stand still. Set the clock; or, if the entry is from a false future, run keyturn doctor --accept-clock`,
  );
}

/** The newest entries only, because this is to be quick; `keyturn audit verify` follows all of them. */
async function auditTail(authority: Authority): Promise<Found> {
  const { audit } = authority.storage.read;
  const { seq } = await audit.head();
  const [before, ...lines] = await audit.lines(Math.max(0, seq - CHAIN_TAIL - 1), CHAIN_TAIL + 1);
  let previous = before;
  for (const line of lines) {
    const follows =
      previous !== undefined &&
      line.seq === previous.seq + 1 &&
      chainHash(previous.chainHash, line.seq, line.entryHash) === line.chainHash;
    if (!follows || line.text === null || sha256(line.text) !== line.entryHash) {
      return wrong(`entry ${line.seq} does not follow from the one before: run keyturn audit verify`);
    }
    previous = line;
  }
  return ok(
    `${seq} entries; the newest ${lines.length + (before === undefined ? 0 : 1)} follow from each other`,
  );
}

/** What a start would say, and what it would not say, because it serves all the same. */
async function servable(config: Config, authority: Authority): Promise<Found> {
  try {
    await assertServable(authority, config);
    await assertNotLeftBehind(authority, config);
  } catch (error) {
    if (error instanceof HostError) return wrong(error.message);
    throw error;
  }
  return (await authority.storage.read.facts.get("closed")) === null
    ? ok("a server may serve this, and nothing waits to be accepted")
    : warning(
        "changes are refused, because keyturn migrate-store is moving this: run it again to go on, or with --cancel to call it off",
      );
}

async function witness(config: Config, authority: Authority, isServing: boolean): Promise<Found> {
  const path = config.witnessFile;
  if (path === null)
    return warning(
      "none is kept (KEYTURN_WITNESS_FILE): a restore could not tell what was revoked after the backup",
    );
  if (!existsSync(path)) return warning(`${path} is not there yet`);
  const lines = readWitnessFile(path);
  const newest = witnessedHeads(lines)
    .toSorted((a, b) => a.seq - b.seq)
    .at(-1);
  const written = Math.max(...lines.map((one) => one.at));
  if (newest === undefined) return warning(`${path} is empty`);
  const head = await authority.storage.read.audit.head();
  if (newest.seq > head.seq)
    return wrong(
      `${path} has seen entry ${newest.seq}, the database ends with ${head.seq}: it is an older copy`,
    );
  const [line] = await authority.storage.read.audit.lines(newest.seq - 1, 1);
  if (line?.chainHash !== newest.chainHash)
    return wrong(`entry ${newest.seq} is not the one that ${path} saw: run keyturn audit verify`);
  const age = Math.max(0, authority.clock.wall() - written);
  const told = `${path} has seen entry ${newest.seq}, ${formatSpan(Math.floor(age / 1000))} ago`;
  if (isServing && age > OLD_WITNESS_MS) return warning(`${told}, though the server writes it each minute`);
  if (config.database !== null) return ok(told);
  const sameDisk = statSync(dirname(path)).dev === statSync(config.dataFolder).dev;
  return sameDisk ? warning(`${told}; it is on the same disk as the database`) : ok(told);
}

async function rootKeys(authority: Authority): Promise<Found> {
  const { read } = authority.storage;
  const now = authority.time.now();
  const operator = await read.accounts.operator();
  if (operator === null)
    return wrong("there is none yet: redeem the set-up token, or run keyturn setup --recover");
  const end = await rootsEnd(read, operator.id, now);
  if (end === Number.NEGATIVE_INFINITY)
    return wrong("the operator's account has no good one: run keyturn setup --recover");
  if (end === Number.POSITIVE_INFINITY) return ok("the operator's account has one that does not end");
  const told = `the operator's last one ends in ${formatSpan(Math.floor((end - now) / 1000))}, at ${formatInstant(end)}`;
  return end - now < ROOT_WARNING_MS ? warning(`${told}: issue another`) : ok(told);
}

async function rotations(authority: Authority): Promise<Found> {
  const now = authority.time.now();
  const overdue: string[] = [];
  let open = 0;
  let after: RotationId | null = null;
  for (;;) {
    const page: readonly Rotation[] = await authority.storage.read.rotations.open(after, 100);
    open += page.length;
    overdue.push(...page.filter((rotation) => isOverdue(rotation, now)).map((rotation) => rotation.id));
    after = page.at(-1)?.id ?? null;
    if (page.length < 100) break;
  }
  if (overdue.length > 0) return warning(`overdue: ${overdue.join(", ")}; see keyturn rotations get`);
  return ok(`${open} open, none overdue`);
}
