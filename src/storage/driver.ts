import type { CompiledQuery, DatabaseConnection, Driver } from "kysely";

/** Runs one statement and gives its rows: at once on the embedded database. */
export type RunStatement = (
  sql: string,
  parameters: readonly unknown[],
) => readonly unknown[] | Promise<readonly unknown[]>;

/**
 * For kysely: statements go where `run` sends them, one connection for everybody; each engine has transactions of its
 * own. Kysely's own driver for SQLite waits for a lock at each statement and counts changed rows in bigints, which
 * nobody asks for: without both, issuing a key took a tenth less.
 */
export function driverOver(run: RunStatement): Driver {
  const connection: DatabaseConnection = {
    executeQuery: async <Row>({ sql, parameters }: CompiledQuery) => ({
      // What the columns hold is checked where rows become things of the domain.
      rows: (await run(sql, parameters)) as Row[],
    }),
    streamQuery: () => {
      throw new Error("Lists are read in pages, not streamed.");
    },
  };
  const noTransactions = async () => {
    throw new Error("Changes pass the engine's own transactions.");
  };
  return {
    init: async () => undefined,
    acquireConnection: async () => connection,
    releaseConnection: async () => undefined,
    beginTransaction: noTransactions,
    commitTransaction: noTransactions,
    rollbackTransaction: noTransactions,
    destroy: async () => undefined,
  };
}
