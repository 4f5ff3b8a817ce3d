import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
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
});

/** Opens the witness file to append to it: one JSON line a head or revocation, synced before `write` returns. */
export function openWitnessFile(path: string): Witness & { close(): void } {
  const file = openSync(path, "a", 0o600);
  return {
    write: (written) => {
      const text = { seq: written.seq, chain_hash: written.chainHash, at: written.at, revoked: written.revoked };
      writeSync(file, `${JSON.stringify(text)}\n`);
      fsyncSync(file);
    },
    close: () => closeSync(file),
  };
}

/**
 * All lines of a witness file; none if there is no file. A last line that was cut short by a crash is left out: its
 * answer was never given. Throws for any other line that can't be read, naming its number.
 */
export function readWitnessFile(path: string): readonly WitnessLine[] {
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, "utf8").split("\n");
  const last = lines.pop() ?? "";
  const whole = lines.map((text, index) => {
    const parsed = parseLine(text);
    if (parsed === null) throw new Error(`${path}: line ${index + 1} is not a line of a witness file.`);
    return parsed;
  });
  const unfinished = parseLine(last);
  return unfinished === null ? whole : [...whole, unfinished];
}

function parseLine(text: string): WitnessLine | null {
  try {
    const parsed = line.safeParse(JSON.parse(text));
    if (!parsed.success) return null;
    const { seq, chain_hash, at, revoked } = parsed.data;
    return { seq, chainHash: chain_hash, at, revoked };
  } catch {
    return null;
  }
}
