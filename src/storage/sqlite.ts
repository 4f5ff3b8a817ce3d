import { Database, type SQLQueryBindings } from "bun:sqlite";
import { CompiledQuery, type DatabaseConnection, Kysely, SqliteDialect, SqliteDriver, type SqliteDialectConfig } from "kysely";

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
    dialect: new ImmediateSqliteDialect({
      database: {
        close: () => file.close(),
        prepare: (sql) => {
          const statement = file.query<unknown, SQLQueryBindings[]>(sql);
          return {
            reader: statement.columnNames.length > 0,
            all: (parameters) => statement.all(...bindings(parameters)),
            run: (parameters) => statement.run(...bindings(parameters)),
            iterate: (parameters) => statement.iterate(...bindings(parameters)) as IterableIterator<unknown>,
          };
        },
      },
    }),
  });
}

function bindings(parameters: readonly unknown[]): SQLQueryBindings[] {
  return parameters as SQLQueryBindings[];
}

/** Takes the write lock at the start, so that two processes queue up instead of failing in the middle. */
class ImmediateSqliteDriver extends SqliteDriver {
  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(BEGIN);
  }
}

const BEGIN = CompiledQuery.raw("begin immediate");

class ImmediateSqliteDialect extends SqliteDialect {
  readonly #config: SqliteDialectConfig;
  constructor(config: SqliteDialectConfig) {
    super(config);
    this.#config = config;
  }
  override createDriver(): SqliteDriver {
    return new ImmediateSqliteDriver(this.#config);
  }
}
