import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { VERDICT_CODES } from "../../src/authority/keys/verdict.ts";
import { PROBLEM_OF } from "../../src/http/forward-auth.ts";
import { PROBLEMS } from "../../src/http/problems.ts";
import { type Answer, type Http, startHttp } from "../support/http.ts";
import {
  aCompletedRotation,
  aUsedRotation,
  freshName,
  type Made,
  newTenant,
  operatorOf,
  type Tenant,
} from "./requests.ts";

const PROXY = "10.0.0.1";
const CLIENT = "203.0.113.9";

let http: Http;
let tenant: Tenant;
let proxy: Made;
beforeAll(async () => {
  http = await startHttp({ trustedProxies: ["10.0.0.0/8", "2001:db8::/32"] });
  tenant = operatorOf(http);
  proxy = await tenant.holder("keyturn:keys.verify");
});
afterAll(async () => {
  expect(http.errors).toEqual([]);
  await http.close();
});

interface Shown {
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly peer?: string;
  readonly proxyKey?: string | null;
}

/** As a proxy asks for a client that presented this key. */
async function shown(
  key: string | null,
  { query = "", headers = {}, peer = PROXY, proxyKey = proxy.secret }: Shown = {},
): Promise<Answer> {
  http.peer = peer;
  const shows = proxyKey === null ? {} : { "keyturn-authorization": `Bearer ${proxyKey}` };
  const answer = await http.call("GET", `/v1/forward-auth${query}`, {
    key,
    headers: { ...shows, ...headers },
  });
  http.peer = PROXY;
  return answer;
}

const verdictOf = (answer: Answer) => [answer.status, answer.headers.get("keyturn-code")] as const;
const from = (...hops: readonly string[]) => ({ headers: { "x-forwarded-for": hops.join(", ") } });

async function usesOf(key: Made): Promise<unknown> {
  return (await tenant.done("GET", `/v1/keys/${key.id}/callers`)).body.at("data");
}

describe("a good key is let through, and the upstream is told who it is:", () => {
  test("the headers have the key, its owner, account, role and scopes, and nothing has a body or may be kept", async () => {
    const owner = await tenant.owner({ role: "editor", scopes: ["invoices:*", "reports:read"] });
    const key = await tenant.make(owner, { scopes: ["reports:read", "invoices:read"], role: "viewer" });
    const answer = await shown(key.secret, { query: "?scope=invoices:read&scope=reports:read&role=viewer" });
    expect(answer.text).toBe("");
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      "keyturn-code": "valid",
      "keyturn-key-id": key.id,
      "keyturn-owner": owner,
      "keyturn-account": tenant.account,
      "keyturn-role": "viewer",
      "keyturn-scopes": "invoices:read reports:read",
      "cache-control": "no-store",
    });
  });

  test("a client can't seed one of these headers: they tell of the key alone, and of a refused key not at all (R25)", async () => {
    const key = await tenant.make(await tenant.owner());
    const seeded = {
      "keyturn-key-id": "key_evil",
      "keyturn-owner": "sa_evil",
      "keyturn-role": "admin",
      "keyturn-scopes": "*",
      "keyturn-account": "acc_evil",
      "keyturn-code": "valid",
      "keyturn-seq": "1000000",
      "keyturn-staleness-seconds": "1000000.0",
    };
    const good = await shown(key.secret, { headers: seeded });
    expect(Object.fromEntries(good.headers)).toMatchObject({
      "keyturn-key-id": key.id,
      "keyturn-role": "none",
      "keyturn-scopes": "",
    });
    const bad = await shown("nonsense", { headers: seeded });
    expect([...bad.headers.keys()].filter((name) => name.startsWith("keyturn-"))).toEqual([
      "keyturn-code",
      "keyturn-seq",
      "keyturn-staleness-seconds",
    ]);
    for (const { headers } of [good, bad]) {
      expect(headers.get("keyturn-seq")).not.toBe("1000000");
      expect(headers.get("keyturn-staleness-seconds")).not.toBe("1000000.0");
    }
    expect(bad.headers.get("keyturn-code")).toBe("malformed");
  });

  test("Basic with the user api_key is understood", async () => {
    const key = await tenant.make(await tenant.owner());
    expect(
      (await shown(null, { headers: { authorization: `Basic ${btoa(`api_key:${key.secret}`)}` } })).status,
    ).toBe(200);
  });

  test("the client's name is the client's, and its address and agent are kept beside it", async () => {
    const key = await tenant.make(await tenant.owner());
    await shown(key.secret, {
      headers: { "keyturn-caller": "billing", "x-forwarded-for": CLIENT, "user-agent": "curl/8.5" },
    });
    expect(await usesOf(key)).toMatchObject([{ name: "billing", unnamed: false, counts: { valid: 1 } }]);
    await shown(key.secret, {
      headers: { "keyturn-caller": "a, b", "x-forwarded-for": CLIENT, "user-agent": "curl/8.5" },
    });
    expect(await usesOf(key)).toMatchObject([
      { name: "billing" },
      { name: `${CLIENT} curl`, unnamed: true, address: CLIENT, user_agent: "curl/8.5" },
    ]);
    // The proxy itself is another caller, of another key.
    expect(JSON.stringify(await usesOf(proxy))).not.toContain("billing");
  });
});

describe("every verdict has its status:", () => {
  const good = async () => tenant.make(await tenant.owner({ role: "viewer", scopes: ["invoices:read"] }));
  const SITUATIONS: Readonly<Record<string, () => Promise<Answer>>> = {
    "401 malformed": () => shown("kts_nonsense"),
    "401 revoked": async () => {
      const key = await good();
      await tenant.done("DELETE", `/v1/keys/${key.id}`);
      return shown(key.secret);
    },
    "401 owner_disabled": async () => {
      const owner = await tenant.owner();
      const key = await tenant.make(owner);
      await tenant.done("POST", `/v1/service-accounts/${owner}/disable`);
      return shown(key.secret);
    },
    "401 suspended": async () => shown((await aCompletedRotation(tenant)).old.secret),
    "401 expired": async () => {
      const key = await tenant.make(await tenant.owner(), { ttl: "1s" });
      http.world.clock.pass(1_000);
      return shown(key.secret);
    },
    "401 brownout": async () => {
      const rotation = await aUsedRotation(tenant);
      await tenant.done("POST", `/v1/rotations/${rotation.id}/brownouts`, {});
      return shown(rotation.old.secret);
    },
    "403 ip_not_allowed": async () =>
      shown(
        (await tenant.make(await tenant.owner(), { allowed_ips: ["192.0.2.0/24"] })).secret,
        from(CLIENT),
      ),
    "403 insufficient_scope": async () =>
      shown((await good()).secret, { query: "?scope=invoices:read&scope=invoices:write" }),
    "403 insufficient_role": async () =>
      shown((await good()).secret, { query: "?scope=invoices:read&role=editor" }),
    "200 valid": async () => shown((await good()).secret, { query: "?scope=invoices:read&role=viewer" }),
  };
  for (const [expected, situation] of Object.entries(SITUATIONS)) {
    test(expected, async () => {
      const answer = await situation();
      expect(verdictOf(answer).join(" ")).toBe(expected);
      if (answer.code !== undefined) expect(answer.body.at("verdict")).toBe(expected.slice(4));
      if (answer.status === 401)
        expect(answer.headers.get("www-authenticate")).toContain('error="invalid_token"');
    });
  }

  test("401 unknown", async () => {
    const other = await newTenant(http);
    const foreign = await other.make(await other.owner());
    expect(verdictOf(await shown(foreign.secret))).toEqual([401, "unknown"]);
  });

  test("401 wrong_region, told only of a key whose checksum is right", async () => {
    const elsewhere = await startHttp({
      settings: { format: { brand: "kt", retiredBrands: [], region: "eu" } },
    });
    expect(verdictOf(await shown(elsewhere.world.root.secret))).toEqual([401, "wrong_region"]);
    expect(verdictOf(await shown(`${elsewhere.world.root.secret.slice(0, -1)}!`))).toEqual([
      401,
      "malformed",
    ]);
    await elsewhere.close();
  });

  test("those that nothing brings about yet have one as well: 503 stale, 403 rate_limited, 401 retired", () => {
    const statuses = Object.entries(PROBLEM_OF).map(
      ([verdict, code]) => [verdict, PROBLEMS[code].status] as const,
    );
    expect(Object.fromEntries(statuses)).toEqual({
      malformed: 401,
      wrong_region: 401,
      unknown: 401,
      revoked: 401,
      retired: 401,
      owner_disabled: 401,
      suspended: 401,
      expired: 401,
      stale: 503,
      brownout: 401,
      ip_not_allowed: 403,
      insufficient_scope: 403,
      insufficient_role: 403,
      rate_limited: 403,
    });
    expect(statuses.map(([verdict]) => verdict).sort()).toEqual(
      VERDICT_CODES.filter((code) => code !== "valid").sort(),
    );
  });

  test("401 without any key of the client's, and nothing is counted", async () => {
    expect(verdictOf(await shown(null))).toEqual([401, "malformed"]);
  });
});

describe("without a proxy that is known nothing is looked at:", () => {
  test("a proxy's key that is missing, bad, revoked or without the scope is 403, and no use of the client's key is recorded", async () => {
    const client = await tenant.make(await tenant.owner());
    const bare = await tenant.make(await tenant.owner());
    const revoked = await tenant.holder("keyturn:keys.verify");
    await tenant.done("DELETE", `/v1/keys/${revoked.id}`);
    const homebound = await tenant.make(await tenant.owner({ scopes: ["keyturn:keys.verify"] }), {
      scopes: ["keyturn:keys.verify"],
      allowed_ips: ["192.0.2.1/32"],
    });
    for (const proxyKey of [
      null,
      "",
      "nonsense",
      revoked.secret,
      bare.secret,
      homebound.secret,
      client.secret,
    ]) {
      const answer = await shown(client.secret, { proxyKey });
      expect([answer.status, answer.code], `${proxyKey}`).toEqual([403, "proxy_key_refused"]);
    }
    expect((await tenant.done("GET", `/v1/keys/${client.id}`)).body.at("last_used_at")).toBeNull();
    const uses = await usesOf(client);
    // As a proxy's key it was looked at, and refused for its scope; as a client's never.
    expect(uses).toMatchObject([{ counts: { insufficient_scope: 1 } }]);
  });

  test("only keys of the proxy's own account are good", async () => {
    const other = await newTenant(http);
    const theirs = await other.holder("keyturn:keys.verify");
    const key = await tenant.make(await tenant.owner());
    expect((await shown(key.secret)).status).toBe(200);
    expect(verdictOf(await shown(key.secret, { proxyKey: theirs.secret }))).toEqual([401, "unknown"]);
  });
});

describe("what is required stands in the proxy's URL and nowhere else:", () => {
  test.each([
    "?scope=",
    "?scope=a b",
    "?scope=Invoices",
    "?role=owner",
    "?role=",
    "?role=viewer&role=admin",
    "?scopes=a",
    "?x",
    "?scope=a,b",
    "?scope=a%00",
  ])("%p is refused by name, so that a misspelt rule lets nobody in", async (query) => {
    const answer = await shown((await tenant.make(await tenant.owner())).secret, { query });
    expect([answer.status, answer.code, answer.fields.length]).toEqual([400, "invalid_input", 1]);
  });

  test("no header of the client changes it", async () => {
    const key = await tenant.make(await tenant.owner());
    for (const name of [
      "x-scope",
      "scope",
      "keyturn-scope",
      "x-original-uri",
      "x-forwarded-uri",
      "x-rewrite-url",
      "x-original-url",
      "x-http-method-override",
      "x-middleware-subrequest",
    ]) {
      const answer = await shown(key.secret, {
        query: "?scope=invoices:read",
        headers: { [name]: "/v1/forward-auth?scope=" },
      });
      expect(verdictOf(answer), name).toEqual([403, "insufficient_scope"]);
    }
  });
});

describe("headers that two hops can read in two ways are refused (R25):", () => {
  const key = async () => (await tenant.make(await tenant.owner())).secret;
  test.each([
    "keyturn_authorization",
    "keyturn_caller",
    "x_forwarded_for",
    "X-Forwarded_For",
    "x_forwarded-for",
  ])("the alias %p", async (alias) => {
    const answer = await shown(await key(), { headers: { [alias]: "127.0.0.1" } });
    expect([answer.status, answer.code]).toEqual([400, "ambiguous_header"]);
  });

  test.each([
    "authorization",
    "Keyturn-Authorization",
    "keyturn-caller",
    "x-forwarded-for",
    "close, X-Forwarded-For",
    "keep-alive, keyturn-authorization",
  ])("Connection: %s", async (connection) => {
    const answer = await shown(await key(), { headers: { connection } });
    expect([answer.status, answer.code]).toEqual([400, "ambiguous_header"]);
  });

  test("Connection: close or keep-alive is neither", async () => {
    for (const connection of ["close", "keep-alive", "upgrade"])
      expect((await shown(await key(), { headers: { connection } })).status).toBe(200);
  });

  test("a credential that was sent twice, the client's or the proxy's", async () => {
    const secret = await key();
    const twice = await shown(null, { headers: { authorization: `Bearer ${secret}, Bearer ${secret}` } });
    expect([twice.status, twice.code]).toEqual([400, "ambiguous_header"]);
    const proxyTwice = await shown(secret, {
      proxyKey: null,
      headers: { "keyturn-authorization": `Bearer ${proxy.secret}, Bearer x` },
    });
    expect([proxyTwice.status, proxyTwice.code]).toEqual([400, "ambiguous_header"]);
  });
});

describe("the client's address is the rightmost hop that is no trusted proxy (R25, R31):", () => {
  const ALLOWED = "198.51.100.7";
  let bound: Made;
  beforeAll(async () => {
    bound = await tenant.make(await tenant.owner(), { allowed_ips: [`${ALLOWED}/32`, "2001:db9::/64"] });
  });
  const allowed = async (peer: string, ...hops: readonly string[]) =>
    (await shown(bound.secret, { peer, ...(hops.length === 0 ? {} : from(...hops)) })).status === 200;

  test("behind one trusted proxy, or several", async () => {
    expect(await allowed(PROXY, ALLOWED)).toBe(true);
    expect(await allowed(PROXY, ALLOWED, "10.9.9.9", "10.0.0.2")).toBe(true);
    expect(await allowed("2001:db8::5", ALLOWED, "10.0.0.2")).toBe(true);
  });

  test("what a client wrote further left is not believed", async () => {
    expect(await allowed(PROXY, ALLOWED, CLIENT)).toBe(false);
    expect(await allowed(PROXY, ALLOWED, CLIENT, "10.0.0.2")).toBe(false);
    expect(await allowed(PROXY, CLIENT, ALLOWED)).toBe(true);
  });

  test("a peer that is not trusted is the client, whatever it says of others", async () => {
    expect(await allowed(CLIENT, ALLOWED)).toBe(false);
    expect(await allowed(ALLOWED, CLIENT)).toBe(true);
    expect(await allowed(ALLOWED)).toBe(true);
  });

  test("without a forwarding header the proxy itself is the client", async () => {
    expect(await allowed(PROXY)).toBe(false);
  });

  test("IPv4 written as IPv6 is that IPv4, for peers and for hops", async () => {
    expect(await allowed(`::ffff:${PROXY}`, ALLOWED)).toBe(true);
    expect(await allowed("::ffff:a00:1", `::ffff:${ALLOWED}`)).toBe(true);
    expect(await allowed(PROXY, "::ffff:c633:6407")).toBe(true);
    expect(await allowed(`::ffff:${CLIENT}`, ALLOWED)).toBe(false);
  });

  test.each([
    "",
    "unknown",
    "_hidden",
    "198.51.100.7:443",
    "0198.51.100.7",
    "198.51.100",
    "[2001:db9::1]",
    "2001:db9::1%eth0",
    "x",
    "198.51.100.7;",
  ])("the hop %p can't be read, so nobody knows the address and the key is refused", async (hop) => {
    expect(await allowed(PROXY, hop)).toBe(false);
    expect(await allowed(PROXY, ALLOWED, hop)).toBe(false);
  });

  test("headers other than X-Forwarded-For are no word about the address", async () => {
    for (const name of [
      "x-real-ip",
      "forwarded",
      "x-client-ip",
      "true-client-ip",
      "cf-connecting-ip",
      "x-forwarded",
      "x-cluster-client-ip",
    ]) {
      expect(
        (await shown(bound.secret, { headers: { [name]: ALLOWED, "x-forwarded-for": CLIENT } })).status,
        name,
      ).toBe(403);
    }
  });

  test("without trusted proxies nothing that anybody forwards is believed", async () => {
    const plain = await startHttp();
    const root = operatorOf(plain);
    const own = await root.make(await root.owner(), { allowed_ips: [`${ALLOWED}/32`] });
    plain.peer = PROXY;
    expect((await plain.forwardAuth(own.secret, "", { "x-forwarded-for": ALLOWED })).status).toBe(403);
    plain.peer = ALLOWED;
    expect((await plain.forwardAuth(own.secret, "", { "x-forwarded-for": CLIENT })).status).toBe(200);
    await plain.close();
  });

  test("all addresses of one IPv6 /64 are one unnamed caller, all spellings of one IPv4 as well (R31)", async () => {
    const key = await tenant.make(await tenant.owner());
    for (const hop of ["2001:db9::1", "2001:DB9:0:0::ffff", "2001:db9::dead:beef"])
      await shown(key.secret, from(hop));
    for (const hop of ["192.0.2.77", "::ffff:192.0.2.77", "::FFFF:c000:24d"])
      await shown(key.secret, from(hop));
    const callers = await usesOf(key);
    expect(callers).toMatchObject([{ counts: { valid: 3 } }, { counts: { valid: 3 } }]);
  });

  test("an asking key's own address list holds for the management API and for verification", async () => {
    const owner = await tenant.owner({ scopes: ["keyturn:keys.verify", "keyturn:keys.read"] });
    const asker = await tenant.make(owner, {
      name: freshName(),
      scopes: ["keyturn:keys.verify", "keyturn:keys.read"],
      allowed_ips: [`${ALLOWED}/32`],
    });
    for (const [peer, hop, status] of [
      [PROXY, ALLOWED, 200],
      [PROXY, CLIENT, 401],
      [CLIENT, ALLOWED, 401],
      [ALLOWED, CLIENT, 200],
    ] as const) {
      http.peer = peer;
      const headers = { "x-forwarded-for": hop };
      expect(
        (await http.call("GET", "/v1/keys", { key: asker.secret, headers })).status,
        `${peer} ${hop}`,
      ).toBe(status);
      expect(
        (
          await http.call("POST", "/v1/keys/verify", {
            key: asker.secret,
            headers,
            body: { key: asker.secret },
          })
        ).status,
      ).toBe(status);
    }
    http.peer = PROXY;
  });
});
