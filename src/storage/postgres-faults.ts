import { DatabaseError } from "pg";
import { Refusal } from "../authority/errors.ts";

// https://www.postgresql.org/docs/current/errcodes-appendix.html
/** What another attempt on the same connection may get past: locks, cancelled statements, a lack of resources or of a right. */
const PASSING = /^(40|42501|53|55P03|57014)/;
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

/** The server that was reached follows another, or is not done with its recovery. */
export class StandbyError extends Error {
  override readonly name = "StandbyError";
  constructor() {
    super("The server is a standby that was not promoted: it takes no changes, and may lack some.");
  }
}

/**
 * Whether a database may be there in a moment: it is starting or about to be promoted, has no room, or nothing answers at
 * its address yet.
 */
export function isNotThereYet(error: unknown): boolean {
  if (error instanceof StandbyError) return true;
  if (error instanceof DatabaseError) return /^(57P03|53300|08)/.test(error.code ?? "");
  return isLost(error);
}

/** What mends it, for codes of which the server's own words don't tell. */
const WAYS_OUT: readonly (readonly [RegExp, string])[] = [
  [/^28/, "The password is read from the URL, PGPASSWORD or a pgpass file."],
  [/^3D000/, "Make it first, as docs/postgresql.md shows."],
  [
    /^42501/,
    "Take the role that owns the tables; or let that one give this one what serving needs: keyturn migrate --runtime-role <role>.",
  ],
];

/**
 * What people are told of a database that can't be used: the server's and the client's own words, which name the host or
 * the role and never the password, and the way out where there is one.
 */
export function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // The client's words for a server that asks for a password where none was given.
  if (error.message.startsWith("SASL: SCRAM-SERVER-FIRST-MESSAGE"))
    return `The server asks for a password. ${WAYS_OUT[0]?.[1]}`;
  const code = "code" in error ? String(error.code) : "";
  const wayOut = WAYS_OUT.find(([codes]) => error instanceof DatabaseError && codes.test(code));
  // An address that has several numbers fails with an error without words.
  const said = error.message === "" ? code : error.message;
  return wayOut === undefined ? said : `${said}. ${wayOut[1]}`;
}

/** By the beginning of the SQLSTATE, for whoever looks after the database; the first that fits. */
const IN_WORDS: readonly (readonly [string, string])[] = [
  ["53100", "The database's disk is full."],
  ["53300", "The database has no connection left for this process: its limit (max_connections) is reached."],
  ["53", "The database lacks memory or another resource."],
  ["25006", "The database is read-only: a standby, or a primary that accepts no change at the moment."],
  ["55P03", "Something else held a lock in the database for too long."],
  ["40", "Something else in the database stood in the way."],
  ["57014", "The database took longer than KEYTURN_DATABASE_STATEMENT_TIMEOUT allows."],
  ["57P", "The database is stopping or starting."],
  [
    "42501",
    "The database's role lacks a right. Run keyturn migrate --runtime-role with the role that serves, as the owner.",
  ],
  ["28", "The database does not let this process in: KEYTURN_DATABASE_URL has another role or password."],
  ["3D000", "The database that KEYTURN_DATABASE_URL names does not exist."],
  ["XX", "The database reported a fault of its own."],
];

/** Surely not made, or not read. */
export function unavailable(cause: unknown): Refusal {
  const code = cause instanceof DatabaseError ? (cause.code ?? "") : "";
  const [, said] = IN_WORDS.find(([start]) => code.startsWith(start)) ?? [];
  const reason = said ?? "The database can't be reached, or did not answer in time.";
  return new Refusal("storage_unavailable", `${reason} Nothing was changed.`, { cause });
}

/** The connection ended, or the database failed, after it was asked to commit and before it answered. */
export function outcomeUnknown(cause: unknown): Refusal {
  return new Refusal(
    "outcome_unknown",
    "The database did not confirm the change, so it is unknown whether it was made. Retry with the same Idempotency-Key.",
    { cause },
  );
}
