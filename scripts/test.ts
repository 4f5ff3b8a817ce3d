/**
 * Runs every test, and prints last how many passed, failed and were skipped.
 *
 *     npm test                        everything
 *     npm test -- rotations           the files whose path contains "rotations"
 *     npm test -- keys -t "revoked"   and of those the tests whose name matches; any flag of `bun test` will do
 *
 * Three rounds. Tests of several processes that must keep up with each other run by themselves: on a machine that other
 * tests keep busy, a process that is late is no fault. `test/afterwards/` runs when all else has finished, because it
 * searches what the other tests left in KEYTURN_TEST_TRACES (databases, logs, backups) for secrets. That directory is
 * removed when all passed.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");
const TEST_FILES = "{src,sdk,test,scripts,examples,bench}/**/*.test.{ts,tsx}";
const BY_THEMSELVES = ["test/cluster/", "test/crash/", "test/host/workers"];
const AFTERWARDS = "test/afterwards/";
/** Per test. Bun's own limit of 5 s is short for a test that starts servers or does something hundreds of times. */
const TIMEOUT_MS = 120_000;
/** Files of the first round that run at once: many tests wait for a server, a disk or a lease. */
const WORKERS = 2;
/** The flags of `bun test` that take their value as the next argument. */
const FLAGS_WITH_VALUE = [
  "-t",
  "--test-name-pattern",
  "--timeout",
  "--rerun-each",
  "--retry",
  "--seed",
  "--timings",
];

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/**
 * Reads the counts from what `bun test` printed. A run without a summary has crashed, and one that exits non-zero with
 * no failed test failed outside of any: both count as one failure. With `-t`, a round in which no test has such a name is
 * none: Bun says so in place of a summary, and exits non-zero.
 */
export function countsOf(output: string, exitCode: number): Counts {
  const lines = Bun.stripANSI(output).split("\n");
  if (/^error: regex .* matched 0 tests\./.test(lines.findLast((line) => line.trim() !== "") ?? ""))
    return { passed: 0, failed: 0, skipped: 0 };
  const end = lines.findLastIndex((line) => /^Ran \d+ tests? across \d+ files?\./.test(line));
  const summary = end < 0 ? [] : lines.slice(Math.max(0, end - 10), end);
  const count = (word: string) =>
    Number(
      summary
        .map((line) => line.match(`^ *(\\d+) ${word}$`)?.[1])
        .findLast((number) => number !== undefined) ?? 0,
    );
  const failed = count("fail");
  const crashed = end < 0 || (exitCode !== 0 && failed === 0);
  return {
    passed: count("pass"),
    failed: crashed ? failed + 1 : failed,
    skipped: count("skip") + count("todo"),
  };
}

/** The last line: `N passed, N failed`, and what was skipped if anything was. */
export function summaryLine({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}

/** Splits the arguments into words that choose files and flags that go to `bun test` as they are. */
export function splitArguments(args: readonly string[]): { words: string[]; flags: string[] } {
  const words: string[] = [];
  const flags: string[] = [];
  args.forEach((argument, i) => {
    const isValue = FLAGS_WITH_VALUE.includes(args[i - 1] ?? "");
    (isValue || argument.startsWith("-") ? flags : words).push(argument);
  });
  return { words, flags };
}

async function runRound(
  files: readonly string[],
  workers: number,
  flags: readonly string[],
  env: Record<string, string>,
): Promise<Counts> {
  if (files.length === 0) return { passed: 0, failed: 0, skipped: 0 };
  // Paths that start with "./" are taken as they are; other words would be patterns.
  const paths = files.map((file) => `./${file}`);
  const atOnce = workers > 1 ? [`--parallel=${workers}`, "--no-isolate"] : [];
  const ways = ["--timeout", String(TIMEOUT_MS), ...atOnce];
  const child = Bun.spawn([process.execPath, "test", ...ways, ...flags, ...paths], {
    cwd: ROOT,
    env: { ...process.env, ...env, ...(process.stderr.isTTY && { FORCE_COLOR: "1" }) },
    stdio: ["ignore", "inherit", "pipe"],
  });
  let output = "";
  const decoder = new TextDecoder();
  for await (const chunk of child.stderr) {
    process.stderr.write(chunk);
    // Only the end is needed, and a run may print a lot.
    output = (output + decoder.decode(chunk, { stream: true })).slice(-20_000);
  }
  return countsOf(output, await child.exited);
}

if (import.meta.main) {
  const { words, flags } = splitArguments(process.argv.slice(2));
  const files = [...new Bun.Glob(TEST_FILES).scanSync({ cwd: ROOT })]
    .filter((file) => !file.includes("node_modules/"))
    .filter((file) => words.length === 0 || words.some((word) => file.includes(word.replace(/^\.\//, ""))))
    .sort();

  const own = process.env.KEYTURN_TEST_TRACES === undefined;
  const traces = process.env.KEYTURN_TEST_TRACES ?? mkdtempSync(join(tmpdir(), "keyturn-test-"));
  const env = { KEYTURN_TEST_TRACES: traces };

  const isLast = (file: string) => file.startsWith(AFTERWARDS);
  const isAlone = (file: string) => BY_THEMSELVES.some((start) => file.startsWith(start));
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const [round, workers] of [
    [files.filter((file) => !isLast(file) && !isAlone(file)), WORKERS],
    [files.filter(isAlone), 1],
    [files.filter(isLast), 1],
  ] as const) {
    const { passed, failed, skipped } = await runRound(round, workers, flags, env);
    counts.passed += passed;
    counts.failed += failed;
    counts.skipped += skipped;
  }

  const good = counts.failed === 0 && counts.passed > 0;
  if (own && good) rmSync(traces, { recursive: true, force: true });
  if (own && !good) console.log(`What the tests left is in ${traces}`);
  if (files.length === 0) console.log("No test file matches.");
  console.log(summaryLine(counts));
  process.exitCode = good ? 0 : 1;
}
