import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { mintSecret } from "../../src/authority/secret.ts";
import { BODY_METHODS, type Route } from "../../src/http/call.ts";
import { PROBLEMS } from "../../src/http/problems.ts";
import { ROUTES } from "../../src/http/routes.ts";
import { type RunningServer, startServer } from "../../src/http/server.ts";
import { SETTINGS } from "../support/authority.ts";
import { times } from "../support/counts.ts";
import {
  type Answer,
  answerOf,
  assertProblem,
  type CallOptions,
  type Http,
  httpParts,
  QUIET,
  requestOf,
  startHttp,
} from "../support/http.ts";
import { codeIn, keepWriting, openRaw, type Raw, sendRaw, statusOf } from "../support/raw.ts";
import { freshName, goodRequest, type Made, nameOf, operatorOf, type Tenant } from "./requests.ts";

/** Counts what verification asks of the store, so that a test can say that it was not asked. */
let lookUps = 0;
let http: Http;
let tenant: Tenant;
let server: RunningServer;
let port: number;
let good: Made;
let reader: Made;
const errors: unknown[] = [];

// A client that verifies a good key all the while. Each entry is one that was not answered as it should.
const failures: string[] = [];
let verified = 0;
let going = true;
let verifying: Promise<void>;

beforeAll(async () => {
  http = await startHttp({
    through: (storage) => ({
      ...storage,
      match: (digest) => {
        lookUps += 1;
        return storage.match(digest);
      },
    }),
  });
  tenant = operatorOf(http);
  const owner = await tenant.owner({ scopes: ["invoices:*", "keyturn:keys.read"], role: "editor" });
  good = await tenant.make(owner, { scopes: ["invoices:read"] });
  reader = await tenant.make(owner, { scopes: ["keyturn:keys.read"] });
  const log = { ...QUIET, error: (error: unknown) => void errors.push(error) };
  server = startServer({
    ...httpParts(http.world),
    host: "127.0.0.1",
    port: 0,
    metricsPort: null,
    tls: null,
    log,
  });
  port = Number(new URL(server.url).port);
  verifying = verifyAllTheWhile();
  slow = beSlow();
});

afterAll(async () => {
  going = false;
  await verifying;
  expect(failures).toEqual([]);
  expect(errors).toEqual([]);
  expect(http.errors).toEqual([]);
  await server.stop();
  await http.close();
});

function head(path: string, key: string | null, framing: string): string {
  const authorization = key === null ? "" : `Authorization: Bearer ${key}\r\n`;
  return `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n${authorization}${framing}\r\n\r\n`;
}

// Clients that take their time while the other tests go on; what they got is looked at in the end.
let slow: { readonly bodies: readonly Raw[]; readonly head: Raw };

function beSlow(): typeof slow {
  const bodies = ["/v1/keys", "/v1/keys/verify", "/v1/keys/verify/batch"].map((path): Raw => {
    const raw = openRaw(port);
    raw.socket.write(head(path, tenant.key, "Content-Length: 1000"));
    const drip = setInterval(() => raw.socket.writable && raw.socket.write(" "), 500);
    void raw.closed.then(() => clearInterval(drip));
    return raw;
  });
  const unfinished = openRaw(port);
  unfinished.socket.write("GET /healthz HTTP/1.1\r\nHost: a\r\n");
  return { bodies, head: unfinished };
}

async function verifyAllTheWhile(): Promise<void> {
  while (going) {
    const answer = await onWire("POST", "/v1/keys/verify", {
      body: { key: good.secret, scopes: ["invoices:read"], caller: { name: "steady" } },
    });
    if (answer.body.at("code") !== "valid") failures.push(`${answer.status} ${answer.text}`);
    verified += 1;
    await Bun.sleep(2);
  }
}

async function onWire(method: string, path: string, options: CallOptions = {}): Promise<Answer> {
  const request = requestOf(method, path, options, http.world.root.secret);
  const answer = await answerOf(
    await fetch(`${server.url}${path}`, { method, headers: request.headers, body: await request.blob() }),
  );
  if (answer.code !== undefined) assertProblem(answer);
  return answer;
}

/** A refusal of the client's making, told as one: nothing of ours broke, and what is wrong is named. */
function assertRefused(answer: Answer, what: string): void {
  expect(answer.status, `${what} ${answer.text}`).toBeGreaterThanOrEqual(400);
  expect(answer.status, `${what} ${answer.text}`).toBeLessThan(500);
  expect(answer.code, `${what} ${answer.text}`).toBeDefined();
}

const names = (answer: Answer, field: string) =>
  answer.fields.some((one) => one === field || one.startsWith(`${field}.`));

const DEEP = "[".repeat(32_000) + "]".repeat(32_000);
const LONG = "z".repeat(30_000);

describe("bodies that are no JSON object are refused on every route:", () => {
  const raws: Readonly<Record<string, string>> = {
    "cut off": '{"name":"a"',
    "two values": "{}{}",
    "a comment": "{/* */}",
    NaN: '{"name":NaN}',
    "NUL bytes": "\0\0\0",
    "64 KiB of [": "[".repeat(65_536),
    "deep arrays": DEEP,
    "deep objects": `${'{"name":'.repeat(7_000)}1${"}".repeat(7_000)}`,
    "a list": "[]",
    "a text": '"name"',
    "a number": "1e999",
    null: "null",
    true: "true",
  };
  for (const [what, raw] of Object.entries(raws)) {
    test(what, async () => {
      for (const route of ROUTES.filter((one) => BODY_METHODS.has(one.method))) {
        const path = route.path.replace("{id}", tenant.rootId);
        const answer = await onWire(route.method.toUpperCase(), path, {
          raw,
          ...(route.permission === "anyone" ? { key: null } : {}),
        });
        assertRefused(answer, nameOf(route));
        expect(["invalid_json", "invalid_input"], `${nameOf(route)} ${answer.text}`).toContain(
          answer.code ?? "",
        );
        if (answer.code === "invalid_input") expect(answer.fields.length, nameOf(route)).toBeGreaterThan(0);
      }
      for (const path of ["/v1/keys/verify", "/v1/keys/verify/batch"])
        assertRefused(await onWire("POST", path, { raw }), path);
    });
  }

  test.each([
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/jsonp",
    "application/json; charset=latin1",
    `application/json${" ".repeat(9_000)}x`,
  ])("sent as %p", async (type) => {
    for (const path of ["/v1/keys", "/v1/setup", "/v1/keys/verify", "/v1/keys/verify/batch"]) {
      const answer = await onWire("POST", path, {
        raw: "{}",
        headers: { "content-type": type },
        ...(path === "/v1/setup" ? { key: null } : {}),
      });
      expect([answer.status, answer.code]).toEqual([415, "unsupported_media_type"]);
    }
  });

  test("without any Content-Type", async () => {
    const bytes = `POST /v1/keys/verify HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${tenant.key}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`;
    expect(codeIn(await sendRaw(port, bytes))).toBe("unsupported_media_type");
  });
});

/** What no text field of the API takes, whatever it is for. */
const NO_TEXT: readonly unknown[] = [
  0,
  -1,
  1e308,
  9_007_199_254_740_992,
  true,
  [],
  {},
  ["a"],
  { a: "b" },
  [[[]]],
];
const BAD_TEXTS: Readonly<Record<string, string>> = {
  "over-long": LONG,
  NUL: "a\0b",
  "a lone surrogate": "a\ud800b",
  "the other lone surrogate": "\udc00",
};

/** Fields in which any text is a question with an answer of its own, and the codes of that answer. */
const ASKED_ABOUT: Readonly<Record<string, readonly string[]>> = {
  owner_id: ["not_found"],
  caller: ["not_found", "rotation_state"],
  token: ["setup_token_invalid"],
};

function fieldsOf(route: Route): readonly string[] {
  const { body } = route;
  return body !== null && "shape" in body && typeof body.shape === "object" && body.shape !== null
    ? Object.keys(body.shape)
    : [];
}

describe("a field that is wrong is named, and the rest of the body does not matter:", () => {
  for (const route of ROUTES.filter((one) => one.body !== null)) {
    test(nameOf(route), async () => {
      const request = await goodRequest(route, tenant);
      const send = (body: unknown) =>
        http.call(route.method.toUpperCase(), request.path, {
          body,
          ...(request.key === null ? { key: null } : {}),
        });
      const valid = typeof request.body === "object" ? request.body : {};
      for (const field of fieldsOf(route)) {
        const isText = !["force", "stop_after_callers", "stop_after_refusals"].includes(field);
        for (const junk of [...NO_TEXT, ...Object.values(BAD_TEXTS)]) {
          if (field === "force" && typeof junk === "boolean") continue;
          // An empty list of scopes is no scope; a key may be narrowed to none.
          if (field === "scopes" && Array.isArray(junk) && junk.length === 0) continue;
          if (
            (field === "scopes" || field === "metadata") &&
            typeof junk === "object" &&
            JSON.stringify(junk) !== "[[[]]]"
          ) {
            if (field === "scopes" ? Array.isArray(junk) : !Array.isArray(junk)) continue;
          }
          const answer = await send({ ...valid, [field]: junk });
          const what = `${field}: ${JSON.stringify(junk).slice(0, 60)}`;
          assertRefused(answer, what);
          if (isText && typeof junk === "string" && ASKED_ABOUT[field]?.includes(answer.code ?? "")) continue;
          expect(answer.code, `${what} ${answer.text}`).toBe("invalid_input");
          expect(names(answer, field), `${what} ${answer.text}`).toBe(true);
        }
      }
      for (const unknown of [
        "nonsense",
        "__proto__",
        "constructor",
        "prototype",
        "toString",
        "",
        "a\0",
        "\ud800",
        "é",
        LONG,
      ]) {
        const raw = `${JSON.stringify(valid).slice(0, -1)}${valid !== null && Object.keys(valid).length > 0 ? "," : ""}${JSON.stringify(unknown)}:{"admin":true}}`;
        const answer = await http.call(route.method.toUpperCase(), request.path, {
          raw,
          ...(request.key === null ? { key: null } : {}),
        });
        expect(answer.code, `${JSON.stringify(unknown.slice(0, 20))} ${answer.text}`).toBe("invalid_input");
        expect(
          names(answer, unknown.toWellFormed().slice(0, 100) || "body") || answer.fields.length === 1,
          answer.text,
        ).toBe(true);
      }
      expect(Object.getOwnPropertyNames(Object.prototype)).not.toContain("admin");
    });
  }

  const DATES: readonly string[] = [
    "not-a-date",
    "",
    "tomorrow",
    "2027-02-30T00:00:00Z",
    "2027-01-01",
    "2027-01-01T24:00:00Z",
    "2027-01-01 00:00:00Z",
    "2027-01-01T00:00:00",
    "1e21",
    "99999-01-01T00:00:00Z",
    "-1",
    "2020-01-01T00:00:00Z",
    "null",
    "never",
    "90d",
  ];
  test.each(DATES)(
    "expires_at %p is refused by name, never a key that lives for ever (R17)",
    async (expires_at) => {
      const owner = await tenant.owner();
      const made = await http.call("POST", "/v1/keys", {
        body: { name: freshName(), owner_id: owner, expires_at },
      });
      expect([made.code, made.fields]).toEqual(["invalid_input", ["expires_at"]]);
      const key = await tenant.make(owner);
      const cut = await http.call("PATCH", `/v1/keys/${key.id}`, { body: { expires_at } });
      expect([cut.code, cut.fields], cut.text).toEqual(["invalid_input", ["expires_at"]]);
    },
  );

  test.each([
    "0s",
    "0d",
    "-1d",
    "1.5h",
    "abc12h",
    "12",
    "",
    " 1d",
    "1d ",
    "1d1d",
    "1h1d",
    "1D",
    "P1D",
    "1e3d",
    "999999999y",
    "9".repeat(64),
    "∞",
    "1d\0",
    "Never",
    "NEVER",
  ])("ttl %p is refused by name (R17)", async (ttl) => {
    const answer = await http.call("POST", "/v1/keys", {
      body: { name: freshName(), owner_id: await tenant.owner(), ttl },
    });
    expect([answer.code, answer.fields]).toEqual(["invalid_input", ["ttl"]]);
  });

  test("ttl and expires_at together are refused by name", async () => {
    const body = {
      name: freshName(),
      owner_id: await tenant.owner(),
      ttl: "1d",
      expires_at: "2030-01-01T00:00:00Z",
    };
    const answer = await http.call("POST", "/v1/keys", { body });
    expect([answer.code, answer.fields]).toEqual(["invalid_input", ["expires_at"]]);
  });

  test("metadata that would reach a prototype, or that nobody could read, is refused by name", async () => {
    const owner = await tenant.owner();
    const send = (metadata: string) =>
      http.call("POST", "/v1/keys", {
        raw: `{"name":"${freshName()}","owner_id":"${owner}","metadata":${metadata}}`,
      });
    const bad = [
      '{"__proto__":"x"}',
      '{"__proto__":{"a":"b"}}',
      '{"a":1}',
      '{"a":null}',
      '{"a":"\\u0000"}',
      '{"a":"\\ud800"}',
      '{"\\ud800":"a"}',
      '{"":"a"}',
      '{"1":"a"}',
      `{"a":"${LONG}"}`,
      `{"${LONG}":"a"}`,
      DEEP,
      `{"a":${DEEP}}`,
    ];
    for (const metadata of bad) {
      const answer = await send(metadata);
      expect(answer.code, metadata.slice(0, 60)).toBe("invalid_input");
      expect(names(answer, "metadata"), `${metadata.slice(0, 60)} ${answer.text}`).toBe(true);
    }
    const many = Object.fromEntries(Array.from({ length: 21 }, (_, at) => [`m${at}`, "x"]));
    expect((await send(JSON.stringify(many))).fields).toEqual(["metadata"]);
    const odd = await send('{"constructor":"x","toString":"y","hasOwnProperty":"z"}');
    expect(odd.body.at("key", "metadata")).toEqual({ constructor: "x", toString: "y", hasOwnProperty: "z" });
  });

  test("what a verification asks is refused by name; the key itself gets a verdict", async () => {
    const ask = (more: object) => onWire("POST", "/v1/keys/verify", { body: { key: good.secret, ...more } });
    const bad: readonly (readonly [string, object])[] = [
      ...[...NO_TEXT, null].map((key) => ["key", { key }] as const),
      ...["", "Invoices", "a b", "a:", ":a", "*:a", "a:*:b", "a\0", "\ud800", LONG, 1, null, []].map(
        (scope) => ["scopes", { scopes: [scope] }] as const,
      ),
      ["scopes", { scopes: "invoices:read" }],
      ["scopes", { scopes: Array(101).fill("a") }],
      ...["owner", "", "ADMIN", 1, null, [], {}].map((role) => ["role", { role }] as const),
      ...[null, [], "n", 1].map((caller) => ["caller", { caller }] as const),
      ...["", " ", "a\0", "a\nb", "\ud800", LONG, "<script>", "a,b", 1, null, []].map(
        (name) => ["caller.name", { caller: { name } }] as const,
      ),
      ...["", "x", "1", "010.0.0.1", "1.2.3.4.5", "::1%eth0", "1.2.3.4/32", LONG, 1, null].map(
        (ip) => ["caller.ip", { caller: { ip } }] as const,
      ),
      ...[LONG, "\ud800", "a\0b", "a\nb", 1, null].map(
        (user_agent) => ["caller.user_agent", { caller: { user_agent } }] as const,
      ),
      ["caller.nonsense", { caller: { nonsense: 1 } }],
      ["nonsense", { nonsense: 1 }],
      ...["", "1", -1, 0.5, 2 ** 53, 1e308, null, [], {}].map(
        (at_least) => ["at_least", { at_least }] as const,
      ),
    ];
    for (const [field, more] of bad) {
      const answer = await ask(more);
      expect(answer.code, `${JSON.stringify(more).slice(0, 80)} ${answer.text}`).toBe("invalid_input");
      expect(names(answer, field), answer.text).toBe(true);
      const batch = await onWire("POST", "/v1/keys/verify/batch", {
        body: { keys: [{ key: good.secret }, { key: good.secret, ...more }] },
      });
      expect(batch.code, batch.text).toBe("invalid_input");
      expect(names(batch, `keys.1.${field}`), batch.text).toBe(true);
    }
    for (const text of ["", "\0", "\ud800", "kts_", LONG, "constructor", "__proto__"]) {
      expect((await ask({ key: text })).body.value).toEqual({ valid: false, code: "malformed" });
    }
    for (const at_least of ["1", -1, 0.5, 2 ** 53, null]) {
      const answer = await onWire("POST", "/v1/keys/verify/batch", {
        body: { keys: [{ key: good.secret }], at_least },
      });
      expect([answer.code, answer.fields], answer.text).toEqual(["invalid_input", ["at_least"]]);
    }
    for (const keys of [[], null, {}, "a", [null], [[]], Array(101).fill({ key: "a" })]) {
      const answer = await onWire("POST", "/v1/keys/verify/batch", { body: { keys } });
      expect([answer.code, names(answer, "keys")], answer.text).toEqual(["invalid_input", true]);
    }
  });
});

describe("queries:", () => {
  test("a parameter that is wrong, unknown or repeated is named on every route", async () => {
    for (const route of ROUTES.filter((one) => one.query !== null)) {
      const { path, key } = await goodRequest(route, tenant);
      const { query } = route;
      const known =
        query !== null && "shape" in query && typeof query.shape === "object" && query.shape !== null
          ? Object.keys(query.shape)
          : [];
      const ask = (text: string) =>
        http.call(route.method.toUpperCase(), `${path.split("?")[0]}?${text}`, key === null ? { key } : {});
      for (const name of known) {
        for (const value of [
          LONG.slice(0, 9_000),
          "%00",
          "%ED%A0%80",
          "%FF",
          "%",
          "'%20or%201=1--",
          "[object%20Object]",
          "1e400",
          "-1",
          "0",
          "NaN",
          "",
          "not-a-date",
        ]) {
          const answer = await ask(`${name}=${value}`);
          expect(answer.status, `${nameOf(route)} ${name}=${value.slice(0, 20)} ${answer.text}`).toBeLessThan(
            500,
          );
          if (answer.code !== undefined)
            expect([answer.code, answer.fields], answer.text).toEqual(["invalid_input", [name]]);
          // Ids, operations and cursors may be any text that finds nothing.
          else
            expect(
              ["owner_id", "key_id", "operation", "subject_id", "actor_id", "cursor"],
              `${name}=${value}`,
            ).toContain(name);
        }
        const twice = await ask(`${name}=1&${name}=1`);
        expect([twice.code, twice.fields], `${nameOf(route)} ${name}`).toEqual(["invalid_input", [name]]);
      }
      for (const name of ["nonsense", "__proto__", "constructor", "limit[]", "%00"]) {
        const answer = await ask(`${name}=1`);
        expect(answer.code, `${nameOf(route)} ${name}`).toBe("invalid_input");
        expect(answer.fields.length, `${nameOf(route)} ${name} ${answer.text}`).toBe(1);
      }
    }
  });

  test("a cursor that no page gave is refused by name", async () => {
    for (const of of ["keys", "service-accounts", "rotations", "accounts", "audit"]) {
      for (const cursor of [
        "x",
        "!!!",
        "%00",
        btoa("' or 1=1"),
        btoa("a".repeat(80)),
        btoa("KEY_1"),
        "null",
        btoa("{}"),
      ]) {
        const answer = await http.call("GET", `/v1/${of}?cursor=${cursor}`);
        expect([answer.code, answer.fields], `${of} ${cursor} ${answer.text}`).toEqual([
          "invalid_input",
          ["cursor"],
        ]);
      }
    }
    expect(
      (await http.call("GET", `/v1/audit?cursor=${btoa("key_01jzzzzzzzzzzzzzzzzzzzzzzz")}`)).fields,
    ).toEqual(["cursor"]);
  });

  test("pages follow each other without a gap or a repeat, in every list", async () => {
    for (let made = 0; made < 5; made += 1) await tenant.rotate((await tenant.make(await tenant.owner())).id);
    for (const of of ["keys", "service-accounts", "rotations", "audit"]) {
      const all = (await http.call("GET", `/v1/${of}?limit=200`)).body.at("data");
      const paged: unknown[] = [];
      let cursor: unknown = "";
      while (typeof cursor === "string" && paged.length < 200) {
        const page = await http.call("GET", `/v1/${of}?limit=2${cursor === "" ? "" : `&cursor=${cursor}`}`);
        const data = page.body.at("data");
        expect(Array.isArray(data)).toBe(true);
        if (Array.isArray(data)) paged.push(...data);
        cursor = page.body.at("next_cursor");
      }
      expect(paged, of).toEqual(Array.isArray(all) ? all.slice(0, paged.length) : []);
    }
  });
});

describe("paths and headers:", () => {
  test("an id of any text is not found, never a fault", async () => {
    const ids = [
      "%00",
      "%FF",
      "%ED%A0%80",
      "__proto__",
      "constructor",
      "..%2f..%2fetc%2fpasswd",
      "%27%20or%201%3d1--",
      "a".repeat(9_000),
      "null",
      "0",
      "%F0%9F%92%A9",
      "*",
      "%25",
    ];
    for (const route of ROUTES.filter((one) => one.path.includes("{id}"))) {
      const body = (await goodRequest(route, tenant)).body;
      for (const id of ids) {
        const answer = await onWire(route.method.toUpperCase(), route.path.replace("{id}", id), { body });
        expect(
          [answer.status, ["not_found", "route_not_found"].includes(answer.code ?? "")],
          `${nameOf(route)} ${id.slice(0, 20)} ${answer.text}`,
        ).toEqual([404, true]);
      }
    }
  });

  test("an Idempotency-Key that is empty, too long or sent twice is refused by name", async () => {
    // A key of ours would be stored as it is (R19).
    for (const key of ["", "a b", "é", "a".repeat(256), "a, b", good.secret]) {
      const answer = await http.call("POST", "/v1/service-accounts", {
        body: { name: freshName() },
        headers: { "idempotency-key": key },
      });
      expect([answer.code, answer.fields], key).toEqual(["invalid_input", ["Idempotency-Key"]]);
    }
  });

  test("a Keyturn-Caller that can't be a name is left out of account, and the request done", async () => {
    for (const caller of ["a, b", "<b>", "a".repeat(101), "\u00ff\u00fe", "-"]) {
      expect(
        (await onWire("GET", "/v1/keys/self", { headers: { "keyturn-caller": caller } })).status,
        caller,
      ).toBe(200);
    }
  });
});

describe("credentials in URLs are refused on every path, and nothing is looked up (R22):", () => {
  test("by their name or by their looks, in the query or as a part of the path", async () => {
    const secret = mintSecret({ brand: "kt", retiredBrands: [], region: "eu" }, "user", (size) =>
      crypto.getRandomValues(new Uint8Array(size)),
    );
    const paths = [
      ...ROUTES.map((route) => [route.method, route.path.replace("{id}", "x")] as const),
      ...[
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/docs/errors",
        "/nowhere",
        "/",
        "/v1/forward-auth",
      ].map((path) => ["get", path] as const),
      ["post", "/v1/keys/verify"] as const,
      ["post", "/v1/keys/verify/batch"] as const,
    ];
    for (const [method, path] of paths) {
      for (const query of [
        "key=x",
        "API_KEY=x",
        "access_token=",
        "token=x",
        "Secret=1",
        "authorization=Bearer",
        `q=${good.secret}`,
        `a=b&c=${secret}`,
        `limit=1&${encodeURIComponent("apikey")}=1`,
      ]) {
        const answer = await http.call(method.toUpperCase(), `${path}?${query}`, {
          headers: { "keyturn-authorization": `Bearer ${tenant.key}` },
        });
        expect([answer.status, answer.code], `${method} ${path}?${query}`).toEqual([
          400,
          "credential_in_url",
        ]);
        expect(answer.text).not.toContain(good.secret);
      }
    }
    for (const path of [`/v1/keys/${good.secret}`, `/v1/keys/${secret}/revoke`, `/${good.secret}`]) {
      expect((await http.call("GET", path)).code).toBe("credential_in_url");
    }
  });
});

describe("a key pasted where a text is asked for is not stored (R19, R21):", () => {
  test("the field is named, the key is not said back, and nothing is changed", async () => {
    const secret = mintSecret(SETTINGS.format, "service", (size) =>
      crypto.getRandomValues(new Uint8Array(size)),
    );
    const { seq } = await http.world.authority.storage.read.audit.head();
    const made = { name: freshName(), owner_id: "sa_x" };
    const cases = [
      ["name", "/v1/service-accounts", { name: `the key ${secret}` }],
      ["metadata.note", "/v1/keys", { ...made, metadata: { note: secret } }],
      ["metadata", "/v1/keys", { ...made, metadata: { [secret]: "note" } }],
      ["reason", `/v1/keys/${good.id}/suspend`, { reason: `leaked: ${secret}` }],
    ] as const;
    for (const [field, path, body] of cases) {
      const answer = await http.call("POST", path, { body });
      expect([answer.status, codeIn(answer.text)]).toEqual([400, "invalid_input"]);
      expect(answer.body.at("errors", 0, "field")).toBe(field);
      expect(answer.text).not.toContain(secret);
    }
    expect((await http.world.authority.storage.read.audit.head()).seq).toBe(seq);
  });
});

describe("a credential is no query to the database (R20):", () => {
  const TEXTS = [
    "' or '1'='1",
    "'; drop table keys; --",
    '" or ""="',
    "1; select * from digests",
    "kts_' union select digest from digests --",
    "\\'; --",
    "%27%20or%201=1",
    "kts_{{1+1}}",
    "`id`",
    "0x27",
    "'||(select 1)||'",
    "*/ or 1=1 /*",
  ];
  test("SQL in each place that takes one is malformed before the store is asked, and changes nothing", async () => {
    const count = async () => (await http.call("GET", "/v1/keys?limit=200")).text;
    const before = await count();
    for (const text of TEXTS) {
      lookUps = 0;
      expect((await http.call("GET", "/v1/keys/self", { key: text })).code, text).toBe("unauthenticated");
      expect(
        (await http.call("POST", "/v1/keys/verify", { key: text, body: { key: text } })).code,
        text,
      ).toBe("unauthenticated");
      expect(
        (
          await http.call("GET", "/v1/forward-auth", {
            key: null,
            headers: { "keyturn-authorization": `Bearer ${text}` },
          })
        ).code,
      ).toBe("proxy_key_refused");
      expect(lookUps).toBe(0);
      expect((await http.verify(text)).body.at("code")).toBe("malformed");
      expect((await http.forwardAuth(text)).headers.get("keyturn-code")).toBe("malformed");
      expect(lookUps).toBeLessThanOrEqual(1);
      expect((await http.call("POST", "/v1/setup", { key: null, body: { token: text } })).code).toBe(
        "setup_token_invalid",
      );
      const filters = await Promise.all(
        ["owner_id", "state", "cursor"].map((name) =>
          http.call("GET", `/v1/keys?${name}=${encodeURIComponent(text)}`),
        ),
      );
      for (const filtered of filters) expect([200, 400]).toContain(filtered.status);
    }
    expect(await count()).toBe(before);
  });

  test("any text at all as a credential gets a verdict, and only well-formed ones reach the store", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.string({ unit: "binary", maxLength: 200 }),
          fc.string({ unit: "grapheme", maxLength: 80 }).map((text) => `kts_${text}`),
        ),
        async (text) => {
          lookUps = 0;
          const answer = await http.verify(text);
          expect(answer.body.value).toEqual({ valid: false, code: "malformed" });
          expect(lookUps).toBeLessThanOrEqual(1);
        },
      ),
      { numRuns: times(2_000) },
    );
  });
});

describe("endless and slow bodies (on the wire):", () => {
  const PATHS = ["/v1/keys", "/v1/keys/verify", "/v1/keys/verify/batch", "/v1/nowhere", "/healthz"];

  test("a declared 1 GB is refused before it is sent, and the connection closed", async () => {
    for (const path of PATHS) {
      for (const key of [tenant.key, null]) {
        const answer = await sendRaw(port, head(path, key, "Content-Length: 1073741824"));
        const elsewhere = { "/v1/nowhere": "route_not_found", "/healthz": "method_not_allowed" } as const;
        const ours = key === null ? "unauthenticated" : "body_too_large";
        const expected = path in elsewhere ? elsewhere[path as keyof typeof elsewhere] : ours;
        expect([codeIn(answer), statusOf(answer)], path).toEqual([expected, PROBLEMS[expected].status]);
      }
    }
  });

  test("an endless chunked body is cut off after 64 KiB, with or without a key", async () => {
    const chunk = Buffer.from(`4000\r\n${"x".repeat(0x4000)}\r\n`);
    const most = 64 * 1024 * 1024;
    for (const path of PATHS) {
      for (const key of [tenant.key, null]) {
        const raw = openRaw(port);
        raw.socket.write(head(path, key, "Transfer-Encoding: chunked"));
        const written = await keepWriting(raw, chunk, most);
        expect(written, `${path} ${key === null}`).toBeLessThan(most);
        // What was written into a closing connection may have reset it before the answer was read.
        const answer = await raw.closed;
        if (answer !== "") expect(statusOf(answer), path).toBeGreaterThanOrEqual(400);
      }
    }
  }, 60_000);

  test("a GET that comes with a body is answered, and its connection not kept for the rest of it", async () => {
    for (const framing of ["Content-Length: 1073741824", "Transfer-Encoding: chunked"]) {
      const bytes = head("/v1/keys/self", tenant.key, framing).replace("POST", "GET");
      expect(statusOf(await sendRaw(port, bytes))).toBe(200);
    }
  });

  test("a DELETE takes no body: what somebody put there is refused by name, not passed over", async () => {
    const { id } = await tenant.make(await tenant.owner());
    const forced = await onWire("DELETE", `/v1/keys/${id}`, { body: { force: true } });
    expect([forced.code, forced.fields]).toEqual(["invalid_input", ["body"]]);
    expect((await onWire("DELETE", `/v1/keys/${id}`, { body: {} })).status).toBe(204);
  });

  test("one byte more than 64 KiB is too large, and 64 KiB is not", async () => {
    const filler = (size: number) => `{"key":"${"a".repeat(size - 10)}"}`;
    expect((await onWire("POST", "/v1/keys/verify", { raw: filler(65_536) })).body.at("code")).toBe(
      "malformed",
    );
    expect((await onWire("POST", "/v1/keys/verify", { raw: filler(65_537) })).code).toBe("body_too_large");
  });
});

describe("the path does not change who may do what (R26):", () => {
  const MUTATIONS: readonly ((path: string) => string)[] = [
    (path) => `/${path}`,
    (path) => path.replace("/v1", "//v1"),
    (path) => path.replace("/v1/", "/v1//"),
    (path) => `${path}/`,
    (path) => `${path}//`,
    (path) => `${path};`,
    (path) => `${path};a=b`,
    (path) => path.replace("/v1", "/v1;x"),
    (path) => `${path}%00`,
    (path) => `${path}%2f`,
    (path) => `${path}%3f`,
    (path) => `${path}%23`,
    (path) => `${path}%20`,
    (path) => path.replaceAll("/", "%2f").replace("%2f", "/"),
    (path) => path.replace("/v1/", "/v1%2f"),
    (path) => path.replace("/v1", "/V1"),
    (path) => path.toUpperCase(),
    (path) => path.replace("/v1/", "/v1/./"),
    (path) => path.replace("/v1/", "/v1/x/../"),
    (path) => path.replace("/v1/", "/healthz/../v1/"),
    (path) => path.replace("/v1/", "/v1/%2e/"),
    (path) => path.replace("/v1/", "/v1/x/%2e%2e/"),
    (path) => path.replaceAll("/", "\\").replace("\\", "/"),
    (path) => path.replace(/[a-z](?=[a-z-]*$)/, (letter) => `%${letter.charCodeAt(0).toString(16)}`),
    (path) => path.replace(/[a-z](?=[a-z-]*$)/, (letter) => `%25${letter.charCodeAt(0).toString(16)}`),
    (path) => `${path}?`,
    (path) => `${path}?x`,
    (path) => `${path}#a`,
    (path) => `${path}.json`,
    (path) => `http://keyturn.test${path}`,
    (path) => `http://keyturn.test@evil${path}`,
  ];
  test("no spelling of a path lets through what its plain spelling denies", async () => {
    const all = [
      ...ROUTES.filter((one) => one.permission !== "anyone").map(
        (route) => [route.method, route.path, route.permission] as const,
      ),
      ["post", "/v1/keys/verify", "keyturn:keys.verify"] as const,
      ["post", "/v1/keys/verify/batch", "keyturn:keys.verify"] as const,
      ["get", "/v1/forward-auth", "keyturn:keys.verify"] as const,
    ];
    let tried = 0;
    for (const [method, path, permission] of all) {
      for (const mutate of MUTATIONS) {
        // A key that may only read keys, and none at all.
        for (const key of permission === "keyturn:keys.read" || permission === "any_key"
          ? [null]
          : [reader.secret, null]) {
          const authorization =
            key === null ? "" : `Authorization: Bearer ${key}\r\nKeyturn-Authorization: Bearer ${key}\r\n`;
          const body =
            method === "get" || method === "delete"
              ? ""
              : "Content-Type: application/json\r\nContent-Length: 2\r\n";
          const target = mutate(path.replace("{id}", good.id));
          const answer = await sendRaw(
            port,
            `${method.toUpperCase()} ${target} HTTP/1.1\r\nHost: a\r\n${authorization}${body}Connection: close\r\n\r\n${body === "" ? "" : "{}"}`,
          );
          const status = statusOf(answer) ?? 400;
          tried += 1;
          // `/v1/keys/self` by any spelling is an id to `/v1/keys/{id}`, which the reader may read and which does not exist.
          expect(status >= 400 && status < 506, `${method} ${target} ${answer.slice(0, 300)}`).toBe(true);
        }
      }
    }
    expect(tried).toBeGreaterThan(1_500);
  }, 120_000);
});

describe("texts made to be slow are answered like others (R30):", () => {
  const ATTACKS = [
    LONG,
    "a:".repeat(15_000),
    `${"a.".repeat(15_000)}!`,
    `${"0".repeat(30_000)}d`,
    "1d".repeat(15_000),
    " ".repeat(30_000),
    `${" ".repeat(30_000)}x`,
    ":".repeat(30_000),
    "::".repeat(15_000),
    "1.".repeat(15_000),
    "%".repeat(30_000),
    "-".repeat(30_000),
    `${"a-".repeat(15_000)}\n`,
    "\u0301".repeat(20_000),
    "\ufdfa".repeat(10_000),
    "/".repeat(30_000),
    ",".repeat(30_000),
    "2027-01-01T00:00:00.".padEnd(30_000, "0"),
    `kts_${"a_".repeat(15_000)}`,
    "Bearer ".repeat(4_000),
  ];
  test("in every text field of every body, and the loop goes on between them", async () => {
    for (const route of ROUTES.filter((one) => one.body !== null)) {
      const request = await goodRequest(route, tenant);
      const valid = typeof request.body === "object" ? request.body : {};
      for (const field of fieldsOf(route)) {
        for (const text of ATTACKS) {
          for (const value of field === "metadata"
            ? [{ a: text }, { [text]: "a" }]
            : ["scopes", "allowed_ips"].includes(field)
              ? [[text]]
              : [text]) {
            const answer = await http.call(route.method.toUpperCase(), request.path, {
              body: { ...valid, [field]: value },
              ...(request.key === null ? { key: null } : {}),
            });
            assertRefused(answer, `${nameOf(route)} ${field} ${text.slice(0, 10)}`);
          }
        }
      }
      const before = verified;
      await Bun.sleep(20);
      await onWire("GET", "/healthz", { key: null });
      expect(verified).toBeGreaterThanOrEqual(before);
    }
  }, 120_000);

  test("in everything that a verification or a proxy says", async () => {
    for (const text of ATTACKS) {
      const bodies = [
        { key: text },
        { key: good.secret, scopes: [text] },
        { key: good.secret, caller: { name: text } },
        { key: good.secret, caller: { ip: text } },
        { key: good.secret, caller: { user_agent: text } },
      ];
      for (const body of bodies)
        expect((await onWire("POST", "/v1/keys/verify", { body })).status).toBeLessThan(500);
      const value = text.slice(0, 12_000).replaceAll(/[^\x20-\x7e]/g, "x");
      const headers = {
        "keyturn-caller": value,
        "x-forwarded-for": value,
        "user-agent": value,
        connection: "close",
      };
      for (const name of [
        "keyturn-caller",
        "x-forwarded-for",
        "user-agent",
        "idempotency-key",
        "content-type",
        "authorization",
      ]) {
        const answer = await http.call("POST", "/v1/keys/verify", {
          body: { key: good.secret },
          headers: { ...headers, [name]: value },
        });
        expect(answer.status).toBeLessThan(500);
      }
      expect(
        (await http.forwardAuth(text.slice(0, 9_000).replaceAll(/[^\x21-\x7e]/g, "x"), "", headers)).status,
      ).toBeLessThan(500);
      expect((await http.call("GET", `/v1/forward-auth?scope=${encodeURIComponent(text)}`)).status).toBe(400);
    }
  });
});

describe("whatever is sent:", () => {
  /** Anything JSON can say, with more of the names and texts that the API knows than chance would bring. */
  const anything: fc.Arbitrary<unknown> = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.constantFrom(
      null,
      "",
      "never",
      "1d",
      "90d",
      "viewer",
      "admin",
      "*",
      "keyturn:*",
      "2030-01-01T00:00:00Z",
      "10.0.0.0/8",
      0,
      -0,
      1e308,
      [],
      {},
    ),
    fc.string({ unit: "binary", maxLength: 150 }),
    fc.array(fc.string({ maxLength: 20 }), { maxLength: 5 }),
  );

  for (const route of ROUTES.filter((one) => BODY_METHODS.has(one.method))) {
    test(`${nameOf(route)} answers as documented to any body near its schema`, async () => {
      const fields = [...fieldsOf(route), "nonsense"];
      const mutation = fc.dictionary(fc.constantFrom(...fields), anything, { maxKeys: 3 });
      const request = await goodRequest(route, tenant);
      const valid = typeof request.body === "object" && request.body !== null ? request.body : {};
      // Rotating or suspending the root key would end the test; everything that can happen to another may.
      const key = request.key === null ? null : route.path.includes("self") ? good.secret : undefined;
      await fc.assert(
        fc.asyncProperty(mutation, fc.subarray(Object.keys(valid)), async (mutated, left) => {
          const body = {
            ...Object.fromEntries(Object.entries(valid).filter(([name]) => !left.includes(name))),
            ...mutated,
          };
          const answer = await http.call(route.method.toUpperCase(), request.path, {
            body,
            ...(key === undefined ? {} : { key }),
          });
          expect(answer.status, answer.text).toBeLessThan(500);
          if (answer.code === "invalid_input") expect(answer.fields.length).toBeGreaterThan(0);
        }),
        { numRuns: times(500) },
      );
    }, 60_000);
  }

  test("it can't be read off a refusal of the credential what is stored (R18, R21)", async () => {
    const stranger = mintSecret(SETTINGS.format, "service", (size) =>
      crypto.getRandomValues(new Uint8Array(size)),
    );
    const told = await http.call("GET", "/v1/keys/self", { key: stranger });
    expect(told.text).not.toContain(stranger.slice(4, 20));
    expect(told.body.at("verdict")).toBe("unknown");
  });
});

test("a body that trickled was cut off after 10 s with 408, while others were served", async () => {
  for (const raw of slow.bodies) {
    const answer = await raw.closed;
    expect([statusOf(answer), codeIn(answer)]).toEqual([408, "body_too_slow"]);
  }
}, 60_000);

test("a head that was not complete after 12 s was closed without an answer", async () => {
  expect(await slow.head.closed).toBe("");
}, 60_000);

test("meanwhile good keys were verified, and not one answer was other than valid", () => {
  expect(failures).toEqual([]);
  expect(verified).toBeGreaterThan(100);
});
