import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Api, apiOf, type Issued } from "../support/api.ts";
import {
  findProgram,
  type Gateway,
  type RawAnswer,
  sendRaw,
  startApi,
  startCaddy,
  startNginx,
} from "../support/gateways.ts";
import { freePort, type Server, startServer } from "../support/server.ts";
import { until } from "../support/until.ts";

const IDENTITY = ["code", "key-id", "owner", "account", "role", "scopes"].map((name) => `keyturn-${name}`);

/** What a gateway does differently, because it can't do otherwise. */
const KINDS = [
  { name: "nginx", start: startNginx, away: 503, states: "set $keyturn_asks $invoices_ask;" },
  { name: "caddy", start: startCaddy, away: 502, states: "uri /v1/forward-auth?scope=invoices:read" },
] as const;

let keyturn: Server;
let root: Api;
let owner: string;
let gatewayKey: string;
const api = startApi();

beforeAll(async () => {
  keyturn = await startServer({ KEYTURN_TRUSTED_PROXIES: "127.0.0.1" });
  root = apiOf(keyturn.url, keyturn.rootKey);
  const gateway = await root.owner({ name: "gateway", scopes: ["keyturn:keys.verify"] });
  gatewayKey = (await root.key({ name: "gateway", owner_id: gateway, scopes: ["keyturn:keys.verify"] }))
    .secret;
  owner = await root.owner({ name: "billing", role: "editor", scopes: ["invoices:*"] });
});

afterAll(async () => {
  await api.stop();
  await keyturn.clean();
});

let made = 0;
const newKey = (body: Readonly<Record<string, unknown>> = {}) =>
  root.key({ name: `key-${++made}`, owner_id: owner, scopes: ["invoices:read"], ...body });
const bearer = ({ secret }: Issued) => `Authorization: Bearer ${secret}`;

for (const kind of KINDS) {
  const program = findProgram(kind.name);

  describe.skipIf(program === null)(`the example for ${kind.name}`, () => {
    let gateway: Gateway;
    const ends = () => ({ keyturn: keyturn.port, api: api.port, key: gatewayKey });
    const start = (other: Partial<Parameters<typeof kind.start>[1]>) =>
      kind.start(program ?? kind.name, { ...ends(), ...other });

    beforeAll(async () => {
      gateway = await start({});
    });
    afterAll(async () => {
      await gateway.stop();
    });

    /** The answer, and what the API saw of the request, which is nothing when it was refused. */
    async function send(line: string, headers: readonly string[], from?: string, through = gateway) {
      const before = api.seen.length;
      const answer = await sendRaw(through.port, line, headers, from);
      return { ...answer, seen: api.seen.slice(before) };
    }

    /** What nginx and Keyturn tell a client whose key was refused. */
    function refusal({ status, headers, seen }: RawAnswer & { readonly seen: readonly unknown[] }) {
      return {
        status,
        code: headers.get("keyturn-code"),
        challenged: headers.get("www-authenticate")?.startsWith("Bearer ") ?? false,
        reached: seen.length,
      };
    }

    test("a good key passes, and the API is told whose it is but not the secret", async () => {
      const key = await newKey();
      const { status, seen } = await send("GET /invoices/7?page=2", [bearer(key)]);
      expect(status).toBe(200);
      expect(seen).toHaveLength(1);
      const [one] = seen;
      expect(one?.url).toBe("/invoices/7?page=2");
      expect(Object.fromEntries(IDENTITY.map((name) => [name, one?.headers[name]]))).toEqual({
        "keyturn-code": "valid",
        "keyturn-key-id": key.key.id,
        "keyturn-owner": owner,
        "keyturn-account": key.key.account_id,
        "keyturn-role": "editor",
        "keyturn-scopes": "invoices:read",
      });
      expect(JSON.stringify(one)).not.toContain(key.secret);
      expect(JSON.stringify(one)).not.toContain(gatewayKey);
    });

    test("a body reaches the API whole, and Keyturn not at all", async () => {
      const key = await newKey({ scopes: ["invoices:write"] });
      const body = "x".repeat(300_000);
      const response = await fetch(`${gateway.url}/invoices`, {
        method: "POST",
        body,
        headers: { authorization: `Bearer ${key.secret}`, "content-type": "text/plain" },
      });
      expect(response.status).toBe(200);
      expect(api.seen.at(-1)).toMatchObject({ method: "POST", url: "/invoices", body });
    });

    test("identity headers that a client sends never reach the API, however they are spelled (R25)", async () => {
      const key = await newKey({ scopes: [] });
      const forged = IDENTITY.flatMap((name) => [
        `${name}: forged`,
        `${name.toUpperCase()}: forged`,
        `${name.replaceAll("-", "_")}: forged`,
        `${name.replace(/-(?=[^-]*$)/, "_")}: forged`,
      ]);
      const { status, seen } = await send("GET /me", [
        bearer(key),
        ...forged,
        "Keyturn-Authorization: Bearer forged",
      ]);
      expect(status).toBe(200);
      expect(JSON.stringify(seen)).not.toContain("forged");
      expect(seen[0]?.headers["keyturn-key-id"]).toBe(key.key.id);
      // A key without scopes: the header is empty or absent, and not what the client wrote.
      expect(seen[0]?.headers["keyturn-scopes"] ?? "").toBe("");
      expect(seen[0]?.headers["keyturn-authorization"]).toBeUndefined();
    });

    test("Connection can't be used to drop the identity on its way to the API (R25)", async () => {
      const key = await newKey();
      const { seen } = await send("GET /me", [bearer(key), `Connection: close, ${IDENTITY.join(", ")}`]);
      for (const one of seen) expect(one.headers["keyturn-key-id"]).toBe(key.key.id);
    });

    test("who calls is recorded as the client's own: its name, its address, its agent", async () => {
      const key = await newKey();
      await send("GET /me", [bearer(key), "Keyturn-Caller: crm", "User-Agent: crm/2.1"], "127.0.0.2");
      const callers = await callersOf(key.key.id);
      expect(callers).toMatchObject([
        { name: "crm", unnamed: false, address: "127.0.0.2", user_agent: "crm/2.1" },
      ]);
    });

    test("no key, a malformed, a revoked, a suspended and an expired one: 401 with WWW-Authenticate", async () => {
      const [revoked, suspended, expired] = [await newKey(), await newKey(), await newKey({ ttl: "1s" })];
      await root.post(`/v1/keys/${revoked.key.id}/revoke`);
      await root.post(`/v1/keys/${suspended.key.id}/suspend`);
      await until("the key is expired", async () => (await root.readKey(expired.key.id)).state === "expired");
      const cases: readonly (readonly [readonly string[], string])[] = [
        [[], "malformed"],
        [["Authorization: Bearer nonsense"], "malformed"],
        [["Authorization: Digest nonsense"], "malformed"],
        [[bearer(revoked)], "revoked"],
        [[bearer(suspended)], "suspended"],
        [[bearer(expired)], "expired"],
      ];
      for (const [headers, code] of cases) {
        const answer = await send("GET /invoices", headers);
        expect(refusal(answer)).toEqual({ status: 401, code, challenged: true, reached: 0 });
      }
    });

    test("a missing scope is 403, for the place and the method that ask for it", async () => {
      const key = await newKey({ scopes: ["invoices:read"] });
      expect((await send("GET /invoices", [bearer(key)])).status).toBe(200);
      expect(refusal(await send("POST /invoices", [bearer(key), "Content-Length: 0"]))).toEqual({
        status: 403,
        code: "insufficient_scope",
        challenged: false,
        reached: 0,
      });
      expect((await send("GET /me", [bearer(key)])).status).toBe(200);
    });

    test("an address list holds against the client's real address, whatever X-Forwarded-For claims (R31)", async () => {
      const key = await newKey({ allowed_ips: ["127.0.0.2"] });
      expect((await send("GET /invoices", [bearer(key)], "127.0.0.2")).status).toBe(200);
      const claims = [
        [],
        ["X-Forwarded-For: 127.0.0.2"],
        ["X-Forwarded-For: 127.0.0.2, 127.0.0.1"],
        ["X-Real-IP: 127.0.0.2"],
      ];
      for (const claim of claims) {
        const refused = refusal(await send("GET /invoices", [bearer(key), ...claim], "127.0.0.1"));
        expect(refused).toEqual({ status: 403, code: "ip_not_allowed", challenged: false, reached: 0 });
      }
      const other = await newKey({ allowed_ips: ["127.0.0.1"] });
      const disguised = await send(
        "GET /invoices",
        [bearer(other), "X-Forwarded-For: 127.0.0.1"],
        "127.0.0.2",
      );
      expect(refusal(disguised)).toMatchObject({ status: 403, code: "ip_not_allowed" });
    });

    test("two credentials at once are refused, good or not (R25)", async () => {
      const [one, other] = [await newKey(), await newKey()];
      for (const pair of [
        [bearer(one), bearer(other)],
        [bearer(one), "Authorization: Bearer nonsense"],
        ["Authorization: Bearer nonsense", bearer(one)],
        [`${bearer(one)}, Bearer ${other.secret}`],
      ]) {
        const answer = await send("GET /invoices", pair);
        expect({ pair: pair.length, status: answer.status, reached: answer.seen.length }).toEqual({
          pair: pair.length,
          status: 400,
          reached: 0,
        });
      }
    });

    test("a key in the query string is no credential, and gets no further (R22)", async () => {
      const key = await newKey();
      for (const headers of [[], [bearer(key)]]) {
        for (const query of [`api_key=${key.secret}`, `a=1&x=${key.secret}`, key.secret]) {
          const { status, seen } = await send(`GET /invoices?${query}`, headers);
          expect({ status, seen }).toEqual({ status: 400, seen: [] });
        }
      }
      expect(await callersOf(key.key.id)).toEqual([]);
    });

    test("no spelling of a path gets a key further than the place's own (R26)", async () => {
      const key = await newKey({ scopes: [] });
      const paths = [
        "//invoices",
        "/./invoices",
        "/me/../invoices",
        "/me/%2e%2e/invoices",
        "/me/..%2finvoices",
        "/me/..;/invoices",
        "/me;/../invoices",
        "/healthz/../invoices",
        "/healthz/..%2f..%2finvoices",
        "/healthz;/../invoices",
        "/%69nvoices",
        "/Invoices",
        "/INVOICES/7",
        "/invoices;x=1",
        "/invoices/",
        "/invoices%00",
        "/invoices%20",
        "/me%00/../invoices",
        "/_keyturn",
        "/_keyturn?scope=x",
        "/v1/forward-auth",
        "http://127.0.0.1/invoices",
      ];
      for (const path of paths) {
        for (const headers of [[], [bearer(key)]]) {
          const { status, seen } = await send(`GET ${path}`, headers);
          expect({ path, status: status >= 400, seen }).toEqual({ path, status: true, seen: [] });
        }
      }
      expect((await send("GET /healthz", [])).status).toBe(200);
    });

    test("a place that forgot to say what it asks for is closed", async () => {
      const key = await newKey();
      const starting = start({ edit: (text) => text.replace(kind.states, "") });
      // Caddy does not even start.
      if (kind.name === "caddy") return expect(starting).rejects.toThrow("'uri' subdirective is required");
      const forgetful = await starting;
      const answer = await send("GET /invoices", [bearer(key)], undefined, forgetful);
      await forgetful.stop();
      expect({ status: answer.status, reached: answer.seen.length }).toEqual({ status: 400, reached: 0 });
    });

    test("a gateway without a good key of its own gets 403 for everything, and nothing is recorded", async () => {
      const weak = await root.key({ name: `weak-${++made}`, owner_id: owner, scopes: ["invoices:read"] });
      const key = await newKey();
      for (const own of [null, "nonsense", weak.secret]) {
        const keyless = await start({ key: own });
        const answer = await send("GET /invoices", [bearer(key), "Keyturn-Caller: crm"], undefined, keyless);
        await keyless.stop();
        expect({ own: own?.length, status: answer.status, reached: answer.seen.length }).toEqual({
          own: own?.length,
          status: 403,
          reached: 0,
        });
      }
      // What follows through the good gateway is the first that anybody hears of this key.
      await send("GET /invoices", [bearer(key), "Keyturn-Caller: the first"]);
      expect(await callersOf(key.key.id)).toMatchObject([{ name: "the first", counts: { valid: 1 } }]);
    });

    test(`without Keyturn nobody gets in: ${kind.away}`, async () => {
      const alone = await start({ keyturn: await freePort() });
      const answer = await send("GET /invoices", [bearer(await newKey())], undefined, alone);
      const open = await send("GET /healthz", [], undefined, alone);
      await alone.stop();
      expect({ status: answer.status, reached: answer.seen.length }).toEqual({
        status: kind.away,
        reached: 0,
      });
      expect(open.status).toBe(200);
    });
  });
}

async function callersOf(keyId: string): Promise<unknown> {
  const response = await fetch(`${keyturn.url}/v1/keys/${keyId}/callers`, {
    headers: { authorization: `Bearer ${keyturn.rootKey}` },
  });
  const { data } = (await response.json()) as { readonly data: unknown };
  return data;
}
