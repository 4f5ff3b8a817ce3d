import { expect } from "bun:test";
import { createLane, type Lane } from "../crash/lane.ts";
import type { StoredState } from "../crash/stored-state.ts";
import type { Cluster } from "../support/cluster.ts";
import { until } from "../support/until.ts";
import { type GoingOn, goingOn } from "./going-on.ts";
import { checkCluster, usesByKey } from "./stored.ts";

const LANES = 6;

/** Lanes at work, each at one of the processes. */
export interface Load {
  readonly cluster: Cluster;
  readonly lanes: readonly Lane[];
  readonly newest: { seq: number };
  revoked: ReadonlySet<string>;
}

export function newLoad(cluster: Cluster, round: number, random: () => number): Load {
  const lanes = Array.from({ length: LANES }, (_, lane) => createLane(`lane-${round}-${lane}`, random));
  return { cluster, lanes, newest: { seq: 0 }, revoked: new Set() };
}

/** Lets all lanes work while something happens, and a little longer. Resolves when nothing is under way any more. */
export async function working(
  { cluster, lanes, newest }: Load,
  meanwhile: () => Promise<void>,
): Promise<readonly GoingOn[]> {
  const clients = lanes.map((_, lane) =>
    goingOn(cluster.member(lane % cluster.members().length).call, newest),
  );
  const all = Promise.all(lanes.map((lane, number) => lane.work(clients[number]?.client ?? never())));
  try {
    const happening = meanwhile();
    // A lane that objects ends the round at once; one that must find out what was done waits for the end of it.
    await Promise.race([happening, all.then(() => happening)]);
  } finally {
    for (const { stop } of clients) stop();
  }
  await all;
  return clients;
}

/** Holds what is stored to everything that is known, settles what was not answered, and asks every process. */
export async function lookAfter(load: Load): Promise<void> {
  const { cluster, lanes, newest } = load;
  const stored = await checkCluster(cluster);
  const revoked = revokedIn(stored);
  expect([...load.revoked].filter((id) => !revoked.has(id))).toEqual([]);
  load.revoked = revoked;
  for (const [key, count] of await usesByKey(cluster.databaseUrl())) {
    if (!stored.keys.get(key)?.name.startsWith("lane-")) continue;
    const sent = lanes.reduce((sum, lane) => sum + (lane.sent().get(key) ?? 0), 0);
    expect([key, Math.max(count, sent)]).toEqual([key, sent]);
  }
  const call = (number: number) =>
    goingOn(cluster.member(number % cluster.members().length).call, newest).client;
  for (const [number, lane] of lanes.entries()) await lane.settle(stored, call(number));
  // The retries of what was not answered made one thing each, and left everything as consistent as it was.
  await checkCluster(cluster);
  for (const [number, lane] of lanes.entries()) await lane.verifyAll(call(number + 1));
}

function revokedIn(stored: StoredState): ReadonlySet<string> {
  return new Set([...stored.keys.values()].filter((key) => key.revokedAt !== null).map((key) => key.id));
}

export function countsOf(loads: readonly Load[]) {
  const lanes = loads.flatMap((load) => load.lanes);
  const acknowledged = lanes.reduce((sum, lane) => sum + lane.counts().acknowledged, 0);
  return { acknowledged, refused: lanes.flatMap((lane) => lane.counts().refused) };
}

/** Resolves when nothing is out of order in any process. */
export async function allReady(cluster: Cluster): Promise<void> {
  for (const { call, name } of cluster.members()) {
    await until(`${name} is ready`, async () => {
      const told = await call("GET", "/readyz", { key: null });
      return told.body.at("status") === "ready";
    });
  }
}

function never(): never {
  throw new Error("there is one for each");
}
