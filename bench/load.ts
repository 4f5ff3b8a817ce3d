/**
 * The load: a process of its own that sends prepared requests over keep-alive connections, one at a time on each, and
 * prints what came back as JSON. Plain sockets, because `fetch` costs more than the servers under measure; wrk, where
 * it was at hand, got the same rates (docs/benchmarks.md).
 *
 *     bun bench/load.ts '{"ports": [8420], "file": "requests.bin", "connections": 32, "seconds": 3}'
 */
import { readFileSync } from "node:fs";

export interface LoadPlan {
  /** The connections are dealt out to them in turn. */
  readonly ports: readonly number[];
  /** Whole requests as text, as `writeRequests` packs them. They are sent in a circle. */
  readonly file: string;
  readonly connections: number;
  /** Counted after the warm-up. */
  readonly seconds: number;
  readonly warmupSeconds: number;
  /** Requests per second over all connections; without it each connection sends as soon as it has its answer. */
  readonly rate?: number;
  /** Ends the run after so many requests, however long they take. */
  readonly requests?: number;
}

export interface LoadResult {
  readonly requests: number;
  readonly seconds: number;
  readonly perSecond: number;
  /** Answers by status, and of those with a body that begins with `{"valid":false`. */
  readonly statuses: Readonly<Record<string, number>>;
  readonly invalid: number;
  /** In microseconds. With a rate they count from the moment the request was due. */
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** CPU time that this process took, in microseconds per request: how near it is to being the bottleneck. */
  readonly ownCpuPerRequest: number;
}

/** Packs requests: four bytes of length before each. */
export function packRequests(requests: readonly string[]): Uint8Array {
  const parts = requests.flatMap((request) => {
    const bytes = Buffer.from(request, "latin1");
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    return [length, bytes];
  });
  return Buffer.concat(parts);
}

function unpackRequests(packed: Buffer): readonly Buffer[] {
  const requests: Buffer[] = [];
  for (let at = 0; at < packed.length; ) {
    const length = packed.readUInt32LE(at);
    requests.push(packed.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return requests;
}

const HEAD_END = Buffer.from("\r\n\r\n");
const REFUSED = Buffer.from('{"valid":false');

/** The length of the whole answer at the start of `data`, or -1 while its head is incomplete. */
export function answerLength(data: Buffer): number {
  const end = data.indexOf(HEAD_END);
  if (end < 0) return -1;
  const head = data.toString("latin1", 0, end);
  const at = head.search(/content-length: /i);
  return end + 4 + (at < 0 ? 0 : Number.parseInt(head.slice(at + 16), 10));
}

interface Line {
  sentAt: number;
  /** Received of an answer that came in pieces. */
  partial: Buffer | null;
  idle: boolean;
}

async function run(plan: LoadPlan): Promise<LoadResult> {
  const requests = unpackRequests(readFileSync(plan.file));
  const statuses: Record<string, number> = {};
  const latencies: number[] = [];
  let next = 0;
  let invalid = 0;
  let counting = false;
  let ended = false;
  let failure: Error | null = null;
  let finish: () => void = () => undefined;
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const sockets: Bun.Socket<Line>[] = [];
  // Moments at which requests were due while no connection was free.
  const overdue: number[] = [];

  const send = (socket: Bun.Socket<Line>, dueAt: number): void => {
    const request = requests[next % requests.length];
    if (request === undefined) return;
    next += 1;
    socket.data.idle = false;
    socket.data.sentAt = dueAt;
    if (socket.write(request) !== request.length) failed(new Error("the socket took only part of a request"));
  };
  const failed = (error: Error): void => {
    if (ended) return;
    failure ??= error;
    finish();
  };
  const answered = (socket: Bun.Socket<Line>, data: Buffer, length: number): void => {
    const line = socket.data;
    const now = performance.now();
    if (counting) {
      latencies.push(now - line.sentAt);
      const status = data.toString("latin1", 9, 12);
      statuses[status] = (statuses[status] ?? 0) + 1;
      const body = data.indexOf(HEAD_END) + 4;
      if (
        length - body >= REFUSED.length &&
        data.compare(REFUSED, 0, REFUSED.length, body, body + REFUSED.length) === 0
      )
        invalid += 1;
      if (plan.requests !== undefined && latencies.length >= plan.requests) finish();
    }
    const due = plan.rate === undefined ? now : overdue.shift();
    if (due === undefined) line.idle = true;
    else send(socket, due);
  };

  for (let index = 0; index < plan.connections; index += 1) {
    const socket = await Bun.connect<Line>({
      hostname: "127.0.0.1",
      port: plan.ports[index % plan.ports.length] ?? 0,
      data: { sentAt: 0, partial: null, idle: true },
      socket: {
        data: (from, chunk) => {
          const { partial } = from.data;
          const data = partial === null ? (chunk as Buffer) : Buffer.concat([partial, chunk]);
          const length = answerLength(data);
          if (length < 0 || data.length < length) {
            from.data.partial = Buffer.from(data);
            return;
          }
          from.data.partial = null;
          answered(from, data, length);
        },
        close: () => failed(new Error("the server closed a connection")),
        error: (_, error) => failed(error),
      },
    });
    socket.setNoDelay(true);
    sockets.push(socket);
  }

  if (plan.rate === undefined) for (const socket of sockets) send(socket, performance.now());
  else pace(plan.rate, sockets, overdue, send, () => ended || failure !== null);
  if (plan.warmupSeconds > 0) await Promise.race([Bun.sleep(plan.warmupSeconds * 1000), finished]);
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  counting = true;
  await Promise.race([Bun.sleep(plan.seconds * 1000), finished]);
  const seconds = (performance.now() - startedAt) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  counting = false;
  ended = true;
  for (const socket of sockets) socket.terminate();
  if (failure !== null) throw failure;
  latencies.sort((a, b) => a - b);
  const at = (share: number) =>
    Math.round(
      (latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0) * 10_000,
    ) / 10;
  return {
    requests: latencies.length,
    seconds,
    perSecond: latencies.length / seconds,
    statuses,
    invalid,
    p50: at(0.5),
    p99: at(0.99),
    max: at(1),
    ownCpuPerRequest: (cpu.user + cpu.system) / latencies.length,
  };
}

/** Sends at a steady rate, from the clock and not from the answers: a slow server is not given rest. */
function pace(
  rate: number,
  sockets: readonly Bun.Socket<Line>[],
  overdue: number[],
  send: (socket: Bun.Socket<Line>, dueAt: number) => void,
  done: () => boolean,
): void {
  const startedAt = performance.now();
  let planned = 0;
  let turn = 0;
  const tick = (): void => {
    if (done()) return;
    const now = performance.now();
    for (; startedAt + (planned * 1000) / rate <= now; planned += 1) {
      const due = startedAt + (planned * 1000) / rate;
      let free: Bun.Socket<Line> | undefined;
      for (let tried = 0; tried < sockets.length && free === undefined; tried += 1) {
        const socket = sockets[turn % sockets.length];
        turn += 1;
        if (socket?.data.idle) free = socket;
      }
      if (free === undefined) overdue.push(due);
      else send(free, due);
    }
    // A timer has whole milliseconds; this looks again after each round of the event loop.
    setImmediate(tick);
  };
  tick();
}

if (import.meta.main) {
  const plan = JSON.parse(process.argv[2] ?? "{}") as LoadPlan;
  console.log(JSON.stringify(await run(plan)));
  process.exit(0);
}
