import type { Database } from "bun:sqlite";
import { type Kysely, type Selectable, sql } from "kysely";
import type { Matched } from "../authority/keys/verdict.ts";
import { type OwnedKeyRow, ownedKeys, toOwnedKey } from "./key-store.ts";
import { soughtText } from "./prepared.ts";
import { toBrownout, toRotation } from "./rows.ts";
import type { AuthorityTables, BrownoutTable, RotationTable } from "./tables.ts";

type MatchRow = OwnedKeyRow & { readonly replaced_at: number | null };

/** The look-up of a verification that nobody has cached: three statements at most, compiled once, synchronous. */
export function createMatch(db: Kysely<AuthorityTables>, file: Database): (digest: string) => Matched | null {
  const byDigest = file.query<MatchRow, [string]>(
    ownedKeys(db)
      .innerJoin("digests", "digests.key_id", "keys.id")
      .select("digests.replaced_at")
      .where("digests.digest", "=", soughtText(""))
      .where("digests.algorithm", "=", sql.lit("sha256"))
      .compile().sql,
  );
  const rotation = file.query<Selectable<RotationTable>, [string]>(
    db.selectFrom("rotations").selectAll().where("id", "=", "").compile().sql,
  );
  const brownout = file.query<Selectable<BrownoutTable>, [string]>(
    db
      .selectFrom("brownouts")
      .selectAll()
      .where("rotation_id", "=", "")
      .where("stopped_at", "is", null)
      .orderBy("ends_at", "desc")
      .limit(sql.lit(1))
      .compile().sql,
  );
  return (digest) => {
    const row = byDigest.get(digest);
    if (row === null) return null;
    const inRotation = row.rotation_id === null ? null : rotation.get(row.rotation_id);
    const inBrownout = row.rotation_id === null ? null : brownout.get(row.rotation_id);
    return {
      ...toOwnedKey(row),
      replaced: row.replaced_at !== null,
      rotation: inRotation === null ? null : toRotation(inRotation),
      brownout: inBrownout === null ? null : toBrownout(inBrownout),
    };
  };
}
