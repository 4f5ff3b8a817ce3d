import { existsSync } from "node:fs";
import { join } from "node:path";
import { assertAllValid, type Lab } from "../lab.ts";
import { type Figure, median, micros, type Row, rate } from "../row.ts";

const PEER = join(import.meta.dir, "..", "peer");
const KEYS = 200;

interface PeerFigures {
  readonly keys: readonly string[];
  readonly createPerSecond: number;
  readonly verifyPerSecond: number;
}

interface Measured extends PeerFigures {
  readonly httpPerSecond: number;
  readonly floorPerSecond: number;
  readonly p99: number;
}

/** The peer's packages, installed at the first run into a folder that is not committed. False without a network. */
async function installPeer(): Promise<boolean> {
  if (existsSync(join(PEER, "node_modules", "better-auth"))) return true;
  console.error("bench: installing the peer (npm ci in bench/peer)");
  const child = Bun.spawn(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: PEER,
    stdio: ["ignore", 2, 2],
  });
  return (await child.exited) === 0;
}

const measured = new WeakMap<Lab, Promise<Measured | null>>();

/** Measured once for all rows. */
function measurePeer(lab: Lab): Promise<Measured | null> {
  const had = measured.get(lab) ?? measureOnce(lab);
  measured.set(lab, had);
  return had;
}

async function measureOnce(lab: Lab): Promise<Measured | null> {
  if (!(await installPeer())) return null;
  const seconds = lab.pick({ full: 3, quick: 1, tiny: 0.2 });
  const peer = await lab.program("peer/serve.mjs", [lab.emptyFolder(), String(KEYS), String(seconds)]);
  const figures = JSON.parse(peer.line) as PeerFigures;
  const requests = figures.keys.map((key) => {
    const body = JSON.stringify({ key });
    return `POST /v1/keys/verify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  });
  const answer = await fetch(`${peer.server.url}/v1/keys/verify`, {
    method: "POST",
    body: JSON.stringify({ key: figures.keys[0] }),
  });
  const floor = await lab.program("floor.ts", [String((await answer.text()).length)]);
  const load = { requests, seconds: seconds / 2 };
  const rates = { peer: [] as number[], floor: [] as number[], p99: [] as number[] };
  await lab.load(peer.server, load);
  for (let round = 0; round < lab.pick({ full: 5, quick: 3, tiny: 1 }); round += 1) {
    rates.floor.push((await lab.load(floor.server, load)).perSecond);
    const result = await lab.load(peer.server, load);
    assertAllValid(result);
    rates.peer.push(result.perSecond);
    rates.p99.push(result.p99);
  }
  await peer.server.stop();
  await floor.server.stop();
  return {
    ...figures,
    httpPerSecond: median(rates.peer),
    floorPerSecond: median(rates.floor),
    p99: median(rates.p99),
  };
}

function peerRow(name: string, figureOf: (peer: Measured) => Figure): Row {
  return {
    name: `better-auth 1.7.5: ${name}`,
    budget: null,
    measure: async (lab) => {
      const peer = await measurePeer(lab);
      if (peer === null)
        return { value: null, figure: "not measured", floor: "-", notes: ["npm could not install it"] };
      return figureOf(peer);
    },
  };
}

export const PEER_ROWS: readonly Row[] = [
  peerRow("verify over HTTP, against a constant answer to the same requests", (peer) => ({
    value: peer.httpPerSecond / peer.floorPerSecond,
    figure: rate(peer.httpPerSecond),
    floor: rate(peer.floorPerSecond),
    notes: [`p99 ${micros(peer.p99)}; 200 keys`],
  })),
  peerRow("verify in process", (peer) => ({
    value: null,
    figure: `${(1e6 / peer.verifyPerSecond).toFixed(0)} µs`,
    floor: "-",
  })),
  peerRow("create a key, one by one, durable", (peer) => ({
    value: null,
    figure: rate(peer.createPerSecond),
    floor: "-",
  })),
];
