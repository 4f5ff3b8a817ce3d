/**
 * Compares `src/storage/schema.sql` with what the migrations make of an empty database, so that a change of the schema
 * is seen whole in review. `bun scripts/check-schema.ts --write` writes it anew.
 */
import { Database } from "bun:sqlite";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AUTHORITY_MIGRATIONS, EVIDENCE_MIGRATIONS, migrate } from "../src/storage/migrate.ts";

const DUMP = join(import.meta.dir, "../src/storage/schema.sql");

/** What SQLite remembers of a file's tables and indexes, tables first, in the order of their names. */
function dumpSchema(steps: readonly string[]): string {
  const file = new Database(":memory:");
  migrate(file, steps);
  const rows = file
    .query<{ sql: string }, []>(
      "select sql from sqlite_schema where sql is not null order by tbl_name, type desc, name",
    )
    .all();
  file.close();
  return rows.map(({ sql }) => `${sql};\n`).join("");
}

function schemaText(): string {
  return [
    "-- Made by scripts/check-schema.ts from the migrations; not to be edited.\n",
    "\n-- keyturn.db\n\n",
    dumpSchema(AUTHORITY_MIGRATIONS),
    "\n-- evidence.db\n\n",
    dumpSchema(EVIDENCE_MIGRATIONS),
  ].join("");
}

if (import.meta.main) {
  const text = schemaText();
  if (process.argv.includes("--write")) {
    writeFileSync(DUMP, text);
  } else if (readFileSync(DUMP, "utf8") !== text) {
    console.error(
      "src/storage/schema.sql is not what the migrations make: bun scripts/check-schema.ts --write",
    );
    process.exitCode = 1;
  }
}
