import { type EngineName, type Filled, secretOf } from "../fill.ts";
import {
  assertAllValid,
  forwardAuthRequest,
  type Lab,
  type Measured,
  type Server,
  verifyRequest,
} from "../lab.ts";
import { atLeast, atMost, type Figure, median, micros, NO_POSTGRES, type Row, rate, spread } from "../row.ts";

const KEYS = 200;
const KEYS_AT_ONCE = 32;

const rounds = (lab: Lab) => lab.pick({ full: 7, quick: 3, tiny: 1 });
const seconds = (lab: Lab) => lab.pick({ full: 1.2, quick: 0.8, tiny: 0.2 });

const numbers = (count: number) => Array.from({ length: count }, (_, number) => number);

interface Duel {
  readonly ratio: number;
  readonly ratios: readonly number[];
  readonly ours: readonly Measured[];
  readonly floors: readonly Measured[];
}

/** Floor and variant by turns, so that what the machine does besides hits both; each ratio is of two neighbours. */
async function duel(lab: Lab, floor: () => Promise<Measured>, ours: () => Promise<Measured>): Promise<Duel> {
  // The first seconds of a process are its compilers' and belong to no round.
  for (const side of lab.pick({ full: [floor, ours, ours], quick: [floor, ours, ours], tiny: [] }))
    await side();
  const pairs: { readonly floor: Measured; readonly ours: Measured }[] = [];
  for (let round = 0; round < rounds(lab); round += 1) {
    const pair = { floor: await floor(), ours: await ours() };
    assertAllValid(pair.ours);
    pairs.push(pair);
  }
  const ratios = pairs.map((pair) => pair.ours.perSecond / pair.floor.perSecond);
  return {
    ratio: median(ratios),
    ratios,
    ours: pairs.map((pair) => pair.ours),
    floors: pairs.map((pair) => pair.floor),
  };
}

function told(result: Duel): Figure {
  const cpu = (side: readonly Measured[]) => median(side.map((one) => one.cpuPerRequest ?? Number.NaN));
  const perSecond = (side: readonly Measured[]) => median(side.map((one) => one.perSecond));
  const p99 = (side: readonly Measured[]) => median(side.map((one) => one.p99));
  const [floorCpu, ourCpu] = [cpu(result.floors), cpu(result.ours)];
  return {
    value: result.ratio,
    figure: rate(perSecond(result.ours)),
    floor: rate(perSecond(result.floors)),
    notes: [
      `the ratio was ${spread(result.ratios)}; p99 ${micros(p99(result.ours))} against ${micros(p99(result.floors))}`,
      `CPU for a request: ${micros(ourCpu)} against ${micros(floorCpu)} (${(floorCpu / ourCpu).toFixed(2)}); the load's own ${micros(median(result.ours.map((one) => one.ownCpuPerRequest)))}`,
    ],
  };
}

async function answerLength(server: Server, root: string, body: unknown): Promise<number> {
  const response = await fetch(`${server.url}/v1/keys/verify`, {
    method: "POST",
    headers: { authorization: `Bearer ${root}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return (await response.text()).length;
}

async function verifyAgainstFloor(lab: Lab, bodies: readonly unknown[]): Promise<Figure> {
  const filled = await lab.store(KEYS);
  const server = await lab.keyturn(filled);
  const floor = await lab.program("floor.ts", [String(await answerLength(server, filled.root, bodies[0]))]);
  const requests = bodies.map((body) => verifyRequest({ root: filled.root, body }));
  const load = { requests, seconds: seconds(lab) };
  const result = await duel(
    lab,
    () => lab.load(floor.server, load),
    () => lab.load(server, load),
  );
  await server.stop();
  await floor.server.stop();
  return told(result);
}

const httpVerify: Row = {
  name: "verify over HTTP: requests/s against a constant answer to the same requests",
  budget: atLeast(0.7, "x"),
  measure: (lab) =>
    verifyAgainstFloor(
      lab,
      numbers(KEYS).map((number) => ({ key: secretOf(number), caller: { name: `caller-${number}` } })),
    ),
};

const httpVerifyScoped: Row = {
  name: "verify over HTTP with scopes, the caller's address and agent: the same",
  budget: null,
  measure: (lab) =>
    verifyAgainstFloor(
      lab,
      numbers(KEYS).map((number) => ({
        key: secretOf(number),
        scopes: ["invoices:read"],
        caller: {
          name: `caller-${number}`,
          ip: `198.51.100.${number}`,
          user_agent: "bench/1.0 (a usual agent)",
        },
      })),
    ),
};

const httpVerifyCrossed: Row = {
  name: "verify over HTTP, each of 200 keys by all 200 callers: the same",
  budget: null,
  measure: (lab) =>
    verifyAgainstFloor(
      lab,
      numbers(KEYS * KEYS).map((number) => ({
        key: secretOf(number % KEYS),
        caller: { name: `caller-${(number + Math.floor(number / KEYS)) % KEYS}` },
      })),
    ),
};

const forwardAuth: Row = {
  name: "forward-auth: requests/s against a bare 200",
  budget: atLeast(0.5, "x"),
  measure: async (lab) => {
    const filled = await lab.store(KEYS);
    const server = await lab.keyturn(filled, { KEYTURN_TRUSTED_PROXIES: "127.0.0.1/32" });
    const floor = await lab.program("floor.ts", []);
    const load = {
      requests: numbers(KEYS).map((number) => forwardAuthRequest(filled.root, number)),
      seconds: seconds(lab),
    };
    const result = await duel(
      lab,
      () => lab.load(floor.server, load),
      () => lab.load(server, load),
    );
    await server.stop();
    await floor.server.stop();
    return told(result);
  },
};

const batch: Row = {
  name: `batch verify of ${KEYS_AT_ONCE}: verifications/s against single ones`,
  budget: atLeast(3, "x"),
  measure: async (lab) => {
    const filled = await lab.store(KEYS);
    const server = await lab.keyturn(filled);
    const { root } = filled;
    const items = numbers(KEYS).map((number) => ({
      key: secretOf(number),
      caller: { name: `caller-${number}` },
    }));
    const batches = numbers(KEYS).map((start) => ({
      keys: numbers(KEYS_AT_ONCE).flatMap((offset) => items[(start + offset) % KEYS] ?? []),
    }));
    const singles = { requests: items.map((body) => verifyRequest({ root, body })), seconds: seconds(lab) };
    const many = {
      requests: batches.map((body) => verifyRequest({ root, body, path: "/v1/keys/verify/batch" })),
      seconds: seconds(lab),
    };
    const result = await duel(
      lab,
      () => lab.load(server, singles),
      () => lab.load(server, many),
    );
    await server.stop();
    const perSecond = (side: readonly Measured[]) => median(side.map((one) => one.perSecond));
    return {
      value: result.ratio * KEYS_AT_ONCE,
      figure: rate(perSecond(result.ours) * KEYS_AT_ONCE),
      floor: rate(perSecond(result.floors)),
      notes: [
        `the ratio was ${spread(
          result.ratios.map((ratio) => ratio * KEYS_AT_ONCE),
          1,
        )}`,
      ],
    };
  },
};

/** A rate that leaves either server most of its time, so that the figure is the time of a request and not of a queue. */
const CALM_PER_SECOND = 2_000;

/** Verifications of all keys in a random-looking order, none twice until all had their turn. */
function walkThrough({ root, keys }: Filled): () => string {
  let at = 0;
  return () => {
    // Prime to every size of store, so the steps reach each key.
    at = (at + 611_953) % keys;
    return verifyRequest({ root, body: { key: secretOf(at), caller: { name: "api" } } });
  };
}

const randomKeys = (engine: EngineName): Row => ({
  name: `verify over HTTP on ${engine}, random keys, a large store not warmed against 1,000 keys: p50`,
  budget: engine === "SQLite" ? atMost(1.3, "x") : null,
  measure: async (lab) => {
    const large = await lab.store(lab.pick({ full: 1_000_000, quick: 100_000, tiny: 2_000 }), engine);
    const small = await lab.store(1_000, engine);
    if (large === null || small === null) return NO_POSTGRES;
    const span = lab.pick({ full: 2, quick: 1, tiny: 0.2 });
    const needed = Math.ceil(CALM_PER_SECOND * span * 1.5);
    const walks = { small: walkThrough(small), large: walkThrough(large) };
    const servers = { small: await lab.keyturn(small), large: await lab.keyturn(large) };
    const ratios: number[] = [];
    const p50s = { small: [] as number[], large: [] as number[] };
    for (let round = 0; round < rounds(lab) + 1; round += 1) {
      const few = await lab.load(servers.small, {
        requests: numbers(needed).map(walks.small),
        seconds: span,
        rate: CALM_PER_SECOND,
      });
      const many = await lab.load(servers.large, {
        requests: numbers(needed).map(walks.large),
        seconds: span,
        rate: CALM_PER_SECOND,
      });
      assertAllValid(few);
      assertAllValid(many);
      // The first round is the compilers'; its keys are not asked for again.
      if (round === 0) continue;
      p50s.small.push(few.p50);
      p50s.large.push(many.p50);
      ratios.push(many.p50 / few.p50);
    }
    const flatOut = (server: Server, walk: () => string) =>
      lab.load(server, { requests: numbers(needed * 10).map(walk), seconds: span });
    const rates = {
      small: await flatOut(servers.small, walks.small),
      large: await flatOut(servers.large, walks.large),
    };
    await servers.small.stop();
    await servers.large.stop();
    return {
      value: median(ratios),
      figure: `${micros(median(p50s.large))} with ${large.keys.toLocaleString("en")} keys`,
      floor: micros(median(p50s.small)),
      notes: [
        `at ${CALM_PER_SECOND.toLocaleString("en")} requests/s; the ratio was ${spread(ratios)}`,
        `as fast as it goes: ${rate(rates.large.perSecond)} against ${rate(rates.small.perSecond)}`,
      ],
    };
  },
});

const CHANGES_PER_SECOND = 50;

/** Makes changes one after another at a steady rate until told to stop: issue a key, rotate it, revoke it. */
function startChanges(server: Server, root: string): { stop(): Promise<number> } {
  let stopped = false;
  const send = async (path: string, body: unknown): Promise<{ key: { id: string } }> => {
    const response = await fetch(`${server.url}${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${root}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as { key: { id: string } };
  };
  const run = async (): Promise<number> => {
    const name = `changes-${crypto.randomUUID()}`;
    const owner = (await send("/v1/service-accounts", { name, role: "viewer" })) as unknown as { id: string };
    const startedAt = performance.now();
    let made = 0;
    let key = "";
    while (!stopped) {
      const step = made % 3;
      if (step === 0) key = (await send("/v1/keys", { name: `${name}-${made}`, owner_id: owner.id })).key.id;
      if (step === 1) await send(`/v1/keys/${key}/rotations`, {});
      if (step === 2) await send(`/v1/keys/${key}/revoke`, {});
      made += 1;
      await Bun.sleep(Math.max(0, startedAt + (made * 1000) / CHANGES_PER_SECOND - performance.now()));
    }
    return (made * 1000) / (performance.now() - startedAt);
  };
  const running = run();
  return {
    stop: () => {
      stopped = true;
      return running;
    },
  };
}

const STEADY_PER_SECOND = 5_000;

const whileChanging: Row = {
  name: `verify over HTTP while ${CHANGES_PER_SECOND} changes/s are made, against none: p99`,
  budget: atMost(2, "x"),
  measure: async (lab) => {
    const filled = await lab.store(KEYS);
    const server = await lab.keyturn(filled);
    const requests = numbers(KEYS).map((number) =>
      verifyRequest({
        root: filled.root,
        body: { key: secretOf(number), caller: { name: `caller-${number}` } },
      }),
    );
    const load = { requests, seconds: lab.pick({ full: 2.5, quick: 1.5, tiny: 0.3 }) };
    const compare = async (rate: number | undefined) => {
      const timed = rate === undefined ? load : { ...load, rate };
      const all = {
        idle: [] as number[],
        busy: [] as number[],
        ratios: [] as number[],
        rates: [] as number[],
      };
      for (let round = 0; round < lab.pick({ full: 4, quick: 3, tiny: 1 }); round += 1) {
        const idle = await lab.load(server, timed);
        const changes = startChanges(server, filled.root);
        const busy = await lab.load(server, timed);
        all.rates.push(await changes.stop());
        assertAllValid(idle);
        assertAllValid(busy);
        all.idle.push(idle.p99);
        all.busy.push(busy.p99);
        all.ratios.push(busy.p99 / idle.p99);
      }
      return all;
    };
    await lab.load(server, load);
    const flatOut = await compare(undefined);
    const steady = await compare(STEADY_PER_SECOND);
    await server.stop();
    return {
      value: median(flatOut.ratios),
      figure: micros(median(flatOut.busy)),
      floor: micros(median(flatOut.idle)),
      notes: [
        `as fast as 32 connections go; the ratio was ${spread(flatOut.ratios)}; ${median(flatOut.rates).toFixed(0)} changes/s were made`,
        `at ${STEADY_PER_SECOND.toLocaleString("en")} requests/s: ${micros(median(steady.busy))} against ${micros(median(steady.idle))} (${median(steady.ratios).toFixed(2)}x)`,
      ],
    };
  },
};

const revocation: Row = {
  name: "revocation under load: requests let through after it was acknowledged",
  budget: atMost(0, ""),
  measure: async (lab) => {
    const filled = await lab.store(KEYS);
    const server = await lab.keyturn(filled);
    const post = (path: string, body: unknown) =>
      fetch(`${server.url}${path}`, {
        method: "POST",
        headers: { authorization: `Bearer ${filled.root}`, "content-type": "application/json" },
        body: JSON.stringify(body),
      });
    const json = async <T>(answer: Promise<Response>) => (await (await answer).json()) as T;
    const owner = await json<{ id: string }>(
      post("/v1/service-accounts", { name: `revoked-${crypto.randomUUID()}` }),
    );
    const requests = numbers(KEYS).map((number) =>
      verifyRequest({
        root: filled.root,
        body: { key: secretOf(number), caller: { name: `caller-${number}` } },
      }),
    );
    const background = lab.load(server, { requests, seconds: lab.pick({ full: 4, quick: 2, tiny: 0.5 }) });
    const count = lab.pick({ full: 100, quick: 40, tiny: 5 });
    let late = 0;
    for (let number = 0; number < count; number += 1) {
      const made = await json<{ key: { id: string }; secret: string }>(
        post("/v1/keys", { name: `r-${number}`, owner_id: owner.id }),
      );
      const before = await json<{ valid: boolean }>(post("/v1/keys/verify", { key: made.secret }));
      if (!before.valid) throw new Error("a fresh key was refused");
      await (await post(`/v1/keys/${made.key.id}/revoke`, {})).json();
      const after = await json<{ valid: boolean }>(post("/v1/keys/verify", { key: made.secret }));
      if (after.valid) late += 1;
    }
    assertAllValid(await background);
    await server.stop();
    return {
      value: late,
      figure: `${late} of ${count}`,
      floor: "-",
      notes: ["the very next request after the answer is refused"],
    };
  },
};

const rotation: Row = {
  name: "rotation under load: failed requests",
  budget: atMost(0, ""),
  measure: async (lab) => {
    const filled = await lab.store(KEYS);
    const server = await lab.keyturn(filled);
    const headers = { authorization: `Bearer ${filled.root}`, "content-type": "application/json" };
    const post = (path: string, body: unknown) =>
      fetch(`${server.url}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
    const owner = (await (
      await post("/v1/service-accounts", { name: `rotated-${crypto.randomUUID()}` })
    ).json()) as { id: string };
    const count = lab.pick({ full: 100, quick: 30, tiny: 3 });
    const made: { readonly id: string; readonly secret: string }[] = [];
    for (let number = 0; number < count; number += 1) {
      const { key, secret } = (await (
        await post("/v1/keys", { name: `t-${number}`, owner_id: owner.id })
      ).json()) as {
        key: { id: string };
        secret: string;
      };
      made.push({ id: key.id, secret });
    }
    const requests = made.map(({ secret }, number) =>
      verifyRequest({ root: filled.root, body: { key: secret, caller: { name: `caller-${number}` } } }),
    );
    const underway = lab.load(server, { requests, seconds: lab.pick({ full: 4, quick: 2, tiny: 0.5 }) });
    let failed = 0;
    for (const { id } of made) {
      const { secret } = (await (await post(`/v1/keys/${id}/rotations`, {})).json()) as { secret: string };
      const { valid } = (await (await post("/v1/keys/verify", { key: secret })).json()) as { valid: boolean };
      if (!valid) failed += 1;
    }
    const result = await underway;
    await server.stop();
    const bad = Object.entries(result.statuses).reduce(
      (sum, [status, seen]) => (status === "200" ? sum : sum + seen),
      failed + result.invalid,
    );
    return {
      value: bad,
      figure: `${bad} of ${(result.requests + count).toLocaleString("en")}`,
      floor: "-",
      notes: [`${count} keys rotated while they were in use, old keys and successors asked`],
    };
  },
};

export const HTTP_ROWS: readonly Row[] = [
  httpVerify,
  httpVerifyScoped,
  httpVerifyCrossed,
  forwardAuth,
  batch,
  randomKeys("SQLite"),
  randomKeys("PostgreSQL"),
  whileChanging,
  revocation,
  rotation,
];
