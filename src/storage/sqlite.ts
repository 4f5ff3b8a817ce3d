import { Database, type SQLQueryBindings, type Statement } from "bun:sqlite";
import { Kysely, SqliteAdapter, SqliteIntrospector, SqliteQueryCompiler } from "kysely";
import { Refusal } from "../authority/errors.ts";
import { driverOver } from "./driver.ts";
import { runStraight } from "./prepared.ts";

/** Which durability a file gets: FULL survives a power cut, NORMAL may lose the newest transactions to one. */
export type Synchronous = "full" | "normal";

/** Opens a file of the embedded database in WAL mode. Throws where the file can't be opened or isn't a database. */
export function openFile(path: string, synchronous: Synchronous, readonly = false): Database {
  const file = new Database(path, readonly ? { readonly: true } : { create: true });
  file.run("pragma busy_timeout = 5000");
  if (!readonly) switchToWal(file);
  file.run(synchronous === "full" ? "pragma synchronous = full" : "pragma synchronous = normal");
  file.run("pragma foreign_keys = on");
  // What was read lately; the system's own cache stands behind it. With 4 or 64 MiB, look-ups among a million keys took
  // as long.
  file.run("pragma cache_size = -16384");
  // Read straight from the system's cache, a look-up among a million keys takes 17 µs instead of 22. Not for writers:
  // changes took a quarter longer. What is mapped counts as resident, but is the system's to take back.
  if (readonly) file.run("pragma mmap_size = 8589934592");
  return file;
}

const WAL_WAIT_MS = 5_000;

/** SQLite doesn't wait for others here, whatever `busy_timeout` says: of several that open a new file, one may fail. */
function switchToWal(file: Database): void {
  for (const end = Date.now() + WAL_WAIT_MS; ; ) {
    try {
      file.run("pragma journal_mode = wal");
      return;
    } catch (error) {
      if (!isBusy(error) || Date.now() > end) throw error;
      Bun.sleepSync(5);
    }
  }
}

// Bun keeps 20 by itself. Fixed queries and lists with their filters make about 100.
const MOST_STATEMENTS = 500;

const statementsOf = new WeakMap<Database, Statements>();

/** Kysely over an open file. Each text of a statement is prepared once. */
export function kyselyOver<Tables>(file: Database): Kysely<Tables> {
  const statements = rememberedStatements(file);
  statementsOf.set(file, statements);
  const db = new Kysely<Tables>({
    dialect: {
      createDriver: () => driverOver(statements.run),
      createQueryCompiler: () => new SqliteQueryCompiler(),
      createAdapter: () => new SqliteAdapter(),
      createIntrospector: (db) => new SqliteIntrospector(db),
    },
  });
  runStraight(db, statements.run);
  return db;
}

/** Closes a file for good: as long as one statement is left, SQLite keeps it open and its journal unfolded. */
export function closeFile(file: Database): void {
  statementsOf.get(file)?.forget();
  file.close();
}

interface Statements {
  run(sql: string, parameters: readonly unknown[]): readonly unknown[];
  forget(): void;
}

function rememberedStatements(file: Database): Statements {
  const statements = new Map<string, Statement>();
  const forget = () => {
    for (const statement of statements.values()) statement.finalize();
    statements.clear();
  };
  const statementFor = (sql: string): Statement => {
    const had = statements.get(sql);
    if (had !== undefined) return had;
    if (statements.size >= MOST_STATEMENTS) forget();
    const fresh = file.prepare(sql);
    statements.set(sql, fresh);
    return fresh;
  };
  return {
    run: (sql, parameters) => statementFor(sql).all(...(parameters as readonly SQLQueryBindings[])),
    forget,
  };
}

/** Runs works one after another, in the order of the calls, each in a transaction of its own. */
export type Transact<Tx> = <T>(work: (tx: Tx) => Promise<T>) => Promise<T>;

export interface Transactions<Tx> {
  readonly transact: Transact<Tx>;
  /** Resolves when every work that was given so far has ended. */
  settled(): Promise<void>;
}

/** How long a work waits for the file, its time in the queue of its own process included. */
const LOCK_LIMIT_MS = 10_000;
/** From the first pause to the longest. A try costs 5 µs, so short pauses cost little, and long ones lose the turn. */
const SHORTEST_PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 25;
/** How long a queue may hold the file before it lets others have their turn, and for how long it lets go. */
const TURN_MS = 25;
const LET_GO_MS = 2;

/**
 * The transactions of a writing connection. All of a work is committed when its promise resolves, and nothing when it
 * rejects. The write lock is taken at the start, so that two processes queue up instead of failing in the middle; with
 * it nothing else can be busy. While another process has the lock this thread goes on with other things, for `limitMs`
 * at most: then the work is refused with `storage_unavailable`, and was not begun.
 *
 * `tx` is what the works write through: there is one connection, so it is made once.
 */
export function transactionsOn<Tx>(file: Database, tx: Tx, limitMs = LOCK_LIMIT_MS): Transactions<Tx> {
  // SQLite's own waiting would hold up the thread, and verification with it. Test: src/storage/sqlite.test.ts.
  file.run("pragma busy_timeout = 0");
  let last: Promise<unknown> = Promise.resolve();
  let queued = 0;
  let turnSince = 0;

  async function run<T>(work: (tx: Tx) => Promise<T>, since: number): Promise<T> {
    // Whoever polls for the lock finds it free only in a gap, and a queue leaves none.
    if (performance.now() - turnSince > TURN_MS) {
      await Bun.sleep(LET_GO_MS);
      turnSince = performance.now();
    }
    if (!begin(file)) await beginLater(file, since + limitMs);
    try {
      const result = await work(tx);
      file.run("commit");
      return result;
    } catch (error) {
      // After some faults SQLite has rolled back already.
      if (file.inTransaction) file.run("rollback");
      throw error;
    }
  }

  return {
    transact: (work) => {
      const since = performance.now();
      if (queued === 0) turnSince = since;
      queued += 1;
      const done = last
        .then(() => run(work, since))
        .finally(() => {
          queued -= 1;
        });
      last = done.catch(() => undefined);
      return done;
    },
    settled: async () => void (await last),
  };
}

/** Takes the write lock if it is free. */
function begin(file: Database): boolean {
  try {
    file.run("begin immediate");
    return true;
  } catch (error) {
    if (isBusy(error)) return false;
    throw error;
  }
}

async function beginLater(file: Database, end: number): Promise<void> {
  const since = performance.now();
  for (;;) {
    const now = performance.now();
    if (now > end) throw lockedOut();
    // Soon at first, when the other one is about to be done; without chance, two that met once would meet again.
    const pause = Math.min(LONGEST_PAUSE_MS, SHORTEST_PAUSE_MS + (now - since) / 20);
    await Bun.sleep(pause * (0.5 + Math.random()));
    if (begin(file)) return;
  }
}

function lockedOut(): Refusal {
  return new Refusal(
    "storage_unavailable",
    "Another process keeps the database to itself, so nothing was changed. Try again.",
  );
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && "code" in error && String(error.code).startsWith("SQLITE_BUSY");
}
