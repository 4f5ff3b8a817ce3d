import { OpenAPIHono } from "@hono/zod-openapi";
import scalarFile from "@scalar/api-reference/browser/standalone.js" with { type: "file" };
import type { Context } from "hono";
import type { Actor } from "../authority/audit/entry.ts";
import type { Authority } from "../authority/authority.ts";
import { inspectSecret } from "../authority/secret.ts";
import { BODY_METHODS, type Call, type Route } from "./call.ts";
import { type ClientAddress, createClientAddress } from "./client-address.ts";
import { assertNoCredential, presentedBy } from "./credentials.ts";
import { errorsPage, REFERENCE_PAGE } from "./docs-pages.ts";
import { createForwardAuth } from "./forward-auth.ts";
import { createMetrics, type Metrics } from "./metrics.ts";
import { describeRoutes, openApiDocument } from "./openapi.ts";
import { asProblem, HttpProblem, problemResponse } from "./problems.ts";
import { readBody } from "./read-body.ts";
import { ROUTES } from "./routes.ts";
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
  readonly log: HttpLog;
}

/** What the HTTP face tells the log. Never a URL, a header or a body. */
export interface HttpLog {
  request(line: { readonly operation: string; readonly status: number; readonly actor: string | null; readonly ms: number }): void;
  error(error: unknown): void;
}

export interface HttpFace {
  /** Everything but the hot paths. */
  fetch(request: Request): Response | Promise<Response>;
  verify(request: Request): Promise<Response>;
  verifyBatch(request: Request): Promise<Response>;
  forwardAuth(request: Request): Response | Promise<Response>;
  metrics(): Promise<Response>;
  document(): ReturnType<typeof openApiDocument>;
}

const SECURITY_HEADERS = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
};

/** The HTTP face over an authority. `fetch` needs no port, so tests call it as it is. */
export function createHttpFace(parts: HttpParts): HttpFace {
  const { authority } = parts;
  const metrics = createMetrics(authority);
  const clientAddress = createClientAddress(parts.trustedProxies);
  const app = new OpenAPIHono();
  const onError = (error: unknown): Response => {
    parts.log.error(error);
    metrics.countProblem("internal_error");
    return problemResponse({ code: "internal_error", detail: "Something is wrong on our side. The log has the details." });
  };
  const shared = {
    authority,
    clientAddress,
    metrics,
    peerOf: parts.peerOf,
    refuseQuery: (request: Request) => refuseQuery(request, authority),
    onError,
  };
  const { verify, verifyBatch } = createVerify(shared);
  const forwardAuth = createForwardAuth(shared);
  const serveMetrics = async () =>
    new Response(await metrics.text(), { headers: { ...SECURITY_HEADERS, "content-type": "text/plain; version=0.0.4" } });

  // A route that names no permission must not be served (R7).
  for (const route of ROUTES) {
    if (!route.permission) throw new Error(`The route ${route.method} ${route.path} names no permission.`);
  }
  describeRoutes(app, ROUTES);
  app.post("/v1/keys/verify", (c) => verify(c.req.raw));
  app.post("/v1/keys/verify/batch", (c) => verifyBatch(c.req.raw));
  app.get("/v1/forward-auth", (c) => forwardAuth(c.req.raw));
  for (const route of ROUTES) {
    app.on(route.method.toUpperCase(), honoPath(route.path), (c) => serve(c, route, parts, clientAddress, metrics));
  }
  app.get("/healthz", () => Response.json({ status: "ok" }, { headers: SECURITY_HEADERS }));
  app.get("/readyz", () => readiness(authority));
  if (parts.servesMetrics) app.get("/metrics", serveMetrics);
  const document = () => openApiDocument(app, parts.version, parts.publicUrl);
  app.get("/openapi.json", () => Response.json(document(), { headers: SECURITY_HEADERS }));
  app.get("/docs", () => html(REFERENCE_PAGE));
  app.get("/docs/errors", () => html(errorsPage()));
  app.get("/docs/reference.js", () => new Response(Bun.file(scalarFile), { headers: { "content-type": "text/javascript" } }));
  app.notFound((c) => noRoute(c, app));
  app.onError((error) => {
    const problem = asProblem(error);
    if (problem === null) return onError(error);
    metrics.countProblem(problem.code);
    return problemResponse(problem);
  });
  return { fetch: (request) => app.fetch(request), verify, verifyBatch, forwardAuth, metrics: serveMetrics, document };
}

/** `/v1/keys/{id}` is `/v1/keys/:id` to the router. */
function honoPath(path: string): string {
  return path.replaceAll(/\{(\w+)\}/g, ":$1");
}

async function serve(
  c: Context,
  route: Route,
  parts: HttpParts,
  clientAddress: ClientAddress,
  metrics: Metrics,
): Promise<Response> {
  const started = performance.now();
  const request = c.req.raw;
  let actor: (Actor & { kind: "key" }) | null = null;
  let status = 500;
  try {
    refuseQuery(request, parts.authority);
    const address = clientAddress(parts.peerOf(request), request.headers.get("x-forwarded-for"));
    const agent = request.headers.get("user-agent") ?? undefined;
    if (route.permission !== "anyone") actor = await askingKey(request, parts.authority, address, agent);
    const body = await bodyOf(request, route);
    if (body instanceof Response) {
      status = body.status;
      return body;
    }
    const call: Call = {
      authority: parts.authority,
      params: c.req.param(),
      query: queryOf(request, route),
      body,
      idempotencyKey: idempotencyKey(request, route),
      origin: { address, agent },
      actor: () => {
        if (actor === null) throw noKey();
        return actor;
      },
    };
    const answer = await route.handle(call);
    status = route.status;
    const headers = { ...SECURITY_HEADERS, ...(answer.seq === null ? {} : { "keyturn-seq": String(answer.seq) }) };
    if (route.status === 204) return new Response(null, { status, headers });
    return Response.json(answer.body, { status, headers });
  } catch (error) {
    const problem = asProblem(error);
    if (problem === null) throw error;
    const response = problemResponse(problem);
    status = response.status;
    metrics.countProblem(problem.code);
    return response;
  } finally {
    metrics.countRequest(route.operation, status);
    parts.log.request({ operation: route.operation, status, actor: actor?.id ?? null, ms: performance.now() - started });
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
  const verdict = await authority.verifier.verify(presented, { address }, { name: ownCaller(request), address, agent }, null);
  if (verdict.code !== "valid" || verdict.key === null) throw badKey(verdict);
  const { id, accountId } = verdict.key.matched.key;
  return { kind: "key", id, accountId };
}

async function bodyOf(request: Request, route: Route): Promise<unknown> {
  if (!BODY_METHODS.has(route.method)) return {};
  const read = await readBody(request);
  if (!read.ok) return bodyProblem(read.reason);
  // Bodies whose members are all optional may be left out.
  if (read.text === "") return {};
  assertJson(request);
  const parsed = parseJson(read.text);
  if (route.body !== null || isEmptyObject(parsed)) return parsed;
  throw new HttpProblem({ code: "invalid_input", detail: "This call takes no body.", errors: [{ field: "body", message: "must be empty" }] });
}

function isEmptyObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0 && !Array.isArray(value);
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

function idempotencyKey(request: Request, route: Route): string | undefined {
  const key = request.headers.get("idempotency-key");
  if (key === null || !route.creates) return undefined;
  if (/^[\x21-\x7e]{1,255}$/.test(key)) return key;
  const message = "must be 1 to 255 visible ASCII characters, sent once";
  throw new HttpProblem({
    code: "invalid_input",
    detail: `Idempotency-Key: ${message}`,
    errors: [{ field: "Idempotency-Key", message }],
  });
}

function refuseQuery(request: Request, authority: Authority): void {
  const mark = request.url.indexOf("?");
  if (mark < 0) return;
  const { format } = authority.settings;
  assertNoCredential(new URLSearchParams(request.url.slice(mark + 1)), (text) => inspectSecret(text, format) !== "malformed");
}

function readiness(authority: Authority): Response {
  const warnings: string[] = [];
  const trouble = authority.time.trouble();
  if (trouble === "behind") warnings.push("clock: the wall clock lies behind the newest entry; deadlines stand still");
  if (trouble === "jumped") warnings.push("clock: the wall clock jumped; deadlines stand still");
  const writable = authority.health.writable();
  if (!writable) warnings.push("storage: the database reported a fault; no change is accepted");
  const lag = authority.recorder.lagSeconds();
  if (lag > 10 * authority.settings.flushSeconds + 5) warnings.push(`evidence: not stored for ${Math.round(lag)} s`);
  const status = warnings.length === 0 ? "ready" : "degraded";
  return Response.json({ status, seq: authority.appliedSeq(), warnings }, { headers: SECURITY_HEADERS });
}

function html(text: string): Response {
  return new Response(text, {
    headers: {
      "content-type": "text/html; charset=utf-8",
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "content-security-policy":
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    },
  });
}

const METHODS = ["GET", "POST", "PATCH", "DELETE"];

/** 405 with `Allow` where the path exists under another method, 404 elsewhere. */
function noRoute(c: Context, app: OpenAPIHono): Response {
  const allowed = METHODS.filter((method) => {
    const [matches] = app.router.match(method, c.req.path);
    return matches.length > 0;
  });
  if (allowed.length === 0) {
    return problemResponse({ code: "route_not_found", detail: "There is no such route; /openapi.json lists them all." });
  }
  return problemResponse({
    code: "method_not_allowed",
    detail: `This path takes ${allowed.join(", ")}.`,
    headers: { allow: allowed.join(", ") },
  });
}
