import { Kysely, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler } from "kysely";
import { Client, type ClientBase, type ClientConfig, Pool as PgPool, type PoolClient } from "pg";
import { type ConnectionOptions, parse } from "pg-connection-string";
import { assert } from "../authority/errors.ts";
import type { Seconds } from "../authority/time.ts";
import { driverOver } from "./driver.ts";
import { POSTGRES_TYPES, storable } from "./engine.ts";
import { faultIn, isStale, outcomeUnknown, StandbyError, unavailable } from "./postgres-faults.ts";
import { runStraight } from "./prepared.ts";

/** How a database is reached. */
export interface PostgresOptions {
  /** `postgres://user:password@host:port/database?…`, as libpq and pg understand it. */
  readonly url: string;
  /** What the URL says, read before: see `readAddress`. */
  readonly address?: ConnectionOptions;
  /** The most connections for changes, for reads and for look-ups, half as many each; five more are for the rest. */
  readonly poolSize?: number | undefined;
  /** How long to wait for a connection. */
  readonly connectTimeoutSeconds?: Seconds | undefined;
  /** How long a statement may take, waiting for locks included. */
  readonly statementTimeoutSeconds?: Seconds | undefined;
  /** How long a transaction may do nothing before the server ends it. 0.4 times as long as a statement may take. */
  readonly idleInTransactionSeconds?: Seconds;
  /** How long a start waits for a database that isn't there yet. */
  readonly startTimeoutSeconds?: Seconds | undefined;
}

/** What holds where nothing is said. docs/running.md names the same. */
export const POSTGRES_DEFAULTS = {
  poolSize: 10,
  connectTimeoutSeconds: 5,
  statementTimeoutSeconds: 10,
  startTimeoutSeconds: 30,
} as const;

/** This side waits longer than the server needs to give up: a connection that was cut without a word answers nothing. */
const GRACE_FACTOR = 1.2;
/**
 * A process that was cut off in the middle of a change holds its locks until the server gives it up. That must come while
 * others still wait for them; and not while a change reads evidence, which it does over another connection.
 */
const IDLE_IN_TRANSACTION_FACTOR = 0.4;
const KEEPALIVE_MS = 10_000;
const IDLE_MS = 60_000;

export function statementTimeoutMs(options: PostgresOptions): number {
  return (options.statementTimeoutSeconds ?? POSTGRES_DEFAULTS.statementTimeoutSeconds) * 1_000;
}

function idleInTransactionMs({ idleInTransactionSeconds, ...options }: PostgresOptions): number {
  return idleInTransactionSeconds === undefined
    ? statementTimeoutMs(options) * IDLE_IN_TRANSACTION_FACTOR
    : idleInTransactionSeconds * 1_000;
}

/**
 * Reads what the URL says, with the files that it names (`sslrootcert`), once for all connections. The client would read
 * them for each one, inside timers and sockets where a file that is just being replaced ends the process.
 */
export function readAddress(options: PostgresOptions): PostgresOptions {
  return { ...options, address: parse(options.url) };
}

/** What every connection is opened with. What the URL says wins. */
export function connectionTo(options: PostgresOptions): ClientConfig {
  const timeout = statementTimeoutMs(options);
  const config: ClientConfig = {
    application_name: "keyturn",
    types: POSTGRES_TYPES,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEPALIVE_MS,
    connectionTimeoutMillis:
      (options.connectTimeoutSeconds ?? POSTGRES_DEFAULTS.connectTimeoutSeconds) * 1_000,
    statement_timeout: timeout,
    lock_timeout: timeout,
    idle_in_transaction_session_timeout: idleInTransactionMs(options),
    query_timeout: timeout * GRACE_FACTOR,
  };
  return Object.assign(config, options.address ?? { connectionString: options.url });
}

/** For what takes as long as it takes, as a step of the schema does, or a copy of millions of rows. Not connected yet. */
export function patientClient(options: PostgresOptions): Client {
  const endless = { statement_timeout: 0, lock_timeout: 0, query_timeout: 0 };
  const client = new Client({ ...connectionTo(options), ...endless });
  // A connection that breaks between two statements fails the next one.
  client.on("error", () => undefined);
  return client;
}

/**
 * R12: a standby answers every question, by what it knew a while ago. One that was promoted is told from it by a new
 * connection, and no server becomes a standby without ending those that it has.
 */
export async function assertPrimary(client: ClientBase): Promise<void> {
  const { rows } = await client.query<{ is_standby: boolean }>("select pg_is_in_recovery() as is_standby");
  if (rows[0]?.is_standby !== false) throw new StandbyError();
}

/**
 * Which database this is, as one text. The timeline grows by one when a database is put back to an older state, and when a
 * standby takes over. A dump that is put back makes the tables anew; a standby has them under the same number.
 */
export const IDENTITY = `
  select system_identifier || ' ' || (select oid from pg_database where datname = current_database()) || ' ' ||
    'audit_entries'::regclass::oid || ' ' || substring(pg_walfile_name(pg_current_wal_lsn()) for 8) as identity
  from pg_control_system()`;

/** Whoever writes evidence is alone at it, until the end of the transaction. */
export const LOCK_EVIDENCE = "select pg_advisory_xact_lock(hashtext('keyturn'), hashtext('evidence'))";

/** One connection, lent for a while. */
export interface Session {
  /** Runs a statement; one with a name of its own is prepared on the server once. Throws `Refusal` for a fault. */
  run(sql: string, parameters?: readonly unknown[], prepared?: boolean): Promise<readonly unknown[]>;
  /** Ends the transaction for good. Whatever goes wrong here leaves the outcome unknown. */
  commit(): Promise<void>;
  /** Undoes the transaction, or gives the connection up. Never throws. */
  rollback(): Promise<void>;
}

/** A few connections that are opened as they are needed. */
export interface Connections {
  /**
   * Lends one for the time of the work. A work that fails because its connection had ended meanwhile, as all do when a
   * server restarts, is tried on another one as long as `mayTryAgain` says so.
   */
  lend<T>(work: (session: Session) => Promise<T>, mayTryAgain?: () => boolean): Promise<T>;
  close(): Promise<void>;
}

/** Opens none yet. A connection that has met with a fault is closed instead of lent again. */
export function connectionsTo(options: PostgresOptions, most: number): Connections {
  const pool = new PgPool({
    ...connectionTo(options),
    max: most,
    idleTimeoutMillis: IDLE_MS,
    // What is sent together travels together: `begin` and the locks of a change are one round trip.
    pipeline: true,
  });
  // A connection that breaks while nobody uses it, or between two statements, is nobody's error.
  pool.on("error", () => undefined);
  pool.on("connect", (client) => void client.on("error", () => undefined));
  const sessions = new WeakMap<PoolClient, BrittleSession>();
  const primaries = new WeakSet<PoolClient>();

  const take = async () => {
    let client: PoolClient | undefined;
    try {
      client = await pool.connect();
      if (!primaries.has(client)) await assertPrimary(client);
      primaries.add(client);
      return client;
    } catch (cause) {
      // Not in the pool's own hook for new connections: that waits for the goodbye of a server that may be gone by then.
      client?.release(true);
      throw unavailable(cause);
    }
  };
  async function lendTo<T>(client: PoolClient, work: (session: Session) => Promise<T>): Promise<T> {
    const session = sessions.get(client) ?? sessionOver(client);
    sessions.set(client, session);
    try {
      return await work(session);
    } finally {
      client.release(session.broken());
    }
  }

  return {
    lend: async (work, mayTryAgain = () => false) => {
      // Each attempt closes a connection, so this many find all that are left over.
      for (let left = most; left > 0; left -= 1) {
        const client = await take();
        try {
          return await lendTo(client, work);
        } catch (error) {
          if (!isStale(error) || !mayTryAgain()) throw error;
        }
      }
      return lendTo(await take(), work);
    },
    close: () => pool.end(),
  };
}

type BrittleSession = Session & { broken(): boolean };

function sessionOver(client: PoolClient): BrittleSession {
  let broken = false;
  const note = (error: unknown) => {
    const fault = faultIn(error);
    if (fault === "broken") broken = true;
    return fault;
  };
  return {
    broken: () => broken,
    run: async (text, parameters = [], prepared = false) => {
      const values = parameters.map(storable);
      try {
        const query = prepared ? { name: statementName(text), text, values } : { text, values };
        return (await client.query<object>(query)).rows;
      } catch (error) {
        throw note(error) === null ? error : unavailable(error);
      }
    },
    commit: async () => {
      const { command } = await client.query("commit").catch((cause: unknown) => {
        broken = true;
        throw outcomeUnknown(cause);
      });
      assert(command === "COMMIT", "a change went on after one of its statements had failed");
    },
    rollback: async () => {
      if (broken) return;
      await client.query("rollback").catch(() => {
        broken = true;
      });
    },
  };
}

const names = new Map<string, string>();

/** The texts of prepared queries are fixed, so there are only so many. */
function statementName(text: string): string {
  const name = names.get(text) ?? `keyturn_${names.size + 1}`;
  names.set(text, name);
  return name;
}

/** Kysely over connections that only read: each statement goes to whichever is free. */
export function readingOver<Tables>(connections: Connections): Kysely<Tables> {
  return kyselyOn((work) => connections.lend(work, () => true));
}

/** Kysely whose statements run wherever `lend` says. */
function kyselyOn<Tables>(lend: <T>(work: (session: Session) => Promise<T>) => Promise<T>): Kysely<Tables> {
  const run = (sql: string, parameters: readonly unknown[], prepared: boolean) =>
    lend((session) => session.run(sql, parameters, prepared));
  const db = new Kysely<Tables>({
    dialect: {
      createDriver: () => driverOver((sql, parameters) => run(sql, parameters, false)),
      createQueryCompiler: () => new PostgresQueryCompiler(),
      createAdapter: () => new PostgresAdapter(),
      createIntrospector: (db) => new PostgresIntrospector(db),
    },
  });
  runStraight(db, (sql, parameters) => run(sql, parameters, true));
  return db;
}

/**
 * Transactions, each on a connection of its own. `lock` is the first statement of each. `over` makes what the works
 * write through, once for each connection.
 */
export function transactionsOver<Tables, Tx, Scope>(
  connections: Connections,
  lock: (session: Session, scope: Scope) => Promise<unknown>,
  over: (db: Kysely<Tables>) => Tx,
): <T>(work: (tx: Tx) => Promise<T>, scope: Scope) => Promise<T> {
  const made = new WeakMap<Session, Tx>();
  const txOf = (session: Session): Tx => {
    const had = made.get(session) ?? over(kyselyOn<Tables>((work) => work(session)));
    made.set(session, had);
    return had;
  };
  return (work, scope) => {
    let begun = false;
    return connections.lend(
      async (session) => {
        try {
          // Read committed, whatever the server's default: after the lock each statement must see what came before it.
          await Promise.all([session.run("begin isolation level read committed"), lock(session, scope)]);
          begun = true;
          const result = await work(txOf(session));
          await session.commit();
          return result;
        } catch (error) {
          await session.rollback();
          throw error;
        }
      },
      () => !begun,
    );
  };
}
