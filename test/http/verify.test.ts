import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { mintSecret } from "../../src/authority/secret.ts";
import { checked } from "../../src/http/call.ts";
import { asProblem } from "../../src/http/problems.ts";
import { verifyBatchBody, verifyBody } from "../../src/http/schemas.ts";
import {
  checkedBatch,
  checkedVerification,
  plainBatch,
  verificationIn,
} from "../../src/http/verification.ts";
import { DAY, HOUR, MINUTE, SECOND, SETTINGS } from "../support/authority.ts";
import { times } from "../support/counts.ts";
import { type Answer, type Http, startHttp } from "../support/http.ts";
import { aUsedRotation, type Made, newTenant, operatorOf, type Tenant } from "./requests.ts";

let http: Http;
let tenant: Tenant;
beforeAll(async () => {
  http = await startHttp();
  tenant = operatorOf(http);
});
afterAll(async () => {
  expect(http.errors).toEqual([]);
  await http.close();
});

const stranger = () =>
  mintSecret(SETTINGS.format, "service", (size) => crypto.getRandomValues(new Uint8Array(size)));

/** The verdict's code by each way to ask for it; they must be one. */
async function codeOf(
  secret: string,
  more: { readonly scopes?: readonly string[]; readonly ip?: string } = {},
): Promise<unknown> {
  const item = {
    key: secret,
    ...(more.scopes === undefined ? {} : { scopes: more.scopes }),
    caller: { name: "api", ...(more.ip === undefined ? {} : { ip: more.ip }) },
  };
  const single = (await tenant.done("POST", "/v1/keys/verify", item)).body;
  const batch = (await tenant.done("POST", "/v1/keys/verify/batch", { keys: [{ key: tenant.key }, item] }))
    .body;
  http.peer = more.ip ?? "192.0.2.7";
  const proxied = await http.forwardAuth(
    secret,
    more.scopes === undefined ? "" : `?${more.scopes.map((scope) => `scope=${scope}`).join("&")}`,
  );
  http.peer = "192.0.2.7";
  expect(batch.at("results", 1, "code")).toBe(single.at("code"));
  expect(proxied.headers.get("keyturn-code")).toBe(single.text("code"));
  expect(single.at("valid")).toBe(single.at("code") === "valid");
  return single.at("code");
}

describe("a verdict:", () => {
  test("of a good key tells what is known of it, and nothing of its secret", async () => {
    const owner = await tenant.owner({ role: "editor", scopes: ["invoices:*"] });
    const made = await tenant.make(owner, {
      name: "billing",
      scopes: ["invoices:read"],
      metadata: { team: "a" },
      ttl: "2d",
    });
    const { body, text } = await http.verify(made.secret, { scopes: ["invoices:read"], role: "viewer" });
    const expires = new Date(http.world.clock.wall() + 2 * DAY).toISOString();
    expect(body.value).toMatchObject({
      valid: true,
      code: "valid",
      expires_at: expires,
      key: {
        id: made.id,
        owner_id: owner,
        account_id: tenant.account,
        name: "billing",
        state: "active",
        role: "editor",
        scopes: ["invoices:read"],
        inherits: ["role", "allowed_ips"],
        metadata: { team: "a" },
        expires_at: expires,
      },
    });
    expect(text).not.toContain(made.secret);
  });

  test("scopes means all of them; a role is at least that role", async () => {
    const made = await tenant.make(
      await tenant.owner({ role: "editor", scopes: ["invoices:*", "reports:read"] }),
    );
    const code = async (more: Readonly<Record<string, unknown>>) =>
      (await http.verify(made.secret, more)).body.at("code");
    expect(await code({ scopes: ["invoices:read", "reports:read"] })).toBe("valid");
    expect(await code({ scopes: ["invoices:read", "reports:write"] })).toBe("insufficient_scope");
    expect(await code({ scopes: [] })).toBe("valid");
    expect(await code({ role: "editor" })).toBe("valid");
    expect(await code({ role: "admin" })).toBe("insufficient_role");
    expect(await code({ scopes: ["keyturn:keys.read"] })).toBe("insufficient_scope");
  });

  test("of a text that is no key of ours says so, and no more", async () => {
    for (const [text, code] of [
      ["", "malformed"],
      ["kts_short", "malformed"],
      [stranger(), "unknown"],
      [`${stranger().slice(0, -1)}-`, "malformed"],
    ] as const) {
      expect((await http.verify(text)).body.value).toEqual({ valid: false, code });
    }
  });

  test("an open rotation shows in it, on both keys, and on the old one the brownout that is announced", async () => {
    const { id, old, successor } = await aUsedRotation(tenant);
    const rotationIn = async (made: Made) => (await http.verify(made.secret)).body.at("rotation");
    expect(await rotationIn(old)).toMatchObject({ id, position: "old" });
    expect(await rotationIn(successor)).toMatchObject({ id, position: "successor" });
    const starts = http.world.clock.wall() + HOUR;
    await tenant.done("POST", `/v1/rotations/${id}/brownouts`, {
      starts_at: new Date(starts).toISOString(),
      duration: "10m",
    });
    const code = async (made: Made) =>
      (await http.verify(made.secret, { caller: { name: "late" } })).body.at("code");
    // The answer is remembered as text; what changes by the clock alone must change it all the same.
    expect(await rotationIn(old)).not.toHaveProperty("brownout");
    http.world.clock.pass(HOUR - 15 * MINUTE - 1);
    expect(await rotationIn(old)).not.toHaveProperty("brownout");
    http.world.clock.pass(1);
    const announced = {
      starts_at: new Date(starts).toISOString(),
      ends_at: new Date(starts + 10 * MINUTE).toISOString(),
    };
    expect(await rotationIn(old)).toMatchObject({ brownout: announced });
    // The successor's users are not in for it.
    expect(await rotationIn(successor)).not.toHaveProperty("brownout");
    http.world.clock.pass(15 * MINUTE - 1);
    expect(await code(old)).toBe("valid");
    http.world.clock.pass(1);
    expect(await code(old)).toBe("brownout");
    expect(await code(successor)).toBe("valid");
    http.world.clock.pass(10 * MINUTE - 1);
    expect(await code(old)).toBe("brownout");
    http.world.clock.pass(1);
    expect(await code(old)).toBe("valid");
    expect(await rotationIn(old)).not.toHaveProperty("brownout");
  });

  test("a brownout is over at once when it has found as many callers as were agreed", async () => {
    const { id, old } = await aUsedRotation(tenant);
    await tenant.done("POST", `/v1/rotations/${id}/brownouts`, { stop_after_callers: 2 });
    const code = async (name: string) =>
      (await http.verify(old.secret, { caller: { name } })).body.at("code");
    expect([await code("a"), await code("a"), await code("b"), await code("c"), await code("a")]).toEqual([
      "brownout",
      "brownout",
      "brownout",
      "valid",
      "valid",
    ]);
    const told = await tenant.done("GET", `/v1/rotations/${id}`);
    expect(told.body.at("brownouts", 0)).toMatchObject({ refusals: 3, callers_hit: ["a", "b"] });
  });
});

describe("a batch judges each of its items by itself (R38):", () => {
  test("every item has the verdict of its own key, in the order asked, whatever the order", async () => {
    const owner = await tenant.owner({ scopes: ["invoices:*"], role: "viewer" });
    const off = await tenant.owner();
    const items: {
      readonly key: string;
      readonly id: string | undefined;
      readonly code: string;
      readonly scopes?: readonly string[];
    }[] = [];
    for (let at = 0; at < 8; at += 1) {
      const [valid, revoked, suspended, disabled] = [
        await tenant.make(owner),
        await tenant.make(owner),
        await tenant.make(owner),
        await tenant.make(off),
      ];
      await tenant.done("DELETE", `/v1/keys/${revoked.id}`);
      await tenant.done("POST", `/v1/keys/${suspended.id}/suspend`);
      items.push({ key: valid.secret, id: valid.id, code: "valid", scopes: ["invoices:read"] });
      items.push({ key: valid.secret, id: valid.id, code: "insufficient_scope", scopes: ["reports:read"] });
      items.push({ key: revoked.secret, id: revoked.id, code: "revoked" });
      items.push({ key: suspended.secret, id: suspended.id, code: "suspended" });
      items.push({ key: disabled.secret, id: disabled.id, code: "owner_disabled" });
      items.push({ key: stranger(), id: undefined, code: "unknown" });
      items.push({ key: `x${at}`, id: undefined, code: "malformed" });
    }
    await tenant.done("POST", `/v1/service-accounts/${off}/disable`);
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray(items, { minLength: 1 }), async (asked) => {
        const keys = asked.map(({ key, scopes }) => ({ key, ...(scopes === undefined ? {} : { scopes }) }));
        const { body } = await tenant.done("POST", "/v1/keys/verify/batch", { keys });
        const results = asked.map((_, at) => [
          body.at("results", at, "code"),
          body.at("results", at, "key", "id"),
        ]);
        expect(results).toEqual(asked.map(({ code, id }) => [code, id]));
        expect(body.at("results", asked.length)).toBeUndefined();
      }),
      { numRuns: times(200) },
    );
  });

  test("a hundred items are a hundred uses, and one request one (R16)", async () => {
    const made = await tenant.make(await tenant.owner());
    await tenant.done("POST", "/v1/keys/verify/batch", {
      keys: Array(100).fill({ key: made.secret, caller: { name: "bulk" } }),
    });
    await http.verify(made.secret, { caller: { name: "single" } });
    await http.forwardAuth(made.secret, "", { "keyturn-caller": "proxied" });
    const callers = await tenant.done("GET", `/v1/keys/${made.id}/callers`);
    expect(callers.body.at("data")).toMatchObject([
      { name: "bulk", counts: { valid: 100 } },
      { name: "proxied", counts: { valid: 1 } },
      { name: "single", counts: { valid: 1 } },
    ]);
    const usage = await tenant.done("GET", `/v1/keys/${made.id}/usage?unit=minute`);
    expect(usage.body.at("data")).toMatchObject([{ code: "valid", count: 102 }]);
  });

  test("an item that is wrong refuses the whole batch by name, and none of it is counted", async () => {
    const made = await tenant.make(await tenant.owner());
    const answer = await tenant.call("POST", "/v1/keys/verify/batch", {
      body: { keys: [{ key: made.secret }, { key: made.secret, scopes: ["A"] }] },
    });
    expect([answer.code, answer.fields]).toEqual(["invalid_input", ["keys.1.scopes.0"]]);
    expect((await tenant.done("GET", `/v1/keys/${made.id}/callers`)).body.at("data")).toEqual([]);
  });
});

describe("expiry is judged to the millisecond by every way to ask, from the cache and without it (R17):", () => {
  test.each([false, true])("warmed before: %p", async (warm) => {
    const made = await tenant.make(await tenant.owner({ scopes: ["keyturn:keys.read"] }), {
      scopes: ["keyturn:keys.read"],
      ttl: "1h",
    });
    if (warm) expect(await codeOf(made.secret)).toBe("valid");
    const self = async () => (await http.call("GET", "/v1/keys/self", { key: made.secret })).status;
    http.world.clock.pass(HOUR - 1);
    expect([await codeOf(made.secret), await self()]).toEqual(["valid", 200]);
    http.world.clock.pass(1);
    expect([await codeOf(made.secret), await self()]).toEqual(["expired", 401]);
    http.world.clock.pass(1);
    expect([await codeOf(made.secret), await self()]).toEqual(["expired", 401]);
    expect((await http.call("GET", `/v1/keys/${made.id}`)).body.at("state")).toBe("expired");
  });
});

interface Bitten {
  readonly owner: string;
  readonly made: Made;
}

/** Every change after which a key, or one of its secrets, must be refused, with the verdict that it must bring. */
const BITES: Readonly<Record<string, (subject: Bitten) => Promise<unknown>>> = {
  "revoking the key: revoked": ({ made }) => tenant.done("POST", `/v1/keys/${made.id}/revoke`),
  "deleting the key: revoked": ({ made }) => tenant.done("DELETE", `/v1/keys/${made.id}`),
  "suspending the key: suspended": ({ made }) => tenant.done("POST", `/v1/keys/${made.id}/suspend`),
  "disabling its owner: owner_disabled": ({ owner }) =>
    tenant.done("POST", `/v1/service-accounts/${owner}/disable`),
  "deleting its owner: revoked": ({ owner }) => tenant.done("DELETE", `/v1/service-accounts/${owner}`),
  "letting it end sooner: expired": async ({ made }) => {
    await tenant.done("PATCH", `/v1/keys/${made.id}`, {
      expires_at: new Date(http.world.clock.wall() + SECOND).toISOString(),
    });
    http.world.clock.pass(SECOND);
  },
  "narrowing its scopes: insufficient_scope": ({ made }) =>
    tenant.done("PATCH", `/v1/keys/${made.id}`, { scopes: ["reports:read"] }),
  "narrowing its owner's scopes: insufficient_scope": ({ owner }) =>
    tenant.done("PATCH", `/v1/service-accounts/${owner}`, { scopes: [] }),
  "giving it an address list: ip_not_allowed": ({ made }) =>
    tenant.done("PATCH", `/v1/keys/${made.id}`, { allowed_ips: ["198.51.100.0/24"] }),
  "giving its owner an address list: ip_not_allowed": ({ owner }) =>
    tenant.done("PATCH", `/v1/service-accounts/${owner}`, { allowed_ips: ["198.51.100.0/24"] }),
  "completing its rotation: suspended": async ({ made }) => {
    const { id } = await tenant.rotate(made.id);
    expect(await codeOf(made.secret, ASKED)).toBe("valid");
    return tenant.done("POST", `/v1/rotations/${id}/complete`, { force: true });
  },
  "closing its rotation after the undo window: revoked": async ({ made }) => {
    const { id } = await tenant.rotate(made.id, { undo_window: "1m" });
    await tenant.done("POST", `/v1/rotations/${id}/complete`, { force: true });
    expect(await codeOf(made.secret, ASKED)).toBe("suspended");
    await http.world.pass(MINUTE);
    expect(await http.world.work(id as `rot_${string}`)).toEqual(["close"]);
  },
  "a brownout of its rotation: brownout": async ({ made }) => {
    const { id, successor } = await tenant.rotate(made.id);
    await http.verify(successor.secret);
    expect(await codeOf(made.secret, ASKED)).toBe("valid");
    return tenant.done("POST", `/v1/rotations/${id}/brownouts`, {});
  },
};
const ASKED = { scopes: ["invoices:read"], ip: "203.0.113.5" } as const;

describe("a change bites at the very next request, however warm the caches are (R12):", () => {
  const aSubject = async (): Promise<Bitten> => {
    const owner = await tenant.owner({ scopes: ["invoices:*", "reports:read"], role: "viewer" });
    return { owner, made: await tenant.make(owner, { scopes: ["invoices:read", "reports:read"] }) };
  };
  for (const [what, bite] of Object.entries(BITES)) {
    test(what, async () => {
      const [subject, bystander] = [await aSubject(), await aSubject()];
      for (let warm = 0; warm < 3; warm += 1) expect(await codeOf(subject.made.secret, ASKED)).toBe("valid");
      expect(await codeOf(bystander.made.secret, ASKED)).toBe("valid");
      await bite(subject);
      expect(await codeOf(subject.made.secret, ASKED)).toBe(what.split(": ")[1]);
      expect(await codeOf(bystander.made.secret, ASKED)).toBe("valid");
    });
  }

  test("replacing a secret kills the earlier text, though it was asked about before", async () => {
    const { made } = await aSubject();
    // Asked about in another account: no use is recorded, and the look-up is remembered all the same.
    const other = await newTenant(http);
    expect((await other.done("POST", "/v1/keys/verify", { key: made.secret })).body.at("code")).toBe(
      "unknown",
    );
    const replaced = await tenant.done("POST", `/v1/keys/${made.id}/secret`);
    expect(await codeOf(made.secret)).toBe("revoked");
    expect(await codeOf(replaced.body.text("secret"))).toBe("valid");
  });

  test("suspending an account refuses its keys wherever they are shown, and reinstating lets them back", async () => {
    const other = await newTenant(http);
    const key = await other.make(await other.owner());
    const ask = async () => [
      (await other.call("POST", "/v1/keys/verify", { body: { key: key.secret } })).status,
      (await other.call("GET", "/v1/keys/self")).status,
      (
        await other.call("GET", "/v1/forward-auth", {
          key: key.secret,
          headers: { "keyturn-authorization": `Bearer ${other.key}` },
        })
      ).status,
    ];
    expect(await ask()).toEqual([200, 200, 200]);
    await tenant.done("POST", `/v1/accounts/${other.account}/suspend`);
    expect(await ask()).toEqual([401, 401, 403]);
    await tenant.done("POST", `/v1/accounts/${other.account}/reinstate`);
    expect(await ask()).toEqual([200, 200, 200]);
  });

  test("the asking key itself: revoked, narrowed or expired, it asks nothing any more", async () => {
    const scopes = ["keyturn:keys.verify", "keyturn:keys.read"];
    const status = async ({ secret }: Made): Promise<readonly number[]> => {
      const answers: readonly Answer[] = [
        await http.call("POST", "/v1/keys/verify", { key: secret, body: { key: tenant.key } }),
        await http.call("POST", "/v1/keys/verify/batch", {
          key: secret,
          body: { keys: [{ key: tenant.key }] },
        }),
        await http.call("GET", "/v1/forward-auth", {
          key: tenant.key,
          headers: { "keyturn-authorization": `Bearer ${secret}` },
        }),
        await http.call("GET", "/v1/keys", { key: secret }),
      ];
      return answers.map((answer) => answer.status);
    };
    for (const [change, expected] of [
      [(made: Made) => tenant.done("DELETE", `/v1/keys/${made.id}`), [401, 401, 403, 401]],
      [(made: Made) => tenant.done("POST", `/v1/keys/${made.id}/suspend`), [401, 401, 403, 401]],
      [(made: Made) => tenant.done("PATCH", `/v1/keys/${made.id}`, { scopes: [] }), [403, 403, 403, 403]],
    ] as const) {
      const made = await tenant.holder(...scopes);
      expect(await status(made)).toEqual([200, 200, 200, 200]);
      await change(made);
      expect(await status(made)).toEqual([...expected]);
    }
  });

  test("what is given back is good again at the very next request", async () => {
    const { owner, made } = await aSubject();
    const steps: readonly (readonly [string, unknown, string])[] = [
      [`/v1/keys/${made.id}/suspend`, {}, "suspended"],
      [`/v1/keys/${made.id}/reinstate`, undefined, "valid"],
      [`/v1/service-accounts/${owner}/disable`, {}, "owner_disabled"],
      [`/v1/service-accounts/${owner}/enable`, undefined, "valid"],
    ];
    for (const [path, body, code] of steps) {
      await tenant.done("POST", path, body);
      expect(await codeOf(made.secret, ASKED)).toBe(code);
    }
    const { id } = await tenant.rotate(made.id);
    await tenant.done("POST", `/v1/rotations/${id}/complete`, { force: true });
    expect(await codeOf(made.secret, ASKED)).toBe("suspended");
    await tenant.done("POST", `/v1/rotations/${id}/rollback`);
    expect(await codeOf(made.secret, ASKED)).toBe("valid");
  });
});

describe("the hand that reads plain bodies and the schema are of one mind:", () => {
  /** What comes of a body: what is asked, or the problem. */
  const outcome = (work: () => unknown): unknown => {
    try {
      return { asked: work() };
    } catch (error) {
      const problem = asProblem(error);
      if (problem === null) throw error;
      return { problem };
    }
  };
  const anything = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constantFrom(null, "", 0, [], {}, [[]], ["a"]));
  const text = fc.oneof(
    fc.string({ maxLength: 30 }),
    fc.string({ unit: "binary", maxLength: 12 }),
    fc.constantFrom("a\0b", "\ud800", "a".repeat(101), "a".repeat(1_001), "x\ny"),
  );
  const scope = fc.oneof(text, fc.constantFrom("*", "a:b", "a:*", "keyturn:*", "a::b", "A", "a".repeat(129)));
  const address = fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    text,
    fc.constantFrom("::ffff:1.2.3.4", "::ffff:102:304", "010.0.0.1", "1.2.3", "fe80::1%1", "0".repeat(65)),
  );
  const maybe = <T>(likely: fc.Arbitrary<T>) =>
    fc.oneof({ weight: 8, arbitrary: likely as fc.Arbitrary<unknown> }, { weight: 1, arbitrary: anything });
  const extra = fc.oneof(
    { weight: 12, arbitrary: fc.constant({}) },
    {
      weight: 1,
      arbitrary: fc.dictionary(
        fc.constantFrom("nonsense", "account_id", "constructor", "length", ""),
        anything,
        { maxKeys: 1 },
      ),
    },
  );
  const caller = maybe(
    fc
      .tuple(
        fc.record(
          {
            name: maybe(fc.oneof(text, fc.constantFrom("billing", "Ünï 1", "a/b:c@d+e-f"))),
            ip: maybe(address),
            user_agent: maybe(text),
          },
          { requiredKeys: [] },
        ),
        extra,
      )
      .map(([known, more]) => ({ ...known, ...more })),
  );
  const body = maybe(
    fc
      .tuple(
        fc.record(
          {
            key: maybe(text),
            scopes: maybe(fc.array(maybe(scope), { maxLength: 4 })),
            role: maybe(fc.constantFrom("none", "viewer", "editor", "admin", "owner")),
            caller,
          },
          { requiredKeys: ["key"] },
        ),
        extra,
      )
      .map(([known, more]) => ({ ...known, ...more })),
  );
  const atLeast: fc.Arbitrary<{ readonly at_least?: unknown }> = fc.oneof(
    { weight: 3, arbitrary: fc.constant({}) },
    { weight: 3, arbitrary: fc.nat().map((at_least) => ({ at_least })) },
    {
      weight: 1,
      arbitrary: fc
        .oneof(fc.double(), fc.constantFrom(-0, -1, 0.5, 2 ** 53 - 1, 2 ** 53, 1e308, "1", null, [1]))
        .map((at_least) => ({ at_least })),
    },
  );
  // As it comes off the wire: JSON has own members only, `__proto__` among them.
  const wired = (value: unknown): unknown => JSON.parse(JSON.stringify(value) ?? "null");

  test("on one verification", () => {
    let plain = 0;
    fc.assert(
      fc.property(body, atLeast, (value, demand) => {
        // A body of its own takes the member, an item of a batch does not.
        const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
        const sent = wired(isObject ? { ...value, ...demand } : value);
        const byHand = outcome(() => verificationIn(sent));
        expect(byHand).toEqual(outcome(() => checkedVerification(checked(verifyBody, sent))));
        if (plainBatch({ keys: [wired(value)] }) !== null) plain += 1;
      }),
      { numRuns: times(20_000) },
    );
    // Of one mind because one never speaks would be no test.
    expect(plain).toBeGreaterThan(times(20_000) / 20);
  });

  test("on a batch", () => {
    const batch = maybe(
      fc
        .tuple(
          fc.record({ keys: maybe(fc.array(body, { maxLength: 4 })) }, { requiredKeys: [] }),
          atLeast,
          extra,
        )
        .map(([known, demand, more]) => ({ ...known, ...demand, ...more })),
    );
    fc.assert(
      fc.property(batch, (value) => {
        const sent = wired(value);
        const bySchema = () => checkedBatch(checked(verifyBatchBody, sent));
        expect(outcome(() => plainBatch(sent) ?? bySchema())).toEqual(outcome(bySchema));
      }),
      { numRuns: times(10_000) },
    );
  });

  test("members that would reach a prototype are unknown fields to both", async () => {
    const made = await tenant.make(await tenant.owner());
    for (const raw of [
      `{"key":"${made.secret}","__proto__":{"scopes":[]}}`,
      `{"__proto__":{"key":"${made.secret}"}}`,
      `{"key":"${made.secret}","caller":{"__proto__":{"name":"x"}}}`,
      `{"key":"${made.secret}","constructor":1}`,
    ]) {
      const answer = await http.call("POST", "/v1/keys/verify", { raw });
      expect([answer.status, answer.code], raw).toEqual([400, "invalid_input"]);
      const batch = await http.call("POST", "/v1/keys/verify/batch", { raw: `{"keys":[${raw}]}` });
      expect([batch.status, batch.code], raw).toEqual([400, "invalid_input"]);
    }
  });
});

describe("no answer tells more of a secret than whether the whole of it is right (R18):", () => {
  test("a text that differs from a good key in one place gets the answer that any other text gets", async () => {
    const made = await tenant.make(await tenant.owner());
    const answers = new Set<string>();
    for (let at = 0; at < made.secret.length; at += 1) {
      const changed = `${made.secret.slice(0, at)}${made.secret[at] === "Z" ? "Y" : "Z"}${made.secret.slice(at + 1)}`;
      answers.add((await http.verify(changed)).text);
    }
    expect([...answers]).toEqual(['{"valid":false,"code":"malformed"}']);
    // With its checksum put right it is a key like any that was never issued.
    expect((await http.verify(stranger())).text).toBe('{"valid":false,"code":"unknown"}');
  });
});
