import { afterAll, afterEach, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Environment } from "../../src/config.ts";
import type { Client } from "../support/client.ts";
import { times } from "../support/counts.ts";
import { issueAt, newPlace, type Place, type Served } from "../support/installation.ts";
import { randomFrom, SEED } from "../support/random.ts";
import { cleanUp } from "../support/traces.ts";
import { type Ledger, newLedger, noting } from "./acknowledged.ts";
import { callsUntil, cutPower, type Run } from "./cut-power.ts";
import { WITNESS } from "./left.ts";
import { readRecording } from "./recording.ts";
import { kill, killAll, serve } from "./servers.ts";
import { compileShim, RECORD } from "./shim.ts";

const shim = compileShim();

afterEach(killAll);

afterAll(cleanUp);

interface Recorder {
  readonly place: Place;
  readonly ledger: Ledger;
  serve(fault?: Environment): Promise<{ readonly served: Served; readonly call: Client }>;
  end(): Run;
}

function startRecorder(name: string): Recorder {
  const place = newPlace(name);
  mkdirSync(place.data);
  const record = join(place.folder, RECORD);
  const ledger = newLedger();
  const env = { ...shim?.recording(record, place.data), KEYTURN_WITNESS_FILE: join(place.data, WITNESS) };
  return {
    place,
    ledger,
    serve: async (fault = {}) => {
      const served = await serve(place, { ...env, ...fault });
      return { served, call: noting(served.call, record, ledger) };
    },
    end: () => ({ place, ledger, recorded: readRecording(record) }),
  };
}

/** Makes changes after the fault, and cuts the power after each: how many times something was lost. */
async function lossesAfter(recorder: Recorder, random: () => number): Promise<number> {
  const before = recorder.ledger.acknowledged.length;
  const { served, call } = await recorder.serve();
  for (let n = 0; n < 10; n += 1) {
    const { id } = await issueAt(call, `after ${n}`);
    if (n % 2 === 0) await call("POST", `/v1/keys/${id}/revoke`, { body: {} });
  }
  await kill(served);
  const run = recorder.end();
  expect(run.recorded.filter((one) => one.asked.kind === "sync_failed")).toHaveLength(1);
  const answers = run.ledger.acknowledged.slice(before);
  expect(answers).toHaveLength(25);
  const moments = answers.map(({ end }) => callsUntil(run.recorded, end));
  return cutPower(run, moments, random);
}

test.skipIf(shim === null)(
  "R39: a sync of the journal that failed is never trusted again: after a restart upon what the cache shows, a power cut loses no acknowledged change",
  async () => {
    const random = randomFrom(SEED);
    for (let round = 0; round < times(10); round += 1) {
      const recorder = startRecorder("unwritten-journal");
      // After about 60 the journal is folded into the database, and a sync that fails there is no change's.
      const nth = 20 + Math.floor(random() * 30);
      const { served, call } = await recorder.serve(shim?.failing({ name: "/keyturn.db-wal", nth }));
      const { ownerId } = await issueAt(call, "owner");
      let code: string | undefined;
      for (let n = 0; code === undefined && n < nth; n += 1)
        code = (await call("POST", "/v1/keys", { body: { name: `key ${n}`, owner_id: ownerId } })).code;
      expect(code).toBe("outcome_unknown");
      await kill(served);
      expect(await lossesAfter(recorder, random)).toBe(0);
    }
  },
  600_000,
);

test.skipIf(shim === null)(
  "R39: a sync of the database that failed while its journal was folded into it is never trusted again either",
  async () => {
    const recorder = startRecorder("unwritten-database");
    // The first is of the file when it is made; the next comes with the stop.
    const { served, call } = await recorder.serve(shim?.failing({ name: "/keyturn.db", nth: 2 }));
    for (let n = 0; n < 10; n += 1) await issueAt(call, `key ${n}`);
    await served.process.stop();
    expect(await lossesAfter(recorder, randomFrom(SEED))).toBe(0);
  },
);
