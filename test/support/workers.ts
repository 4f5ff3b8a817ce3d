import { connect, type Socket } from "node:net";
import { Json } from "./http.ts";
import type { Served } from "./installation.ts";
import { until } from "./until.ts";

/** A worker as it told of itself when it was ready. */
export interface Worker {
  readonly name: string;
  readonly pid: number;
  readonly metricsUrl: string;
}

/** The settings of a server with so many workers, each with a port of its own for its metrics. */
export function crewEnv(workers: number): Readonly<Record<string, string>> {
  return { KEYTURN_WORKERS: String(workers), KEYTURN_METRICS_PORT: "0", KEYTURN_PROCESS_NAME: "crew" };
}

/** The workers that were ready last under each name, by name. */
export function workersOf(served: Served): readonly Worker[] {
  const told = served.process
    .errors()
    .split("\n")
    .filter((line) => line.includes('"msg":"the worker is ready"'))
    .map((line) => new Json(JSON.parse(line)));
  const newest = new Map(
    told.map((line): [string, Worker] => [
      line.text("process"),
      { name: line.text("process"), pid: Number(line.at("pid")), metricsUrl: line.text("metricsUrl") },
    ]),
  );
  return [...newest.values()].toSorted((one, other) => one.name.localeCompare(other.name));
}

/** Resolves to the worker that took the place of one that has ended. */
export function successorOf(served: Served, gone: Worker): Promise<Worker> {
  return until(`${gone.name} is there again`, () =>
    workersOf(served).find(({ name, pid }) => name === gone.name && pid !== gone.pid),
  );
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Adds up a metric over its labels. */
export async function metricOf(worker: Worker, name: string): Promise<number> {
  const text = await (await fetch(worker.metricsUrl)).text();
  const values = text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "gm"));
  return [...values].reduce((sum, [, value]) => sum + Number(value), 0);
}

export interface LineAnswer {
  readonly status: number;
  readonly body: Json;
}

/** One connection, and with it one worker: requests go out and are answered one after another. */
export interface Line {
  ask(method: string, path: string, key: string, body?: unknown): Promise<LineAnswer>;
  close(): void;
}

function openLine(port: number): Line {
  const socket: Socket = connect(port, "127.0.0.1");
  socket.setEncoding("latin1");
  let received = "";
  let look: () => void = () => undefined;
  let failed: Error | null = null;
  socket.on("data", (data: string) => {
    received += data;
    look();
  });
  socket.on("error", (error) => {
    failed = error;
    look();
  });
  socket.on("close", () => {
    failed ??= new Error("the connection was closed");
    look();
  });

  /** Takes an answer off what was received, once it is whole. */
  function take(): LineAnswer | null {
    const end = received.indexOf("\r\n\r\n");
    if (end < 0) return null;
    const head = received.slice(0, end);
    const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
    if (received.length < end + 4 + length) return null;
    const text = Buffer.from(received.slice(end + 4, end + 4 + length), "latin1").toString();
    received = received.slice(end + 4 + length);
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1]);
    return { status, body: new Json(text === "" ? null : JSON.parse(text)) };
  }

  return {
    ask: (method, path, key, body) => {
      const text = body === undefined ? "" : JSON.stringify(body);
      const type = body === undefined ? "" : "Content-Type: application/json\r\n";
      socket.write(
        `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${key}\r\n${type}Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
      );
      return new Promise((resolve, reject) => {
        look = () => {
          const answer = take();
          if (answer !== null) resolve(answer);
          else if (failed !== null) reject(failed);
        };
        look();
      });
    },
    close: () => socket.destroy(),
  };
}

/** A connection to each of the workers, while nobody else asks for anything. */
export async function linesTo(served: Served, workers: readonly Worker[]): Promise<readonly Line[]> {
  const port = Number(new URL(served.url).port);
  const found = new Map<Worker, Line>();
  const counts = () => Promise.all(workers.map((worker) => metricOf(worker, "keyturn_requests_total")));
  await until("there is a connection to each worker", async () => {
    const line = openLine(port);
    const before = await counts();
    await line.ask("GET", "/v1/keys/self", served.rootKey);
    const after = await counts();
    const worker = workers.find((_, index) => after[index] !== before[index]);
    if (worker === undefined || found.has(worker)) line.close();
    else found.set(worker, line);
    return found.size === workers.length;
  });
  return workers.flatMap((worker) => found.get(worker) ?? []);
}
