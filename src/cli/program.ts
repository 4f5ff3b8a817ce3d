import { KeyturnError } from "@keyturn/sdk";
import { Command, CommanderError } from "commander";
import { addAccounts } from "./accounts.ts";
import { addAudit } from "./audit.ts";
import { addCluster } from "./cluster.ts";
import { type Act, type CliParts, contextOf } from "./context.ts";
import { CliFailure, EXIT, exitOf, misuse } from "./exit.ts";
import { addHost } from "./host.ts";
import { addKeys } from "./keys.ts";
import { problemText } from "./problem.ts";
import { addRotations } from "./rotations.ts";
import { addRun } from "./run.ts";
import { addServiceAccounts } from "./service-accounts.ts";
import { addSetup } from "./setup.ts";
import { say } from "./terminal.ts";
import { addVerify } from "./verify.ts";

/** Runs one command line and resolves to the exit code. Nothing is thrown. */
export async function runCli(args: readonly string[], parts: CliParts): Promise<number> {
  let exit: number = EXIT.ok;
  const program = createProgram(parts, (code) => {
    exit = code;
  });
  // A reader that has seen enough (`| head`) is no failure.
  process.stdout.on("error", () => process.exit(exit));
  try {
    assertNoSecret(args);
    await program.parseAsync([...args], { from: "user" });
    return exit;
  } catch (error) {
    return explain(error, args.includes("--json"));
  }
}

function createProgram(parts: CliParts, endWith: (exit: number) => void): Command {
  const program = new Command("keyturn")
    .description(
      "Issues, verifies and rotates API keys. Documentation: docs/cli.md; the server: keyturn serve --help.",
    )
    .version(parts.version)
    .option("--url <url>", "where Keyturn is (KEYTURN_URL; http://127.0.0.1:8420)")
    .option("--key-file <path>", "a file with the key to ask with (KEYTURN_KEY or KEYTURN_KEY_FILE)")
    .option("--json", "answer with JSON on standard output, and ask nothing")
    .showHelpAfterError("Try the same with --help.")
    .configureHelp({ showGlobalOptions: true })
    .exitOverride();
  const act: Act = (command, options, run) => {
    command.action(async () => {
      const context = contextOf(command, parts, endWith);
      const given = options.safeParse(command.opts());
      if (!given.success) throw misuse(given.error.issues.map((issue) => issue.message).join("\n"));
      await run(context, given.data, command.args);
    });
  };
  addHost(program, act);
  addSetup(program, act);
  addAccounts(program, act);
  addServiceAccounts(program, act);
  addKeys(program, act);
  addRotations(program, act);
  addVerify(program, act);
  addAudit(program, act);
  addCluster(program, act);
  addRun(program, act);
  return inherit(program);
}

/** Sub-commands take over how their parent fails and helps. */
function inherit(command: Command): Command {
  for (const child of command.commands) {
    child.copyInheritedSettings(command);
    inherit(child);
  }
  return command;
}

const SECRET = /[a-z][a-z0-9]{0,15}[us]_(?:[a-z][a-z0-9-]{0,15}_)?[0-9A-Za-z]{38}|setup_[0-9A-Za-z]{32}/;

/**
 * A secret among the arguments is refused before anything could repeat it: everybody on the machine can read command
 * lines, and shells keep them. Test: test/cli/secrets.test.ts.
 */
function assertNoSecret(args: readonly string[]): void {
  const end = args.indexOf("--");
  const own = end < 0 ? args : args.slice(0, end);
  if (!args.some((arg) => SECRET.test(arg)) && !own.some((arg) => /^--(key|token|secret)(=|$)/.test(arg)))
    return;
  throw misuse(
    "A secret must not stand on a command line: the process list and the shell's history show it. Give it in KEYTURN_KEY, in a file or on standard input; and replace it if it was real.",
  );
}

/** Says why on standard error, and gives the exit code. */
function explain(error: unknown, json: boolean): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  if (error instanceof CliFailure) {
    if (error.message !== "") say(`keyturn: ${error.message}`);
    return error.exit;
  }
  if (error instanceof KeyturnError) {
    say(
      json
        ? JSON.stringify(error.problem ?? { status: error.status, code: error.code, detail: error.detail })
        : problemText(error),
    );
    return exitOf(error.code);
  }
  say(
    `keyturn: this is a bug, please report it.\n${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
  );
  return EXIT.refused;
}
