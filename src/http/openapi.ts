import type { OpenAPIHono, RouteConfig } from "@hono/zod-openapi";
import { z } from "@hono/zod-openapi";
import { BODY_METHODS, type Route } from "./call.ts";
import { PROBLEMS, type ProblemCode } from "./problems.ts";
import * as schema from "./schemas.ts";

const COMMON: readonly ProblemCode[] = [
  "invalid_input",
  "unauthenticated",
  "insufficient_scope",
  "credential_in_url",
  "ambiguous_header",
  "verdict_stale",
];
const WITH_BODY: readonly ProblemCode[] = [
  "invalid_json",
  "unsupported_media_type",
  "body_too_large",
  "body_too_slow",
];

const FORWARD_AUTH_CODES: readonly ProblemCode[] = [
  "invalid_input",
  "ambiguous_header",
  "credential_in_url",
  "unauthenticated",
  "key_not_allowed",
  "proxy_key_refused",
  "verdict_stale",
];

/** How fresh a verdict is. On forward-auth's refusals as well. */
const STAMP = z.object({
  "Keyturn-Seq": z
    .string()
    .openapi({ description: "The answer takes all entries up to this one into account." }),
  "Keyturn-Staleness-Seconds": z.string().openapi({
    description: "How old what it rests on is at most; left out when the clocks can't tell.",
  }),
});

/** The paths that do not go through the table: the verify paths, and what is open to everybody. */
const OTHERS: readonly RouteConfig[] = [
  {
    method: "post",
    path: "/v1/keys/verify",
    tags: ["Verification"],
    operationId: "keys.verify",
    summary: "Is this key good, for this, now?",
    security: [{ key: [] }],
    ...permission("keyturn:keys.verify"),
    request: { body: { required: true, content: json(schema.verifyBody) } },
    responses: {
      200: {
        description: "The verdict, for good keys and bad ones alike.",
        headers: STAMP,
        content: json(schema.verdictAnswer),
      },
      ...problems([...COMMON, ...WITH_BODY]),
    },
  },
  {
    method: "post",
    path: "/v1/keys/verify/batch",
    tags: ["Verification"],
    operationId: "keys.verify-batch",
    summary: "Up to 100 verdicts at once",
    security: [{ key: [] }],
    ...permission("keyturn:keys.verify"),
    request: { body: { required: true, content: json(schema.verifyBatchBody) } },
    responses: {
      200: {
        description: "One verdict for each, in the same order.",
        headers: STAMP,
        content: json(schema.verdictBatchAnswer),
      },
      ...problems([...COMMON, ...WITH_BODY]),
    },
  },
  {
    method: "get",
    path: "/v1/forward-auth",
    tags: ["Verification"],
    operationId: "forward-auth",
    summary: "For nginx auth_request, Caddy forward_auth and their like",
    security: [{ proxy: [] }],
    ...permission("keyturn:keys.verify"),
    request: {
      query: z.object({
        scope: z
          .string()
          .optional()
          .openapi({ description: "Required of the key; may be given several times." }),
        role: z.enum(["none", "viewer", "editor", "admin"]).optional(),
      }),
    },
    responses: {
      200: {
        description:
          "Let through. Keyturn-Key-Id, -Owner, -Account, -Role and -Scopes tell the upstream who it is.",
        headers: STAMP,
      },
      // On all of them Keyturn-Code has the verdict, where there is one.
      ...problems(FORWARD_AUTH_CODES),
    },
  },
  open("/healthz", "The process is up", z.object({ status: z.literal("ok") })),
  open("/readyz", "Ready for traffic, and what is out of order", schema.readinessAnswer),
  open("/metrics", "Numbers in Prometheus' text format"),
  open("/openapi.json", "This document"),
  open("/docs", "This document, to read"),
  open("/docs/errors", "Every problem code, explained"),
  open("/docs/reference.js", "The program of the page"),
];

/** Registers every path served, so that the document can't know less than the server or more. */
export function describeRoutes(app: OpenAPIHono, routes: readonly Route[], servesMetrics = true): void {
  app.openAPIRegistry.registerComponent("securitySchemes", "key", {
    type: "http",
    scheme: "bearer",
    description: "A Keyturn key. Basic with the user `api_key` is understood as well.",
  });
  app.openAPIRegistry.registerComponent("securitySchemes", "proxy", {
    type: "apiKey",
    in: "header",
    name: "Keyturn-Authorization",
    description: "`Bearer` and the proxy's own Keyturn key.",
  });
  app.openAPIRegistry.register("Problem", schema.problemAnswer);
  for (const route of routes) app.openAPIRegistry.registerPath(configOf(route));
  for (const other of OTHERS) {
    if (other.path !== "/metrics" || servesMetrics) app.openAPIRegistry.registerPath(other);
  }
}

/** The paths that the document tells of beside the table's, as `method path`. */
export const OTHER_PATHS: readonly string[] = OTHERS.map((route) => `${route.method} ${route.path}`);

export function openApiDocument(app: OpenAPIHono, version: string, publicUrl: string | null) {
  return app.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "Keyturn",
      version,
      description: "A self-hosted authority for API keys: rotated under live traffic, revoked on evidence.",
      license: { name: "Apache-2.0", url: "https://www.apache.org/licenses/LICENSE-2.0" },
    },
    ...(publicUrl === null ? {} : { servers: [{ url: publicUrl }] }),
  });
}

function configOf(route: Route): RouteConfig {
  const params = [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => [name ?? "", z.string()] as const);
  return {
    method: route.method,
    path: route.path,
    tags: [route.tag],
    operationId: operationId(route),
    summary: route.summary,
    security: route.permission === "anyone" ? [] : [{ key: [] }],
    ...permission(route.permission),
    ...(route.operatorOnly ? { "x-operator-only": true } : {}),
    ...(route.issuesCredential ? { "x-issues-credential": true } : {}),
    request: {
      ...(params.length > 0 ? { params: z.object(Object.fromEntries(params)) } : {}),
      ...(isObject(route.query) ? { query: route.query } : {}),
      ...(route.creates
        ? {
            headers: z.object({
              "Idempotency-Key": z
                .string()
                .max(255)
                .optional()
                .openapi({ description: "Kept for 24 hours." }),
            }),
          }
        : {}),
      ...(route.body === null
        ? {}
        : { body: { required: !route.body.safeParse({}).success, content: json(route.body) } }),
    },
    responses: {
      [route.status]: {
        description: route.summary,
        ...(route.answer === null ? {} : { content: json(route.answer) }),
        ...seqHeader(route),
      },
      ...(route.waits
        ? {
            202: {
              description:
                "With `wait=all`: done, and not known to be in force everywhere. `silent_processes` have not said that they know.",
              content: json(acceptedOf(route)),
              ...seqHeader(route),
            },
          }
        : {}),
      ...problems(codesOf(route)),
    },
  };
}

function seqHeader(route: Route) {
  if (route.method === "get") return {};
  const seq = z.string().openapi({ description: "The audit entry's number." });
  return { headers: z.object({ "Keyturn-Seq": seq }) };
}

/** The body of a 202: the resource, where there is one, and who has kept silent. */
export function acceptedOf(route: Route): z.ZodType {
  return route.answer === null ? schema.silentAnswer : z.intersection(route.answer, schema.silentAnswer);
}

/** Every problem that a route can answer with, but for `internal_error`, which is a bug. */
export function codesOf(route: Route): readonly ProblemCode[] {
  return [
    "invalid_input",
    "credential_in_url",
    ...(route.permission === "anyone"
      ? []
      : (["unauthenticated", "ambiguous_header", "verdict_stale"] as const)),
    ...(route.permission.startsWith("keyturn:") ? (["insufficient_scope"] as const) : []),
    ...(BODY_METHODS.has(route.method) ? WITH_BODY : []),
    "storage_unavailable",
    ...(route.method === "get" ? [] : (["outcome_unknown"] as const)),
    ...(route.operatorOnly ? (["operator_only"] as const) : []),
    ...(route.creates ? (["idempotency_conflict", "idempotency_in_progress"] as const) : []),
    ...route.codes,
  ];
}

/** One name through everything; DELETE of a key is the same operation as its revoke. */
function operationId(route: Route): string {
  return route.method === "delete" && route.operation === "keys.revoke" ? "keys.delete" : route.operation;
}

function isObject(query: z.ZodType | null): query is z.ZodObject {
  return query instanceof z.ZodObject;
}

function permission(needed: string) {
  return needed === "anyone" ? {} : { "x-permission": needed };
}

function json(of: z.ZodType) {
  return { "application/json": { schema: of } };
}

function problem() {
  return { "application/problem+json": { schema: schema.problemAnswer } };
}

function problems(codes: readonly ProblemCode[]): RouteConfig["responses"] {
  const byStatus = new Map<number, Set<ProblemCode>>();
  for (const code of codes) {
    const { status } = PROBLEMS[code];
    byStatus.set(status, (byStatus.get(status) ?? new Set()).add(code));
  }
  return Object.fromEntries(
    [...byStatus].map(([status, some]) => [
      String(status),
      { description: [...some].map((code) => `\`${code}\``).join(", "), content: problem() },
    ]),
  );
}

function open(path: string, summary: string, answer?: z.ZodType): RouteConfig {
  return {
    method: "get",
    path,
    tags: ["Service"],
    operationId: path
      .slice(1)
      .replace(/\.js(on)?$/, "")
      .replace("/", "."),
    summary,
    security: [],
    responses: { 200: { description: summary, ...(answer === undefined ? {} : { content: json(answer) }) } },
  };
}
