import { newId } from "../../src/authority/ids.ts";
import { openSetup } from "../../src/authority/setup/setup.ts";
import type { Route } from "../../src/http/call.ts";
import type { Answer, CallOptions, Http } from "../support/http.ts";

/** An account over HTTP, with short words for what it makes. Everything is asked for with its own root key. */
export interface Tenant {
  readonly http: Http;
  readonly account: string;
  readonly rootId: string;
  /** The secret of its root key. */
  readonly key: string;
  call(method: string, path: string, options?: CallOptions): Promise<Answer>;
  /** As `call`, and fails unless it was done. */
  done(method: string, path: string, body?: unknown, key?: string): Promise<Answer>;
  owner(body?: Readonly<Record<string, unknown>>): Promise<string>;
  make(ownerId: string, body?: Readonly<Record<string, unknown>>): Promise<Made>;
  /** A key with these scopes of Keyturn's and no other right. */
  holder(...scopes: readonly string[]): Promise<Made>;
  rotate(keyId: string, body?: Readonly<Record<string, unknown>>): Promise<Started>;
}

export interface Made {
  readonly id: string;
  readonly secret: string;
}

export interface Started {
  readonly id: string;
  readonly successor: Made;
}

let names = 0;
export const freshName = () => `made ${++names}`;

/** Named, so that what tests do with a root key is no unnamed caller that blocks its rotation for a week. */
const OPS = { "keyturn-caller": "ops" };

function tenantOf(http: Http, account: string, rootId: string, key: string): Tenant {
  const tenant: Tenant = {
    http,
    account,
    rootId,
    key,
    call: (method, path, options = {}) =>
      http.call(method, path, {
        ...options,
        key: options.key === undefined ? key : options.key,
        headers: { ...OPS, ...options.headers },
      }),
    done: async (method, path, body, as = key) => {
      const answer = await tenant.call(method, path, { body, key: as });
      if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.text}`);
      return answer;
    },
    owner: async (body = {}) =>
      (await tenant.done("POST", "/v1/service-accounts", { name: freshName(), ...body })).body.text("id"),
    make: async (ownerId, body = {}) => {
      const made = await tenant.done("POST", "/v1/keys", { name: freshName(), owner_id: ownerId, ...body });
      return { id: made.body.text("key", "id"), secret: made.body.text("secret") };
    },
    holder: async (...scopes) => tenant.make(await tenant.owner({ scopes }), { scopes }),
    rotate: async (keyId, body = {}) => {
      const { body: started } = await tenant.done("POST", `/v1/keys/${keyId}/rotations`, {
        quiet_period: "60s",
        ...body,
      });
      const successor = { id: started.text("key", "id"), secret: started.text("secret") };
      return { id: started.text("rotation", "id"), successor };
    },
  };
  return tenant;
}

/** The operator's account, which a world starts with. */
export function operatorOf(http: Http): Tenant {
  const { root, account } = http.world;
  return tenantOf(http, account, root.key.id, root.secret);
}

export async function newTenant(http: Http): Promise<Tenant> {
  const { body } = await operatorOf(http).done("POST", "/v1/accounts", { name: freshName() });
  return tenantOf(http, body.text("account", "id"), body.text("key", "id"), body.text("secret"));
}

/** A process like those of several workers on one machine, which was last heard of that many milliseconds ago. */
export async function joinProcess({ world }: Http, silentForMs: number): Promise<string> {
  const at = world.clock.wall() - silentForMs;
  const name = "keys-2:8420#1";
  const report = { appliedSeq: 0, stalenessMs: 0, flushedAt: null, at };
  await world.authority.storage.cluster.join({
    ...report,
    id: newId("prc"),
    name,
    version: "1",
    startedAt: at,
    boundedSeconds: 10,
  });
  return name;
}

export const processPath = (name: string) => `/v1/cluster/processes/${encodeURIComponent(name)}`;

/** A request that does what its route is for, everything that it needs having been made. */
export interface GoodRequest {
  readonly path: string;
  readonly body?: unknown;
  /** Null for the one that takes no key. */
  readonly key?: null;
}

async function aKey(tenant: Tenant): Promise<Made> {
  return tenant.make(await tenant.owner());
}

async function aRotation(tenant: Tenant): Promise<Started & { readonly old: Made }> {
  const old = await aKey(tenant);
  return { ...(await tenant.rotate(old.id)), old };
}

/** One whose successor was used, by nobody who ever used the old key. */
export async function aUsedRotation(tenant: Tenant): Promise<Started & { readonly old: Made }> {
  const rotation = await aRotation(tenant);
  await tenant.done("POST", "/v1/keys/verify", { key: rotation.successor.secret, caller: { name: "moved" } });
  return rotation;
}

export async function aCompletedRotation(tenant: Tenant): Promise<Started & { readonly old: Made }> {
  const rotation = await aUsedRotation(tenant);
  await tenant.done("POST", `/v1/rotations/${rotation.id}/complete`);
  return rotation;
}

/** A caller known from before the start, and never seen again. */
async function aSilentCaller(tenant: Tenant): Promise<Started> {
  const old = await aKey(tenant);
  await tenant.done("POST", "/v1/keys/verify", { key: old.secret, caller: { name: "monthly" } });
  await tenant.http.world.pass(3_600_000);
  return tenant.rotate(old.id);
}

export function nameOf(route: Pick<Route, "method" | "path">): string {
  return `${route.method} ${route.path}`;
}

/** Every route of the table by `method path`: a new route without a good request fails the suite. */
const GOOD_REQUESTS: Readonly<Record<string, (tenant: Tenant) => Promise<GoodRequest>>> = {
  "post /v1/setup": async ({ http }) => ({
    path: "/v1/setup",
    body: { token: await openSetup(http.world.authority) },
    key: null,
  }),
  "post /v1/accounts": async () => ({ path: "/v1/accounts", body: { name: freshName() } }),
  "get /v1/accounts": async () => ({ path: "/v1/accounts" }),
  "post /v1/accounts/{id}/suspend": async ({ http }) => ({
    path: `/v1/accounts/${(await newTenant(http)).account}/suspend`,
  }),
  "post /v1/accounts/{id}/reinstate": async ({ http }) => ({
    path: `/v1/accounts/${(await newTenant(http)).account}/reinstate`,
  }),
  "post /v1/service-accounts": async () => ({ path: "/v1/service-accounts", body: { name: freshName() } }),
  "get /v1/service-accounts": async () => ({ path: "/v1/service-accounts" }),
  "get /v1/service-accounts/{id}": async (tenant) => ({
    path: `/v1/service-accounts/${await tenant.owner()}`,
  }),
  "patch /v1/service-accounts/{id}": async (tenant) => ({
    path: `/v1/service-accounts/${await tenant.owner()}`,
    body: { name: freshName() },
  }),
  "delete /v1/service-accounts/{id}": async (tenant) => ({
    path: `/v1/service-accounts/${await tenant.owner()}`,
  }),
  "post /v1/service-accounts/{id}/disable": async (tenant) => ({
    path: `/v1/service-accounts/${await tenant.owner()}/disable`,
  }),
  "post /v1/service-accounts/{id}/enable": async (tenant) => ({
    path: `/v1/service-accounts/${await tenant.owner()}/enable`,
  }),
  "post /v1/keys": async (tenant) => ({
    path: "/v1/keys",
    body: { name: freshName(), owner_id: await tenant.owner() },
  }),
  "get /v1/keys": async () => ({ path: "/v1/keys" }),
  "get /v1/keys/self": async () => ({ path: "/v1/keys/self" }),
  "post /v1/keys/self/rotations": async () => ({ path: "/v1/keys/self/rotations", body: { overlap: "1d" } }),
  "get /v1/keys/{id}": async (tenant) => ({ path: `/v1/keys/${(await aKey(tenant)).id}` }),
  "patch /v1/keys/{id}": async (tenant) => ({
    path: `/v1/keys/${(await aKey(tenant)).id}`,
    body: { name: freshName() },
  }),
  "delete /v1/keys/{id}": async (tenant) => ({ path: `/v1/keys/${(await aKey(tenant)).id}` }),
  "post /v1/keys/{id}/suspend": async (tenant) => ({
    path: `/v1/keys/${(await aKey(tenant)).id}/suspend`,
    body: { reason: "leaked" },
  }),
  "post /v1/keys/{id}/reinstate": async (tenant) => ({
    path: `/v1/keys/${(await aKey(tenant)).id}/reinstate`,
  }),
  "post /v1/keys/{id}/revoke": async (tenant) => ({
    path: `/v1/keys/${(await aKey(tenant)).id}/revoke`,
    body: {},
  }),
  "post /v1/keys/{id}/secret": async (tenant) => ({ path: `/v1/keys/${(await aKey(tenant)).id}/secret` }),
  "get /v1/keys/{id}/callers": async (tenant) => ({ path: `/v1/keys/${(await aKey(tenant)).id}/callers` }),
  "get /v1/keys/{id}/usage": async (tenant) => ({
    path: `/v1/keys/${(await aKey(tenant)).id}/usage?unit=minute`,
  }),
  "post /v1/keys/{id}/rotations": async (tenant) => ({
    path: `/v1/keys/${(await aKey(tenant)).id}/rotations`,
    body: { overlap: "1d", completion: "manual" },
  }),
  "get /v1/rotations": async () => ({ path: "/v1/rotations" }),
  "get /v1/rotations/{id}": async (tenant) => ({ path: `/v1/rotations/${(await aRotation(tenant)).id}` }),
  "patch /v1/rotations/{id}": async (tenant) => ({
    path: `/v1/rotations/${(await aRotation(tenant)).id}`,
    body: { overlap: "30d" },
  }),
  "post /v1/rotations/{id}/complete": async (tenant) => ({
    path: `/v1/rotations/${(await aUsedRotation(tenant)).id}/complete`,
  }),
  "post /v1/rotations/{id}/rollback": async (tenant) => ({
    path: `/v1/rotations/${(await aCompletedRotation(tenant)).id}/rollback`,
  }),
  "post /v1/rotations/{id}/cancel": async (tenant) => ({
    path: `/v1/rotations/${(await aRotation(tenant)).id}/cancel`,
  }),
  "post /v1/rotations/{id}/dismissals": async (tenant) => ({
    path: `/v1/rotations/${(await aSilentCaller(tenant)).id}/dismissals`,
    body: { caller: "monthly", reason: "it was switched off" },
  }),
  "post /v1/rotations/{id}/brownouts": async (tenant) => ({
    path: `/v1/rotations/${(await aUsedRotation(tenant)).id}/brownouts`,
    body: { duration: "5m" },
  }),
  "get /v1/audit": async () => ({ path: "/v1/audit" }),
  "get /v1/cluster": async () => ({ path: "/v1/cluster" }),
  "delete /v1/cluster/processes/{name}": async ({ http }) => ({
    path: processPath(await joinProcess(http, 2 * 60_000)),
  }),
};

export function goodRequest(route: Route, tenant: Tenant): Promise<GoodRequest> {
  const make = GOOD_REQUESTS[nameOf(route)];
  if (make === undefined) throw new Error(`${nameOf(route)} has no good request in test/http/requests.ts`);
  return make(tenant);
}
