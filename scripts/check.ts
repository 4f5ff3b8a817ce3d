/**
 * Runs every check, two at once, and prints a line for each with the seconds it took; the output of a check is shown
 * when it fails. `npm run check -- types docs` runs those alone.
 */
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");
const AT_ONCE = 2;

const BUN = process.execPath;
const tool = (path: string) => [BUN, join(ROOT, "node_modules", path)];
const script = (name: string) => [BUN, join(ROOT, "scripts", `${name}.ts`)];

/** The slow ones first, so that the short ones fill the gap beside them. */
const CHECKS: Readonly<Record<string, readonly string[]>> = {
  types: [...tool("typescript/bin/tsc"), "--pretty", "false"],
  "dead-code": [...tool("knip/bin/knip.js"), "--no-progress"],
  format: [...tool("@biomejs/biome/bin/biome"), "check", "--error-on-warnings", "--max-diagnostics=100", "."],
  sdk: script("check-sdk"),
  layers: script("check-layers"),
  docs: script("check-docs"),
  lockfile: script("check-lockfile"),
  schema: script("check-schema"),
};

async function runCheck(name: string, command: readonly string[]): Promise<boolean> {
  const start = performance.now();
  const child = Bun.spawn([...command], { cwd: ROOT, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${exitCode === 0 ? "ok    " : "FAILED"} ${name.padEnd(12)} ${seconds.padStart(5)} s`);
  if (exitCode !== 0) console.log(`${stdout}${stderr}`.trimEnd().replace(/^/gm, "    "));
  return exitCode === 0;
}

const chosen = process.argv.slice(2);
const unknown = chosen.filter((name) => !(name in CHECKS));
if (unknown.length > 0) {
  console.error(`No check named ${unknown.join(", ")}; there are ${Object.keys(CHECKS).join(", ")}.`);
  process.exit(2);
}

const start = performance.now();
const waiting = Object.entries(CHECKS).filter(([name]) => chosen.length === 0 || chosen.includes(name));
const results: boolean[] = [];
async function lane(): Promise<void> {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift())
    results.push(await runCheck(...next));
}
await Promise.all(Array.from({ length: AT_ONCE }, lane));

const failed = results.filter((good) => !good).length;
const seconds = ((performance.now() - start) / 1000).toFixed(1);
console.log(`${results.length - failed} passed, ${failed} failed, in ${seconds} s`);
process.exitCode = failed > 0 ? 1 : 0;
