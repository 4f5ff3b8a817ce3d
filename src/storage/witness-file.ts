import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { z } from "zod";
import type { Witness, WitnessLine } from "../authority/audit/witness.ts";

const line = z.object({
  seq: z.int().positive(),
  chain_hash: z.string().regex(/^[0-9a-f]{64}$/),
  at: z.int(),
  revoked: z.array(
    z.object({
      kind: z.enum(["key", "service_account", "secret"]),
      id: z.string(),
      ordinal: z.int().optional(),
    }),
  ),
  restored: z.literal(true).optional(),
});

/** What ends a line that a crash or a full disk cut short. Nothing is ever taken back: the disk may only append. */
const CUT = "#cut";

export interface WitnessFile extends Witness {
  close(): void;
}

/**
 * Opens the witness file to append to it: one JSON line a head or revocation, synced before `writeAll` returns. Several
 * processes may have it open: the system puts what each writes at the end, in one piece.
 */
export function openWitnessFile(path: string): WitnessFile {
  const isNew = !existsSync(path);
  const file = openSync(path, "a+", 0o600);
  if (isNew) syncFolder(dirname(path));
  // A line that was cut short must not run into the next one.
  const ending = endingOf(path);
  if (ending !== "") writeFileSync(file, ending);
  const append = (lines: readonly WitnessLine[]) => {
    // Looked at each time: it may be another process whose line was cut short. One that is seen half-written and is
    // whole by the time that this comes after it gets an end that it didn't need.
    const text = `${endsInLine(file) ? "" : `${CUT}\n`}${lines.map(textOf).join("")}`;
    // Unlike writeSync, writeFileSync writes all of it or throws: a disk may fill up in the middle of a line.
    writeFileSync(file, text);
    fsyncSync(file);
  };
  return { writeAll: append, close: () => closeSync(file) };
}

function endsInLine(file: number): boolean {
  const { size } = fstatSync(file);
  if (size === 0) return true;
  const last = Buffer.alloc(1);
  readSync(file, last, 0, 1, size - 1);
  return last.toString() === "\n";
}

function textOf({ seq, chainHash, at, revoked, restored }: WitnessLine): string {
  return `${JSON.stringify({ seq, chain_hash: chainHash, at, revoked, ...(restored ? { restored } : {}) })}\n`;
}

/** A new file is there after a power cut only when its folder was synced as well. */
function syncFolder(path: string): void {
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** What the file lacks at its end so that a line can follow. */
function endingOf(path: string): string {
  const last = readFileSync(path, "utf8").split("\n").pop() ?? "";
  if (last === "") return "";
  return parseLine(last) === null ? `${CUT}\n` : "\n";
}

/**
 * All lines of a witness file, oldest first; none if there is no file. A line that was cut short is left out: its
 * answer was never given. Throws for any other line that can't be read, naming its number.
 */
export function readWitnessFile(path: string): readonly WitnessLine[] {
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, "utf8").split("\n");
  const last = parseLine(lines.pop() ?? "");
  const whole = lines.flatMap((text, index) => {
    const parsed = parseLine(text);
    if (parsed !== null) return [parsed];
    // Of several processes that open the file at once, each may end a last line that lacks its end.
    if (text === "" || text.endsWith(CUT)) return [];
    throw new Error(`${path}: line ${index + 1} is not a line of a witness file.`);
  });
  return last === null ? whole : [...whole, last];
}

function parseLine(text: string): WitnessLine | null {
  try {
    const parsed = line.safeParse(JSON.parse(text));
    if (!parsed.success) return null;
    const { seq, chain_hash, at, revoked, restored } = parsed.data;
    return { seq, chainHash: chain_hash, at, revoked, ...(restored ? { restored } : {}) };
  } catch {
    return null;
  }
}
