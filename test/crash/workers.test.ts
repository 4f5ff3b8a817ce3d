import { afterAll, expect, test } from "bun:test";
import { goingOn } from "../cluster/going-on.ts";
import type { Client } from "../support/client.ts";
import { times } from "../support/counts.ts";
import { newPlace, type Place, type Served, serveAt } from "../support/installation.ts";
import { randomFrom, SEED } from "../support/random.ts";
import { cleanUp } from "../support/traces.ts";
import { until } from "../support/until.ts";
import { crewEnv, isAlive, successorOf, workersOf } from "../support/workers.ts";
import { createLane, type Lane } from "./lane.ts";
import { checkStored, storedUsesByKey } from "./stored-state.ts";

afterAll(cleanUp);

const ROUNDS = times(60);
const LANES = 4;
const WORKERS = 3;

test(`R14: kill -9 of workers under load, ${ROUNDS} times: the others go on, no acknowledged change is lost, none half done, the audit chain is whole`, async () => {
  const place = newPlace("kill-workers", {
    ...crewEnv(WORKERS),
    KEYTURN_FLUSH_INTERVAL: "1s",
    KEYTURN_LOG_LEVEL: "info",
  });
  const random = randomFrom(SEED);
  const lanes = Array.from({ length: LANES }, (_, lane) => createLane(`lane-${lane}`, random));
  const newest = { seq: 0 };
  let rootSent = 0;
  let served = await serveAt(place);
  const workingClient = () => {
    const { call } = served;
    const counting: Client = (method, path, asking) => {
      rootSent += 1;
      return call(method, path, asking);
    };
    return goingOn(counting, newest);
  };
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      const clients = lanes.map(workingClient);
      const working = lanes.map((lane, index) => lane.work((clients[index] ?? never()).client));
      await Bun.sleep(50 + random() * 300);
      const isWhole = round % 6 === 5;
      const victims = isWhole ? workersOf(served) : pickOf(workersOf(served), random);
      if (isWhole) served.process.signal("SIGKILL");
      else for (const { pid } of victims) process.kill(pid, "SIGKILL");
      if (!isWhole) for (const victim of victims) await successorOf(served, victim);
      for (const { stop } of clients) stop();
      await Promise.all(working);
      if (isWhole) served = await serveAgain(served, place);

      const stored = checkStored(place.data, place.witness);
      checkUses(place, lanes, rootSent, stored.keys);
      const settling = workingClient();
      for (const lane of lanes) await lane.settle(stored, settling.client);
      checkStored(place.data, place.witness);
      for (const lane of lanes) await lane.verifyAll(settling.client);
    }
    expect(await served.process.stop()).toBe(0);
  } catch (error) {
    console.error(`KEYTURN_TEST_SEED=${SEED}`);
    throw error;
  } finally {
    await served.process.stop();
  }
  const acknowledged = lanes.reduce((sum, lane) => sum + lane.counts().acknowledged, 0);
  const refused = lanes.flatMap((lane) => lane.counts().refused);
  console.log(`${acknowledged} changes acknowledged, ${refused.length} refused`);
  // A load that is refused would prove nothing.
  expect(acknowledged).toBeGreaterThan(ROUNDS * 5);
  expect(refused).toEqual([]);
}, 900_000);

async function serveAgain(gone: Served, place: Place): Promise<Served> {
  await until("no worker is left", () => workersOf(gone).every(({ pid }) => !isAlive(pid)));
  return serveAt(place);
}

/** One of them, or two. */
function pickOf<T>(all: readonly T[], random: () => number): readonly T[] {
  const first = Math.floor(random() * all.length);
  return all.filter((_, index) => index === first || (index === (first + 1) % all.length && random() < 0.3));
}

/** No use is invented: of each key at most as many are stored as were sent. */
function checkUses(
  place: Place,
  lanes: readonly Lane[],
  rootSent: number,
  keys: ReadonlyMap<string, { readonly name: string }>,
): void {
  for (const [key, count] of storedUsesByKey(place.data)) {
    const sent = lanes.reduce((sum, lane) => sum + (lane.sent().get(key) ?? 0), 0);
    const most = keys.get(key)?.name === "root" ? rootSent : sent;
    expect([key, Math.max(count, most)]).toEqual([key, most]);
  }
}

function never(): never {
  throw new Error("there is a client for each lane");
}
