/** Every reason for which Keyturn declines to do what was asked. Faces map each one, so the list is closed. */
export const REFUSAL_CODES = [
  "invalid_input",
  "unauthenticated",
  "insufficient_scope",
  "operator_only",
  "rights_exceeded",
  "not_found",
  "name_taken",
  "key_revoked",
  "key_not_active",
  "rotation_open",
  "rotation_state",
  "not_safe_to_complete",
  "successor_in_use",
  "caller_active",
  "account_protected",
  "already_in_use",
  "last_root_key",
  "process_alive",
  "setup_token_invalid",
  "idempotency_conflict",
  "idempotency_in_progress",
  "outcome_unknown",
  "storage_unavailable",
] as const;

export type RefusalCode = (typeof REFUSAL_CODES)[number];

/** One input field that is wrong, named as the API spells it, and the way out. */
export interface FieldError {
  readonly field: string;
  readonly message: string;
}

export interface RefusalDetails {
  readonly errors?: readonly FieldError[];
  /** Further members of the problem document, in the API's spelling. Never a secret. */
  readonly extensions?: Readonly<Record<string, unknown>>;
  /** The private reason, for the log alone. */
  readonly cause?: unknown;
}

/** An expected "no": the message is public, the cause is private. Everything else that is thrown is a bug. */
export class Refusal extends Error {
  readonly code: RefusalCode;
  readonly errors: readonly FieldError[];
  readonly extensions: Readonly<Record<string, unknown>>;

  constructor(code: RefusalCode, message: string, details: RefusalDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "Refusal";
    this.code = code;
    this.errors = details.errors ?? [];
    this.extensions = details.extensions ?? {};
  }
}

/** Ends a change that turns out to judge by use: reports are waited for outside of it, where that holds up nobody. */
export class ReportsWanted extends Error {}

/** A refusal of one input field; `field` is spelled as in the API. */
export function invalid(field: string, message: string): Refusal {
  return new Refusal("invalid_input", `${field}: ${message}`, { errors: [{ field, message }] });
}

/** The one answer for an id that does not exist and for an id of another account (R10). */
export function notFound(what: string): Refusal {
  return new Refusal("not_found", `No such ${what} in this account.`);
}

/** States a fact that only a bug can make false. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`Bug: ${message}`);
}
