import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import type { Command } from "commander";
import { z } from "zod";
import type { Environment } from "./connection.ts";
import type { Act } from "./context.ts";
import { CliFailure, EXIT, misuse } from "./exit.ts";

const PASSED_ON = ["SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const;
/** What a shell says of a program that it can't find, or can't start. */
const NOT_FOUND = 127;
const NOT_STARTED = 126;

/** `keyturn run -- cmd`: a key for a program, through its environment alone. */
export function addRun(program: Command, act: Act): void {
  const run = program
    .command("run")
    .description("run a program with the key in its environment, and nowhere else")
    .option("--env <name>", "the variable that the program reads", "API_KEY")
    .argument("<cmd...>", "after --, the program and its arguments")
    .addHelpText(
      "after",
      "\nThe key is the one of KEYTURN_KEY, KEYTURN_KEY_FILE or --key-file. The exit code is the program's.\n\nExample:\n  KEYTURN_KEY_FILE=ci.key keyturn run --env INVOICES_KEY -- node sync.js",
    );
  act(run, z.object({ env: z.string() }), async (context, { env: name }, [command, ...args]) => {
    const key = context.key();
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw misuse("--env: a name of letters, digits and _.");
    if (key === undefined)
      throw misuse("There is no key to hand on. Set KEYTURN_KEY or KEYTURN_KEY_FILE, or give --key-file.");
    if (command === undefined) throw misuse("Give the program to run, after --.");
    context.endWith(await runChild(command, args, childEnvironment(context.environment, name, key)));
  });
}

/** The key under the name that was asked for, and under no other. */
function childEnvironment(environment: Environment, name: string, key: string): Record<string, string> {
  const { KEYTURN_KEY: _key, KEYTURN_KEY_FILE: _file, ...others } = environment;
  const kept = Object.entries(others).filter((pair): pair is [string, string] => pair[1] !== undefined);
  return { ...Object.fromEntries(kept), [name]: key };
}

async function runChild(
  command: string,
  args: readonly string[],
  env: Record<string, string>,
): Promise<number> {
  let child: ChildProcess | null = null;
  // A terminal sends Ctrl-C to both; passed on as well it would arrive twice.
  const hasTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
  const handlers = new Map<NodeJS.Signals, () => void>(
    PASSED_ON.map((signal) => [signal, () => child?.kill(signal)]),
  );
  handlers.set("SIGINT", () => void (hasTerminal || child?.kill("SIGINT")));
  // Before there is a program: a signal that came in between would end this process and leave the program alone.
  for (const [signal, handler] of handlers) process.on(signal, handler);
  try {
    const started = spawn(command, args, { stdio: "inherit", env });
    child = started;
    return await new Promise<number>((resolve, reject) => {
      started.once("error", (error) => reject(startFailure(command, error)));
      started.once("exit", (code, signal) =>
        resolve(signal === null ? (code ?? EXIT.refused) : 128 + constants.signals[signal]),
      );
    });
  } catch (error) {
    if (!(error instanceof CliFailure)) throw error;
    process.stderr.write(`keyturn: ${error.message}\n`);
    return error.message.endsWith("(ENOENT).") ? NOT_FOUND : NOT_STARTED;
  } finally {
    for (const [signal, handler] of handlers) process.off(signal, handler);
  }
}

function startFailure(command: string, error: Error): CliFailure {
  const code = "code" in error ? String(error.code) : error.message;
  return new CliFailure(EXIT.refused, `${command} could not be started (${code}).`);
}
