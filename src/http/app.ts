import { OpenAPIHono } from "@hono/zod-openapi";
import scalarFile from "@scalar/api-reference/browser/standalone.js" with { type: "file" };
import type { Context } from "hono";
import { getPath } from "hono/utils/url";
import type { Actor } from "../authority/audit/entry.ts";
import type { Authority } from "../authority/authority.ts";
import { inspectSecret } from "../authority/secret.ts";
import type { Seconds } from "../authority/time.ts";
import { BODY_METHODS, type Call, type Route } from "./call.ts";
import { createCauses, type Trouble } from "./causes.ts";
import { type ClientAddress, createClientAddress } from "./client-address.ts";
import { assertNoCredential, assertNoSecretIn, credentialInUrl, presentedBy } from "./credentials.ts";
import { ERRORS_PAGE, REFERENCE_PAGE } from "./docs-pages.ts";
import { createForwardAuth } from "./forward-auth.ts";
import { createMetrics, type Metrics } from "./metrics.ts";
import { describeRoutes, openApiDocument } from "./openapi.ts";
import { type Answering, asProblem, createAnswering, HttpProblem } from "./problems.ts";
import { mayBeEndless, readBody } from "./read-body.ts";
import { readiness } from "./readiness.ts";
import { ROUTES } from "./routes.ts";
import { createStamps } from "./stamp.ts";
import { assertJson, badKey, bodyProblem, createVerify, noKey, ownCaller, parseJson } from "./verify.ts";

export interface HttpParts {
  readonly authority: Authority;
  readonly version: string;
  readonly publicUrl: string | null;
  readonly trustedProxies: readonly string[];
  /** Serve `/metrics` beside everything else. */
  readonly servesMetrics: boolean;
  /** The peer's address, as the runtime knows it. */
  readonly peerOf: (request: Request) => string | undefined;
  /** How long a call of the management API may take, waiting for all excepted: what the database is waited for, and more. */
  readonly patienceSeconds: Seconds;
  /** Lets a connection be silent for longer than usual while this request is worked on. */
  readonly keepOpen: (request: Request, seconds: Seconds) => void;
  readonly log: HttpLog;
}

/** What the HTTP face tells the log. Never a URL, a header or a body. */
export interface HttpLog {
  request(line: {
    readonly operation: string;
    readonly status: number;
    readonly actor: string | null;
    readonly ms: number;
  }): void;
  error(error: unknown): void;
  /** What keeps the service from doing its work, once a minute at most. */
  trouble(trouble: Trouble): void;
}

export interface HttpFace {
  /** Everything but the hot paths. */
  fetch(request: Request): Response | Promise<Response>;
  verify(request: Request): Response | Promise<Response>;
  verifyBatch(request: Request): Response | Promise<Response>;
  forwardAuth(request: Request): Response | Promise<Response>;
  metrics(): Promise<Response>;
  document(): ReturnType<typeof openApiDocument>;
  /** Every `method path` that `fetch` has an answer for. */
  served(): readonly string[];
}

/** What every route of the table needs. */
interface Serving extends HttpParts {
  readonly clientAddress: ClientAddress;
  readonly metrics: Metrics;
  readonly answer: Answering;
  readonly noteCause: (error: unknown) => void;
}

const SECURITY_HEADERS = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
};

const DOCUMENT_HEADERS = { ...SECURITY_HEADERS, "content-type": "application/json" };
const SCRIPT_HEADERS = {
  "content-type": "text/javascript; charset=utf-8",
  "x-content-type-options": "nosniff",
};

/** The HTTP face over an authority. `fetch` needs no port, so tests call it as it is. */
export function createHttpFace(parts: HttpParts, routes: readonly Route[] = ROUTES): HttpFace {
  const { authority } = parts;
  const metrics = createMetrics(authority);
  const clientAddress = createClientAddress(parts.trustedProxies);
  const answer = createAnswering(parts.publicUrl);
  const noteCause = createCauses(parts.log.trouble, authority.clock);
  const app = new OpenAPIHono({ getPath: pathOf });
  const onError = (error: unknown): Response => {
    parts.log.error(error);
    metrics.countProblem("internal_error");
    return answer({
      code: "internal_error",
      detail: "Something is wrong on our side. The log has the details.",
    });
  };
  /** Any thrown thing as an answer; what is no problem of the client's is a bug, told to the log alone. */
  const failed = (error: unknown): Response => {
    const problem = asProblem(error);
    if (problem === null) return onError(error);
    noteCause(error);
    metrics.countProblem(problem.code);
    return answer(problem);
  };
  const shared = {
    authority,
    clientAddress,
    metrics,
    stamps: createStamps(authority),
    peerOf: parts.peerOf,
    refuseQuery: (request: Request) => refuseQuery(request, authority),
    answer,
    onError,
  };
  const serving: Serving = { ...parts, clientAddress, metrics, answer, noteCause };
  const { verify, verifyBatch } = createVerify(shared);
  const forwardAuth = createForwardAuth(shared);
  const serveMetrics = async () =>
    new Response(await metrics.text(), {
      headers: { ...SECURITY_HEADERS, "content-type": "text/plain; version=0.0.4" },
    });

  for (const route of routes) assertPermission(route);
  describeRoutes(app, routes, parts.servesMetrics);
  app.post("/v1/keys/verify", (c) => verify(c.req.raw));
  app.post("/v1/keys/verify/batch", (c) => verifyBatch(c.req.raw));
  app.get("/v1/forward-auth", (c) => forwardAuth(c.req.raw));
  for (const route of routes) {
    app.on(route.method.toUpperCase(), honoPath(route.path), (c) => serve(c, route, serving));
  }
  app.get("/healthz", () => Response.json({ status: "ok" }, { headers: SECURITY_HEADERS }));
  app.get("/readyz", () => Response.json(readiness(authority), { headers: SECURITY_HEADERS }));
  if (parts.servesMetrics) app.get("/metrics", serveMetrics);
  // Made once: it takes 30 to 80 ms of the thread that verifies, and anybody may ask for it.
  let made: { readonly document: ReturnType<typeof openApiDocument>; readonly text: string } | null = null;
  const describe = () => {
    if (made !== null) return made;
    const document = openApiDocument(app, parts.version, parts.publicUrl);
    made = { document, text: JSON.stringify(document) };
    return made;
  };
  app.get("/openapi.json", () => new Response(describe().text, { headers: DOCUMENT_HEADERS }));
  app.get("/docs", () => html(REFERENCE_PAGE));
  app.get("/docs/errors", () => html(ERRORS_PAGE));
  app.get("/docs/reference.js", () => new Response(Bun.file(scalarFile), { headers: SCRIPT_HEADERS }));
  app.notFound((c) => {
    throw noRoute(c, app);
  });
  app.onError(failed);
  const route = (request: Request): Response | Promise<Response> => {
    try {
      assertReadableUrl(request, authority);
      return app.fetch(request);
    } catch (error) {
      return failed(error);
    }
  };
  const fetch = (request: Request): Response | Promise<Response> =>
    mayBeEndless(request) ? closing(request, route(request)) : route(request);
  const served = () =>
    app.routes.map(({ method, path }) => `${method.toLowerCase()} ${path.replaceAll(/:(\w+)/g, "{$1}")}`);
  return {
    fetch,
    verify,
    verifyBatch,
    forwardAuth,
    metrics: serveMetrics,
    document: () => describe().document,
    served,
  };
}

/** A route that names no permission must not be served: the process does not start (R7, test/http/permissions.test.ts). */
function assertPermission({ method, path, permission, operation }: Route): void {
  if (permission === "any_key" || /^keyturn:[a-z-]+\.[a-z-]+$/.test(permission)) return;
  // Whoever holds the token that the machine printed; nothing else is open to people without a key.
  if (permission === "anyone" && operation === "setup.redeem") return;
  throw new Error(`The route ${method} ${path} names no permission.`);
}

/** `/v1/keys/{id}` is `/v1/keys/:id` to the router. */
function honoPath(path: string): string {
  return path.replaceAll(/\{(\w+)\}/g, ":$1");
}

/** What may come after a change: the longest ceiling is waited for (`wait=all`), and what came of it is read. */
const AFTERWARDS_SECONDS: Seconds = 75;

async function serve(c: Context, route: Route, serving: Serving): Promise<Response> {
  const { authority, metrics } = serving;
  const started = performance.now();
  const request = c.req.raw;
  let actor: (Actor & { kind: "key" }) | null = null;
  let status = 500;
  try {
    const address = serving.clientAddress(serving.peerOf(request), request.headers.get("x-forwarded-for"));
    const agent = request.headers.get("user-agent") ?? undefined;
    if (route.permission !== "anyone") actor = await askingKey(request, authority, address, agent);
    const body = await bodyOf(request, route);
    serving.keepOpen(request, serving.patienceSeconds + AFTERWARDS_SECONDS);
    const call: Call = {
      authority,
      params: c.req.param(),
      query: queryOf(request, route),
      body,
      idempotencyKey: idempotencyKey(request, route, authority),
      origin: { address, agent },
      patienceSeconds: serving.patienceSeconds,
      actor: () => {
        if (actor === null) throw noKey();
        return actor;
      },
    };
    const { body: told, seq, ...other } = await route.handle(call);
    status = other.status ?? route.status;
    const headers = { ...SECURITY_HEADERS, ...(seq === null ? {} : { "keyturn-seq": String(seq) }) };
    if (status === 204) return new Response(null, { status, headers });
    return Response.json(told, { status, headers });
  } catch (error) {
    const problem = asProblem(error);
    if (problem === null) throw error;
    serving.noteCause(error);
    const response = serving.answer(problem);
    status = response.status;
    metrics.countProblem(problem.code);
    return response;
  } finally {
    metrics.countRequest(route.operation, status);
    serving.log.request({
      operation: route.operation,
      status,
      actor: actor?.id ?? null,
      ms: performance.now() - started,
    });
  }
}

async function askingKey(
  request: Request,
  authority: Authority,
  address: string | undefined,
  agent: string | undefined,
): Promise<Actor & { kind: "key" }> {
  const presented = presentedBy(request.headers.get("authorization"));
  if (presented === undefined) throw noKey();
  const verdict = await authority.verifier.verify(
    presented,
    { address },
    { name: ownCaller(request), address, agent },
    null,
  );
  if (verdict.code !== "valid" || verdict.key === null) throw badKey(verdict);
  const { id, accountId } = verdict.key.matched.key;
  return { kind: "key", id, accountId };
}

async function bodyOf(request: Request, route: Route): Promise<unknown> {
  if (!BODY_METHODS.has(route.method)) return {};
  const read = await readBody(request);
  if (!read.ok) throw bodyProblem(read.reason);
  // Bodies whose members are all optional may be left out.
  if (read.text === "") return {};
  assertJson(request);
  const parsed = parseJson(read.text);
  assertNoSecretIn(parsed);
  if (route.body !== null || isEmptyObject(parsed)) return parsed;
  throw new HttpProblem({
    code: "invalid_input",
    detail: "This call takes no body.",
    errors: [{ field: "body", message: "must be empty" }],
  });
}

function isEmptyObject(value: unknown): boolean {
  return (
    typeof value === "object" && value !== null && Object.keys(value).length === 0 && !Array.isArray(value)
  );
}

/** Repeated parameters become lists, which no schema takes: two values for one name are nobody's intention. */
function queryOf(request: Request, route: Route): Record<string, unknown> {
  // Without a usable Host the runtime gives a relative URL, which `URL` would not read.
  const mark = request.url.indexOf("?");
  const query = new URLSearchParams(mark < 0 ? "" : request.url.slice(mark + 1));
  const values: Record<string, unknown> = Object.create(null);
  for (const name of query.keys()) {
    const all = query.getAll(name);
    values[name] = all.length === 1 ? all[0] : all;
  }
  const [first] = Object.keys(values);
  if (route.query !== null || first === undefined) return { ...values };
  throw new HttpProblem({
    code: "invalid_input",
    detail: `${first}: is not a parameter here`,
    errors: [{ field: first.slice(0, 100), message: "is not a parameter here" }],
  });
}

function idempotencyKey(request: Request, route: Route, { settings }: Authority): string | undefined {
  const key = request.headers.get("idempotency-key");
  if (key === null || !route.creates) return undefined;
  // It is stored as it is, and a secret must not be (R19).
  const isSecret = inspectSecret(key, settings.format) !== "malformed";
  if (/^[\x21-\x7e]{1,255}$/.test(key) && !isSecret) return key;
  const message = isSecret ? "must not be a key" : "must be 1 to 255 visible ASCII characters, sent once";
  throw new HttpProblem({
    code: "invalid_input",
    detail: `Idempotency-Key: ${message}`,
    errors: [{ field: "Idempotency-Key", message }],
  });
}

/** Whoever is answered before its body was read must not keep the connection with a body that never ends. */
async function closing(request: Request, answered: Response | Promise<Response>): Promise<Response> {
  const response = await answered;
  if (!request.bodyUsed) response.headers.set("connection", "close");
  return response;
}

/** Before any route: a URL that holds a credential is refused whether or not something is served there (R22). */
function assertReadableUrl(request: Request, authority: Authority): void {
  if (!/^(https?:\/)?\//.test(request.url)) {
    const message = "must be a path";
    throw new HttpProblem({
      code: "invalid_input",
      detail: `URL: ${message}`,
      errors: [{ field: "URL", message }],
    });
  }
  refuseQuery(request, authority);
  const segments = request.url.split(/[?#]/, 1)[0]?.split("/") ?? [];
  if (segments.some((segment) => inspectSecret(segment, authority.settings.format) !== "malformed")) {
    throw credentialInUrl();
  }
}

/** Without a Host that can be one (HTTP/1.0 needs none) the runtime gives the path alone, which the router cuts wrongly. */
function pathOf(request: Request): string {
  return getPath(request.url.startsWith("/") ? new Request(`http://localhost${request.url}`) : request);
}

function refuseQuery(request: Request, authority: Authority): void {
  const mark = request.url.indexOf("?");
  if (mark < 0) return;
  const { format } = authority.settings;
  assertNoCredential(
    new URLSearchParams(request.url.slice(mark + 1)),
    (text) => inspectSecret(text, format) !== "malformed",
  );
}

function html(text: string): Response {
  return new Response(text, {
    headers: {
      "content-type": "text/html; charset=utf-8",
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "content-security-policy":
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    },
  });
}

const METHODS = ["GET", "POST", "PATCH", "DELETE"];

/** 405 with `Allow` where the path exists under another method, 404 elsewhere. */
function noRoute(c: Context, app: OpenAPIHono): HttpProblem {
  const allowed = METHODS.filter((method) => {
    const [matches] = app.router.match(method, c.req.path);
    return matches.length > 0;
  });
  if (allowed.length === 0) {
    return new HttpProblem({
      code: "route_not_found",
      detail: "There is no such route; /openapi.json lists them all.",
    });
  }
  return new HttpProblem({
    code: "method_not_allowed",
    detail: `This path takes ${allowed.join(", ")}.`,
    headers: { allow: allowed.join(", ") },
  });
}
