import { expect } from "bun:test";
import type { z } from "@hono/zod-openapi";
import { createHttpFace, type HttpFace, type HttpParts } from "../../src/http/app.ts";
import type { Route } from "../../src/http/call.ts";
import type { Trouble } from "../../src/http/causes.ts";
import { acceptedOf, codesOf } from "../../src/http/openapi.ts";
import { PROBLEMS, type ProblemCode } from "../../src/http/problems.ts";
import { ROUTES } from "../../src/http/routes.ts";
import { problemAnswer, verdictAnswer, verdictBatchAnswer } from "../../src/http/schemas.ts";
import { startWorld, type World, type WorldOptions } from "./authority.ts";
import { noteSecretIn } from "./traces.ts";

/** Any JSON, for tests to reach into; what is not there is undefined and fails the test that expects it. */
export class Json {
  readonly value: unknown;
  constructor(value: unknown) {
    this.value = value;
  }
  at(...path: readonly (string | number)[]): unknown {
    let value: unknown = this.value;
    for (const step of path) {
      if (typeof value !== "object" || value === null) return undefined;
      value = Reflect.get(value, step);
    }
    return value;
  }
  text(...path: readonly (string | number)[]): string {
    const value = this.at(...path);
    if (typeof value !== "string")
      throw new Error(`no text at ${path.join(".")} of ${JSON.stringify(this.value)}`);
    return value;
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: Json;
  /** The problem's code; undefined for an answer that is none. */
  readonly code: string | undefined;
  /** The fields that a problem names. */
  readonly fields: readonly string[];
}

export interface CallOptions {
  /** A secret, or null for none; the root key unless said. */
  readonly key?: string | null | undefined;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Sent as it is, as JSON by its type. */
  readonly raw?: string | Uint8Array<ArrayBuffer> | ReadableStream;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

export interface HttpOptions extends WorldOptions {
  readonly publicUrl?: string;
  readonly trustedProxies?: readonly string[];
  readonly servesMetrics?: boolean;
  readonly patienceSeconds?: number;
  /** An authority that is there already. */
  readonly world?: World;
}

/** The HTTP face over an authority of its own, without a port. */
export interface Http {
  readonly world: World;
  readonly face: HttpFace;
  /** The address that requests come from; tests may change it. */
  peer: string | undefined;
  /** What went wrong on our side. A test that expects nothing of it finds it empty. */
  readonly errors: unknown[];
  /** What the log is told of 503s. */
  readonly troubles: Trouble[];
  readonly lines: { readonly operation: string; readonly status: number; readonly actor: string | null }[];
  /** Asks, and holds the answer to everything that is true of every answer. */
  call(method: string, path: string, options?: CallOptions): Promise<Answer>;
  verify(key: string, more?: Readonly<Record<string, unknown>>): Promise<Answer>;
  forwardAuth(
    key: string | null,
    query?: string,
    headers?: Readonly<Record<string, string>>,
  ): Promise<Answer>;
  close(): Promise<void>;
}

export const QUIET = { request: () => undefined, error: () => undefined, trouble: () => undefined };

export function httpParts(world: World, more: Partial<HttpParts> = {}): HttpParts {
  return {
    authority: world.authority,
    version: "0.0.0",
    publicUrl: null,
    trustedProxies: [],
    servesMetrics: true,
    peerOf: () => "192.0.2.7",
    patienceSeconds: 45,
    keepOpen: () => undefined,
    log: QUIET,
    ...more,
  };
}

export async function startHttp(options: HttpOptions = {}): Promise<Http> {
  const world = options.world ?? (await startWorld(options));
  const errors: unknown[] = [];
  const troubles: Trouble[] = [];
  const lines: Http["lines"] = [];
  const face = createHttpFace(
    httpParts(world, {
      publicUrl: options.publicUrl ?? null,
      trustedProxies: options.trustedProxies ?? [],
      servesMetrics: options.servesMetrics ?? true,
      peerOf: () => http.peer,
      log: {
        request: (line) => void lines.push(line),
        error: (error) => void errors.push(error),
        trouble: (trouble) => void troubles.push(trouble),
      },
      ...(options.patienceSeconds === undefined ? {} : { patienceSeconds: options.patienceSeconds }),
    }),
  );
  const http: Http = {
    world,
    face,
    peer: "192.0.2.7",
    errors,
    troubles,
    lines,
    call: async (method, path, call = {}) => {
      const request = requestOf(method, path, call, world.root.secret);
      const response = await face.fetch(request);
      const answer = await answerOf(response);
      noteSecretIn(answer.body.value);
      assertAnswer(method, path, answer);
      return answer;
    },
    verify: (key, more = {}) => http.call("POST", "/v1/keys/verify", { body: { key, ...more } }),
    forwardAuth: (key, query = "", headers = {}) =>
      http.call("GET", `/v1/forward-auth${query}`, {
        key,
        headers: { "keyturn-authorization": `Bearer ${world.root.secret}`, ...headers },
      }),
    close: () => world.close(),
  };
  return http;
}

export function requestOf(method: string, path: string, call: CallOptions, rootSecret: string): Request {
  const headers = new Headers(call.headers ?? {});
  const key = call.key === undefined ? rootSecret : call.key;
  if (key !== null && !headers.has("authorization")) headers.set("authorization", `Bearer ${key}`);
  const body = call.raw ?? (call.body === undefined ? null : JSON.stringify(call.body));
  if (body !== null && !headers.has("content-type")) headers.set("content-type", "application/json");
  // As on the wire: `readBody` trusts the length that the runtime checked.
  if (typeof body === "string") headers.set("content-length", String(Buffer.byteLength(body)));
  return new Request(`http://keyturn.test${path}`, { method, headers, body });
}

export async function answerOf(response: Response): Promise<Answer> {
  const text = await response.text();
  const isJson = /json/.test(response.headers.get("content-type") ?? "");
  const body = new Json(isJson && text !== "" ? JSON.parse(text) : null);
  const problem = response.headers.get("content-type") === "application/problem+json";
  const errors = body.at("errors");
  return {
    status: response.status,
    headers: response.headers,
    text,
    body,
    code: problem ? body.text("code") : undefined,
    fields: Array.isArray(errors) ? errors.map((_, index) => body.text("errors", index, "field")) : [],
  };
}

/** The row of the table that a request goes to, by its path as it stands. */
function routeOf(method: string, path: string): Route | undefined {
  const [bare = ""] = path.split("?");
  const matching = ROUTES.filter(
    (route) =>
      route.method === method.toLowerCase() &&
      new RegExp(`^${route.path.replaceAll(".", "\\.").replaceAll(/\{\w+\}/g, "[^/]+")}$`).test(bare),
  );
  // `/v1/keys/self` is also an id, to an expression.
  return matching.find((route) => !route.path.includes("{")) ?? matching[0];
}

const SECRET = /[a-z][a-z0-9]{0,15}[us]_(?:[a-z][a-z0-9-]{0,15}_)?[0-9A-Za-z]{38}/;
const DIGEST = /[0-9a-f]{64}|[0-9A-Za-z+/]{43}=/;

function schemaOf(method: string, path: string): z.ZodType | null {
  const [bare] = path.split("?");
  if (method === "POST" && bare === "/v1/keys/verify") return verdictAnswer;
  if (method === "POST" && bare === "/v1/keys/verify/batch") return verdictBatchAnswer;
  return routeOf(method, path)?.answer ?? null;
}

function schemaFor(status: number, method: string, path: string): z.ZodType | null {
  const route = routeOf(method, path);
  return status === 202 && route !== undefined ? acceptedOf(route) : schemaOf(method, path);
}

/** Every verdict says what it rests on. */
export function assertStamp({ headers }: Pick<Answer, "headers">, what = ""): void {
  expect(headers.get("keyturn-seq"), what).toMatch(/^\d+$/);
  expect(headers.get("keyturn-staleness-seconds") ?? "0.0", what).toMatch(/^\d+\.\d$/);
}

/** What holds for every answer, whoever asked for what. */
function assertAnswer(method: string, path: string, answer: Answer): void {
  const route = routeOf(method, path);
  const what = `${method} ${path.split("?")[0]} ${answer.status} ${answer.text.slice(0, 500)}`;
  expect(answer.status, what).not.toBe(500);
  if (path.startsWith("/v1")) expect(answer.headers.get("cache-control"), what).toBe("no-store");
  if (answer.code !== undefined) {
    assertProblem(answer, what);
    const documented = route === undefined ? null : codesOf(route);
    if (documented !== null) expect(documented, what).toContain(answer.code as ProblemCode);
  } else if (route !== undefined) {
    // Whoever did not ask to wait is never told of silent processes.
    const isAwaited = route.waits && /[?&]wait=all/.test(path);
    expect(isAwaited ? [route.status, 202] : [route.status], what).toContain(answer.status);
    if (answer.status === 204) expect(answer.text, what).toBe("");
    // Every changing answer names its entry, and no other does.
    if (route.method === "get") expect(answer.headers.get("keyturn-seq"), what).toBeNull();
    else expect(answer.headers.get("keyturn-seq"), what).toMatch(/^[1-9]\d*$/);
  }
  const isVerdict = schemaOf(method, path) !== null && route === undefined;
  if (isVerdict && answer.code === undefined) assertStamp(answer, what);
  const schema = answer.code === undefined ? schemaFor(answer.status, method, path) : null;
  // Equal after parsing: the schema strips what it does not know, so nothing undocumented got out.
  if (schema !== null) expect(schema.parse(answer.body.value), what).toEqual(answer.body.value);
  if (!path.startsWith("/v1")) return;
  const secrets = SECRET.exec(answer.text);
  if (route?.issuesCredential && answer.code === undefined)
    expect(answer.body.text("secret"), what).toMatch(SECRET);
  else expect(secrets, what).toBeNull();
  // The audit log is made of hashes; everywhere else 64 hexadecimal digits would be a digest of a key (R21).
  if (route?.operation !== "audit.read") expect(answer.text, what).not.toMatch(DIGEST);
}

export function assertProblem(answer: Answer, what = answer.text): void {
  const { code } = problemAnswer.parse(answer.body.value);
  expect(answer.status, what).toBe(PROBLEMS[code].status);
  expect(answer.body.at("status"), what).toBe(answer.status);
  expect(answer.body.at("title"), what).toBe(PROBLEMS[code].title);
  expect(answer.body.text("type"), what).toEndWith(`/docs/errors#${code}`);
  expect(answer.body.text("detail").length, what).toBeGreaterThan(0);
  expect(answer.text, what).not.toMatch(/\bat \w+ \(|\.ts:\d+|node_modules|SQLITE|constraint/);
  if (answer.status === 401)
    expect(answer.headers.get("www-authenticate"), what).toStartWith('Bearer realm="keyturn"');
}
