import { type Compilable, type CompiledQuery, type Kysely, type RawBuilder, sql } from "kysely";
import type { RunStatement } from "./driver.ts";

/** Stands in a query for the value that each run brings along. */
class Slot {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/**
 * A query whose shape never changes: kysely builds and compiles it at its first run, later runs only bind values. To
 * build and compile took 30 to 60 µs a query, half of what issuing a key cost; to bind takes 3 µs.
 *
 * `build` sees a slot in place of every member of the input, so it can pass members on and not look at them. Every
 * input must have the same members.
 */
export function prepare<Tables, Input extends object, Row>(
  db: Kysely<Tables>,
  build: (input: Input) => Compilable<Row>,
): (input: Input) => Promise<Row[]> {
  let compiled: CompiledQuery<Row> | undefined;
  return async (input) => {
    compiled ??= build(slotsFor(input)).compile();
    const parameters = compiled.parameters.map((one) =>
      one instanceof Slot ? input[one.name as keyof Input] : one,
    );
    const run = straight.get(db);
    // What the columns hold is checked where rows become things of the domain.
    if (run !== undefined) return run(compiled.sql, parameters) as Row[] | Promise<Row[]>;
    const bound: CompiledQuery<Row> = { ...compiled, parameters };
    return (await db.executeQuery(bound)).rows;
  };
}

const straight = new WeakMap<object, RunStatement>();

/**
 * Lets the prepared queries of `db` pass by kysely: a row of a flush took 31 µs with its promises, 7 without. On
 * PostgreSQL it is how they become prepared statements of the server.
 */
export function runStraight(db: object, run: RunStatement): void {
  straight.set(db, run);
}

function slotsFor<Input extends object>(input: Input): Input {
  return Object.fromEntries(Object.keys(input).map((name) => [name, new Slot(name)])) as Input;
}

/**
 * A text to look rows up by in a join. Where SQLite's planner meets a bare parameter there, it looks at the value, and
 * so compiles the statement anew for every other one: 18 µs to find a digest's key instead of 2.5. It doesn't look into
 * a cast. For the same reason the limit of a prepared query is a literal.
 */
export function soughtText(text: string): RawBuilder<string> {
  return sql<string>`cast(${text} as text)`;
}
