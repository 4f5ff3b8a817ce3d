import type { z } from "@hono/zod-openapi";
import type { Actor } from "../authority/audit/entry.ts";
import type { Authority } from "../authority/authority.ts";
import { consult, type Operation, type Permission, perform, type Reading } from "../authority/operation.ts";
import type { Instant } from "../authority/time.ts";
import { HttpProblem, type ProblemCode } from "./problems.ts";

/** One request, as far as a route needs to know it. Bodies and queries are parsed by the route's own schema. */
export interface Call {
  readonly authority: Authority;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, unknown>>;
  readonly body: unknown;
  readonly idempotencyKey: string | undefined;
  readonly origin: { readonly address: string | undefined; readonly agent: string | undefined };
  /** Who asks. Throws a problem when nobody good does. */
  actor(): Actor & { kind: "key" };
}

export type Method = "get" | "post" | "patch" | "delete";

/** Methods whose bodies are read. */
export const BODY_METHODS: ReadonlySet<Method> = new Set(["post", "patch"]);

/** One row of the table: what is served, to whom, and how the document describes it. */
export interface Route {
  readonly method: Method;
  /** In OpenAPI's spelling: `/v1/keys/{id}`. */
  readonly path: string;
  readonly operation: string;
  readonly permission: Permission | "anyone";
  readonly operatorOnly: boolean;
  readonly tag: string;
  readonly summary: string;
  readonly query: z.ZodType | null;
  readonly body: z.ZodType | null;
  readonly status: 200 | 201 | 204;
  readonly answer: z.ZodType | null;
  readonly codes: readonly ProblemCode[];
  readonly issuesCredential: boolean;
  /** Takes an `Idempotency-Key`. */
  readonly creates: boolean;
  readonly handle: (call: Call) => Promise<Answer>;
}

export interface Answer {
  readonly body: unknown;
  readonly seq: number | null;
}

interface Described {
  readonly method: Method;
  readonly path: string;
  readonly tag: string;
  readonly summary: string;
  readonly codes?: readonly ProblemCode[];
}

interface Parsed<Query, Body> {
  readonly params: Readonly<Record<string, string>>;
  readonly query: Query;
  readonly body: Body;
  readonly now: Instant;
}

interface ChangeRow<Input, Output, Query, Body> extends Described {
  readonly does: Operation<Input, Output>;
  readonly query?: z.ZodType<Query>;
  readonly body?: z.ZodType<Body>;
  readonly status?: 200 | 201 | 204;
  readonly answer?: z.ZodType;
  readonly input: (parsed: Parsed<Query, Body>) => Input;
  readonly present: (output: Output, authority: Authority) => unknown;
}

/** A route that changes something, through the gate. */
export function change<Input, Output, Query = Record<string, never>, Body = Record<string, never>>(
  row: ChangeRow<Input, Output, Query, Body>,
): Route {
  const { does } = row;
  return {
    ...described(row),
    operation: does.name,
    permission: does.permission === "host" ? "anyone" : does.permission,
    operatorOnly: does.operatorOnly ?? false,
    query: row.query ?? null,
    body: row.body ?? null,
    status: row.status ?? 200,
    answer: row.answer ?? null,
    issuesCredential: does.issuesCredential ?? false,
    creates: does.retry !== undefined,
    handle: async (call) => {
      const input = row.input(parse(call, row.query, row.body));
      const { output, seq } = await perform(call.authority, does, call.actor(), input, {
        idempotencyKey: call.idempotencyKey,
        // As it was sent: what is derived from it (a deadline given as a span) differs from try to try.
        request: { params: call.params, body: call.body },
        origin: call.origin,
      });
      return { body: await row.present(output, call.authority), seq };
    },
  };
}

interface AskRow<Input, Output, Query> extends Described {
  readonly asks: Reading<Input, Output>;
  readonly query?: z.ZodType<Query>;
  readonly answer: z.ZodType;
  readonly input: (parsed: Parsed<Query, Record<string, never>>) => Input;
  readonly present: (output: Output, query: Query) => unknown;
}

/** A route that answers a question. */
export function ask<Input, Output, Query = Record<string, never>>(row: AskRow<Input, Output, Query>): Route {
  return {
    ...described(row),
    operation: row.asks.name,
    permission: row.asks.permission,
    operatorOnly: false,
    query: row.query ?? null,
    body: null,
    status: 200,
    answer: row.answer,
    issuesCredential: false,
    creates: false,
    handle: async (call) => {
      const parsed = parse<Query, Record<string, never>>(call, row.query, undefined);
      const output = await consult(call.authority, row.asks, call.actor(), row.input(parsed));
      return { body: row.present(output, parsed.query), seq: null };
    },
  };
}

function described({ method, path, tag, summary, codes }: Described) {
  return { method, path, tag, summary, codes: codes ?? [] };
}

function parse<Query, Body>(
  call: Call,
  query: z.ZodType<Query> | undefined,
  body: z.ZodType<Body> | undefined,
): Parsed<Query, Body> {
  return {
    params: call.params,
    query: query === undefined ? (NOTHING as Query) : checked(query, call.query),
    body: body === undefined ? (NOTHING as Body) : checked(body, call.body),
    now: call.authority.time.now(),
  };
}

const NOTHING: Record<string, never> = {};

/** The value as its schema makes it. Throws `invalid_input` naming each field. */
export function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const errors = result.error.issues.flatMap((issue) => {
    const path = issue.path.map(String);
    if (issue.code !== "unrecognized_keys") return [{ field: path.join(".") || "body", message: issue.message }];
    return issue.keys.map((key) => ({ field: [...path, key].join("."), message: "is not a field here" }));
  });
  const shown = errors.map((error) => ({ field: error.field.slice(0, 100).toWellFormed(), message: error.message }));
  throw new HttpProblem({
    code: "invalid_input",
    detail: shown.map((error) => `${error.field}: ${error.message}`).join("; ").slice(0, 1_000),
    errors: shown.slice(0, 20),
  });
}
