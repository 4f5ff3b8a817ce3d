import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { cpus, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { type Filled, fillStore, secretOf } from "./fill.ts";
import { type LoadPlan, type LoadResult, packRequests } from "./load.ts";

const ROOT = join(import.meta.dir, "..");
const WAIT_MS = 20_000;

/** How much is measured. `tiny` shows only that everything still runs. */
export type Scale = "full" | "quick" | "tiny";

/** One thing that serves HTTP in a process of its own. */
export interface Server {
  readonly port: number;
  readonly url: string;
  /** CPU time used so far in microseconds, or null where the system does not tell (it does on Linux). */
  cpu(): number | null;
  stop(): Promise<void>;
}

export interface Load {
  readonly requests: readonly string[];
  readonly seconds: number;
  readonly rate?: number;
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
  /** A store with so many keys, made at the first call. */
  store(keys: number): Promise<Filled>;
  emptyFolder(): string;
  keyturn(filled: Filled, settings?: Readonly<Record<string, string>>): Promise<Server>;
  /** Runs another file of the bench that prints a port first, or a line of JSON that has one. */
  program(file: string, args: readonly string[]): Promise<{ server: Server; line: string }>;
  load(server: Server, load: Load): Promise<Measured>;
  /** Runs another file of the bench to its end and reads the JSON that it prints. */
  ask<T>(file: string, args: readonly string[]): Promise<T>;
  close(): Promise<void>;
}

export const CONNECTIONS = 32;

export function createLab(scale: Scale): Lab {
  const folder = mkdtempSync(join(tmpdir(), "keyturn-bench-"));
  const stores = new Map<number, Promise<Filled>>();
  const running = new Set<Subprocess>();
  let folders = 0;
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
    port,
    url: `http://127.0.0.1:${port}`,
    cpu: () => cpuOf(child.pid),
    stop: async () => {
      child.kill();
      await child.exited;
    },
  });

  return {
    scale,
    pick: (of) => of[scale],
    store: (keys) => {
      const made = stores.get(keys) ?? fillStore(emptyFolder(), keys);
      stores.set(keys, made);
      return made;
    },
    emptyFolder,
    keyturn: async (filled, settings = {}) => {
      const port = freePort();
      const server = serverOf(
        start(["src/main.ts", "serve"], {
          KEYTURN_DATA: filled.folder,
          KEYTURN_PORT: String(port),
          KEYTURN_LOG_LEVEL: "error",
          ...settings,
        }),
        port,
      );
      await ready(server);
      return server;
    },
    program: async (file, args) => {
      const child = start([join("bench", file), ...args]);
      const line = await firstLine(child.stdout);
      const port = /^\d+$/.test(line) ? Number(line) : Number((JSON.parse(line) as { port: number }).port);
      return { server: serverOf(child, port), line };
    },
    load: async (server, { requests, seconds, rate }) => {
      const file = join(folder, "requests.bin");
      await Bun.write(file, packRequests(requests));
      const plan: LoadPlan = {
        port: server.port,
        file,
        connections: CONNECTIONS,
        seconds,
        warmupSeconds: Math.min(0.3, seconds / 4),
        ...(rate === undefined ? {} : { rate }),
      };
      const before = server.cpu();
      const child = start(["bench/load.ts", JSON.stringify(plan)]);
      const result = JSON.parse(await new Response(child.stdout).text()) as LoadResult;
      const after = server.cpu();
      const all = result.perSecond * (plan.seconds + plan.warmupSeconds);
      return { ...result, cpuPerRequest: before === null || after === null ? null : (after - before) / all };
    },
    ask: async <T>(file: string, args: readonly string[]) => {
      const child = start([join("bench", file), ...args]);
      const text = await new Response(child.stdout).text();
      if ((await child.exited) !== 0) throw new Error(`bench/${file} failed`);
      return JSON.parse(text) as T;
    },
    close: async () => {
      for (const child of running) child.kill();
      await Promise.all([...running].map((child) => child.exited));
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

async function ready(server: Server): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  for (;;) {
    try {
      if ((await fetch(`${server.url}/readyz`)).ok) return;
    } catch {
      if (performance.now() > deadline) throw new Error("the server did not start");
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

/** User and system time of a process from `/proc`, in ticks of 10 ms (proc(5)). */
function cpuOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10_000;
  } catch {
    return null;
  }
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
