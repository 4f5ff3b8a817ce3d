import type { Database } from "bun:sqlite";
import authority001 from "./migrations/001-authority.sql" with { type: "text" };
import evidence001 from "./migrations/001-evidence.sql" with { type: "text" };
import evidence002 from "./migrations/002-cluster.sql" with { type: "text" };
import authority002 from "./migrations/002-freshness.sql" with { type: "text" };
import authority003 from "./migrations/003-roots.sql" with { type: "text" };

/** The numbered steps of each file, oldest first. A step that was released never changes. */
export const AUTHORITY_MIGRATIONS: readonly string[] = [authority001, authority002, authority003];
export const EVIDENCE_MIGRATIONS: readonly string[] = [evidence001, evidence002];

/**
 * Brings a file to the newest schema, each step in a transaction of its own. The number of steps taken stands in
 * `user_version`. Throws for a file of a newer version: an older program must not write to it.
 */
export function migrate(file: Database, steps: readonly string[]): void {
  const version = schemaVersion(file);
  if (version > steps.length) {
    throw new Error(
      `The database has schema version ${version}; this program knows ${steps.length}. Use a newer one.`,
    );
  }
  for (const [index, step] of steps.entries()) {
    if (index < version) continue;
    file
      .transaction(() => {
        // Another process may have taken the step while this one waited for the lock.
        if (schemaVersion(file) > index) return;
        file.run(step);
        file.run(`pragma user_version = ${index + 1}`);
      })
      .immediate();
  }
}

/** How many steps a file has taken. */
export function schemaVersion(file: Database): number {
  const row = file.query<{ user_version: number }, []>("pragma user_version").get();
  return row?.user_version ?? 0;
}
