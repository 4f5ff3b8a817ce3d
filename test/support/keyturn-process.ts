import { appendFileSync } from "node:fs";
import { join } from "node:path";
import type { Environment } from "../../src/config.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");

/** `keyturn …` in a process of its own. */
export interface KeyturnProcess {
  readonly pid: number;
  /** Where it serves, once it says that it is ready; null when it ended before that. */
  readonly ready: Promise<string | null>;
  /** Its exit code, null when a signal ended it. */
  readonly exited: Promise<number | null>;
  /** What it has written to standard error so far, and to standard output. */
  errors(): string;
  output(): string;
  signal(name: "SIGTERM" | "SIGKILL" | "SIGSTOP" | "SIGCONT"): void;
  /** Asks it to stop, and resolves when it has. */
  stop(): Promise<number | null>;
}

export interface ProcessOptions {
  readonly env: Environment;
  /** Where its log is kept. What it says to people alone (a set-up token) is no part of a log, and not kept. */
  readonly logFile?: string;
  /** How large a file may get that it writes, as a full disk would have it: the system refuses what goes beyond. */
  readonly largestFileKb?: number;
  /** The program, with its arguments, that runs it: one that becomes what it runs. */
  readonly through?: readonly string[];
}

/** By this `npm test` has its processes die with it. No user's server runs with it, and a halted one would die of it. */
const NO_ORPHANS = "BUN_FEATURE_FLAG_NO_ORPHANS";

/** Starts one with nothing of Keyturn's in its environment but what is given. */
export function spawnKeyturn(
  args: readonly string[],
  { env, logFile, largestFileKb, through = [] }: ProcessOptions,
): KeyturnProcess {
  const others = Object.entries(process.env).filter(
    ([name]) => !name.startsWith("KEYTURN_") && name !== NO_ORPHANS,
  );
  const command = [...through, process.execPath, MAIN, ...args];
  // The signal that goes with the limit would end the process; ignored, the write fails as on a full disk.
  const limited = ["bash", "-c", `trap '' XFSZ; ulimit -f ${largestFileKb}; exec "$@"`, "bash", ...command];
  const child = Bun.spawn(largestFileKb === undefined ? command : limited, {
    env: { ...Object.fromEntries(others), ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  let errors = "";
  let isReady: (url: string | null) => void = () => undefined;
  const ready = new Promise<string | null>((resolve) => {
    isReady = resolve;
  });
  const readErrors = eachLine(child.stderr, (line) => {
    errors += `${line}\n`;
    if (logFile !== undefined && line.startsWith("{")) appendFileSync(logFile, `${line}\n`);
    if (line.includes('"msg":"ready"')) isReady(/"url":"([^"]+)"/.exec(line)?.[1] ?? null);
  });
  let output = "";
  const readOutput = eachLine(child.stdout, (line) => {
    output += `${line}\n`;
  });
  const exited = Promise.all([child.exited, readErrors, readOutput]).then(() => {
    isReady(null);
    return child.exitCode;
  });
  return {
    pid: child.pid,
    ready,
    exited,
    errors: () => errors,
    output: () => output,
    signal: (name) => child.kill(name),
    stop: () => {
      child.kill("SIGTERM");
      return exited;
    },
  };
}

async function eachLine(stream: ReadableStream<Uint8Array>, take: (line: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) take(line);
  }
  if (rest !== "") take(rest);
}

/** A started server; fails with what it said when it did not start. */
export async function urlOf(server: KeyturnProcess): Promise<string> {
  const url = await server.ready;
  if (url === null) throw new Error(`the server did not start:\n${server.errors()}`);
  return url;
}
