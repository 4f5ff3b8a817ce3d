import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { cpus, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { type EngineName, type Filled, secretOf } from "./fill.ts";
import { fillPostgres, type Postgres, startPostgres } from "./fill-postgres.ts";
import { fillSqlite } from "./fill-sqlite.ts";
import { type LoadPlan, type LoadResult, packRequests } from "./load.ts";

const ROOT = join(import.meta.dir, "..");
const WAIT_MS = 20_000;

/** How much is measured. `tiny` shows only that everything still runs. */
export type Scale = "full" | "quick" | "tiny";

/** One thing that serves HTTP, in a process of its own or in several. */
export interface Server {
  readonly url: string;
  /** Of each process; several that share a port have one. */
  readonly ports: readonly number[];
  /** CPU time used so far in microseconds, or null where the system does not tell (it does on Linux). */
  cpu(): number | null;
  stop(): Promise<void>;
}

export interface Load {
  readonly requests: readonly string[];
  readonly seconds: number;
  readonly rate?: number;
  /** Not counted; 0.3 s at most unless said. */
  readonly warmupSeconds?: number;
}

/** A load's result, with what it cost the server. */
export interface Measured extends LoadResult {
  /** Microseconds of the server's CPU for each request, or null. */
  readonly cpuPerRequest: number | null;
}

export interface Lab {
  readonly scale: Scale;
  /** What the scale says: `pick({full: 9, quick: 3, tiny: 1})`. */
  pick<T>(of: Readonly<Record<Scale, T>>): T;
  /** A store with so many keys, made at the first call. Null where the machine has no PostgreSQL. */
  store(keys: number): Promise<Filled>;
  store(keys: number, engine: EngineName): Promise<Filled | null>;
  /** One that no other row has, of which `keysPerOwner` keys belong to each service account. */
  ownStore(keys: number, engine: EngineName, keysPerOwner?: number): Promise<Filled | null>;
  emptyFolder(): string;
  keyturn(filled: Filled, settings?: Readonly<Record<string, string>>): Promise<Server>;
  /** So many processes that serve one store: workers of one server, or processes of one database, each with its port. */
  processes(filled: Filled, count: number): Promise<Server>;
  /** The bench's PostgreSQL, if there is one and a row has asked for it. */
  database(): { cpu(): number | null } | null;
  /** Runs another file of the bench that prints a port first, or a line of JSON that has one. */
  program(file: string, args: readonly string[]): Promise<{ server: Server; line: string }>;
  /** So many of them as one. */
  programs(file: string, args: readonly string[], count: number): Promise<Server>;
  load(server: Server, load: Load): Promise<Measured>;
  /** Runs another file of the bench to its end, over a store, and reads the JSON that it prints. */
  ask<T>(file: string, { place }: Pick<Filled, "place">, args: readonly string[]): Promise<T>;
  close(): Promise<void>;
}

const CONNECTIONS = 32;
const KEYS_PER_OWNER = 100;

export function createLab(scale: Scale): Lab {
  const folder = mkdtempSync(join(tmpdir(), "keyturn-bench-"));
  const stores = new Map<string, Promise<Filled | null>>();
  let postgres: Promise<Postgres | null> | undefined;
  let database: Postgres | null = null;
  const running = new Set<Subprocess>();
  let folders = 0;
  let loads = 0;
  const emptyFolder = () => {
    folders += 1;
    const path = join(folder, String(folders));
    mkdirSync(path);
    return path;
  };
  const start = (command: readonly string[], env: Readonly<Record<string, string>> = {}) => {
    const child = Bun.spawn([process.execPath, ...command], {
      cwd: ROOT,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "inherit"],
    });
    running.add(child);
    void child.exited.then(() => running.delete(child));
    return child;
  };
  const serverOf = (child: Subprocess, port: number): Server => ({
    url: `http://127.0.0.1:${port}`,
    ports: [port],
    cpu: () => cpuOf(child.pid),
    stop: async () => {
      child.kill();
      await child.exited;
    },
  });
  const startKeyturn = async (filled: Filled, settings: Readonly<Record<string, string>>) => {
    const port = freePort();
    const child = start(["src/main.ts", "serve"], {
      ...filled.place,
      KEYTURN_PORT: String(port),
      KEYTURN_LOG_LEVEL: "error",
      ...settings,
    });
    const server = serverOf(child, port);
    await ready(server, child);
    return server;
  };
  const fill = async (engine: EngineName, keys: number, keysPerOwner: number): Promise<Filled | null> => {
    if (engine === "SQLite") return fillSqlite(emptyFolder(), { keys, keysPerOwner });
    postgres ??= startPostgres();
    database = await postgres;
    return database === null ? null : fillPostgres(await database.newDatabase(), { keys, keysPerOwner });
  };
  function store(keys: number): Promise<Filled>;
  function store(keys: number, engine: EngineName): Promise<Filled | null>;
  function store(keys: number, engine: EngineName = "SQLite"): Promise<Filled | null> {
    const name = `${engine} ${keys}`;
    const made = stores.get(name) ?? fill(engine, keys, KEYS_PER_OWNER);
    stores.set(name, made);
    return made;
  }

  return {
    scale,
    pick: (of) => of[scale],
    store,
    ownStore: (keys, engine, keysPerOwner = KEYS_PER_OWNER) => fill(engine, keys, keysPerOwner),
    emptyFolder,
    keyturn: (filled, settings = {}) => startKeyturn(filled, settings),
    processes: async (filled, count) => {
      if (filled.engine === "SQLite") return startKeyturn(filled, { KEYTURN_WORKERS: String(count) });
      // One after another: the first of them notes which database this is.
      const all: Server[] = [];
      for (let number = 1; number <= count; number += 1)
        all.push(await startKeyturn(filled, { KEYTURN_PROCESS_NAME: `bench-${number}` }));
      return asOne(all);
    },
    database: () => {
      const pid = database?.pid;
      return pid === undefined ? null : { cpu: () => cpuOf(pid) };
    },
    program: async (file, args) => {
      const child = start([join("bench", file), ...args]);
      const line = await firstLine(child.stdout);
      const port = /^\d+$/.test(line) ? Number(line) : Number((JSON.parse(line) as { port: number }).port);
      return { server: serverOf(child, port), line };
    },
    programs: async (file, args, count) =>
      asOne(
        await Promise.all(
          Array.from({ length: count }, async () => {
            const child = start([join("bench", file), ...args]);
            return serverOf(child, Number(await firstLine(child.stdout)));
          }),
        ),
      ),
    load: async (server, { requests, seconds, rate, warmupSeconds = Math.min(0.3, seconds / 4) }) => {
      loads += 1;
      const file = join(folder, `requests-${loads}.bin`);
      await Bun.write(file, packRequests(requests));
      const plan: LoadPlan = {
        ports: server.ports,
        file,
        connections: CONNECTIONS,
        seconds,
        warmupSeconds,
        ...(rate === undefined ? {} : { rate }),
      };
      const before = server.cpu();
      const child = start(["bench/load.ts", JSON.stringify(plan)]);
      const text = await new Response(child.stdout).text();
      if ((await child.exited) !== 0) throw new Error("the load failed");
      const result = JSON.parse(text) as LoadResult;
      const after = server.cpu();
      rmSync(file);
      const all = result.perSecond * (plan.seconds + plan.warmupSeconds);
      return { ...result, cpuPerRequest: before === null || after === null ? null : (after - before) / all };
    },
    ask: async <T>(file: string, { place }: Pick<Filled, "place">, args: readonly string[]) => {
      const child = start([join("bench", file), ...args], place);
      const text = await new Response(child.stdout).text();
      if ((await child.exited) !== 0) throw new Error(`bench/${file} failed`);
      return JSON.parse(text) as T;
    },
    close: async () => {
      for (const child of running) child.kill();
      await Promise.all([...running].map((child) => child.exited));
      await (await postgres)?.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function freePort(): number {
  const socket = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const { port } = socket;
  socket.stop(true);
  return port;
}

async function ready(server: Server, child: Subprocess): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  for (;;) {
    try {
      if ((await fetch(`${server.url}/readyz`)).ok) return;
    } catch {
      if (child.exitCode !== null || performance.now() > deadline)
        throw new Error("the server did not start");
    }
    await Bun.sleep(5);
  }
}

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true });
    const end = text.indexOf("\n");
    if (end >= 0) return text.slice(0, end);
  }
  throw new Error("a program of the bench ended without a word");
}

function asOne(all: readonly Server[]): Server {
  const [first] = all;
  if (first === undefined) throw new Error("several servers are at least one");
  return {
    url: first.url,
    ports: all.flatMap((one) => one.ports),
    cpu: () => all.reduce<number | null>((sum, one) => addUp(sum, one.cpu()), 0),
    stop: async () => void (await Promise.all(all.map((one) => one.stop()))),
  };
}

function addUp(sum: number | null, more: number | null): number | null {
  return sum === null || more === null ? null : sum + more;
}

interface ProcessTimes {
  readonly parent: number;
  readonly own: number;
  /** Of children that have ended. */
  readonly ended: number;
}

/** User and system time of a process from `/proc` in microseconds, counted in ticks of 10 ms (proc(5)). */
function timesOf(pid: number): ProcessTimes | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const ticks = (one: number, other: number) => (Number(fields[one]) + Number(fields[other])) * 10_000;
    return { parent: Number(fields[1]), own: ticks(11, 12), ended: ticks(13, 14) };
  } catch {
    return null;
  }
}

/** What a process and its children have taken so far: workers of a server, or the many processes of a database. */
function cpuOf(pid: number): number | null {
  const itself = timesOf(pid);
  if (itself === null) return null;
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((name) => timesOf(Number(name)))
    .reduce((sum, one) => sum + (one?.parent === pid ? one.own : 0), itself.own + itself.ended);
}

/** The machine, in one line. */
export function machine(): string {
  const [first] = cpus();
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  return `${first?.model.trim() ?? "unknown CPU"}, ${cpus().length} cores, ${memory}, ${process.platform} ${release()}, Bun ${Bun.version}`;
}

export interface VerifyRequest {
  readonly root: string;
  readonly body: unknown;
  readonly path?: string;
}

/** A verification as an API's middleware would send it. */
export function verifyRequest({ root, body, path = "/v1/keys/verify" }: VerifyRequest): string {
  const text = JSON.stringify(body);
  return `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${root}\r\nContent-Type: application/json\r\nKeyturn-Caller: bench\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
}

/** What nginx sends along for a client, shortened. */
export function forwardAuthRequest(root: string, number: number): string {
  return `GET /v1/forward-auth?scope=invoices:read HTTP/1.1\r\nHost: 127.0.0.1\r\nKeyturn-Authorization: Bearer ${root}\r\nAuthorization: Bearer ${secretOf(number)}\r\nKeyturn-Caller: caller-${number}\r\nX-Forwarded-For: 198.51.100.${number % 250}\r\nUser-Agent: bench/1.0\r\n\r\n`;
}

/** Fails when the answers were not what the row is about. */
export function assertAllValid(result: LoadResult): void {
  const others = Object.keys(result.statuses).filter((status) => status !== "200");
  if (others.length > 0 || result.invalid > 0) {
    throw new Error(
      `answers were not all good: ${JSON.stringify(result.statuses)}, ${result.invalid} invalid`,
    );
  }
}
