import { expect, test } from "bun:test";
import { readConfig } from "../config.ts";
import { migrateSchema, migrateStore } from "./migrate-store.ts";
import { HostError } from "./open.ts";
import { backUp, restore } from "./restore.ts";

const embedded = readConfig({ KEYTURN_DATA: "/nowhere" });
const database = readConfig({ KEYTURN_DATABASE_URL: "postgres://127.0.0.1:1/keyturn" });
const plan = { to: undefined, runtimeRole: undefined, cancel: false, acceptLoss: false };

/** What people are told who ask for something that can't be done there. */
const REFUSED: readonly (readonly [string, () => unknown, RegExp])[] = [
  [
    "migrate without a PostgreSQL database",
    () => migrateSchema(embedded, undefined, () => {}),
    /KEYTURN_DATABASE_URL: names no/,
  ],
  ["migrate-store to nowhere", () => migrateStore(embedded, plan, () => {}), /--to: name the database/],
  [
    "migrate-store to something else than PostgreSQL",
    () => migrateStore(embedded, { ...plan, to: "mysql://db/keyturn" }, () => {}),
    /--to: name the database/,
  ],
  [
    "migrate-store from a folder that holds nothing",
    () => migrateStore(embedded, { ...plan, to: "postgres://db/keyturn" }, () => {}),
    /There is no installation in \/nowhere/,
  ],
  [
    "backup of a PostgreSQL database",
    () => backUp(database, "/nowhere/copy"),
    /by its own tools, such as pg_dump/,
  ],
  [
    "restore of a folder into a PostgreSQL database",
    () => restore(database, { from: "/nowhere/copy", witnessFile: undefined, acceptLoss: true }),
    /--from: a PostgreSQL database is put back by its own tools/,
  ],
];

for (const [what, attempt, said] of REFUSED) {
  test(`${what} is refused with the way out, before anything is touched`, async () => {
    const error = await Promise.resolve()
      .then(attempt)
      .then(
        () => null,
        (thrown: unknown) => thrown,
      );
    expect(error).toBeInstanceOf(HostError);
    expect(error instanceof Error ? error.message : "").toMatch(said);
  });
}
