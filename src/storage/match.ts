import type { Database } from "bun:sqlite";
import { type Kysely, type Selectable, sql } from "kysely";
import type { Matched } from "../authority/keys/verdict.ts";
import { type OwnedKeyRow, ownedKeys, toOwnedKey } from "./key-store.ts";
import { unavailable } from "./postgres-faults.ts";
import { prepare, soughtText } from "./prepared.ts";
import { toBrownout, toRotation } from "./rows.ts";
import type { AuditHeadTable, AuthorityTables, BrownoutTable, RotationTable } from "./tables.ts";

type Db = Kysely<AuthorityTables>;
type MatchRow = OwnedKeyRow & { readonly replaced_at: number | null };

const keyWith = (db: Db, digest: string) =>
  ownedKeys(db)
    .innerJoin("digests", "digests.key_id", "keys.id")
    .select("digests.replaced_at")
    .where("digests.digest", "=", soughtText(digest))
    .where("digests.algorithm", "=", sql.lit("sha256"));

const rotationWith = (db: Db, id: string) => db.selectFrom("rotations").selectAll().where("id", "=", id);

const brownoutOf = (db: Db, rotation: string) =>
  db
    .selectFrom("brownouts")
    .selectAll()
    .where("rotation_id", "=", rotation)
    .where("stopped_at", "is", null)
    .orderBy("ends_at", "desc")
    .limit(sql.lit(1));

function matched(
  row: MatchRow,
  rotation: Selectable<RotationTable> | null | undefined,
  brownout: Selectable<BrownoutTable> | null | undefined,
): Matched {
  return {
    ...toOwnedKey(row),
    replaced: row.replaced_at !== null,
    rotation: rotation ? toRotation(rotation) : null,
    brownout: brownout ? toBrownout(brownout) : null,
  };
}

/** The look-up of a verification that nobody has cached: three statements at most, compiled once, synchronous. */
export function createMatch(db: Db, file: Database): (digest: string) => Matched | null {
  const byDigest = file.query<MatchRow, [string]>(keyWith(db, "").compile().sql);
  const rotation = file.query<Selectable<RotationTable>, [string]>(rotationWith(db, "").compile().sql);
  const brownout = file.query<Selectable<BrownoutTable>, [string]>(brownoutOf(db, "").compile().sql);
  return (digest) => {
    const row = byDigest.get(digest);
    if (row === null) return null;
    const { rotation_id } = row;
    if (rotation_id === null) return matched(row, null, null);
    return matched(row, rotation.get(rotation_id), brownout.get(rotation_id));
  };
}

/**
 * The same across a network: one round trip for a key in no rotation, a second one for both of the rest. A key of a
 * database that ends before `atLeast` is no answer: it was put back to an older state, and nobody has noticed yet.
 */
export function createRemoteMatch(db: Db): (digest: string, atLeast?: number) => Promise<Matched | null> {
  const byDigest = prepare(db, (at: { digest: string }) =>
    keyWith(db, at.digest).select(sql<number | null>`(select seq from audit_head)`.as("head_seq")),
  );
  const heads = db.withTables<{ audit_head: AuditHeadTable }>();
  const head = prepare(db, () => heads.selectFrom("audit_head").select("seq as head_seq"));
  const rotation = prepare(db, (at: { id: string }) => rotationWith(db, at.id));
  const brownout = prepare(db, (at: { rotation: string }) => brownoutOf(db, at.rotation));
  return async (digest, atLeast = 0) => {
    const [row] = await byDigest({ digest });
    const [end] = row === undefined && atLeast > 0 ? await head({}) : [row];
    if ((end?.head_seq ?? 0) < atLeast) throw unavailable(new Error(`the log ends before entry ${atLeast}`));
    if (row === undefined) return null;
    const { rotation_id } = row;
    if (rotation_id === null) return matched(row, null, null);
    const [[inRotation], [inBrownout]] = await Promise.all([
      rotation({ id: rotation_id }),
      brownout({ rotation: rotation_id }),
    ]);
    return matched(row, inRotation, inBrownout);
  };
}
