import { afterAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import canonicalize from "canonicalize";
import { readPage } from "../../scripts/markdown.ts";
import { startWorld } from "../support/authority.ts";
import { findProgram } from "../support/gateways.ts";
import { cleanUp } from "../support/traces.ts";

afterAll(cleanUp);

const page = readPage(readFileSync(join(import.meta.dir, "../../docs/audit-log.md"), "utf8"));
const blocks = (info: string) =>
  page.blocks.filter((block) => block.info === info).map((block) => block.text.trim());

function sha256(text: string): string {
  return createHash("sha256").update(text, "utf8").digest("hex");
}

test("the worked example in docs/audit-log.md comes out as it says, from the texts alone", () => {
  const told = new Map(
    blocks("text")
      .join("\n")
      .split("\n")
      .map((line): [string, string] => [
        line.slice(0, line.lastIndexOf(" ")),
        line.slice(line.lastIndexOf(" ") + 1),
      ]),
  );
  const entries = blocks("json");
  expect(entries.length).toBe(2);
  let previous = sha256("");
  expect(told.get("previous")).toBe(previous);
  for (const [index, text] of entries.entries()) {
    const seq = index + 1;
    expect(text).toBe(canonicalize(JSON.parse(text)) ?? "");
    expect(told.get(`entry ${seq}`)).toBe(sha256(text));
    previous = sha256(`${previous}\n${seq}\n${sha256(text)}\n`);
    expect(told.get(`chain ${seq}`)).toBe(previous);
  }
});

const python = findProgram("python3");

test.skipIf(python === null)(
  "its few lines of Python find a log whole, and say where one was changed, cut or reordered",
  async () => {
    const world = await startWorld();
    for (let n = 0; n < 5; n += 1) await world.owner();
    const lines = await world.authority.storage.read.audit.lines(0, 100);
    await world.close();
    const script = join(world.folder, "check.py");
    const log = join(world.folder, "log.jsonl");
    await Bun.write(script, blocks("python")[0] ?? "");
    const rows = lines.map((line, index) => ({
      seq: line.seq,
      // Every other one as another account's: its hash alone.
      ...(index % 2 === 0 ? { entry: line.text ?? "" } : {}),
      entry_hash: line.entryHash,
      chain_hash: line.chainHash,
    }));
    const check = (checked: readonly object[]) => {
      writeFileSync(log, checked.map((row) => `${JSON.stringify(row)}\n`).join(""));
      const ran = Bun.spawnSync([python ?? "", script, log]);
      return ran.exitCode === 0
        ? ran.stdout.toString().trim()
        : (/AssertionError: (.*)/.exec(ran.stderr.toString())?.[1] ?? "");
    };
    expect(check(rows)).toBe(`whole, head 6:${lines.at(-1)?.chainHash}`);
    expect(check(rows.map((row) => (row.seq === 3 ? { ...row, entry: `${row.entry} ` } : row)))).toBe(
      "entry 3 was changed",
    );
    expect(check(rows.filter((row) => row.seq !== 4))).toBe("entry 4 is missing");
    expect(check(rows.map((row) => (row.seq === 2 ? { ...row, entry_hash: "0".repeat(64) } : row)))).toBe(
      "entry 2 does not follow from the one before",
    );
    expect(check([...rows.slice(0, 1), ...rows.slice(2, 3), ...rows.slice(1, 2)])).toBe("entry 2 is missing");
  },
);
