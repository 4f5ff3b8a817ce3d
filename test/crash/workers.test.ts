import { afterAll, expect, test } from "bun:test";
import type { Client } from "../support/client.ts";
import { times } from "../support/counts.ts";
import { newPlace, type Place, type Served, serveAt } from "../support/installation.ts";
import { cleanUp } from "../support/traces.ts";
import { until } from "../support/until.ts";
import { crewEnv, isAlive, successorOf, workersOf } from "../support/workers.ts";
import { createLane, type Lane } from "./lane.ts";
import { checkStored, storedUsesByKey } from "./stored-state.ts";

afterAll(cleanUp);

const ROUNDS = times(60);
const LANES = 4;
const WORKERS = 3;

/** Nothing was made, and the client is told to try again: a worker that has just died had not said yet what it saw. */
const LATER = ["idempotency_in_progress", "storage_unavailable"];

/**
 * A client that works until it is told to stop, as if the server were gone then. What it verifies is to be judged by
 * nothing older than the newest answer that it was given, whichever worker is asked.
 */
function workingClient(call: Client, rootSent: { count: number }) {
  let isOver = false;
  let newest = 0;
  const client: Client = async (method, path, asking) => {
    if (isOver) throw Object.assign(new Error("it is over"), { code: "ECONNRESET" });
    const isVerify = path === "/v1/keys/verify";
    const body = isVerify ? { ...Object(asking?.body), at_least: newest } : asking?.body;
    const told = await until("it can be answered now", async () => {
      rootSent.count += 1;
      const answer = await call(method, path, { ...asking, ...(body === undefined ? {} : { body }) });
      return !LATER.includes(answer.code ?? "") && answer;
    });
    newest = Math.max(newest, Number(told.headers.get("keyturn-seq") ?? 0));
    return told;
  };
  return {
    client,
    stop: () => {
      isOver = true;
    },
  };
}

test(`R14: kill -9 of workers under load, ${ROUNDS} times: the others go on, no acknowledged change is lost, none half done, the audit chain is whole`, async () => {
  const place = newPlace("kill-workers", {
    ...crewEnv(WORKERS),
    KEYTURN_FLUSH_INTERVAL: "1s",
    KEYTURN_LOG_LEVEL: "info",
  });
  const lanes = Array.from({ length: LANES }, (_, lane) => createLane(`lane-${lane}`, Math.random));
  const rootSent = { count: 0 };
  let served = await serveAt(place);
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      const clients = lanes.map(() => workingClient(served.call, rootSent));
      const working = lanes.map((lane, index) => lane.work((clients[index] ?? never()).client));
      await Bun.sleep(50 + Math.random() * 300);
      const isWhole = round % 6 === 5;
      const victims = isWhole ? workersOf(served) : pickOf(workersOf(served));
      if (isWhole) served.process.signal("SIGKILL");
      else for (const { pid } of victims) process.kill(pid, "SIGKILL");
      if (!isWhole) for (const victim of victims) await successorOf(served, victim);
      for (const { stop } of clients) stop();
      await Promise.all(working);
      if (isWhole) served = await serveAgain(served, place);

      const stored = checkStored(place.data, place.witness);
      checkUses(place, lanes, rootSent.count, stored.keys);
      const settling = workingClient(served.call, rootSent);
      for (const lane of lanes) await lane.settle(stored, settling.client);
      checkStored(place.data, place.witness);
      for (const lane of lanes) await lane.verifyAll(settling.client);
    }
    expect(await served.process.stop()).toBe(0);
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
function pickOf<T>(all: readonly T[]): readonly T[] {
  const first = Math.floor(Math.random() * all.length);
  return all.filter(
    (_, index) => index === first || (index === (first + 1) % all.length && Math.random() < 0.3),
  );
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
