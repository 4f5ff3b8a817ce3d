import { Database, type SQLQueryBindings } from "bun:sqlite";
import { Kysely, SqliteDialect } from "kysely";

/** Which durability a file gets: FULL survives a power cut, NORMAL may lose the newest transactions to one. */
export type Synchronous = "full" | "normal";

/** Opens a file of the embedded database in WAL mode. Throws where the file can't be opened or isn't a database. */
export function openFile(path: string, synchronous: Synchronous, readonly = false): Database {
  const file = new Database(path, readonly ? { readonly: true } : { create: true });
  file.run("pragma busy_timeout = 5000");
  if (!readonly) file.run("pragma journal_mode = wal");
  file.run(`pragma synchronous = ${synchronous}`);
  file.run("pragma foreign_keys = on");
  // 64 MiB of pages and a memory map keep look-ups of a large store near the speed of a small one.
  file.run("pragma cache_size = -65536");
  file.run("pragma mmap_size = 8589934592");
  return file;
}

/** Kysely over an open file, statements prepared once. */
export function kyselyOver<Tables>(file: Database): Kysely<Tables> {
  return new Kysely<Tables>({
    dialect: new SqliteDialect({
      database: { close: () => file.close(), prepare: remembered((sql) => statementOf(file, sql)) },
    }),
  });
}

function statementOf(file: Database, sql: string) {
  const statement = file.query<unknown, SQLQueryBindings[]>(sql);
  return {
    reader: statement.columnNames.length > 0,
    all: (parameters: readonly unknown[]) => statement.all(...bindings(parameters)),
    run: (parameters: readonly unknown[]) => statement.run(...bindings(parameters)),
    iterate: (parameters: readonly unknown[]) => statement.iterate(...bindings(parameters)) as IterableIterator<unknown>,
  };
}

/** What a statement returns is asked of SQLite once; lists with every filter make some dozens of texts. */
function remembered<T>(make: (sql: string) => T): (sql: string) => T {
  const made = new Map<string, T>();
  return (sql) => {
    const had = made.get(sql);
    if (had !== undefined) return had;
    const fresh = make(sql);
    made.set(sql, fresh);
    return fresh;
  };
}

function bindings(parameters: readonly unknown[]): SQLQueryBindings[] {
  return parameters as SQLQueryBindings[];
}

/** Runs works one after another, in the order of the calls, each in a transaction of its own. */
export type Transact<Tx> = <T>(work: (tx: Tx) => Promise<T>) => Promise<T>;

/**
 * The transactions of a writing connection. All of a work is committed when its promise resolves, and nothing when it
 * rejects. The write lock is taken at the start, so that two processes queue up instead of failing in the middle.
 * `tx` is what the works write through: there is one connection, so it is made once.
 */
export function transactionsOn<Tx>(file: Database, tx: Tx): Transact<Tx> {
  let last: Promise<unknown> = Promise.resolve();
  async function run<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    file.run("begin immediate");
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
  return (work) => {
    const done = last.then(() => run(work));
    last = done.catch(() => undefined);
    return done;
  };
}
