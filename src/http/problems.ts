import { type FieldError, REFUSAL_CODES, Refusal, type RefusalCode } from "../authority/errors.ts";

/** What the HTTP face itself declines, before anybody was asked. */
export const HTTP_PROBLEM_CODES = [
  "invalid_json",
  "unsupported_media_type",
  "body_too_large",
  "body_too_slow",
  "ambiguous_header",
  "credential_in_url",
  "route_not_found",
  "method_not_allowed",
  "key_not_allowed",
  "proxy_key_refused",
  "verdict_stale",
  "internal_error",
] as const;

export type HttpProblemCode = (typeof HTTP_PROBLEM_CODES)[number];
export type ProblemCode = RefusalCode | HttpProblemCode;

/** Every code that a problem can bear; the document lists them. */
export const PROBLEM_CODES: readonly ProblemCode[] = [...REFUSAL_CODES, ...HTTP_PROBLEM_CODES];

interface ProblemKind {
  readonly status: number;
  readonly title: string;
  /** Asking again helps as soon as the cause is gone, which may be at once. */
  readonly retryAfterSeconds?: number;
}

/** The status and the short title of every problem. A new code does not compile until it stands here. */
export const PROBLEMS: Readonly<Record<ProblemCode, ProblemKind>> = {
  invalid_input: { status: 400, title: "The input is wrong" },
  unauthenticated: { status: 401, title: "No good key was presented" },
  insufficient_scope: { status: 403, title: "The key lacks a scope" },
  operator_only: { status: 403, title: "Only for the operator's account" },
  rights_exceeded: { status: 403, title: "More than the asking key can give" },
  not_found: { status: 404, title: "Not found" },
  name_taken: { status: 409, title: "The name is taken" },
  key_revoked: { status: 409, title: "The key is revoked" },
  key_not_active: { status: 409, title: "The key is not active" },
  rotation_open: { status: 409, title: "The key is in an open rotation" },
  rotation_state: { status: 409, title: "Not in this state of the rotation" },
  not_safe_to_complete: { status: 409, title: "Completing is not safe" },
  successor_in_use: { status: 409, title: "The successor is in use" },
  caller_active: { status: 409, title: "The caller is still using the old key" },
  account_protected: { status: 409, title: "The operator's account is protected" },
  already_in_use: { status: 409, title: "The secret has been used" },
  last_root_key: { status: 409, title: "The last root key" },
  process_alive: { status: 409, title: "The process is alive" },
  setup_token_invalid: { status: 403, title: "The set-up token is not good" },
  idempotency_conflict: { status: 422, title: "Another request used this Idempotency-Key" },
  idempotency_in_progress: { status: 409, title: "A request with this Idempotency-Key is in progress" },
  outcome_unknown: { status: 503, title: "It is unknown whether the change was made" },
  storage_unavailable: { status: 503, title: "The database can't do this now", retryAfterSeconds: 1 },
  invalid_json: { status: 400, title: "The body is not JSON" },
  unsupported_media_type: { status: 415, title: "The body must be application/json" },
  body_too_large: { status: 413, title: "The body is too large" },
  body_too_slow: { status: 408, title: "The body came too slowly" },
  ambiguous_header: { status: 400, title: "A header can be read in two ways" },
  credential_in_url: { status: 400, title: "A credential must not stand in a URL" },
  route_not_found: { status: 404, title: "No such route" },
  method_not_allowed: { status: 405, title: "Not with this method" },
  key_not_allowed: { status: 403, title: "The key is good, but not for this" },
  proxy_key_refused: { status: 403, title: "The proxy's own key is not good" },
  verdict_stale: { status: 503, title: "No verdict can be vouched for now", retryAfterSeconds: 1 },
  internal_error: { status: 500, title: "Something is wrong on our side" },
};

export interface Problem {
  readonly code: ProblemCode;
  readonly detail: string;
  readonly errors?: readonly FieldError[] | undefined;
  readonly extensions?: Readonly<Record<string, unknown>> | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** Writes a problem as an answer. */
export type Answering = (problem: Problem) => Response;

/** Answers with problems (RFC 9457) whose `type` leads to their section in the page served at `/docs/errors`. */
export function createAnswering(publicUrl: string | null): Answering {
  const page = `${publicUrl?.replace(/\/+$/, "") ?? ""}/docs/errors#`;
  return (problem) => {
    const { code, detail, errors } = problem;
    const { status, title, retryAfterSeconds } = PROBLEMS[code];
    const named = errors !== undefined && errors.length > 0 ? { errors } : {};
    const body = { ...problem.extensions, type: `${page}${code}`, title, status, code, detail, ...named };
    return new Response(JSON.stringify(body), {
      status,
      headers: {
        "content-type": "application/problem+json",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        ...(status === 401 ? { "www-authenticate": 'Bearer realm="keyturn"' } : {}),
        ...(retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) }),
        ...problem.headers,
      },
    });
  };
}

/** A refusal of the core as a problem. Its private cause stays behind. */
function problemOf(refusal: Refusal): Problem {
  return {
    code: refusal.code,
    detail: refusal.message,
    errors: refusal.errors,
    extensions: refusal.extensions,
    ...(refusal.code === "unauthenticated"
      ? { headers: { "www-authenticate": 'Bearer realm="keyturn", error="invalid_token"' } }
      : {}),
  };
}

/** Thrown inside the HTTP face to answer with a problem of its own. */
export class HttpProblem extends Error {
  readonly problem: Problem;
  constructor(problem: Problem) {
    super(problem.detail);
    this.name = "HttpProblem";
    this.problem = problem;
  }
}

export function asProblem(error: unknown): Problem | null {
  if (error instanceof HttpProblem) return error.problem;
  if (error instanceof Refusal) return problemOf(error);
  return null;
}
