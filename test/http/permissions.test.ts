import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mintSecret } from "../../src/authority/secret.ts";
import { createHttpFace } from "../../src/http/app.ts";
import { BODY_METHODS, type Route } from "../../src/http/call.ts";
import { OTHER_PATHS } from "../../src/http/openapi.ts";
import { ROUTES } from "../../src/http/routes.ts";
import { startServer } from "../../src/http/server.ts";
import { SETTINGS, type World } from "../support/authority.ts";
import { type Answer, answerOf, type Http, httpParts, QUIET, startHttp } from "../support/http.ts";
import {
  freshName,
  type GoodRequest,
  goodRequest,
  nameOf,
  newTenant,
  operatorOf,
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

/** Well-formed, with a good checksum, and issued to nobody. */
const strangerKey = () =>
  mintSecret(SETTINGS.format, "service", (size) => crypto.getRandomValues(new Uint8Array(size)));

const KEYTURN_SCOPES = [
  ...new Set(ROUTES.map((route) => route.permission).filter((one) => one.startsWith("keyturn:"))),
  "keyturn:keys.verify",
];

/** One thing that can be asked for, for the matrix: the table's routes and the three that verify. */
interface Asked {
  readonly name: string;
  readonly permission: string;
  readonly operatorOnly: boolean;
  /** Makes what is needed in the tenant's account, and says how to ask. */
  prepare(tenant: Tenant): Promise<GoodRequest>;
  send(tenant: Tenant, request: GoodRequest, key: string | null): Promise<Answer>;
}

function askedOf(route: Route): Asked {
  return {
    name: nameOf(route),
    permission: route.permission,
    operatorOnly: route.operatorOnly,
    prepare: (tenant) => goodRequest(route, tenant),
    send: (tenant, { path, body }, key) => tenant.call(route.method.toUpperCase(), path, { body, key }),
  };
}

const VERIFY_SCOPE = { permission: "keyturn:keys.verify", operatorOnly: false };
const ASKED: readonly Asked[] = [
  ...ROUTES.map(askedOf),
  {
    ...VERIFY_SCOPE,
    name: "post /v1/keys/verify",
    prepare: async (tenant) => ({
      path: "/v1/keys/verify",
      body: { key: (await tenant.make(await tenant.owner())).secret },
    }),
    send: (tenant, { path, body }, key) => tenant.call("POST", path, { body, key }),
  },
  {
    ...VERIFY_SCOPE,
    name: "post /v1/keys/verify/batch",
    prepare: async (tenant) => ({
      path: "/v1/keys/verify/batch",
      body: { keys: [{ key: (await tenant.make(await tenant.owner())).secret }] },
    }),
    send: (tenant, { path, body }, key) => tenant.call("POST", path, { body, key }),
  },
  {
    ...VERIFY_SCOPE,
    name: "get /v1/forward-auth",
    prepare: async () => ({ path: "/v1/forward-auth" }),
    // The key that asks is the proxy's.
    send: (tenant, { path }, key) =>
      tenant.call("GET", path, {
        key: tenant.key,
        headers: key === null ? {} : { "keyturn-authorization": `Bearer ${key}` },
      }),
  },
];

const cellOf = (answer: Answer) =>
  answer.code === undefined ? String(answer.status) : `${answer.status} ${answer.code}`;

/** An id of the same kind that nobody has. */
const randomized = (path: string) =>
  path.replace(/_[0-9a-z]{26}/, `_${Math.random().toString(36).slice(2).padEnd(26, "0").slice(0, 26)}`);

const COLUMNS = [
  "route",
  "permission",
  "without a key",
  "with a stranger's",
  "with every scope but it",
  "with its scope alone",
  "on another account's id",
  "on a random id",
] as const;

async function rowOf(asked: Asked): Promise<readonly string[]> {
  const tenant = asked.operatorOnly || asked.permission === "anyone" ? operator : await newTenant(http);
  const ask = async (key: string | null) =>
    cellOf(await asked.send(tenant, await asked.prepare(tenant), key));
  const scoped = asked.permission.startsWith("keyturn:");
  const lacking = scoped ? KEYTURN_SCOPES.filter((scope) => scope !== asked.permission) : [];
  const only = scoped ? [asked.permission] : asked.permission === "any_key" ? [] : null;
  const foreign = await foreignCells(asked, tenant);
  return [
    asked.name,
    asked.operatorOnly ? `${asked.permission} (operator)` : asked.permission,
    await ask(null),
    await ask(strangerKey()),
    scoped ? await ask((await tenant.holder(...lacking, "*")).secret) : "-",
    only === null ? "-" : await ask((await tenant.holder(...only)).secret),
    ...foreign,
  ];
}

/** What the root key of one account gets for ids of another, and for ids of nobody. */
async function foreignCells(asked: Asked, tenant: Tenant): Promise<readonly [string, string]> {
  if (!asked.name.includes("{id}")) return ["-", "-"];
  const other = await newTenant(http);
  const request = await asked.prepare(tenant);
  const foreign = await asked.send(other, request, other.key);
  const random = await asked.send(other, { ...request, path: randomized(request.path) }, other.key);
  // Not a word, not a header tells the two apart (R10).
  expect(foreign.text).toBe(random.text);
  expect([...foreign.headers]).toEqual([...random.headers]);
  return [cellOf(foreign), cellOf(random)];
}

const GOLDEN = join(import.meta.dir, "permissions.golden.txt");

test("every cell of route × credential is as declared in permissions.golden.txt (R4, R7, R8, R10)", async () => {
  const rows: (readonly string[])[] = [COLUMNS];
  for (const asked of ASKED) rows.push(await rowOf(asked));
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const text = rows
    .map((row) =>
      row
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
  if (process.env.KEYTURN_TEST_UPDATE === "1" || !existsSync(GOLDEN)) writeFileSync(GOLDEN, `${text}\n`);
  expect(`${text}\n`).toBe(readFileSync(GOLDEN, "utf8"));
  // What the file must say whatever anybody writes into it.
  for (const [name, permission, without, stranger, lacking, only, foreign] of rows.slice(1)) {
    if (permission === "anyone") continue;
    const denied = name === "get /v1/forward-auth" ? "403 proxy_key_refused" : "401 unauthenticated";
    expect([without, stranger], name).toEqual([denied, denied]);
    if (lacking !== "-")
      expect(lacking, name).toBe(name === "get /v1/forward-auth" ? denied : "403 insufficient_scope");
    expect(only, name).not.toContain("insufficient_scope");
    if (foreign !== "-")
      expect(foreign, name).toBe(permission?.includes("operator") ? "403 operator_only" : "404 not_found");
  }
});

test("an id of another account in a body or a filter is answered like one of nobody (R8, R10)", async () => {
  const [mine, theirs] = [await newTenant(http), await newTenant(http)];
  const owner = await theirs.owner();
  const key = await theirs.make(owner);
  const rotation = await theirs.rotate(key.id);
  const nobody = "01jzzzzzzzzzzzzzzzzzzzzzzz";
  const same = async (
    method: string,
    path: (id: string) => string,
    body: ((id: string) => unknown) | null,
    id: string,
  ) => {
    const name = freshName();
    const ask = (one: string) => {
      const sent = body?.(one);
      return mine.call(method, path(one), sent === undefined ? {} : { body: { name, ...(sent as object) } });
    };
    const [foreign, random] = [await ask(id), await ask(id.replace(/_.*/, `_${nobody}`))];
    expect(foreign.text, method).toBe(random.text);
    return foreign;
  };
  expect(
    (
      await same(
        "POST",
        () => "/v1/keys",
        (id) => ({ owner_id: id }),
        owner,
      )
    ).code,
  ).toBe("not_found");
  for (const path of ["keys?owner_id=", "rotations?key_id=", "audit?subject_id=", "audit?actor_id="]) {
    const id = path.startsWith("keys") ? owner : key.id;
    expect((await same("GET", (one) => `/v1/${path}${one}`, null, id)).body.at("data"), path).toEqual([]);
  }
  const lists = await Promise.all(
    ["keys", "service-accounts", "rotations", "accounts", "audit"].map((of) =>
      mine.call("GET", `/v1/${of}?limit=200`),
    ),
  );
  const seen = lists.map((list) => list.text).join("\n");
  for (const id of [theirs.account, owner, key.id, rotation.id, rotation.successor.id])
    expect(seen).not.toContain(id);
});

test("another account's key, verified or shown to a proxy, is unknown (R17)", async () => {
  const [mine, theirs] = [await newTenant(http), await newTenant(http)];
  const { secret } = await theirs.make(await theirs.owner());
  const verdict = { valid: false, code: "unknown" };
  expect((await mine.done("POST", "/v1/keys/verify", { key: secret })).body.value).toEqual(verdict);
  const batch = await mine.done("POST", "/v1/keys/verify/batch", {
    keys: [{ key: secret }, { key: mine.key }],
  });
  expect(batch.body.at("results", 0)).toEqual(verdict);
  expect(batch.body.at("results", 1, "valid")).toBe(true);
  const proxied = await mine.call("GET", "/v1/forward-auth", {
    key: secret,
    headers: { "keyturn-authorization": `Bearer ${mine.key}` },
  });
  expect([proxied.status, proxied.headers.get("keyturn-code")]).toEqual([401, "unknown"]);
});

/** Everything stored, table by table. */
function stored(world: World): string {
  return readdirSync(world.folder)
    .filter((file) => file.endsWith(".db") || file.endsWith(".sqlite"))
    .sort()
    .map((file) => {
      const database = new Database(join(world.folder, file), { readonly: true });
      const tables = database
        .query<{ name: string }, []>("select name from sqlite_schema where type = 'table' order by name")
        .all();
      const rows = tables.map(({ name }) => [name, database.query(`select * from "${name}"`).all()]);
      database.close();
      return JSON.stringify(rows, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
    })
    .join("\n");
}

const PRINCIPALS = [
  "account_id",
  "accountId",
  "account",
  "tenant",
  "owner_id",
  "ownerId",
  "user_id",
  "userId",
  "user",
  "actor",
  "actor_id",
  "key_id",
  "issuer",
  "on_behalf_of",
  "sub",
  "kind",
  "operator",
  "created_by",
  "lineage_id",
  "rotation_id",
  "id",
];

describe("identity is never read from a body or a query (R1):", () => {
  for (const route of ROUTES) {
    test(`${nameOf(route)} without a good key is 401 and changes no row, whatever the body says`, async () => {
      const tenant = route.operatorOnly || route.permission === "anyone" ? operator : await newTenant(http);
      const request = await goodRequest(route, tenant);
      const revoked = await tenant.make(await tenant.owner());
      await tenant.done("DELETE", `/v1/keys/${revoked.id}`);
      const before = stored(http.world);
      expect(before.length).toBeGreaterThan(1_000);
      for (const key of [null, "nonsense", strangerKey(), revoked.secret]) {
        for (const field of PRINCIPALS) {
          const good = typeof request.body === "object" ? request.body : {};
          const body = BODY_METHODS.has(route.method) ? { ...good, [field]: tenant.account } : undefined;
          const query = `${request.path.includes("?") ? "&" : "?"}${field}=${tenant.account}`;
          const path = body === undefined ? `${request.path}${query}` : request.path;
          const answer = await tenant.call(route.method.toUpperCase(), path, { body, key });
          const expected = route.permission === "anyone" ? "invalid_input" : "unauthenticated";
          expect(answer.code, `${field} ${answer.text}`).toBe(expected);
        }
      }
      expect(stored(http.world)).toBe(before);
    });

    test(`${nameOf(route)} with a good key refuses a field or parameter that names a principal, and changes no row`, async () => {
      const tenant = route.operatorOnly || route.permission === "anyone" ? operator : await newTenant(http);
      const request = await goodRequest(route, tenant);
      const known = new Set([...shapeOf(route.body), ...shapeOf(route.query)]);
      const before = stored(http.world);
      for (const field of PRINCIPALS.filter((one) => !known.has(one))) {
        const good = typeof request.body === "object" ? request.body : {};
        const body = BODY_METHODS.has(route.method) ? { ...good, [field]: operator.account } : undefined;
        const query = `${request.path.includes("?") ? "&" : "?"}${field}=${operator.account}`;
        const inBody =
          body === undefined
            ? null
            : await tenant.call(route.method.toUpperCase(), request.path, { body, ...keyOf(request) });
        if (inBody !== null) {
          expect(inBody.code, `${field} ${inBody.text}`).toBe("invalid_input");
          expect(inBody.fields).toEqual([route.body === null ? "body" : field]);
        }
        const inQuery = await tenant.call(route.method.toUpperCase(), `${request.path}${query}`, {
          body: request.body,
          ...keyOf(request),
        });
        expect(inQuery.code, `${field} ${inQuery.text}`).toBe("invalid_input");
        expect(inQuery.fields).toEqual([field]);
      }
      expect(stored(http.world)).toBe(before);
    });
  }
});

const keyOf = (request: GoodRequest) => (request.key === null ? { key: null } : {});

function shapeOf(schema: Route["body"]): readonly string[] {
  return schema !== null && "shape" in schema && typeof schema.shape === "object" && schema.shape !== null
    ? Object.keys(schema.shape)
    : [];
}

describe("there is no fallback credential (R9):", () => {
  test("each way of leaving a credential out or spoiling it is 401 on every route", async () => {
    const tenant = await newTenant(http);
    const spoilt = [
      "",
      "Bearer",
      "Bearer ",
      "Basic",
      "Basic !!!",
      `Basic ${btoa("api_key:")}`,
      `Basic ${btoa(`root:${tenant.key}`)}`,
      `Token ${tenant.key}`,
      tenant.key,
      `Bearer Bearer ${tenant.key}`,
      "Digest x",
      "Bearer null",
      "Bearer undefined",
    ];
    for (const route of ROUTES.filter((one) => one.permission !== "anyone")) {
      const path = route.path.replace("{id}", tenant.rootId);
      for (const authorization of spoilt) {
        const answer = await tenant.call(route.method.toUpperCase(), path, {
          key: null,
          headers: { authorization },
        });
        expect(answer.code, `${nameOf(route)} ${JSON.stringify(authorization)} ${answer.text}`).toBe(
          "unauthenticated",
        );
      }
      // The proxy's header is no credential anywhere else.
      const proxys = await tenant.call(route.method.toUpperCase(), path, {
        key: null,
        headers: {
          "keyturn-authorization": `Bearer ${tenant.key}`,
          cookie: `key=${tenant.key}`,
          "x-api-key": tenant.key,
        },
      });
      expect(proxys.code, nameOf(route)).toBe("unauthenticated");
    }
  });

  test("forward-auth without the proxy's key is 403, without the client's 401, never somebody else", async () => {
    const { secret } = await operator.make(await operator.owner());
    const ask = (headers: Readonly<Record<string, string>>) =>
      operator.call("GET", "/v1/forward-auth", { key: null, headers });
    const [client, proxy] = [
      { authorization: `Bearer ${secret}` },
      { "keyturn-authorization": `Bearer ${operator.key}` },
    ];
    expect((await ask({ ...client, ...proxy })).status).toBe(200);
    expect((await ask(client)).code).toBe("proxy_key_refused");
    expect((await ask(proxy)).code).toBe("unauthenticated");
    expect((await ask({})).code).toBe("proxy_key_refused");
    // The proxy's key in the client's place and the other way round open nothing either.
    expect((await ask({ authorization: `Bearer ${operator.key}` })).code).toBe("proxy_key_refused");
    expect((await ask({ ...client, "keyturn-authorization": `Bearer ${secret}` })).code).toBe(
      "proxy_key_refused",
    );
  });

  test("Basic with the user api_key is the same credential as Bearer", async () => {
    const headers = { authorization: `Basic ${btoa(`api_key:${operator.key}`)}` };
    expect((await operator.call("GET", "/v1/keys/self", { key: null, headers })).body.at("id")).toBe(
      operator.rootId,
    );
  });
});

describe("a route without a permission is never served (R7):", () => {
  test.each([undefined, "", "host", "system", "everybody", "keyturn:", "keyturn:*", "anyone"])(
    "permission %p fails at the start",
    (permission) => {
      const row: unknown = { ...ROUTES.find((one) => one.path === "/v1/keys"), path: "/v1/new", permission };
      expect(() => createHttpFace(httpParts(http.world), [...ROUTES, row as Route])).toThrow(
        "post /v1/new names no permission",
      );
    },
  );

  test("the routes open without any key are five of the service's own, its pages, and the set-up token's", () => {
    const open = Object.entries(http.face.document().paths ?? {}).flatMap(([path, methods]) =>
      Object.entries(methods)
        .filter(([, one]) => one.security?.length === 0)
        .map(([method]) => `${method} ${path}`),
    );
    expect(open.sort()).toEqual([
      "get /docs",
      "get /docs/errors",
      "get /docs/reference.js",
      "get /healthz",
      "get /metrics",
      "get /openapi.json",
      "get /readyz",
      "post /v1/setup",
    ]);
  });
});

describe("the document, the table and what is served are the same:", () => {
  const documented = () =>
    Object.entries(http.face.document().paths ?? {})
      .flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method} ${path}`))
      .sort();

  test("what fetch answers is what the document lists is the table and the rest", () => {
    expect(documented()).toEqual([...ROUTES.map(nameOf), ...OTHER_PATHS].sort());
    expect([...http.face.served()].sort()).toEqual(documented());
  });

  test("metrics on a port of their own are not in the document", async () => {
    const apart = await startHttp({ servesMetrics: false });
    expect(Object.keys(apart.face.document().paths ?? {})).not.toContain("/metrics");
    expect((await apart.call("GET", "/metrics", { key: null })).code).toBe("route_not_found");
    expect([...apart.face.served()].sort()).toEqual(documented().filter((one) => one !== "get /metrics"));
    await apart.close();
  });

  test("on the wire each documented path answers its methods, and 405 with Allow to every other", async () => {
    const server = startServer({
      ...httpParts(http.world),
      host: "127.0.0.1",
      port: 0,
      metricsPort: null,
      tls: null,
      log: QUIET,
    });
    const methodsOf = new Map<string, string[]>();
    for (const one of documented()) {
      const [method = "", path = ""] = one.split(" ");
      methodsOf.set(path, [...(methodsOf.get(path) ?? []), method.toUpperCase()]);
    }
    for (const [path, methods] of methodsOf) {
      // `{id}` beside a name: `/v1/keys/self` and `/v1/keys/verify` are ids as well, of keys that do not exist.
      const isAlsoId = ["/v1/keys/self", "/v1/keys/verify"].includes(path);
      for (const method of ["GET", "POST", "PATCH", "DELETE", "PUT", "OPTIONS"]) {
        const answer = await answerOf(await fetch(`${server.url}${path.replace("{id}", "x")}`, { method }));
        if (methods.includes(method)) {
          expect([404, 405], `${method} ${path} ${answer.text.slice(0, 80)}`).not.toContain(answer.status);
        } else if (isAlsoId && ["GET", "PATCH", "DELETE"].includes(method)) {
          expect(answer.code, `${method} ${path}`).toBe("unauthenticated");
        } else {
          expect(answer.code, `${method} ${path}`).toBe("method_not_allowed");
          for (const allowed of methods)
            expect(answer.headers.get("allow"), `${method} ${path}`).toContain(allowed);
        }
      }
    }
    await server.stop();
  });
});
