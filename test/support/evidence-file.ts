import { Database } from "bun:sqlite";
import { join } from "node:path";

/** What a data folder's evidence file holds of one key's uses, counted over all verdicts. */
export function storedUses(data: string, key: string): number {
  const file = new Database(join(data, "evidence.db"), { readonly: true });
  try {
    file.run("pragma busy_timeout = 5000");
    const row = file
      .query<{ total: number | null }, [string]>(
        "select sum(count) as total from usage_hours where key_id = ?",
      )
      .get(key);
    return row?.total ?? 0;
  } finally {
    file.close();
  }
}

export interface Session {
  readonly id: string;
  readonly from: number;
  readonly until: number;
  readonly ended: "clean" | "unclean" | null;
}

/** The sessions of verifying processes, oldest first. */
export function sessionsOf(data: string): readonly Session[] {
  const file = new Database(join(data, "evidence.db"), { readonly: true });
  try {
    file.run("pragma busy_timeout = 5000");
    return file
      .query<Session, []>(
        'select id, covers_from as "from", covers_until as "until", ended from reporters order by covers_from, id',
      )
      .all();
  } finally {
    file.close();
  }
}
