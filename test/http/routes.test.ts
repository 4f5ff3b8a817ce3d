import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Refusal } from "../../src/authority/errors.ts";
import { BODY_METHODS, type Route } from "../../src/http/call.ts";
import { codesOf } from "../../src/http/openapi.ts";
import type { ProblemCode } from "../../src/http/problems.ts";
import { ROUTES } from "../../src/http/routes.ts";
import { type Answer, type Http, startHttp } from "../support/http.ts";
import {
  aCompletedRotation,
  aUsedRotation,
  freshName,
  goodRequest,
  joinProcess,
  nameOf,
  newTenant,
  operatorOf,
  processPath,
  type Started,
  type Tenant,
} from "./requests.ts";

let http: Http;
let operator: Tenant;
beforeAll(async () => {
  http = await startHttp();
  operator = operatorOf(http);
});
afterAll(async () => {
  expect(http.errors).toEqual([]);
  await http.close();
});

type Attempt = (tenant: Tenant) => Promise<Answer>;
type Refusals = Partial<Record<ProblemCode, Attempt>>;

const NOBODY = "01jzzzzzzzzzzzzzzzzzzzzzzz";

function unknown(method: string, path: string, body?: unknown): Attempt {
  return (tenant) => tenant.call(method, path.replace("{id}", NOBODY), { body });
}

/** Sends a request with an Idempotency-Key, lets something happen, and sends it again. */
function again(
  method: string,
  request: (tenant: Tenant) => Promise<{ path: string; body: unknown; key?: string }>,
  between: (tenant: Tenant, first: Answer) => Promise<unknown>,
): Attempt {
  return async (tenant) => {
    const { path, body, key } = await request(tenant);
    const options = { body, key, headers: { "idempotency-key": freshName().replaceAll(" ", "-") } };
    const first = await tenant.call(method, path, options);
    expect(first.status).toBe(201);
    await between(tenant, first);
    return tenant.call(method, path, options);
  };
}

const use = (tenant: Tenant, made: Answer) =>
  tenant.done("GET", "/v1/keys/self", undefined, made.body.text("secret"));
const revoke = (tenant: Tenant, made: Answer) =>
  tenant.done("DELETE", `/v1/keys/${made.body.text("key", "id")}`);

const createKey = async (tenant: Tenant) => ({
  path: "/v1/keys",
  body: { name: freshName(), owner_id: await tenant.owner() },
});
const createAccount = async () => ({ path: "/v1/accounts", body: { name: freshName() } });
const rotateSelf = async (tenant: Tenant) => ({
  path: "/v1/keys/self/rotations",
  body: {},
  key: (await tenant.holder("keyturn:self.rotate")).secret,
});
const rotate = async (tenant: Tenant) => ({
  path: `/v1/keys/${(await tenant.make(await tenant.owner())).id}/rotations`,
  body: {},
});

/** The only root key of an account of its own. */
const lastRoot =
  (method: string, path: (root: Tenant) => Promise<string> | string, body?: unknown): Attempt =>
  async (tenant) => {
    const alone = await newTenant(tenant.http);
    return alone.call(method, await path(alone), { body });
  };

async function rootOwner(tenant: Tenant): Promise<string> {
  return (await tenant.done("GET", "/v1/keys/self")).body.text("owner_id");
}

async function rotatedRoot(alone: Tenant): Promise<Started> {
  const { body } = await alone.done("POST", "/v1/keys/self/rotations", { quiet_period: "60s" });
  return {
    id: body.text("rotation", "id"),
    successor: { id: body.text("key", "id"), secret: body.text("secret") },
  };
}

async function aCancelledRotation(tenant: Tenant): Promise<string> {
  const { id } = await tenant.rotate((await tenant.make(await tenant.owner())).id);
  await tenant.done("POST", `/v1/rotations/${id}/cancel`);
  return id;
}

async function aRevokedKey(tenant: Tenant): Promise<string> {
  const { id } = await tenant.make(await tenant.owner());
  await tenant.done("DELETE", `/v1/keys/${id}`);
  return id;
}

/** An owner and a key stronger than the key that asks. */
async function strongOwner(tenant: Tenant): Promise<string> {
  return tenant.owner({ role: "editor", scopes: ["invoices:*"] });
}

const whenOver =
  (step: string, body?: unknown): Attempt =>
  async (tenant) =>
    tenant.call("POST", `/v1/rotations/${await aCancelledRotation(tenant)}/${step}`, { body });

/** What each route refuses for a reason of its own; what many have in common is generated below. */
const REFUSALS: Readonly<Record<string, Refusals>> = {
  "post /v1/setup": {
    setup_token_invalid: (tenant) =>
      tenant.call("POST", "/v1/setup", { key: null, body: { token: "setup_no" } }),
  },
  "post /v1/accounts": {
    name_taken: (tenant) => tenant.call("POST", "/v1/accounts", { body: { name: "operator" } }),
    rights_exceeded: async (tenant) =>
      tenant.call("POST", "/v1/accounts", {
        key: (await tenant.holder("keyturn:accounts.write")).secret,
        body: { name: freshName() },
      }),
    key_revoked: again("POST", createAccount, (tenant, made) =>
      tenant.done(
        "DELETE",
        `/v1/keys/${made.body.text("key", "id")}?force=true`,
        undefined,
        made.body.text("secret"),
      ),
    ),
    already_in_use: again("POST", createAccount, use),
  },
  "post /v1/accounts/{id}/suspend": {
    not_found: unknown("POST", "/v1/accounts/acc_{id}/suspend"),
    account_protected: (tenant) => tenant.call("POST", `/v1/accounts/${operator.account}/suspend`),
  },
  "post /v1/accounts/{id}/reinstate": {
    not_found: unknown("POST", "/v1/accounts/acc_{id}/reinstate"),
    account_protected: (tenant) => tenant.call("POST", `/v1/accounts/${operator.account}/reinstate`),
  },
  "post /v1/service-accounts": {
    name_taken: (tenant) => tenant.call("POST", "/v1/service-accounts", { body: { name: "root" } }),
    rights_exceeded: async (tenant) =>
      tenant.call("POST", "/v1/service-accounts", {
        key: (await tenant.holder("keyturn:service-accounts.write")).secret,
        body: { name: freshName(), scopes: ["invoices:read"] },
      }),
    not_found: again(
      "POST",
      async () => ({ path: "/v1/service-accounts", body: { name: freshName() } }),
      (tenant, made) => tenant.done("DELETE", `/v1/service-accounts/${made.body.text("id")}`),
    ),
  },
  "get /v1/service-accounts/{id}": { not_found: unknown("GET", "/v1/service-accounts/sa_{id}") },
  "patch /v1/service-accounts/{id}": {
    not_found: unknown("PATCH", "/v1/service-accounts/sa_{id}", {}),
    name_taken: async (tenant) =>
      tenant.call("PATCH", `/v1/service-accounts/${await tenant.owner()}`, { body: { name: "root" } }),
    rights_exceeded: async (tenant) =>
      tenant.call("PATCH", `/v1/service-accounts/${await tenant.owner()}`, {
        key: (await tenant.holder("keyturn:service-accounts.write")).secret,
        body: { role: "viewer" },
      }),
    last_root_key: lastRoot("PATCH", async (alone) => `/v1/service-accounts/${await rootOwner(alone)}`, {
      scopes: [],
    }),
  },
  "delete /v1/service-accounts/{id}": {
    not_found: unknown("DELETE", "/v1/service-accounts/sa_{id}"),
    last_root_key: lastRoot("DELETE", async (alone) => `/v1/service-accounts/${await rootOwner(alone)}`),
  },
  "post /v1/service-accounts/{id}/disable": {
    not_found: unknown("POST", "/v1/service-accounts/sa_{id}/disable"),
    last_root_key: lastRoot(
      "POST",
      async (alone) => `/v1/service-accounts/${await rootOwner(alone)}/disable`,
    ),
  },
  "post /v1/service-accounts/{id}/enable": {
    not_found: unknown("POST", "/v1/service-accounts/sa_{id}/enable"),
  },
  "post /v1/keys": {
    not_found: unknown("POST", "/v1/keys", { name: "a", owner_id: `sa_${NOBODY}` }),
    name_taken: async (tenant) => {
      const owner = await tenant.owner();
      await tenant.make(owner, { name: "the same" });
      return tenant.call("POST", "/v1/keys", { body: { name: "the same", owner_id: owner } });
    },
    rights_exceeded: async (tenant) =>
      tenant.call("POST", "/v1/keys", {
        key: (await tenant.holder("keyturn:keys.create")).secret,
        body: { name: freshName(), owner_id: await strongOwner(tenant) },
      }),
    key_revoked: again("POST", createKey, revoke),
    already_in_use: again("POST", createKey, use),
  },
  "post /v1/keys/self/rotations": {
    rotation_open: async (tenant) => {
      const { secret } = await tenant.holder("keyturn:self.rotate");
      await tenant.done("POST", "/v1/keys/self/rotations", {}, secret);
      return tenant.call("POST", "/v1/keys/self/rotations", { key: secret, body: {} });
    },
    key_revoked: again("POST", rotateSelf, revoke),
    already_in_use: again("POST", rotateSelf, use),
  },
  "get /v1/keys/{id}": { not_found: unknown("GET", "/v1/keys/key_{id}") },
  "patch /v1/keys/{id}": {
    not_found: unknown("PATCH", "/v1/keys/key_{id}", { name: "a" }),
    name_taken: async (tenant) => {
      const owner = await tenant.owner();
      await tenant.make(owner, { name: "taken" });
      return tenant.call("PATCH", `/v1/keys/${(await tenant.make(owner)).id}`, { body: { name: "taken" } });
    },
    key_revoked: async (tenant) =>
      tenant.call("PATCH", `/v1/keys/${await aRevokedKey(tenant)}`, { body: { name: "a" } }),
    last_root_key: lastRoot("PATCH", (alone) => `/v1/keys/${alone.rootId}`, {
      expires_at: "2030-01-01T00:00:00Z",
    }),
  },
  "delete /v1/keys/{id}": {
    not_found: unknown("DELETE", "/v1/keys/key_{id}"),
    last_root_key: lastRoot("DELETE", (alone) => `/v1/keys/${alone.rootId}`),
  },
  "post /v1/keys/{id}/suspend": {
    not_found: unknown("POST", "/v1/keys/key_{id}/suspend"),
    key_revoked: async (tenant) => tenant.call("POST", `/v1/keys/${await aRevokedKey(tenant)}/suspend`),
    last_root_key: lastRoot("POST", (alone) => `/v1/keys/${alone.rootId}/suspend`),
  },
  "post /v1/keys/{id}/reinstate": {
    not_found: unknown("POST", "/v1/keys/key_{id}/reinstate"),
    key_revoked: async (tenant) => tenant.call("POST", `/v1/keys/${await aRevokedKey(tenant)}/reinstate`),
  },
  "post /v1/keys/{id}/revoke": {
    not_found: unknown("POST", "/v1/keys/key_{id}/revoke"),
    last_root_key: lastRoot("POST", (alone) => `/v1/keys/${alone.rootId}/revoke`),
  },
  "post /v1/keys/{id}/secret": {
    not_found: unknown("POST", "/v1/keys/key_{id}/secret"),
    key_revoked: async (tenant) => tenant.call("POST", `/v1/keys/${await aRevokedKey(tenant)}/secret`),
    already_in_use: (tenant) => tenant.call("POST", `/v1/keys/${tenant.rootId}/secret`),
    rights_exceeded: async (tenant) => {
      const { id } = await tenant.make(await strongOwner(tenant));
      return tenant.call("POST", `/v1/keys/${id}/secret`, {
        key: (await tenant.holder("keyturn:keys.rotate")).secret,
      });
    },
  },
  "get /v1/keys/{id}/callers": { not_found: unknown("GET", "/v1/keys/key_{id}/callers") },
  "get /v1/keys/{id}/usage": { not_found: unknown("GET", "/v1/keys/key_{id}/usage") },
  "post /v1/keys/{id}/rotations": {
    not_found: unknown("POST", "/v1/keys/key_{id}/rotations"),
    key_not_active: async (tenant) => {
      const { id } = await tenant.make(await tenant.owner());
      await tenant.done("POST", `/v1/keys/${id}/suspend`);
      return tenant.call("POST", `/v1/keys/${id}/rotations`);
    },
    rotation_open: async (tenant) => {
      const { id } = await tenant.make(await tenant.owner());
      await tenant.rotate(id);
      return tenant.call("POST", `/v1/keys/${id}/rotations`);
    },
    rights_exceeded: async (tenant) => {
      const { id } = await tenant.make(await strongOwner(tenant));
      return tenant.call("POST", `/v1/keys/${id}/rotations`, {
        key: (await tenant.holder("keyturn:keys.rotate")).secret,
      });
    },
    key_revoked: again("POST", rotate, revoke),
    already_in_use: again("POST", rotate, use),
  },
  "get /v1/rotations/{id}": { not_found: unknown("GET", "/v1/rotations/rot_{id}") },
  "patch /v1/rotations/{id}": {
    not_found: unknown("PATCH", "/v1/rotations/rot_{id}", {}),
    rotation_state: async (tenant) =>
      tenant.call("PATCH", `/v1/rotations/${await aCancelledRotation(tenant)}`, { body: { overlap: "30d" } }),
  },
  "post /v1/rotations/{id}/complete": {
    not_found: unknown("POST", "/v1/rotations/rot_{id}/complete"),
    rotation_state: whenOver("complete"),
    not_safe_to_complete: async (tenant) => {
      const { id } = await tenant.rotate((await tenant.make(await tenant.owner())).id);
      return tenant.call("POST", `/v1/rotations/${id}/complete`);
    },
    // The successor would be the last root key, and ends before the old one.
    last_root_key: async (tenant) => {
      const alone = await newTenant(tenant.http);
      const { id, successor } = await rotatedRoot(alone);
      const sooner = { expires_at: "2030-01-01T00:00:00Z" };
      await alone.done("PATCH", `/v1/keys/${successor.id}`, sooner, successor.secret);
      await tenant.http.world.pass(61_000);
      return alone.call("POST", `/v1/rotations/${id}/complete`, { key: successor.secret });
    },
  },
  "post /v1/rotations/{id}/rollback": {
    not_found: unknown("POST", "/v1/rotations/rot_{id}/rollback"),
    rotation_state: whenOver("rollback"),
  },
  "post /v1/rotations/{id}/cancel": {
    not_found: unknown("POST", "/v1/rotations/rot_{id}/cancel"),
    rotation_state: async (tenant) =>
      tenant.call("POST", `/v1/rotations/${(await aCompletedRotation(tenant)).id}/cancel`),
    successor_in_use: async (tenant) =>
      tenant.call("POST", `/v1/rotations/${(await aUsedRotation(tenant)).id}/cancel`),
    // The old key is suspended, so without the successor nobody would hold root rights.
    last_root_key: async (tenant) => {
      const alone = await newTenant(tenant.http);
      const manager = await alone.holder("keyturn:rotations.manage");
      const { id } = await rotatedRoot(alone);
      await alone.done("POST", `/v1/keys/${alone.rootId}/suspend`);
      return alone.call("POST", `/v1/rotations/${id}/cancel`, { key: manager.secret });
    },
  },
  "post /v1/rotations/{id}/dismissals": {
    not_found: unknown("POST", "/v1/rotations/rot_{id}/dismissals", { caller: "a", reason: "b" }),
    rotation_state: whenOver("dismissals", { caller: "a", reason: "b" }),
    caller_active: async (tenant) => {
      const old = await tenant.make(await tenant.owner());
      const { id } = await tenant.rotate(old.id);
      await tenant.done("POST", "/v1/keys/verify", { key: old.secret, caller: { name: "busy" } });
      return tenant.call("POST", `/v1/rotations/${id}/dismissals`, { body: { caller: "busy", reason: "b" } });
    },
  },
  "post /v1/rotations/{id}/brownouts": {
    not_found: unknown("POST", "/v1/rotations/rot_{id}/brownouts"),
    rotation_state: whenOver("brownouts"),
  },
  "delete /v1/cluster/processes/{name}": {
    not_found: unknown("DELETE", "/v1/cluster/processes/{id}"),
    process_alive: async (tenant) =>
      tenant.call("DELETE", processPath(await joinProcess(tenant.http, 60_000))),
  },
};

/** What the routes of one kind all refuse alike. `insufficient_scope` and `operator_only` are in permissions.test.ts. */
const IN_COMMON: Readonly<Partial<Record<ProblemCode, (route: Route, tenant: Tenant) => Promise<Answer>>>> = {
  invalid_input: async (route, tenant) => {
    const { path, key } = await goodRequest(route, tenant);
    return tenant.call(route.method.toUpperCase(), `${path}${path.includes("?") ? "&" : "?"}nonsense=1`, {
      key,
    });
  },
  unauthenticated: async (route, tenant) => {
    const { path, body } = await goodRequest(route, tenant);
    return tenant.call(route.method.toUpperCase(), path, { body, key: null });
  },
  ambiguous_header: async (route, tenant) => {
    const { path, body } = await goodRequest(route, tenant);
    const headers = { authorization: `Bearer ${tenant.key}, Bearer ${tenant.key}` };
    return tenant.call(route.method.toUpperCase(), path, { body, headers });
  },
  credential_in_url: async (route, tenant) => {
    const { path, body, key } = await goodRequest(route, tenant);
    return tenant.call(route.method.toUpperCase(), `${path}${path.includes("?") ? "&" : "?"}api_key=x`, {
      body,
      key,
    });
  },
  invalid_json: async (route, tenant) => {
    const { path, key } = await goodRequest(route, tenant);
    return tenant.call(route.method.toUpperCase(), path, { raw: '{"name":', key });
  },
  unsupported_media_type: async (route, tenant) => {
    const { path, key } = await goodRequest(route, tenant);
    return tenant.call(route.method.toUpperCase(), path, {
      raw: "name=a",
      key,
      headers: { "content-type": "text/plain" },
    });
  },
  body_too_large: async (route, tenant) => {
    const { path, key } = await goodRequest(route, tenant);
    return tenant.call(route.method.toUpperCase(), path, {
      raw: JSON.stringify({ name: "a".repeat(65_536) }),
      key,
    });
  },
  idempotency_conflict: async (route, tenant) => {
    const first = await goodRequest(route, tenant);
    // A key that rotates itself can do so once, so it must not be the tenant's root.
    const key = route.path.includes("self")
      ? (await tenant.holder("keyturn:self.rotate")).secret
      : tenant.key;
    const headers = { "idempotency-key": freshName().replaceAll(" ", "-") };
    const method = route.method.toUpperCase();
    expect((await tenant.call(method, first.path, { body: first.body, key, headers })).status).toBe(201);
    const second = route.path.includes("self")
      ? { ...first, body: { overlap: "2d" } }
      : await goodRequest(route, tenant);
    return tenant.call(method, second.path, { body: second.body, key, headers });
  },
  idempotency_in_progress: async (route, tenant) => {
    const { path, body } = await goodRequest(route, tenant);
    const key = route.path.includes("self")
      ? (await tenant.holder("keyturn:self.rotate")).secret
      : tenant.key;
    const headers = { "idempotency-key": freshName().replaceAll(" ", "-") };
    const send = () => tenant.call(route.method.toUpperCase(), path, { body, key, headers });
    const [first, second] = await Promise.all([send(), send()]);
    expect([first.status, second.status].sort()).toEqual([201, 409]);
    return first.status === 409 ? first : second;
  },
};

const ELSEWHERE: ReadonlySet<ProblemCode> = new Set([
  // permissions.test.ts
  "insufficient_scope",
  "operator_only",
  // bad-input.test.ts, on the wire
  "body_too_slow",
  // below, each in an installation of its own
  "outcome_unknown",
  "storage_unavailable",
  // freshness.test.ts, with a store that can't be asked
  "verdict_stale",
]);

describe("every route does what it is for, and says so as its schema promises:", () => {
  for (const route of ROUTES) {
    test(nameOf(route), async () => {
      const tenant = route.operatorOnly || route.permission === "anyone" ? operator : await newTenant(http);
      const { path, body, key } = await goodRequest(route, tenant);
      const answer = await tenant.call(route.method.toUpperCase(), path, { body, key });
      expect(answer.status, answer.text).toBe(route.status);
    });
  }
});

describe("every route refuses what it must, with the code in its document:", () => {
  for (const route of ROUTES) {
    const own = REFUSALS[nameOf(route)] ?? {};
    for (const code of codesOf(route)) {
      const common = IN_COMMON[code];
      const attempt =
        own[code] ?? (common === undefined ? undefined : (tenant: Tenant) => common(route, tenant));
      if (attempt === undefined) continue;
      test(`${nameOf(route)} ${code}${code === "credential_in_url" ? " (R22)" : ""}`, async () => {
        const answer = await attempt(operator);
        expect(answer.code, answer.text).toBe(code);
      });
    }
    test(`${nameOf(route)} has a test for each of its codes`, () => {
      const held = [...Object.keys(own), ...Object.keys(IN_COMMON), ...ELSEWHERE];
      expect(codesOf(route).filter((code) => !held.includes(code))).toEqual([]);
      expect(Object.keys(own).filter((code) => !codesOf(route).some((known) => known === code))).toEqual([]);
    });
  }
});

describe("an error of the disk is told as an unknown outcome, writing stops, verification goes on (R39):", () => {
  for (const route of ROUTES.filter((one) => one.method !== "get")) {
    test(nameOf(route), async () => {
      let broken = false;
      const faulty = await startHttp({
        through: (storage) => ({
          ...storage,
          change: (work) =>
            broken
              ? Promise.reject(
                  new Refusal("outcome_unknown", "The disk failed.", { cause: new Error("ENOSPC /data") }),
                )
              : storage.change(work),
        }),
      });
      const tenant = operatorOf(faulty);
      const { path, body, key } = await goodRequest(route, tenant);
      const good = await tenant.make(await tenant.owner());
      broken = true;
      const first = await tenant.call(route.method.toUpperCase(), path, { body, key });
      expect(first.code, first.text).toBe("outcome_unknown");
      expect(first.text).not.toContain("ENOSPC");
      broken = false;
      const second = await tenant.call(route.method.toUpperCase(), path, { body, key });
      expect(second.code, second.text).toBe("storage_unavailable");
      expect((await faulty.verify(good.secret)).body.at("code")).toBe("valid");
      const ready = await faulty.call("GET", "/readyz", { key: null });
      expect(ready.body.at("status")).toBe("degraded");
      await faulty.close();
    });
  }
});

test("bodies that are wholly optional may be left out, or be an empty object", async () => {
  for (const route of ROUTES.filter((one) => BODY_METHODS.has(one.method) && !one.operatorOnly)) {
    if (route.body !== null && !route.body.safeParse({}).success) continue;
    if (route.path.includes("self")) continue;
    for (const raw of [undefined, "{}"]) {
      const { path } = await goodRequest(route, operator);
      const answer = await operator.call(route.method.toUpperCase(), path, raw === undefined ? {} : { raw });
      expect(answer.status, `${nameOf(route)} ${raw} ${answer.text}`).toBe(route.status);
    }
  }
});
