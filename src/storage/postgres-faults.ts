import { DatabaseError } from "pg";
import { Refusal } from "../authority/errors.ts";

// https://www.postgresql.org/docs/current/errcodes-appendix.html
/** What another attempt on the same connection may get past: locks, cancelled statements, a lack of resources. */
const PASSING = /^(40|53|55P03|57014)/;
/** What says that this connection, or the server behind it, is of no more use for now. */
const BROKEN = /^(08|25006|25P03|28|3D000|57P|58|XX001|XX002)/;

/** PostgreSQL's name for a plan that a newer schema has made worthless; it holds as long as the connection. */
function isOutdatedPlan(error: DatabaseError): boolean {
  return error.code === "0A000" && error.routine === "RevalidateCachedQuery";
}

// pg has no class or code for these (lib/client.js, pg-pool/index.js).
const LOST =
  /^(Connection terminated|Query read timeout|Client has encountered a connection error|Client was closed|timeout e|Cannot use a pool)/;

/**
 * What a failed statement says of the database. `passing`: the connection is good, the statement was refused for now.
 * `broken`: the connection must not be used again. Null: nothing of that sort; the statement itself was wrong.
 */
export function faultIn(error: unknown): "passing" | "broken" | null {
  if (error instanceof DatabaseError) {
    const code = error.code ?? "";
    if (PASSING.test(code)) return "passing";
    return BROKEN.test(code) || isOutdatedPlan(error) ? "broken" : null;
  }
  return isLost(error) ? "broken" : null;
}

function isLost(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (LOST.test(error.message)) return true;
  // What the system says of sockets and names: ECONNRESET, EPIPE, ENOTFOUND, EAI_AGAIN, ERR_TLS_…
  return (
    "code" in error &&
    typeof error.code === "string" &&
    /^(E(?!RR_)[A-Z]|ERR_(SOCKET|TLS|SSL))/.test(error.code)
  );
}

/**
 * Whether a connection turned out to have ended before its statement was looked at, or to hold a plan of an older
 * schema: on another one the same may well succeed. A time limit is not among them: it would be waited for again.
 */
export function isStale(error: unknown): boolean {
  const cause = error instanceof Refusal ? error.cause : error;
  if (cause instanceof DatabaseError) return cause.code === "57P01" || isOutdatedPlan(cause);
  if (!(cause instanceof Error)) return false;
  if (/^(Connection terminated|Client has encountered)/.test(cause.message)) return true;
  return "code" in cause && (cause.code === "ECONNRESET" || cause.code === "EPIPE");
}

/** Whether a database may be there in a moment: it is starting, has no room, or nothing answers at its address yet. */
export function isNotThereYet(error: unknown): boolean {
  if (error instanceof DatabaseError) return /^(57P03|53300|08)/.test(error.code ?? "");
  return isLost(error);
}

/** Surely not made, or not read. */
export function unavailable(cause: unknown): Refusal {
  return new Refusal(
    "storage_unavailable",
    "The database cannot be reached, or did not answer in time. Nothing was changed; try again.",
    { cause },
  );
}

/** The connection ended, or the database failed, after it was asked to commit and before it answered. */
export function outcomeUnknown(cause: unknown): Refusal {
  return new Refusal(
    "outcome_unknown",
    "The database did not confirm the change, so it is unknown whether it was made. Retry with the same Idempotency-Key.",
    { cause },
  );
}
