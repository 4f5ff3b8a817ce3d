/**
 * Measures every claim, each beside its budget and beside a floor that is measured in the same run.
 *
 *     npm run bench                       everything, about a quarter of an hour
 *     npm run bench -- --quick            less of everything, and 100,000 keys instead of a million
 *     npm run bench -- forward-auth       the rows whose name has the word; postgres, "5,000,000", propagation, issue …
 *
 * docs/benchmarks.md says what each row measures. Exits with 1 when a budget is missed.
 */
import { loadavg } from "node:os";
import { createLab, machine, type Scale } from "./lab.ts";
import { type Figure, holds, type Row } from "./row.ts";
import { CHANGE_ROWS } from "./rows/changes.ts";
import { HTTP_ROWS } from "./rows/http.ts";
import { PEER_ROWS } from "./rows/peer.ts";
import { PROCESS_ROWS } from "./rows/process.ts";
import { PROCESS_COUNT_ROWS } from "./rows/processes.ts";
import { REVOCATION_ROWS } from "./rows/revocations.ts";
import { STORE_ROWS } from "./rows/stores.ts";
import { TIMING_ROWS } from "./rows/timing.ts";

const ROWS: readonly Row[] = [
  ...HTTP_ROWS,
  ...PROCESS_ROWS,
  ...TIMING_ROWS,
  ...CHANGE_ROWS,
  ...PROCESS_COUNT_ROWS,
  ...REVOCATION_ROWS,
  ...STORE_ROWS,
  ...PEER_ROWS,
];
const SCALES: Readonly<Record<string, Scale>> = { "--quick": "quick", "--tiny": "tiny" };

function lineOf({ name, budget }: Row, { value, figure, floor, notes }: Figure): string {
  const shown = value === null ? "" : `${value.toFixed(value >= 100 || Number.isInteger(value) ? 0 : 2)}`;
  const verdict = budget === null || value === null ? "    " : holds(budget, value) ? "pass" : "MISS";
  const against =
    budget === null
      ? shown === ""
        ? ""
        : `${shown}x`
      : `${shown}${budget.unit} (${budget.is} ${budget.limit}${budget.unit})`;
  const head = `${verdict}  ${name}`;
  const told = `      ${figure}${floor === "-" ? "" : `, floor ${floor}`}${against === "" ? "" : `: ${against}`}`;
  return [head, told, ...(notes ?? []).map((note) => `      ${note}`)].join("\n");
}

const args = process.argv.slice(2);
const words = args.filter((arg) => !arg.startsWith("--"));
const unknown = args.find((arg) => arg.startsWith("--") && !(arg in SCALES));
const has = (name: string, word: string) => name.toLowerCase().includes(word.toLowerCase());
const rows = ROWS.filter(({ name }) => words.length === 0 || words.some((word) => has(name, word)));
if (unknown !== undefined || rows.length === 0) {
  console.error(
    unknown === undefined
      ? "No row has that word in its name."
      : `${unknown} is none of ${Object.keys(SCALES).join(", ")}.`,
  );
  process.exit(2);
}

const scale = args.map((arg) => SCALES[arg]).find((one) => one !== undefined) ?? "full";
const lab = createLab(scale);
const startedAt = performance.now();
console.log(`${machine()}\n${new Date().toISOString()}, load ${loadavg()[0]?.toFixed(2)} at the start\n`);
let missed = 0;
try {
  for (const row of rows) {
    const figure = await row.measure(lab);
    if (row.budget !== null && figure.value !== null && !holds(row.budget, figure.value)) missed += 1;
    console.log(`${lineOf(row, figure)}\n`);
  }
} finally {
  await lab.close();
}
const minutes = (performance.now() - startedAt) / 60_000;
console.log(
  `${missed === 0 ? "Every budget is met" : `${missed} missed`}; ${minutes.toFixed(1)} minutes, load ${loadavg()[0]?.toFixed(2)} at the end.`,
);
process.exitCode = missed === 0 ? 0 : 1;
