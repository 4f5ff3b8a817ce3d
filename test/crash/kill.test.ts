import { afterAll, expect, test } from "bun:test";
import type { Client } from "../support/client.ts";
import { times } from "../support/counts.ts";
import { sessionsOf } from "../support/evidence-file.ts";
import { newPlace, type Place, type Served, serveAt } from "../support/installation.ts";
import { spawnKeyturn } from "../support/keyturn-process.ts";
import { randomFrom, SEED } from "../support/random.ts";
import { cleanUp } from "../support/traces.ts";
import { createLane, type Lane } from "./lane.ts";
import { checkStored, type StoredState, storedUsesByKey } from "./stored-state.ts";

afterAll(cleanUp);

const ROUNDS = times(200);
/** Over one folder after another, so that each round looks at a log of some thousand entries at most. */
const ROUNDS_PER_PLACE = 25;
const LANES = 4;

interface Installation {
  readonly place: Place;
  /** The server that came up after the last kill, and takes the next load. */
  served: Served | null;
  readonly lanes: readonly Lane[];
  /** Requests sent with the root key itself, which are uses as well. */
  rootSent: number;
  revoked: ReadonlySet<string>;
}

type Way = "under load" | "while starting" | "while stopping";

test(`R14: kill -9 at random moments under load, ${ROUNDS} times: no acknowledged change is lost, none half done, the audit chain is whole`, async () => {
  const random = randomFrom(SEED);
  const kills: Record<Way, number> = { "under load": 0, "while starting": 0, "while stopping": 0 };
  let installation: Installation | null = null;
  let acknowledged = 0;
  const refused: string[] = [];
  const leave = async () => {
    if (installation === null) return;
    await installation.served?.process.stop();
    for (const lane of installation.lanes) {
      acknowledged += lane.counts().acknowledged;
      refused.push(...lane.counts().refused);
    }
  };
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      if (round % ROUNDS_PER_PLACE === 0) {
        await leave();
        installation = newInstallation(round, random);
      }
      if (installation === null) throw new Error("there is always one");
      const way: Way =
        round % 10 === 7 ? "while starting" : round % 10 === 9 ? "while stopping" : "under load";
      await killOnce(installation, way, random);
      kills[way] += 1;
      await lookAfter(installation, way);
    }
    await leave();
  } catch (error) {
    console.error(`KEYTURN_TEST_SEED=${SEED}`);
    throw error;
  }
  console.log(`${JSON.stringify(kills)}, ${acknowledged} changes acknowledged, ${refused.length} refused`);
  // A load that is refused would prove nothing.
  expect(acknowledged).toBeGreaterThan(ROUNDS * 5);
  expect(refused).toEqual([]);
}, 900_000);

function newInstallation(round: number, random: () => number): Installation {
  return {
    // One second between flushes: most kills fall between two of them.
    place: newPlace("kill", { KEYTURN_FLUSH_INTERVAL: "1s", KEYTURN_LOG_LEVEL: "info" }),
    served: null,
    lanes: Array.from({ length: LANES }, (_, lane) => createLane(`lane-${round}-${lane}`, random)),
    rootSent: 0,
    revoked: new Set(),
  };
}

/** Counts what is sent with the root key: before it is sent, as what is counted at all may be lost but not invented. */
function counting(installation: Installation, { call }: Served): Client {
  return (method, path, asking) => {
    installation.rootSent += 1;
    return call(method, path, asking);
  };
}

async function killOnce(installation: Installation, way: Way, random: () => number): Promise<void> {
  const { place } = installation;
  if (way === "while starting") {
    await installation.served?.process.stop();
    const starting = spawnKeyturn(["serve"], { env: place.env, logFile: place.logFile });
    await Bun.sleep(random() * 400);
    starting.signal("SIGKILL");
    await starting.exited;
    return;
  }
  const served = installation.served ?? (await serveAt(place));
  const call = counting(installation, served);
  const working = installation.lanes.map((lane) => lane.work(call));
  // A lane that objects ends the round at once; otherwise they work until the server is gone.
  await Promise.race([Bun.sleep(30 + random() * 220), Promise.all(working)]);
  if (way === "while stopping") {
    served.process.signal("SIGTERM");
    await Bun.sleep(random() * 40);
  }
  served.process.signal("SIGKILL");
  await served.process.exited;
  await Promise.all(working);
}

/** Starts again over what is left, and holds it to everything that is known. */
async function lookAfter(installation: Installation, way: Way): Promise<void> {
  const { place, lanes } = installation;
  const killed = way === "under load" ? sessionsOf(place.data).at(-1) : undefined;
  const served = await serveAt(place);
  installation.served = served;
  const call = counting(installation, served);

  const stored = checkStored(place.data, place.witness);
  const revoked = revokedIn(stored);
  expect([...installation.revoked].filter((id) => !revoked.has(id))).toEqual([]);
  installation.revoked = revoked;
  checkWatch(place, killed?.id);
  checkUses(installation, stored);

  for (const lane of lanes) await lane.settle(stored, call);
  // The retries of what was not answered made one thing each, and left everything as consistent as it was.
  checkStored(place.data, place.witness);
  for (const lane of lanes) await lane.verifyAll(call);
  // A stop that had time to be a clean one lost nothing, and nothing must be watched anew.
  if (way === "under load") await checkStillWatching(stored, call);
}

/** No use is invented: of each key at most as many are stored as were sent. */
function checkUses({ place, lanes, rootSent }: Installation, stored: StoredState): void {
  for (const [key, count] of storedUsesByKey(place.data)) {
    const sent = lanes.reduce((sum, lane) => sum + (lane.sent().get(key) ?? 0), 0);
    const most = stored.keys.get(key)?.name === "root" ? rootSent : sent;
    expect([key, Math.max(count, most)]).toEqual([key, most]);
  }
}

function revokedIn(stored: StoredState): ReadonlySet<string> {
  return new Set([...stored.keys.values()].filter((key) => key.revokedAt !== null).map((key) => key.id));
}

/** The session that was killed has no clean end, and the new one starts where nothing is claimed to have been watched. */
function checkWatch(place: Place, killed: string | undefined): void {
  const sessions = sessionsOf(place.data);
  expect(sessions.at(-1)?.ended ?? "living").toBe("living");
  expect(sessions.slice(0, -1).filter((session) => session.ended === null)).toEqual([]);
  if (killed !== undefined) expect(sessions.find((session) => session.id === killed)?.ended).toBe("unclean");
}

/** Whoever asks is told: a rotation from before the crash must be watched for a whole quiet period anew. */
async function checkStillWatching(stored: StoredState, call: Client): Promise<void> {
  const open = [...stored.rotations.values()].find(
    (rotation) => rotation.state === "issued" || rotation.state === "adopting",
  );
  if (open === undefined) return;
  const told = await call("GET", `/v1/rotations/${open.id}`);
  const state = told.body.at("state");
  if (state !== "issued" && state !== "adopting") return;
  expect(JSON.stringify(told.body.at("reasons"))).toContain('"code":"watching"');
}
