import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createMembership } from "../../src/authority/cluster/membership.ts";
import { Refusal } from "../../src/authority/errors.ts";
import { newId } from "../../src/authority/ids.ts";
import type { Storage } from "../../src/authority/storage.ts";
import type { Route } from "../../src/http/call.ts";
import { ROUTES } from "../../src/http/routes.ts";
import { clusterAnswer, readinessAnswer } from "../../src/http/schemas.ts";
import { startServer } from "../../src/http/server.ts";
import { MINUTE, SECOND, startWorld, type World } from "../support/authority.ts";
import { makeCertificate } from "../support/certificate.ts";
import { clientOf } from "../support/client.ts";
import { type Answer, assertStamp, type Http, httpParts, QUIET, startHttp } from "../support/http.ts";
import {
  goodRequest,
  joinProcess,
  type Made,
  nameOf,
  newTenant,
  operatorOf,
  processPath,
  type Tenant,
} from "./requests.ts";

let http: Http;
let tenant: Tenant;
/** The database is away for as long as this is set. */
let isAway = false;

const away = () => new Refusal("storage_unavailable", "The database does not answer.");

/** A store that can be cut off, as one behind a network can. */
function cuttable(storage: Storage): Storage {
  const cut = <T extends object>(part: T): T =>
    new Proxy(part, {
      get: (target, name) => {
        const member: unknown = Reflect.get(target, name);
        if (typeof member === "object" && member !== null) return cut(member);
        if (typeof member !== "function" || name === "close") return member;
        return (...args: unknown[]) =>
          isAway ? Promise.reject(away()) : Reflect.apply(member, target, args);
      },
    });
  return cut(storage);
}

/** Under way while the other tests go on, because it takes so long. */
let waitedOnTheWire: Promise<{ readonly status: number; readonly cameAtOnce: boolean }>;

beforeAll(async () => {
  http = await startHttp({ through: cuttable });
  tenant = operatorOf(http);
  waitedOnTheWire = waitOnTheWire();
});
afterAll(async () => {
  expect(http.errors).toEqual([]);
  await http.close();
});

/** Asks a real server to wait, with a process that keeps silent, for longer than the runtime keeps a silent connection. */
async function waitOnTheWire() {
  const world = await startWorld();
  await joinSilent(world);
  const server = startServer({
    ...httpParts(world),
    host: "127.0.0.1",
    port: 0,
    metricsPort: null,
    tls: makeCertificate(),
    log: QUIET,
  });
  try {
    const { key } = await world.key((await world.owner()).id);
    let isThere = false;
    const asked = clientOf(server.url, world.root.secret)(
      "POST",
      `/v1/keys/${key.id}/revoke?wait=all`,
    ).finally(() => {
      isThere = true;
    });
    // Over TLS the runtime closes after 16 s, and counts in steps of 4.
    await Bun.sleep(21_000);
    const cameAtOnce = isThere;
    world.clock.pass(11 * SECOND);
    return { status: (await asked).status, cameAtOnce };
  } finally {
    await server.stop();
    await world.close();
  }
}

/** A process that has applied what there is so far, and says nothing from now on. */
function joinSilent({ authority, clock }: World): Promise<void> {
  const at = clock.wall();
  return authority.storage.cluster.join({
    id: newId("prc"),
    name: "silent",
    version: "1",
    startedAt: at,
    boundedSeconds: 10,
    appliedSeq: authority.follower.appliedSeq(),
    stalenessMs: 0,
    flushedAt: null,
    at,
  });
}

/** Runs with the database away, and brings it back. */
async function whileAway<T>(work: () => Promise<T>): Promise<T> {
  isAway = true;
  try {
    return await work();
  } finally {
    isAway = false;
    await http.world.follow();
  }
}

const seqOf = (answer: Answer) => Number(answer.headers.get("keyturn-seq"));
const stalenessOf = (answer: Answer) => answer.headers.get("keyturn-staleness-seconds");

const forwarded = (key: string) =>
  http.call("GET", "/v1/forward-auth", {
    key,
    headers: { "keyturn-authorization": `Bearer ${tenant.key}` },
  });
const batchOf = (key: string, more: Readonly<Record<string, unknown>> = {}) =>
  http.call("POST", "/v1/keys/verify/batch", { body: { keys: [{ key }], ...more } });

describe("a verdict says what it rests on:", () => {
  test("the newest entry applied, and how old that knowledge is, rounded up to a tenth of a second", async () => {
    const made = await tenant.make(await tenant.owner());
    for (const ask of [http.verify, batchOf, forwarded]) {
      await http.world.follow();
      const now = await ask(made.secret);
      expect([seqOf(now), stalenessOf(now)]).toEqual([http.world.authority.follower.appliedSeq(), "0.0"]);
      http.world.clock.pass(1);
      expect(stalenessOf(await ask(made.secret))).toBe("0.1");
      http.world.clock.pass(100);
      expect(stalenessOf(await ask(made.secret))).toBe("0.2");
      await http.world.follow();
      expect(stalenessOf(await ask(made.secret))).toBe("0.0");
    }
  });

  test("after a change the number has gone up, on every key's answer", async () => {
    const [one, other] = [await tenant.make(await tenant.owner()), await tenant.make(await tenant.owner())];
    for (const ask of [http.verify, batchOf, forwarded]) {
      const before = [seqOf(await ask(one.secret)), seqOf(await ask(other.secret))];
      const changed = await tenant.done("PATCH", `/v1/keys/${one.id}`, { metadata: { a: "b" } });
      expect(seqOf(changed)).toBeGreaterThan(Math.max(...before));
      expect([seqOf(await ask(one.secret)), seqOf(await ask(other.secret))]).toEqual([
        seqOf(changed),
        seqOf(changed),
      ]);
    }
  });

  test("a refused key's answer says it as well, at a proxy, too; nobody else is told", async () => {
    for (const answer of [await http.verify("nonsense"), await forwarded("nonsense")]) assertStamp(answer);
    const refused = await http.call("GET", "/v1/forward-auth", { key: tenant.key });
    expect([refused.code, refused.headers.get("keyturn-seq")]).toEqual(["proxy_key_refused", null]);
  });

  test("with a wall clock that went back, only what does not depend on it is said", async () => {
    const { world } = http;
    const made = await tenant.make(await tenant.owner(), { freshness: "static" });
    const strict = await tenant.holder("keyturn:keys.read");
    await http.verify(made.secret);
    await http.verify(strict.secret);
    // The keys that ask are strict: they are looked up anew, and with that the lease.
    world.clock.jump(-MINUTE);
    expect((await http.verify(strict.secret)).body.at("code")).toBe("valid");
    world.clock.jump(MINUTE);
    await world.follow();
    await whileAway(async () => {
      world.clock.jump(-MINUTE);
      const ready = readinessAnswer.parse((await http.call("GET", "/readyz", { key: null })).body.value);
      expect([ready.staleness_seconds, ready.lease]).toEqual([null, "lost"]);
    });
    world.clock.jump(MINUTE);
    await world.follow();
  });
});

describe("at_least is what the answer must take into account:", () => {
  test("what is reached is judged as always; what nobody has written is stale, whatever the key", async () => {
    const owner = await tenant.owner();
    const made = await tenant.make(owner);
    const changed = await tenant.done("PATCH", `/v1/service-accounts/${owner}`, { role: "viewer" });
    const head = seqOf(changed);
    for (const key of [made.secret, (await tenant.make(owner, { freshness: "static" })).secret]) {
      for (const [at_least, code] of [
        [0, "valid"],
        [head, "valid"],
        [head + 1_000, "stale"],
        [Number.MAX_SAFE_INTEGER, "stale"],
      ] as const) {
        const single = await http.verify(key, { at_least });
        const batch = await batchOf(key, { at_least });
        expect([single.status, single.body.at("code"), single.body.at("valid")]).toEqual([
          200,
          code,
          code === "valid",
        ]);
        expect([batch.status, batch.body.at("results", 0, "code")]).toEqual([200, code]);
        // What it can't do it does not claim.
        if (code === "valid") expect(seqOf(single)).toBeGreaterThanOrEqual(at_least);
        else expect(seqOf(single)).toBeLessThan(at_least);
      }
    }
  });

  test("what is known to be refused is told even so, and claims no more than was reached", async () => {
    const made = await tenant.make(await tenant.owner());
    const head = seqOf(await tenant.done("POST", `/v1/keys/${made.id}/revoke`));
    // Remembered from here on; a key that would have to be looked up is stale.
    await http.verify(made.secret);
    for (const answer of [
      await http.verify(made.secret, { at_least: head + 1_000 }),
      await batchOf(made.secret, { at_least: head + 1_000 }),
    ]) {
      expect(answer.text).toContain('"code":"revoked"');
      expect(seqOf(answer)).toBe(head);
    }
  });

  test("an entry of another process that was not heard of yet is fetched, for whoever asks for it", async () => {
    const made = await tenant.make(await tenant.owner());
    expect((await http.verify(made.secret)).body.at("code")).toBe("valid");
    const other = await startHttp({ world: await startWorldBeside(http) });
    const revoked = await other.call("POST", `/v1/keys/${made.id}/revoke`, { key: tenant.key });
    expect(revoked.status).toBe(200);
    // Not followed yet, and its ceiling has not passed.
    expect((await http.verify(made.secret)).body.at("code")).toBe("valid");
    const asked = await http.verify(made.secret, { at_least: seqOf(revoked) });
    expect(asked.body.at("code")).toBe("revoked");
    expect(seqOf(asked)).toBeGreaterThanOrEqual(seqOf(revoked));
    await other.world.leave();
  });

  test("at a proxy it is no parameter: the configured URL is fixed", async () => {
    const answer = await http.call("GET", "/v1/forward-auth?at_least=1", {
      headers: { "keyturn-authorization": `Bearer ${tenant.key}` },
    });
    expect([answer.code, answer.fields]).toEqual(["invalid_input", ["at_least"]]);
  });
});

/** Another process over the same folder. */
function startWorldBeside({ world }: Http) {
  return startWorld({ folder: world.folder, clock: world.clock, process: "beside" });
}

describe("a key says how fresh its verdicts are:", () => {
  test("bounded unless said, and it can only be made stricter", async () => {
    const owner = await tenant.owner();
    const freshness = async (made: Made) =>
      (await tenant.done("GET", `/v1/keys/${made.id}`)).body.at("freshness");
    expect(await freshness(await tenant.make(owner))).toBe("bounded");
    const made = await tenant.make(owner, { freshness: "static" });
    expect(await freshness(made)).toBe("static");
    for (const [wanted, told] of [
      ["static", "static"],
      ["bounded", "bounded"],
      ["bounded", "bounded"],
      ["strict", "strict"],
    ] as const) {
      const patched = await tenant.done("PATCH", `/v1/keys/${made.id}`, { freshness: wanted });
      expect([patched.body.at("freshness"), await freshness(made)]).toEqual([told, told]);
      expect((await http.verify(made.secret)).body.at("key", "freshness")).toBe(told);
    }
    for (const wanted of ["bounded", "static"]) {
      const refused = await tenant.call("PATCH", `/v1/keys/${made.id}`, { body: { freshness: wanted } });
      expect([refused.code, refused.fields]).toEqual(["invalid_input", ["freshness"]]);
    }
  });

  test("one that may change something at Keyturn is strict, whatever it asks for", async () => {
    const owner = await tenant.owner({ scopes: ["keyturn:keys.read"] });
    const made = await tenant.done("POST", "/v1/keys", {
      name: "says static",
      owner_id: owner,
      scopes: ["keyturn:keys.read"],
      freshness: "static",
    });
    expect(made.body.at("key", "freshness")).toBe("strict");
    const verdict = await http.verify(made.body.text("secret"));
    expect(verdict.body.at("key", "freshness")).toBe("strict");
  });

  test("one that may only ask for verdicts has its own, so that there are verdicts while the database is away", async () => {
    const owner = await tenant.owner({ scopes: ["keyturn:keys.verify"] });
    const gateway = await tenant.make(owner, { scopes: ["keyturn:keys.verify"], freshness: "static" });
    const plain = await tenant.owner();
    const [bounded, fixed] = [await tenant.make(plain), await tenant.make(plain, { freshness: "static" })];
    const codes = async () => {
      const told: unknown[] = [];
      for (const { secret } of [bounded, fixed]) {
        const body = { key: secret };
        const single = await http.call("POST", "/v1/keys/verify", { key: gateway.secret, body });
        const proxied = await http.call("GET", "/v1/forward-auth", {
          key: secret,
          headers: { "keyturn-authorization": `Bearer ${gateway.secret}` },
        });
        expect(proxied.headers.get("keyturn-code")).toBe(single.text.includes("stale") ? "stale" : "valid");
        told.push(single.body.at("code"));
      }
      return told;
    };
    expect(await codes()).toEqual(["valid", "valid"]);
    await http.world.follow();
    await whileAway(async () => {
      http.world.clock.pass(9_500);
      expect(await codes()).toEqual(["valid", "valid"]);
      http.world.clock.pass(1);
      expect(await codes()).toEqual(["stale", "valid"]);
      http.world.clock.pass(10 * MINUTE);
      expect(await codes()).toEqual(["stale", "valid"]);
    });
    expect(await codes()).toEqual(["valid", "valid"]);
  });

  test("a successor has its predecessor's", async () => {
    const old = await tenant.make(await tenant.owner(), { freshness: "static" });
    const { successor } = await tenant.rotate(old.id);
    expect((await tenant.done("GET", `/v1/keys/${successor.id}`)).body.at("freshness")).toBe("static");
  });
});

describe("with the database away nothing looks like a refusal:", () => {
  test("a key's verdict is stale from its lease on, no matter which face is asked; static ones stay good", async () => {
    const { clock } = http.world;
    const owner = await tenant.owner();
    const bounded = await tenant.make(owner);
    const fixed = await tenant.make(owner, { freshness: "static" });
    const unseen = await tenant.make(owner);
    for (const { secret } of [bounded, fixed]) await http.verify(secret);
    await http.world.follow();
    await whileAway(async () => {
      const codes = async () => [
        (await http.verify(bounded.secret)).body.at("code"),
        (await http.verify(fixed.secret)).body.at("code"),
        (await http.verify(unseen.secret)).body.at("code"),
      ];
      expect(await codes()).toEqual(["valid", "valid", "stale"]);
      // As long as the asking key's own lease, which is a strict key's.
      clock.pass(SECOND);
      expect(await codes()).toEqual(["valid", "valid", "stale"]);
      const proxied = await forwarded(unseen.secret);
      expect([proxied.status, proxied.code, proxied.headers.get("keyturn-code")]).toEqual([
        503,
        "verdict_stale",
        "stale",
      ]);
      assertStamp(proxied);
    });
  });

  test("an asking key that nobody can vouch for is 503 with Retry-After, on every route and every face", async () => {
    const reader = await tenant.holder("keyturn:keys.read", "keyturn:keys.verify");
    const requests: { readonly route: Route; readonly path: string; readonly body: unknown }[] = [];
    for (const route of ROUTES.filter((one) => one.permission !== "anyone")) {
      const { path, body } = await goodRequest(route, tenant);
      requests.push({ route, path, body });
    }
    await tenant.done("GET", "/v1/keys/self", undefined, reader.secret);
    await http.world.follow();
    await whileAway(async () => {
      http.world.clock.pass(SECOND + 1);
      const told = (answer: Answer) => [
        answer.status,
        answer.code,
        answer.headers.get("retry-after"),
        answer.headers.get("www-authenticate"),
      ];
      const stale = [503, "verdict_stale", "1", null];
      for (const { route, path, body } of requests) {
        const answer = await tenant.call(route.method.toUpperCase(), path, { body, key: reader.secret });
        expect(told(answer), nameOf(route)).toEqual(stale);
      }
      for (const answer of [
        await http.call("POST", "/v1/keys/verify", { key: reader.secret, body: { key: "a" } }),
        await http.call("POST", "/v1/keys/verify/batch", {
          key: reader.secret,
          body: { keys: [{ key: "a" }] },
        }),
        await http.call("GET", "/v1/forward-auth", {
          key: "a",
          headers: { "keyturn-authorization": `Bearer ${reader.secret}` },
        }),
      ])
        expect(told(answer)).toEqual(stale);
      // How old what is known of the proxy's key is, a proxy is told as of the client's.
      assertStamp(await http.forwardAuth("a", "", { "keyturn-authorization": `Bearer ${reader.secret}` }));
    });
    expect((await http.call("GET", "/v1/keys", { key: reader.secret })).status).toBe(200);
  });

  test("a good key's calls and readings are storage_unavailable, with Retry-After, and nothing is done", async () => {
    const requests: { readonly route: Route; readonly path: string; readonly body: unknown }[] = [];
    for (const route of ROUTES.filter((one) => one.permission !== "anyone")) {
      const { path, body } = await goodRequest(route, tenant);
      requests.push({ route, path, body });
    }
    await http.world.follow();
    const head = http.world.authority.follower.appliedSeq();
    await whileAway(async () => {
      // Within its lease, so that the key itself is judged.
      for (const { route, path, body } of requests) {
        const answer = await tenant.call(route.method.toUpperCase(), path, { body });
        expect([answer.status, answer.code, answer.headers.get("retry-after")], nameOf(route)).toEqual([
          503,
          "storage_unavailable",
          "1",
        ]);
      }
    });
    expect(http.world.authority.follower.appliedSeq()).toBe(head);
  });

  test("metrics are told, but for what only the database knows", async () => {
    const metrics = async () => (await http.call("GET", "/metrics", { key: null })).text;
    const sample = /^keyturn_rotations(_overdue|\{)/m;
    expect(await metrics()).toMatch(sample);
    await whileAway(async () => {
      const text = await metrics();
      expect(text).not.toMatch(sample);
      expect(text).toMatch(/^keyturn_verdicts_total\{code="valid"\} \d+$/m);
      http.world.clock.pass(2_500);
      expect(await metrics()).toMatch(/^keyturn_staleness_seconds 2\.5$/m);
    });
    expect(await metrics()).toMatch(sample);
  });
});

describe("readiness tells which promises are kept:", () => {
  const ready = async () =>
    readinessAnswer.parse((await http.call("GET", "/readyz", { key: null })).body.value);

  test("the lease, its age and the ceilings", async () => {
    await http.world.pass(0);
    http.world.clock.pass(SECOND);
    expect(await ready()).toEqual({
      status: "ready",
      seq: http.world.authority.follower.appliedSeq(),
      staleness_seconds: 1,
      lease: "held",
      ceilings: { strict_seconds: 1.5, bounded_seconds: 10, static_seconds: null },
      warnings: [],
    });
    http.world.clock.pass(1);
    const late = await ready();
    expect([late.status, late.staleness_seconds, late.lease]).toEqual(["degraded", 1.001, "lost"]);
    expect(late.warnings).toEqual(["lease: the log was not looked at for 1.0 s; strict keys answer stale"]);
    await http.world.pass(0);
    expect((await ready()).status).toBe("ready");
  });

  test("a database that does not answer, and what comes of it", async () => {
    await http.world.pass(0);
    await whileAway(async () => {
      await http.world.follow().catch(() => undefined);
      expect((await ready()).warnings).toEqual(["database: it does not answer"]);
      http.world.clock.pass(3 * SECOND);
      expect((await ready()).warnings).toEqual([
        "database: it does not answer; nothing was heard for 3.0 s; strict keys answer stale",
      ]);
      http.world.clock.pass(7 * SECOND);
      expect((await ready()).warnings[0]).toBe(
        "database: it does not answer; nothing was heard for 10.0 s; all but static keys answer stale",
      );
    });
    await http.world.pass(0);
    expect((await ready()).warnings).toEqual([]);
  });

  test("the installation's own ceiling is the one that is told", async () => {
    const other = await startHttp({ settings: { boundedSeconds: 45 } });
    const { body } = await other.call("GET", "/readyz", { key: null });
    expect(body.at("ceilings", "bounded_seconds")).toBe(45);
    const cluster = await other.call("GET", "/v1/cluster");
    expect(cluster.body.at("ceilings", "bounded_seconds")).toBe(45);
    await other.close();
  });

  test("a history that is not the one that was followed: no change, and only static keys", async () => {
    let isReplaced = false;
    const other = await startHttp({
      through: (storage) => ({
        ...storage,
        follow: (after, limit) =>
          isReplaced ? Promise.resolve({ continuous: false, entries: [] }) : storage.follow(after, limit),
      }),
    });
    const operator = operatorOf(other);
    const made = await operator.make(await operator.owner(), { freshness: "static" });
    await other.verify(made.secret);
    isReplaced = true;
    await other.world.follow().catch(() => undefined);
    const { body } = await other.call("GET", "/readyz", { key: null });
    expect([body.at("status"), body.at("lease"), body.at("staleness_seconds")]).toEqual([
      "degraded",
      "lost",
      null,
    ]);
    expect(body.at("warnings")).toEqual([
      expect.stringMatching(/^history: .*stop all processes.*keyturn restore$/i),
    ]);
    expect((await other.call("GET", "/v1/keys/self")).code).toBe("verdict_stale");
    await other.close();
  });
});

describe("the processes of the installation are listed for the operator:", () => {
  test("each with its version, what it has applied, its lease, its silence and its last flush", async () => {
    const { authority, clock } = http.world;
    await http.world.pass(0);
    await authority.storage.cluster.clear();
    const membership = createMembership(authority);
    await membership.join();
    const since = clock.wall();
    const head = authority.follower.appliedSeq();
    await authority.storage.cluster.join({
      id: newId("prc"),
      name: "silent",
      version: "1",
      startedAt: since,
      boundedSeconds: 10,
      appliedSeq: head - 2,
      stalenessMs: 200,
      flushedAt: null,
      at: since,
    });
    const list = async () =>
      clusterAnswer.parse((await tenant.done("GET", "/v1/cluster")).body.value).processes;
    const at = new Date(since).toISOString();
    const silent = {
      name: "silent",
      version: "1",
      started_at: at,
      bounded_ceiling_seconds: 10,
      applied_seq: head - 2,
      behind: 2,
      staleness_seconds: 0.2,
      reported_at: at,
      silent_for_seconds: 0,
      lease: "held",
      last_flush_at: null,
    } as const;
    const [first, second] = await list();
    expect(first).toEqual(silent);
    expect(second).toMatchObject({
      name: authority.process.name,
      applied_seq: head,
      behind: 0,
      lease: "held",
      last_flush_at: at,
    });
    // Of itself the process that answers knows how it is; of the other, what it said and for how long it has been silent.
    clock.pass(3 * SECOND);
    await authority.follower.renew();
    expect(await list()).toMatchObject([
      { name: "silent", staleness_seconds: 3.2, silent_for_seconds: 3, lease: "held" },
      { name: authority.process.name, silent_for_seconds: 0, lease: "held" },
    ]);
    clock.pass(1);
    expect(await list()).toMatchObject([{ lease: "lost" }, { lease: "held" }]);
    await authority.storage.cluster.clear();
  });

  test("nobody else is told, whatever scope they hold", async () => {
    const other = await newTenant(http);
    expect((await other.call("GET", "/v1/cluster")).code).toBe("operator_only");
  });

  test("one that died without a word is on it until it is forgotten, by the operator alone", async () => {
    await http.world.authority.storage.cluster.clear();
    const path = processPath(await joinProcess(http, MINUTE + 1));
    const list = async () =>
      clusterAnswer.parse((await tenant.done("GET", "/v1/cluster")).body.value).processes;
    const other = await newTenant(http);
    expect((await other.call("DELETE", path)).code).toBe("operator_only");
    expect((await list()).map(({ name }) => name)).toEqual(["keys-2:8420#1"]);
    const answer = await tenant.call("DELETE", path);
    expect([answer.status, answer.text]).toEqual([204, ""]);
    expect(seqOf(answer)).toBe((await http.world.lastEntry()).seq);
    expect(await list()).toEqual([]);
    expect((await tenant.call("DELETE", path)).code).toBe("not_found");
  });
});

describe("wait=all answers when the change is in force everywhere:", () => {
  const WAITING = ROUTES.filter((route) => route.waits);

  const silentProcess = () => joinSilent(http.world);
  const noProcess = () => http.world.authority.storage.cluster.clear();
  /** Lets time go by until the answer is there; what it took, and the answer. */
  async function answerOver<T>(
    asked: Promise<T>,
    stepMs = 500,
  ): Promise<{ readonly ms: number; readonly answer: T }> {
    const since = http.world.clock.monotonic();
    let isThere = false;
    const marked = asked.finally(() => {
      isThere = true;
    });
    while (!isThere) {
      // Slower than the waiting looks, so that it sees every step.
      await Bun.sleep(60);
      if (!isThere) http.world.clock.pass(stepMs);
    }
    return { ms: http.world.clock.monotonic() - since, answer: await marked };
  }

  test("the calls that take keys away have it, and no other", () => {
    expect(WAITING.map(nameOf).sort()).toEqual([
      "delete /v1/keys/{id}",
      "delete /v1/service-accounts/{id}",
      "post /v1/accounts/{id}/suspend",
      "post /v1/keys/{id}/revoke",
      "post /v1/keys/{id}/suspend",
      "post /v1/rotations/{id}/complete",
      "post /v1/service-accounts/{id}/disable",
    ]);
  });

  for (const route of WAITING) {
    test(`${nameOf(route)}: at once when all have applied it, after the ceiling when one is silent`, async () => {
      await noProcess();
      const quick = await about(route, "bounded");
      const since = http.world.clock.monotonic();
      expect((await tenant.call(quick.method, quick.path, { body: quick.body })).status).toBe(route.status);
      expect(http.world.clock.monotonic()).toBe(since);
      const slow = await about(route, "bounded");
      await silentProcess();
      const { ms, answer } = await answerOver(tenant.call(slow.method, slow.path, { body: slow.body }));
      expect(answer.status, answer.text).toBe(route.status);
      expect(ms).toBeGreaterThan(10_000);
      await noProcess();
    });

    test(`${nameOf(route)}: 202 with the names where a static key is concerned`, async () => {
      await noProcess();
      const { method, path, body } = await about(route, "static");
      await silentProcess();
      const { ms, answer } = await answerOver(tenant.call(method, path, { body }));
      expect([answer.status, answer.body.at("silent_processes")], answer.text).toEqual([202, ["silent"]]);
      // `call` has held the body to the schema of a 202: the resource is in it.
      if (route.answer !== null) expect(answer.body.at("id")).toBeString();
      expect(seqOf(answer)).toBe(http.world.authority.follower.appliedSeq());
      expect(ms).toBeGreaterThan(15_000);
      await noProcess();
    });
  }

  /** A request of this route that is about a key of this freshness. */
  async function about(route: Route, freshness: string) {
    const other = route.path.startsWith("/v1/accounts") ? await newTenant(http) : tenant;
    const owner = await other.owner();
    const { id } = await other.make(owner, { freshness });
    const subject = route.path.startsWith("/v1/accounts")
      ? other.account
      : route.path.startsWith("/v1/service-accounts")
        ? owner
        : route.path.startsWith("/v1/rotations")
          ? (await other.rotate(id)).id
          : id;
    return {
      method: route.method.toUpperCase(),
      path: `${route.path.replace("{id}", subject)}?wait=all`,
      body: route.path.endsWith("/complete") ? { force: true } : undefined,
    };
  }

  test("a strict key is in force after 1.5 s", async () => {
    await silentProcess();
    const { id } = await tenant.make(await tenant.owner(), { freshness: "strict" });
    const { ms, answer } = await answerOver(tenant.call("POST", `/v1/keys/${id}/revoke?wait=all`), 100);
    expect(answer.status).toBe(200);
    expect(ms).toBeGreaterThan(1_500);
    // Sooner than it would be for any other key.
    expect(ms).toBeLessThan(10_000);
    await noProcess();
  });

  test("a refusal is a refusal at once, and nobody is waited for", async () => {
    await silentProcess();
    const { id } = await tenant.make(await tenant.owner());
    await tenant.done("POST", `/v1/keys/${id}/revoke`);
    const since = http.world.clock.monotonic();
    expect((await tenant.call("POST", `/v1/keys/${id}/suspend?wait=all`)).code).toBe("key_revoked");
    expect(http.world.clock.monotonic()).toBe(since);
    await noProcess();
  });

  test("with force in the query of a DELETE it goes together", async () => {
    await noProcess();
    const { id } = await tenant.make(await tenant.owner());
    expect((await tenant.call("DELETE", `/v1/keys/${id}?force=true&wait=all`)).status).toBe(204);
  });

  test("a request that waits on the wire outlives the time after which a silent connection is closed", async () => {
    expect(await waitedOnTheWire).toEqual({ status: 200, cameAtOnce: false });
  }, 60_000);
});
