/** Reads and runs transcripts: `$ command` lines with what the real programs answered. See test/cli/README.md. */
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type KeyturnProcess, spawnKeyturn } from "../support/keyturn-process.ts";
import { dropFolder, keyFolder, newFolder, noteSecret } from "../support/traces.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const SECRET = /\bkt[us]_[0-9A-Za-z]{38}\b/g;

/** Write down what is answered now, to be read as a diff. */
export const IS_UPDATE = process.env.KEYTURN_TEST_UPDATE === "1";

interface Step {
  readonly command: string;
  /** What was answered, normalised; empty for nothing. */
  readonly answer: string;
}

export interface Transcript {
  /** Comment lines in front of each step are kept, so that an update writes the file as it was. */
  readonly parts: readonly { readonly comment: string; readonly step: Step }[];
}

export function readTranscript(text: string): Transcript {
  const parts: { comment: string; step: { command: string; answer: string } }[] = [];
  let comment: string[] = [];
  for (const line of text.split("\n")) {
    const last = parts.at(-1);
    if (line.startsWith("#") || (line === "" && comment.length > 0)) comment.push(line);
    else if (line.startsWith("$ ")) {
      parts.push({ comment: comment.join("\n"), step: { command: line.slice(2), answer: "" } });
      comment = [];
    } else if (last !== undefined) last.step.answer += `${line}\n`;
  }
  return {
    parts: parts.map(({ comment, step }) => ({ comment, step: { ...step, answer: step.answer.trimEnd() } })),
  };
}

export function writeTranscript(transcript: Transcript): string {
  return transcript.parts
    .map(({ comment, step }) => {
      const before = comment.trim() === "" ? "" : `${comment.trim()}\n\n`;
      return `${before}$ ${step.command}\n${step.answer === "" ? "" : `${step.answer}\n`}`;
    })
    .join("\n");
}

// What differs from run to run, in the order in which it is looked for. Numbered ones can be used in later commands.
const VARYING: readonly (readonly [name: string, pattern: RegExp])[] = [
  ["secret", SECRET],
  ["token", /\bsetup_[0-9A-Za-z]{32}\b/g],
  ["id", /\b(?:key|acc|sa|lin|rot|bro)_[0-9a-z]{26}\b/g],
  ["hash", /\b[0-9a-f]{64}\b/g],
  ["port", /\b127\.0\.0\.1:\d+\b/g],
];
const PASSING: readonly (readonly [pattern: RegExp, token: string])[] = [
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g, "<time>"],
  [/\bkts_…[0-9A-Za-z]{4}/g, "<hint>"],
  [/\b\d+\.\d s ago\b/g, "<ago>"],
  [/\b(?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+s)? ago\b|\bjust now\b/g, "<ago>"],
  [/\bin (?:\d+[dhms])+/g, "in <span>"],
  [/"expires_in_seconds":[\d.]+/g, '"expires_in_seconds":<seconds>'],
  [/\d+ MiB/g, "<size>"],
  [/\b\d+\.\d s\b/g, "<seconds>"],
  [/"(staleness|silent_for)_seconds":[\d.]+/g, '"$1_seconds":<seconds>'],
  [/--cursor [A-Za-z0-9_-]{20,}/g, "--cursor <cursor>"],
];

/** Runs commands one after another in a folder of their own, beside a real server. */
export interface Stage {
  /** Every secret that was issued, and everything that was said on standard error. */
  issued(): readonly string[];
  readonly said: readonly string[];
  run(command: string): Promise<string>;
  close(): Promise<void>;
}

export async function openStage(): Promise<Stage> {
  const folder = keyFolder();
  const traces = newFolder("cli");
  const bin = join(folder, "bin");
  mkdirSync(bin);
  writeFileSync(join(bin, "keyturn"), `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`, {
    mode: 0o755,
  });
  const environment: Record<string, string> = {
    PATH: `${bin}:${process.env.PATH ?? ""}`,
    HOME: folder,
    KEYTURN_DATA: join(folder, "data"),
    KEYTURN_WITNESS_FILE: join(folder, "witness.jsonl"),
    KEYTURN_KEY_FILE: join(folder, "root.key"),
  };
  const values = new Map<string, string>();
  const said: string[] = [];
  let server: KeyturnProcess | null = null;

  async function start(): Promise<void> {
    const { KEYTURN_KEY_FILE, ...settings } = environment;
    const env = {
      ...settings,
      KEYTURN_PORT: "0",
      KEYTURN_ROOT_KEY_FILE: KEYTURN_KEY_FILE,
      KEYTURN_LOG_LEVEL: "debug",
      // Not the machine's name, which varies.
      KEYTURN_PROCESS_NAME: "process-1",
    };
    server = spawnKeyturn(["serve"], { env, logFile: join(traces, "server.log") });
    const url = await server.ready;
    if (url === null) throw new Error(`The server did not start:\n${server.errors()}`);
    environment.KEYTURN_URL = url;
  }

  async function shell(command: string): Promise<string> {
    const filled = command.replaceAll(/<[a-z]+ \d+>/g, (token) => {
      const value = values.get(token);
      if (value === undefined) throw new Error(`${token} has not been seen yet: ${command}`);
      return value;
    });
    const done = await runShell(filled, folder, environment);
    said.push(done.stderr);
    const lines = (text: string) => normalised(text, values).replaceAll(folder, "<folder>").split("\n");
    return [
      ...lines(done.stdout),
      ...lines(done.stderr).map((line) => (line === "" ? "" : `! ${line}`)),
      ...(done.code === 0 ? [] : [`[${done.code}]`]),
    ]
      .filter((line) => line.trim() !== "")
      .join("\n");
  }

  await start();
  return {
    said,
    issued: () => secretsUnder(folder),
    run: async (command) => {
      if (command !== "@stop" && command !== "@start") return shell(command);
      if (command === "@stop") await server?.stop();
      else await start();
      return "";
    },
    close: async () => {
      await server?.stop();
      for (const secret of secretsUnder(folder)) noteSecret(secret);
      // What people asked to be written down (keys) is left behind; all the rest is for the canary scan.
      for (const name of ["data", "lost", "backups", "witness.jsonl", "log.jsonl"]) {
        if (existsSync(join(folder, name)))
          cpSync(join(folder, name), join(traces, name), { recursive: true });
      }
      writeFileSync(join(traces, "stderr.log"), said.join(""));
      rmSync(folder, { recursive: true, force: true });
      dropFolder(traces);
    },
  };
}

/** The secrets in the files that commands wrote their standard output to. */
function secretsUnder(folder: string): readonly string[] {
  const files = readdirSync(folder).filter((name) => name.endsWith(".key"));
  return files.flatMap((name) => readFileSync(join(folder, name), "utf8").match(SECRET) ?? []);
}

/** The text with what varies replaced, and columns reduced to two spaces: widths vary with what they hold. */
function normalised(text: string, values: Map<string, string>): string {
  let result = text;
  for (const [name, pattern] of VARYING) {
    result = result.replace(pattern, (value) => {
      for (const [token, known] of values) if (known === value) return token;
      const count = [...values.keys()].filter((token) => token.startsWith(`<${name} `)).length;
      const token = `<${name} ${count + 1}>`;
      values.set(token, value);
      return token;
    });
  }
  for (const [pattern, token] of PASSING) result = result.replace(pattern, token);
  return result.replaceAll(/(?<=\S) {2,}/g, "  ");
}

async function runShell(command: string, cwd: string, env: Record<string, string>) {
  const child = spawn("sh", ["-c", command], { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const code = await new Promise<number>((resolve) => child.once("close", (exit) => resolve(exit ?? -1)));
  return { stdout, stderr, code };
}
