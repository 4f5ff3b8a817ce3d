import type { Logger } from "pino";
import { HostError } from "./open.ts";
import { argumentsOf, type WorkerMessage, type WorkerOrder, workerMessage } from "./worker-order.ts";

/** The worker processes of one server. */
export interface Crew {
  /**
   * Starts one and resolves to where it serves. From then on it is started again whenever it ends. Throws `HostError`, and
   * the signal's reason where that came first.
   */
  start(number: number, port: number): Promise<string>;
  /** Asks all of them to stop. Throws `HostError` when one that served ended uncleanly; what it had counted may be lost. */
  stop(): Promise<void>;
}

export interface CrewParts {
  readonly version: string;
  readonly log: Logger;
  /** Once it has come, none is started any more. */
  readonly toldToStop: AbortSignal;
  readonly nameOf: (number: number) => string;
  /** Told of a worker that has died, before another one takes its place. */
  readonly onDeath: (name: string) => Promise<void>;
}

/** A worker that ends at once is not started again at once. */
const SHORTEST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;
/** After so long, whatever ended it is not what ended the one before. */
const LIVED_MS = 30_000;
/** Requests under way have 10 seconds, and so has the wait for a file that another process writes. */
const STOP_LIMIT_MS = 25_000;
/** A signal to everybody at once may end a worker a moment before this process hears of it. */
const SAME_MOMENT_MS = 100;

export function createCrew({ version, log, toldToStop, nameOf, onDeath }: CrewParts): Crew {
  const running = new Set<WorkerProcess>();
  let stopping: Promise<void> | null = null;
  let wake: () => void = () => undefined;
  const awake = new Promise<void>((resolve) => {
    wake = resolve;
  });

  const isStopping = () => stopping !== null || toldToStop.aborted;

  function run(number: number, port: number): WorkerProcess {
    const worker = spawnWorker({ number, port, serverPid: process.pid, version });
    running.add(worker);
    // How one ended that was told to stop by others, the stop still has to ask.
    void worker.ended.then(() => {
      if (!isStopping()) running.delete(worker);
    });
    return worker;
  }

  /** A timer that is left would keep this process for as long. */
  function rest(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      void awake.then(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  async function keep(first: WorkerProcess, number: number, port: number): Promise<void> {
    let pause = SHORTEST_PAUSE_MS;
    for (let worker = first, since = performance.now(); ; since = performance.now()) {
      const how = await worker.ended;
      if (isStopping()) return;
      if (performance.now() - since > LIVED_MS) pause = SHORTEST_PAUSE_MS;
      log.error({ worker: nameOf(number), ...how }, "a worker has ended; it is started again");
      await onDeath(nameOf(number)).catch((error) =>
        log.error({ err: error }, "its traces could not be removed"),
      );
      await rest(pause);
      if (isStopping()) return;
      pause = Math.min(LONGEST_PAUSE_MS, 2 * pause);
      worker = run(number, port);
    }
  }

  async function stopAll(): Promise<void> {
    wake();
    const all = await Promise.all(
      [...running].map(async (worker) => ({ worker, ...(await worker.stop(STOP_LIMIT_MS)) })),
    );
    // One that was not ready yet has counted nothing, and may not have known what a signal means to it.
    const unclean = all.filter(({ exitCode, wasReady }) => wasReady && exitCode !== 0);
    if (unclean.length > 0)
      throw new HostError(
        `These workers did not end cleanly: ${unclean.map(({ worker }) => nameOf(worker.number)).join(", ")}.`,
      );
  }

  return {
    start: async (number, port) => {
      toldToStop.throwIfAborted();
      const worker = run(number, port);
      const url = await worker.ready;
      if (url === null) {
        const { why, exitCode, signal } = await worker.ended;
        if (signal !== null) await Bun.sleep(SAME_MOMENT_MS);
        toldToStop.throwIfAborted();
        throw new HostError(
          why ?? `${nameOf(number)} ended before it was ready (${signal ?? `exit code ${exitCode}`}).`,
        );
      }
      void keep(worker, number, port === 0 ? portOf(url) : port);
      return url;
    },
    stop: () => {
      stopping ??= stopAll();
      return stopping;
    },
  };
}

export function portOf(url: string): number {
  return Number(new URL(url).port);
}

interface Ended {
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly wasReady: boolean;
  /** What it said of itself, if it could. */
  readonly why: string | undefined;
}

interface WorkerProcess {
  readonly number: number;
  /** Where it serves; null when it ended before that. */
  readonly ready: Promise<string | null>;
  readonly ended: Promise<Ended>;
  /** Asks it to stop, and kills it when it hasn't after so long. */
  stop(limitMs: number): Promise<Ended>;
}

/** This program once more: the executable that has everything in it, or the runtime with the source. */
function ownCommand(): readonly string[] {
  const isExecutable = Bun.main.startsWith("/$bunfs/");
  return isExecutable ? [process.execPath] : [process.execPath, ...process.execArgv, Bun.main];
}

/**
 * One that the system could not start: too many processes, too little memory, a program that is being replaced. That
 * passes, and must not end those that run; so it is one that has ended.
 */
function neverStarted(number: number, error: unknown): WorkerProcess {
  const said = error instanceof Error ? error.message : String(error);
  const why = `It could not be started: ${said}`;
  const ended = Promise.resolve({ exitCode: null, signal: null, wasReady: false, why });
  return { number, ready: Promise.resolve(null), ended, stop: () => ended };
}

function spawnWorker(order: WorkerOrder): WorkerProcess {
  let isReady: (url: string | null) => void = () => undefined;
  const ready = new Promise<string | null>((resolve) => {
    isReady = resolve;
  });
  let wasReady = false;
  let why: string | undefined;
  const hear = (message: WorkerMessage) => {
    if (message.kind === "ready") {
      wasReady = true;
      isReady(message.url);
    } else why = message.why;
  };
  // Its log goes where ours goes: each line is one write. The channel tells it when we end, however that comes about.
  const launch = () =>
    Bun.spawn([...ownCommand(), ...argumentsOf(order)], {
      stdio: ["ignore", "inherit", "inherit"],
      serialization: "json",
      ipc: (message) => hear(workerMessage.parse(message)),
    });
  let child: ReturnType<typeof launch>;
  try {
    child = launch();
  } catch (error) {
    return neverStarted(order.number, error);
  }
  const ended = child.exited.then((): Ended => {
    isReady(null);
    return {
      exitCode: child.exitCode,
      signal: child.signalCode === null ? null : String(child.signalCode),
      wasReady,
      why,
    };
  });
  return {
    number: order.number,
    ready,
    ended,
    stop: async (limitMs) => {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), limitMs);
      const how = await ended;
      clearTimeout(timer);
      return how;
    },
  };
}
