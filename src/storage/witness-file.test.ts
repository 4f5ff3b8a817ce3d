import { afterAll, expect, test } from "bun:test";
import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cleanUp, newFolder } from "../../test/support/traces.ts";
import type { WitnessLine } from "../authority/audit/witness.ts";
import { openWitnessFile, readWitnessFile } from "./witness-file.ts";

afterAll(cleanUp);

const PROCESSES = 3;
const LINES = 200;

const line = (seq: number, revoked = 1): WitnessLine => ({
  seq,
  chainHash: "0".repeat(64),
  at: 0,
  revoked: Array.from({ length: revoked }, (_, index) => ({ kind: "key", id: `key_${seq}_${index}` })),
});

test("R14: of several processes that write to one witness file at once, every line stands there whole", async () => {
  const path = join(newFolder("witness"), "witness.jsonl");
  // Every tenth line is longer than a page, or than what a pipe would take in one piece.
  const program = `
    import { openWitnessFile } from ${JSON.stringify(join(import.meta.dir, "witness-file.ts"))};
    const own = Number(process.argv[1]);
    const file = openWitnessFile(${JSON.stringify(path)});
    for (let n = 1; n <= ${LINES}; n += 1) {
      const seq = own * 1000 + n;
      const revoked = Array.from({ length: n % 10 === 0 ? 300 : 1 }, (_, index) => ({ kind: "key", id: "key_" + seq + "_" + index }));
      file.writeAll([{ seq, chainHash: "0".repeat(64), at: 0, revoked }]);
    }
    file.close();`;
  const writers = Array.from({ length: PROCESSES }, (_, own) =>
    Bun.spawn([process.execPath, "-e", program, String(own)], { stdout: "inherit", stderr: "inherit" }),
  );
  expect(await Promise.all(writers.map((writer) => writer.exited))).toEqual(writers.map(() => 0));
  const read = readWitnessFile(path);
  const expected = Array.from({ length: PROCESSES }, (_, own) =>
    Array.from({ length: LINES }, (_, n) => line(own * 1000 + n + 1, (n + 1) % 10 === 0 ? 300 : 1)),
  ).flat();
  expect(read.toSorted((one, other) => one.seq - other.seq)).toEqual(expected);
});

test("R14: a line that one process could not write to its end does not run into the next one of another", () => {
  const path = join(newFolder("witness"), "witness.jsonl");
  const [one, other] = [openWitnessFile(path), openWitnessFile(path)];
  one.writeAll([line(1)]);
  appendFileSync(path, '{"seq":2,"chain_ha');
  other.writeAll([line(3)]);
  one.writeAll([line(4), line(5)]);
  expect(readWitnessFile(path).map(({ seq }) => seq)).toEqual([1, 3, 4, 5]);
  one.close();
  other.close();
});

test("R14: a last line without its end keeps what it says when several processes open the file", () => {
  const path = join(newFolder("witness"), "witness.jsonl");
  const first = openWitnessFile(path);
  first.writeAll([line(1)]);
  first.close();
  const text = readFileSync(path, "utf8");
  appendFileSync(path, text.replace('"seq":1', '"seq":2').trimEnd());
  const files = [openWitnessFile(path), openWitnessFile(path)];
  // The second one saw the file before the first had ended the line.
  appendFileSync(path, "\n");
  for (const [index, file] of files.entries()) file.writeAll([line(3 + index)]);
  expect(readWitnessFile(path).map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
  for (const file of files) file.close();
});
