import type { z } from "@hono/zod-openapi";
import type { Actor } from "../authority/audit/entry.ts";
import type { Authority } from "../authority/authority.ts";
import { awaitAll } from "../authority/cluster/await-all.ts";
import { type FieldError, Refusal } from "../authority/errors.ts";
import type { Freshness } from "../authority/freshness.ts";
import { type Operation, type Permission, perform } from "../authority/operation.ts";
import { consult, type Reading } from "../authority/reading.ts";
import { withoutSecrets } from "../authority/secret.ts";
import { HOST } from "../authority/setup/setup.ts";
import type { Instant, Seconds } from "../authority/time.ts";
import { inTime } from "./in-time.ts";
import { HttpProblem, type ProblemCode } from "./problems.ts";

/** One request, as far as a route needs to know it. Bodies and queries are parsed by the route's own schema. */
export interface Call {
  readonly authority: Authority;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, unknown>>;
  readonly body: unknown;
  readonly idempotencyKey: string | undefined;
  readonly origin: { readonly address: string | undefined; readonly agent: string | undefined };
  /** How long a change, or a reading, is waited for. */
  readonly patienceSeconds: Seconds;
  /** Who asks. Throws a problem when nobody good does. */
  actor(): Actor & { kind: "key" };
}

export type Method = "get" | "post" | "patch" | "delete";

/**
 * Methods whose bodies are read. No DELETE takes one, but a `force` that somebody put there must be refused by name, and
 * not be passed over.
 */
export const BODY_METHODS: ReadonlySet<Method> = new Set(["post", "patch", "delete"]);

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
  /** Takes `wait=all`, and then may answer 202. */
  readonly waits: boolean;
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
  /** In place of the route's own status. */
  readonly status?: 202;
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
  /** For changes that can be waited for (`wait=all`): the freshness of every key that they are about. */
  readonly affected?: (output: Output, authority: Authority) => Promise<readonly Freshness[]>;
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
    waits: row.affected !== undefined,
    answer: row.answer ?? null,
    issuesCredential: does.issuesCredential ?? false,
    creates: does.retry !== undefined,
    handle: async (call) => {
      const parsed = parse(call, row.query, row.body);
      const input = row.input(parsed);
      const isAwaited = row.affected !== undefined && asksToWait(parsed.query);
      // Whoever holds a token that this machine printed acts as the machine.
      const actor = does.permission === "host" ? HOST : call.actor();
      const performed = perform(call.authority, does, actor, input, {
        idempotencyKey: call.idempotencyKey,
        // As it was sent: what is derived from it (a deadline given as a span) differs from try to try.
        request: { params: call.params, body: call.body },
        origin: call.origin,
      });
      const { output, seq } = await inTime(performed, call.patienceSeconds, true);
      const { authority } = call;
      const body = await afterCommit(() => row.present(output, authority));
      if (!isAwaited) return { body, seq };
      const { everywhere, silent } = await awaitAll(
        authority,
        seq,
        await row.affected(output, authority).catch(nobodyKnows),
      );
      if (everywhere) return { body, seq };
      return { body: { ...asObject(body), silent_processes: silent }, seq, status: 202 };
    },
  };
}

function asksToWait(query: unknown): boolean {
  return typeof query === "object" && query !== null && "wait" in query && query.wait === "all";
}

/** The change is made, so it would be untrue to say that nothing was changed, as who can't read the answer says. */
async function afterCommit<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof Refusal) || cause.code !== "storage_unavailable") throw cause;
    throw new Refusal(
      "outcome_unknown",
      "The change was made, but what came of it could not be read. Look again, or retry with the same Idempotency-Key.",
      { cause },
    );
  }
}

/** The change is made, so that its keys can't be asked about is no refusal: then no ceiling is relied upon. */
function nobodyKnows(error: unknown): readonly Freshness[] {
  if (error instanceof Refusal && error.code === "storage_unavailable") return ["static"];
  throw error;
}

function asObject(body: unknown): object {
  return typeof body === "object" && body !== null ? body : {};
}

interface AskRow<Input, Output, Query> extends Described {
  readonly asks: Reading<Input, Output>;
  readonly query?: z.ZodType<Query>;
  readonly answer: z.ZodType;
  readonly input: (parsed: Parsed<Query, Record<string, never>>) => Input;
  readonly present: (output: Output, query: Query, authority: Authority) => unknown;
}

/** A route that answers a question. */
export function ask<Input, Output, Query = Record<string, never>>(row: AskRow<Input, Output, Query>): Route {
  return {
    ...described(row),
    operation: row.asks.name,
    permission: row.asks.permission,
    operatorOnly: row.asks.operatorOnly ?? false,
    query: row.query ?? null,
    body: null,
    status: 200,
    waits: false,
    answer: row.answer,
    issuesCredential: false,
    creates: false,
    handle: async (call) => {
      const parsed = parse<Query, Record<string, never>>(call, row.query, undefined);
      const asked = consult(call.authority, row.asks, call.actor(), row.input(parsed));
      const output = await inTime(asked, call.patienceSeconds, false);
      return { body: row.present(output, parsed.query, call.authority), seq: null };
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
/** Of a body full of mistakes, as many are told. */
const MOST_ERRORS = 20;

/** The value as its schema makes it. Throws `invalid_input` naming each field. */
export function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  // zod passes over a member called __proto__ where it would tell of any other that it doesn't know.
  const hidden = prototypeMember(value);
  if (hidden !== null) throw invalidInput([{ field: hidden, message: "is not a field here" }]);
  if (result.success) return result.data;
  throw invalidInput(errorsOf(result.error));
}

function errorsOf(error: z.ZodError): readonly FieldError[] {
  return error.issues.flatMap((issue) => {
    const path = issue.path.map(String);
    if (issue.code !== "unrecognized_keys")
      return [{ field: path.join(".") || "body", message: issue.message }];
    return issue.keys.map((key) => ({ field: [...path, key].join("."), message: "is not a field here" }));
  });
}

/** The path of the first member called `__proto__`, however deep, or null. Deep texts must not exhaust the stack. */
function prototypeMember(value: unknown): string | null {
  const left: { readonly of: unknown; readonly path: string }[] = [{ of: value, path: "" }];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const { of, path } = next;
    if (typeof of !== "object" || of === null) continue;
    if (Object.hasOwn(of, "__proto__")) return `${path}__proto__`;
    for (const [name, member] of Object.entries(of)) {
      // Nobody reads a path longer than this, and it must not grow with the depth.
      if (typeof member === "object") left.push({ of: member, path: `${path}${name}.`.slice(0, 80) });
    }
  }
  return null;
}

function invalidInput(errors: readonly FieldError[]): HttpProblem {
  const shown = errors.slice(0, MOST_ERRORS).map((error) => ({
    // Somebody may have sent a key as the name of a field, and an answer is copied into tickets (R21).
    field: withoutSecrets(error.field).slice(0, 100).toWellFormed(),
    message: error.message,
  }));
  return new HttpProblem({
    code: "invalid_input",
    detail: shown
      .map((error) => `${error.field}: ${error.message}`)
      .join("; ")
      .slice(0, 1_000)
      .toWellFormed(),
    errors: shown,
  });
}
