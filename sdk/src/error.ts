import type { Problem, ProblemCode } from "./types.ts";

/** What goes wrong before an answer of the API is there: no connection, no answer in time, or somebody else's answer. */
export type ClientCode = "unreachable" | "timeout" | "unreadable_answer";

/** The API's problem codes, and the client's own. */
export type ErrorCode = ProblemCode | ClientCode;

/** A problem document (RFC 9457) with the members that its code brings along, such as `reasons` or `scope`. */
export type ProblemDocument = Problem & Readonly<Record<string, unknown>>;

/**
 * Everything that a call can end in but its answer. `status` is the HTTP status, 0 where none came. Neither the message
 * nor any member holds the key or a header of the request.
 */
export class KeyturnError extends Error {
  readonly status: number;
  readonly code: ErrorCode;
  /** What is wrong and the way out, for people. */
  readonly detail: string;
  /** The fields that are wrong, for `invalid_input`. */
  readonly errors: readonly { readonly field: string; readonly message: string }[];
  /** The whole problem document; null where the API did not answer with one. */
  readonly problem: ProblemDocument | null;

  constructor(about: {
    readonly status: number;
    readonly code: ErrorCode;
    readonly detail: string;
    readonly problem?: ProblemDocument;
    readonly cause?: unknown;
  }) {
    super(`${about.code}: ${about.detail}`, about.cause === undefined ? undefined : { cause: about.cause });
    this.name = "KeyturnError";
    this.status = about.status;
    this.code = about.code;
    this.detail = about.detail;
    this.errors = about.problem?.errors ?? [];
    this.problem = about.problem ?? null;
  }
}

/** The error for an answer that is not good; whatever its body is. */
export function errorOf(status: number, body: unknown): KeyturnError {
  if (isProblem(body))
    return new KeyturnError({ status, code: body.code, detail: body.detail, problem: body });
  return new KeyturnError({
    status,
    code: "unreadable_answer",
    detail: `The answer has status ${status} and is no problem document of Keyturn. Is something else at this address, or in between?`,
  });
}

// A newer server may have codes that this version has no name for; they arrive as they are.
function isProblem(body: unknown): body is ProblemDocument {
  return (
    typeof body === "object" &&
    body !== null &&
    "code" in body &&
    typeof body.code === "string" &&
    "detail" in body &&
    typeof body.detail === "string" &&
    (!("errors" in body) || (Array.isArray(body.errors) && body.errors.every(isFieldError)))
  );
}

function isFieldError(error: unknown): boolean {
  return (
    typeof error === "object" &&
    error !== null &&
    "field" in error &&
    typeof error.field === "string" &&
    "message" in error &&
    typeof error.message === "string"
  );
}
