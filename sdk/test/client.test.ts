import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { inspect } from "node:util";
import { newId } from "../../src/authority/ids.ts";
import { createHttpFace, type HttpFace } from "../../src/http/app.ts";
import { MINUTE, startWorld, type World } from "../../test/support/authority.ts";
import { noteSecret } from "../../test/support/traces.ts";
import { type AboutAnswer, type Client, createClient, KeyturnError } from "../src/index.ts";

const URL_OF_KEYTURN = "http://keyturn.test";

let world: World;
let face: HttpFace;
let client: Client;

/** The server, without a port. */
const serve = async (url: string, init: RequestInit): Promise<Response> => face.fetch(new Request(url, init));

beforeAll(async () => {
  world = await startWorld();
  face = createHttpFace({
    authority: world.authority,
    version: "0",
    publicUrl: null,
    trustedProxies: [],
    servesMetrics: true,
    patienceSeconds: 45,
    keepOpen: () => undefined,
    peerOf: () => "127.0.0.1",
    log: { request: () => undefined, error: (error) => console.error(error), trouble: () => undefined },
  });
  client = createClient({ url: URL_OF_KEYTURN, key: world.root.secret, caller: "sdk-test", fetch: serve });
});
afterAll(() => world.close());

async function failure(attempt: Promise<unknown>): Promise<KeyturnError> {
  const outcome = await attempt.then(
    () => null,
    (error: unknown) => error,
  );
  if (outcome instanceof KeyturnError) return outcome;
  throw new Error(`It did not end in a KeyturnError: ${outcome}`);
}

describe("against the real server", () => {
  test("every noun and verb reaches its route", async () => {
    expect((await client.health()).status).toBe("ready");
    const made = await client.accounts.create({ name: "acme" });
    noteSecret(made.secret);
    expect((await client.accounts.list()).data.map((one) => one.name)).toContain("acme");
    expect((await client.accounts.suspend(made.account.id)).suspended).toBe(true);
    expect((await client.accounts.reinstate(made.account.id)).suspended).toBe(false);

    const owner = await client.serviceAccounts.create({
      name: "billing",
      role: "editor",
      scopes: ["invoices:*", "keyturn:self.rotate"],
    });
    expect(await client.serviceAccounts.get(owner.id)).toEqual(owner);
    expect((await client.serviceAccounts.update(owner.id, { name: "billing-2" })).name).toBe("billing-2");
    expect((await client.serviceAccounts.disable(owner.id)).disabled).toBe(true);
    expect((await client.serviceAccounts.enable(owner.id)).disabled).toBe(false);

    const issued = await client.keys.create({
      name: "ci",
      owner_id: owner.id,
      ttl: "30d",
      scopes: ["invoices:read", "keyturn:self.rotate"],
    });
    const replaced = await client.keys.replaceSecret(issued.key.id);
    for (const { secret } of [issued, replaced]) noteSecret(secret);
    expect((await client.keys.verify({ key: issued.secret })).code).toBe("revoked");
    const verdict = await client.keys.verify({
      key: replaced.secret,
      scopes: ["invoices:read"],
      caller: { name: "nightly" },
    });
    expect(verdict).toMatchObject({ valid: true, code: "valid", key: { id: issued.key.id } });
    const batch = await client.keys.verifyBatch({ keys: [{ key: replaced.secret }, { key: "nonsense" }] });
    expect(batch.map((one) => one.code)).toEqual(["valid", "malformed"]);
    await world.authority.recorder.flush();
    expect((await client.keys.callers(issued.key.id)).data.map((one) => one.name)).toContain("nightly");
    expect((await client.keys.usage(issued.key.id, { unit: "minute" })).data.length).toBeGreaterThan(0);
    expect((await client.keys.self()).id).toBe(world.root.key.id);
    expect((await client.keys.update(issued.key.id, { metadata: { team: "pay" } })).metadata).toEqual({
      team: "pay",
    });
    expect(
      (await client.keys.suspend(issued.key.id, { reason: "looking" })).in_use_by.map((one) => one.name),
    ).toContain("nightly");
    expect((await client.keys.reinstate(issued.key.id)).state).toBe("active");

    const started = await client.keys.rotate(issued.key.id, { overlap: "1d", reason: "quarterly" });
    noteSecret(started.secret);
    const { id } = started.rotation;
    expect((await client.rotations.list({ key_id: issued.key.id })).data.map((one) => one.id)).toEqual([id]);
    expect((await client.rotations.get(id)).state).toBe("issued");
    expect((await client.rotations.extend(id, { overlap: "2d" })).overlap_seconds).toBe(172_800);
    expect((await failure(client.rotations.complete(id))).code).toBe("not_safe_to_complete");
    expect((await failure(client.rotations.dismiss(id, { caller: "nightly", reason: "gone" }))).code).toBe(
      "caller_active",
    );
    expect((await failure(client.rotations.announceBrownout(id))).code).toBe("rotation_state");
    expect((await client.rotations.complete(id, { force: true })).forced).toBe(true);
    expect((await client.rotations.rollback(id)).state).toBe("issued");
    expect((await client.rotations.cancel(id)).state).toBe("cancelled");

    const asKey = createClient({ url: URL_OF_KEYTURN, key: replaced.secret, fetch: serve });
    const self = await asKey.keys.rotateSelf();
    noteSecret(self.secret);
    expect(self.rotation.old_key_id).toBe(issued.key.id);
    expect((await client.keys.revoke(self.key.id, { reason: "no longer" })).state).toBe("revoked");
    expect(await client.keys.delete(issued.key.id)).toBeUndefined();
    expect((await client.keys.get(issued.key.id)).state).toBe("revoked");
    expect(await client.serviceAccounts.delete(owner.id, { force: true })).toBeUndefined();
    const [entry] = (await client.audit.list({ limit: 1 })).data;
    expect(entry?.operation).toBe("service-accounts.delete");
  });

  test("what takes keys away can be waited for; a verification can demand what a change was numbered", async () => {
    const { key, secret } = await world.key((await world.owner()).id);
    noteSecret(secret);
    const told: AboutAnswer[] = [];
    const onAnswer = (about: AboutAnswer) => void told.push(about);
    const suspended = await client.keys.suspend(key.id, {}, { wait: "all", onAnswer });
    expect("silent_processes" in suspended).toBe(false);
    const [about] = told;
    const seq = world.authority.follower.appliedSeq();
    expect(about).toEqual({ status: 200, seq, stalenessSeconds: null });
    const verdict = await client.keys.verify({ key: secret, at_least: seq }, { onAnswer });
    expect([verdict.code, told[1]]).toEqual(["suspended", { status: 200, seq, stalenessSeconds: 0 }]);
    const [late] = await client.keys.verifyBatch({ keys: [{ key: secret }], at_least: seq + 1 });
    expect(late?.code).toBe("suspended");
    expect(await client.keys.delete(key.id, {}, { wait: "all", onAnswer })).toBeUndefined();
    expect(told.map(({ status }) => status)).toEqual([200, 200, 204]);
    expect((await client.cluster.read()).seq).toBe(world.authority.follower.appliedSeq());
  });

  test("a process that died without a word is forgotten by its name, whatever is in it", async () => {
    const startedAt = world.clock.wall();
    const report = { appliedSeq: 0, stalenessMs: 0, flushedAt: null, at: startedAt };
    const name = "keys-2:8420#1";
    await world.authority.storage.cluster.join({
      ...report,
      id: newId("prc"),
      name,
      version: "1",
      startedAt,
      boundedSeconds: 10,
    });
    expect((await failure(client.cluster.forget(name))).code).toBe("process_alive");
    await world.pass(2 * MINUTE);
    expect(await client.cluster.forget(name)).toBeUndefined();
    expect((await client.cluster.read()).processes).toEqual([]);
    expect((await failure(client.cluster.forget(name))).code).toBe("not_found");
  });

  test("a call that waits has the time that the server takes for it, unless you say otherwise", async () => {
    const never = (_: string, { signal }: RequestInit) =>
      new Promise<Response>((_, reject) =>
        signal?.addEventListener("abort", () => reject(new Error("aborted"))),
      );
    const hasty = createClient({ url: URL_OF_KEYTURN, key: "k", fetch: never, timeoutSeconds: 0.01 });
    const isOver = async (attempt: Promise<unknown>) =>
      Promise.race([
        failure(attempt).then(({ code }) => code),
        new Promise<string>((resolve) => setTimeout(() => resolve("still waiting"), 100)),
      ]);
    expect(await isOver(hasty.keys.revoke("key_a"))).toBe("timeout");
    expect(await isOver(hasty.keys.revoke("key_a", {}, { wait: "all", timeoutSeconds: 0.01 }))).toBe(
      "timeout",
    );
    const left = new AbortController();
    const waiting = hasty.keys.revoke("key_a", {}, { wait: "all", signal: left.signal });
    expect(await isOver(waiting)).toBe("still waiting");
    left.abort(new Error("left"));
    expect(waiting).rejects.toThrow("left");
  });

  test("an iterator walks every page, once", async () => {
    const owner = await client.serviceAccounts.create({ name: "many" });
    const made = new Set<string>();
    for (let i = 0; i < 7; i += 1)
      made.add((await client.keys.create({ name: `k${i}`, owner_id: owner.id })).key.id);
    const seen: string[] = [];
    for await (const key of client.keys.all({ owner_id: owner.id, limit: 3 })) seen.push(key.id);
    expect(seen).toEqual([...made]);
    const first = client.audit.all({ limit: 2 });
    expect((await first.next()).value?.seq).toBe((await client.audit.list({ limit: 1 })).data[0]?.seq);
    for await (const one of client.serviceAccounts.all()) expect(one.id).toStartWith("sa_");
    for await (const one of client.accounts.all()) expect(one.id).toStartWith("acc_");
    for await (const one of client.rotations.all()) expect(one.id).toStartWith("rot_");
  });

  test("a wrong set-up token is a problem like every other, and needs no key", async () => {
    const open = createClient({ url: URL_OF_KEYTURN, fetch: serve });
    expect((await failure(open.setup("setup_wrong"))).status).toBe(403);
    expect((await failure(open.keys.self())).code).toBe("unauthenticated");
  });

  test("a refusal brings its status, code, detail and fields, and the whole problem", async () => {
    const error = await failure(
      client.keys.create({ name: "x", owner_id: world.root.key.ownerId, ttl: "1.5h" }),
    );
    expect(error).toMatchObject({ status: 400, code: "invalid_input", name: "KeyturnError" });
    expect(error.errors[0]?.field).toBe("ttl");
    expect(error.problem?.type).toBe("/docs/errors#invalid_input");
    expect(error.message).toBe(`invalid_input: ${error.detail}`);
  });
});

interface Try {
  readonly url: string;
  readonly headers: Headers;
  readonly body: unknown;
}

/** A network that does as it is told, one answer a try, and the tries that it saw. */
function network(answers: readonly (Response | "down" | "slow")[]) {
  const tries: Try[] = [];
  const left = [...answers];
  let isSlow: (() => void) | undefined;
  /** Resolves when a slow answer is waited for. */
  const waiting = () =>
    new Promise<void>((resolve) => {
      isSlow = resolve;
    });
  const fetch = async (url: string, init: RequestInit): Promise<Response> => {
    tries.push({ url, headers: new Headers(init.headers), body: init.body });
    const answer = left.shift() ?? "down";
    if (answer === "down")
      throw Object.assign(new TypeError(`fetch failed with ${JSON.stringify(init)}`), { code: "ECONNRESET" });
    if (answer !== "slow") return answer;
    isSlow?.();
    return new Promise((_, reject) =>
      init.signal?.addEventListener("abort", () => reject(init.signal?.reason)),
    );
  };
  return { tries, fetch, waiting };
}

const problem = (status: number, code: string) =>
  Response.json({ type: "", title: "", status, code, detail: "why" }, { status });
const page = () => Response.json({ data: [], next_cursor: null });
const created = () => Response.json({ key: {}, secret: "s" }, { status: 201 });

describe("what is tried again", () => {
  const clientOver = (fetch: ReturnType<typeof network>["fetch"]) =>
    createClient({ url: URL_OF_KEYTURN, key: "k", fetch });
  const OWNER = { name: "n", owner_id: "sa_o" };

  test("a call that creates: with the same Idempotency-Key and the same body", async () => {
    const net = network(["down", problem(503, "outcome_unknown"), created()]);
    expect((await clientOver(net.fetch).keys.create(OWNER)).secret).toBe("s");
    expect(net.tries).toHaveLength(3);
    const keys = net.tries.map(({ headers }) => headers.get("idempotency-key"));
    expect(keys[0]).toMatch(/^[0-9a-f]{32}$/);
    expect(new Set(keys).size).toBe(1);
    expect(new Set(net.tries.map(({ body }) => body)).size).toBe(1);
  });

  test("each call that creates has a key of its own; yours is taken as it is", async () => {
    const net = network([created(), created(), created()]);
    const client = clientOver(net.fetch);
    await client.keys.create(OWNER);
    await client.keys.create(OWNER);
    await client.keys.create(OWNER, { idempotencyKey: "mine" });
    const keys = net.tries.map(({ headers }) => headers.get("idempotency-key"));
    expect(new Set(keys).size).toBe(3);
    expect(keys[2]).toBe("mine");
  });

  test("a call that creates waits for its own first try, and gives up on another's", async () => {
    const waiting = network([problem(409, "idempotency_in_progress"), created()]);
    await clientOver(waiting.fetch).keys.rotate("key_1");
    expect(waiting.tries).toHaveLength(2);
    const conflict = network([problem(422, "idempotency_conflict"), created()]);
    expect((await failure(clientOver(conflict.fetch).keys.rotate("key_1"))).code).toBe(
      "idempotency_conflict",
    );
    expect(conflict.tries).toHaveLength(1);
  });

  test("a reading: at most twice, unless said otherwise", async () => {
    const net = network(["down", "down", "down", page()]);
    expect((await failure(clientOver(net.fetch).keys.list())).code).toBe("unreachable");
    expect(net.tries).toHaveLength(3);
    const never = network(["down", page()]);
    const client = createClient({ url: URL_OF_KEYTURN, key: "k", fetch: never.fetch, retries: 0 });
    expect((await failure(client.keys.list())).code).toBe("unreachable");
    expect(never.tries).toHaveLength(1);
  });

  test("a verification: once, and only when nobody answered", async () => {
    const net = network(["down", "down", "down"]);
    expect((await failure(clientOver(net.fetch).keys.verify({ key: "x" }))).code).toBe("unreachable");
    expect(net.tries).toHaveLength(2);
    const refused = network([problem(503, "storage_unavailable"), page()]);
    expect((await failure(clientOver(refused.fetch).keys.verify({ key: "x" }))).status).toBe(503);
    expect(refused.tries).toHaveLength(1);
  });

  test("nothing else that changes something", async () => {
    const calls: readonly ((client: Client) => Promise<unknown>)[] = [
      (client) => client.setup("t"),
      (client) => client.keys.revoke("key_1"),
      (client) => client.keys.delete("key_1"),
      (client) => client.keys.replaceSecret("key_1"),
      (client) => client.keys.update("key_1", { name: "n" }),
      (client) => client.rotations.complete("rot_1"),
      (client) => client.rotations.announceBrownout("rot_1"),
      (client) => client.serviceAccounts.delete("sa_1"),
      (client) => client.accounts.suspend("acc_1"),
    ];
    for (const call of calls) {
      for (const answer of ["down", problem(503, "outcome_unknown")] as const) {
        const net = network([answer, page()]);
        await failure(call(clientOver(net.fetch)));
        expect(net.tries).toHaveLength(1);
        expect(net.tries[0]?.headers.has("idempotency-key")).toBe(false);
      }
    }
  });
});

describe("time and abort", () => {
  test("no answer in time is a timeout; your own abort is thrown as it is", async () => {
    const net = network(["slow", "slow", "slow", "slow"]);
    const client = createClient({
      url: URL_OF_KEYTURN,
      key: "k",
      fetch: net.fetch,
      timeoutSeconds: 0.01,
      retries: 1,
    });
    expect(await failure(client.keys.list())).toMatchObject({ code: "timeout", status: 0 });
    expect(net.tries).toHaveLength(2);
    const controller = new AbortController();
    const listing = client.keys.list({}, { signal: controller.signal, timeoutSeconds: 60 });
    await net.waiting();
    const reason = new Error("enough");
    controller.abort(reason);
    expect(await listing.catch((error: unknown) => error)).toBe(reason);
    const before = client.keys.list({}, { signal: controller.signal });
    expect(await before.catch((error: unknown) => error)).toBe(reason);
    expect(net.tries).toHaveLength(3);
  });
});

describe("answers of somebody else", () => {
  test.each([
    ["a page", new Response("<html>", { status: 200 })],
    ["a redirect", new Response(null, { status: 302, headers: { location: "http://elsewhere.test" } })],
    ["an error without a problem", new Response("no", { status: 500 })],
    ["a problem of another shape", Response.json({ code: 7, detail: [] }, { status: 400 })],
  ])("%s is unreadable_answer, with its status", async (_, response) => {
    const net = network([response]);
    const error = await failure(
      createClient({ url: URL_OF_KEYTURN, key: "k", fetch: net.fetch }).keys.revoke("key_1"),
    );
    expect(error).toMatchObject({ code: "unreadable_answer", status: response.status, problem: null });
  });
});

describe("the key stays inside (R21)", () => {
  const KEY = "kts_neverToBeSeenAnywhere";

  test("no error and no inspection shows it, not even when the runtime's own error does", async () => {
    const net = network(["down", "down", "down", problem(401, "unauthenticated"), new Response("x")]);
    const client = createClient({ url: URL_OF_KEYTURN, key: KEY, fetch: net.fetch });
    const errors = [
      await failure(client.keys.list()),
      await failure(client.keys.self()),
      await failure(client.keys.self()),
    ];
    expect(net.tries[0]?.headers.get("authorization")).toBe(`Bearer ${KEY}`);
    for (const shown of [client, ...errors]) {
      expect(inspect(shown, { depth: 10, showHidden: true })).not.toContain(KEY);
      expect(`${JSON.stringify(shown)} ${String(shown)}`).not.toContain(KEY);
    }
  });

  test("a key that no header can carry is refused without being quoted", async () => {
    for (const bad of [`${KEY}\n`, `${KEY} x`, `${KEY}, x`, "", "é"]) {
      const refused = () => createClient({ url: URL_OF_KEYTURN, key: bad });
      expect(refused).toThrow(TypeError);
      expect(refused).not.toThrow(KEY);
    }
  });

  test("it is never sent along a redirect, nor part of a URL", async () => {
    let redirect: string | undefined;
    const client = createClient({
      url: `${URL_OF_KEYTURN}/front/`,
      key: KEY,
      fetch: async (url, init) => {
        redirect = init.redirect;
        expect(url).toBe(`${URL_OF_KEYTURN}/front/v1/keys/a%2Fb`);
        return page();
      },
    });
    await client.keys.get("a/b");
    expect(redirect).toBe("manual");
    expect(() => client.keys.get("")).toThrow(TypeError);
    for (const url of ["ftp://x", "http://user:word@x", "http://x/?key=1", "not a url"]) {
      expect(() => createClient({ url, key: KEY })).toThrow(TypeError);
    }
  });

  test("it is asked for anew for each request, so a rotated one is picked up", async () => {
    const net = network([page(), page()]);
    const keys = ["old-key", "new-key"];
    const client = createClient({
      url: URL_OF_KEYTURN,
      key: async () => keys.shift() ?? "",
      fetch: net.fetch,
    });
    await client.keys.list();
    await client.keys.list();
    expect(net.tries.map(({ headers }) => headers.get("authorization"))).toEqual([
      "Bearer old-key",
      "Bearer new-key",
    ]);
  });
});
