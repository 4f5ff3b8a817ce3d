import { afterAll, expect, test } from "bun:test";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Environment } from "../../src/config.ts";
import { times } from "../support/counts.ts";
import { newPlace, serveAt } from "../support/installation.ts";
import { randomFrom, SEED } from "../support/random.ts";
import { cleanUp } from "../support/traces.ts";
import { newLedger, noting, work } from "./acknowledged.ts";
import { cutPower, momentsOf, type Run } from "./cut-power.ts";
import { createDisk } from "./disk.ts";
import { WITNESS } from "./left.ts";
import { readRecording } from "./recording.ts";
import { compileShim, RECORD, type Shim } from "./shim.ts";

afterAll(cleanUp);

const shim = compileShim();

/** A server over an empty folder, stopped and started again in the middle, under the recorder all the time. */
async function recordRun(by: Shim, random: () => number, env: Environment = {}): Promise<Run> {
  const place = newPlace("power-loss");
  mkdirSync(place.data);
  const record = join(place.folder, RECORD);
  const ledger = newLedger();
  const recording = { ...by.recording(record, place.data), KEYTURN_WITNESS_FILE: join(place.data, WITNESS) };
  // The log is folded into the file about every hundred changes, and at each stop.
  for (const [part, changes] of [200, 60].entries()) {
    const { call, process } = await serveAt(place, { ...recording, ...env });
    try {
      await work(`part-${part}`, noting(call, record, ledger), ledger, changes, random);
    } finally {
      await process.stop();
    }
  }
  return { place, recorded: readRecording(record), ledger };
}

/** A recording that misses something would replay into files that never were. */
function expectWhole({ place, recorded }: Run): void {
  const disk = createDisk();
  for (const { asked } of recorded) disk.apply(asked);
  const seen = disk.seen();
  expect([...seen.keys()].sort()).toEqual(["evidence.db", "keyturn.db", "keyturn.lock", WITNESS]);
  for (const [name, content] of seen) {
    const file = readFileSync(join(place.data, name));
    expect([name, content.equals(file)]).toEqual([name, true]);
  }
}

/** How often the journal was synced: once a change under FULL, a few times in all under NORMAL. */
function journalSyncs({ recorded }: Run): number {
  return recorded.filter(({ asked, name }) => asked.kind === "sync" && name === "keyturn.db-wal").length;
}

/** The entries that answers spoke of; several answers may speak of one. */
function changesIn({ ledger }: Run): number {
  return new Set(ledger.acknowledged.map(({ seq }) => seq)).size;
}

const CUTS = times(500);

test.skipIf(shim === null)(
  `R39, R14: a power cut at any of ${CUTS} moments, whatever was still on its way to the disk: no acknowledged change is lost, none is half done, the audit chain is whole, nothing revoked comes back`,
  async () => {
    if (shim === null) return;
    const random = randomFrom(SEED);
    const run = await recordRun(shim, random);
    expectWhole(run);
    expect(journalSyncs(run)).toBeGreaterThanOrEqual(changesIn(run));
    expect(await cutPower(run, momentsOf(run, CUTS, random), random)).toBe(0);
  },
  600_000,
);

test.skipIf(shim === null)(
  "R39: the same power cuts catch a server that runs with synchronous=NORMAL: acknowledged changes are lost, though nothing else is wrong",
  async () => {
    if (shim === null) return;
    const random = randomFrom(SEED);
    const preload = `--preload=${join(import.meta.dir, "normal.ts")}`;
    const run = await recordRun(shim, random, { BUN_OPTIONS: preload });
    expectWhole(run);
    expect(journalSyncs(run)).toBeLessThan(changesIn(run) / 4);
    const cuts = times(100);
    const losses = await cutPower(run, momentsOf(run, cuts, random), random);
    console.log(`with NORMAL, ${losses} of ${cuts} power cuts lost acknowledged changes`);
    expect(losses).toBeGreaterThan(0);
  },
);
