import type { Database } from "bun:sqlite";
import { type Kysely, sql } from "kysely";
import type { Matched } from "../authority/keys/verdict.ts";
import { ownRights, toBrownout, toKey, toRotation } from "./rows.ts";
import type { AuthorityTables, BrownoutTable, KeyTable, RotationTable } from "./tables.ts";
import type { ServiceAccountId } from "../authority/ids.ts";
import type { Selectable } from "kysely";

type MatchRow = Selectable<KeyTable> & {
  readonly replaced_at: number | null;
  readonly owner_role: string | null;
  readonly owner_scopes: string | null;
  readonly owner_allowed_ips: string | null;
  readonly owner_disabled_at: number | null;
  readonly owner_deleted_at: number | null;
  readonly account_suspended_at: number | null;
};

/** The look-up of a verification that nobody has cached: three statements at most, compiled once, synchronous. */
export function createMatch(db: Kysely<AuthorityTables>, file: Database): (digest: string) => Matched | null {
  const key = file.query<MatchRow, [string]>(keyQuery(db).sql);
  const rotation = file.query<Selectable<RotationTable>, [string]>(
    db.selectFrom("rotations").selectAll().where("id", "=", "").compile().sql,
  );
  const brownout = file.query<Selectable<BrownoutTable>, [string]>(
    db
      .selectFrom("brownouts")
      .selectAll()
      .where("rotation_id", "=", "")
      .where("stopped_at", "is", null)
      .orderBy("ends_at", sql`desc`)
      .limit(sql.lit(1))
      .compile().sql,
  );
  return (digest) => {
    const row = key.get(digest);
    if (row === null) return null;
    const inRotation = row.rotation_id === null ? null : rotation.get(row.rotation_id);
    const inBrownout = row.rotation_id === null ? null : brownout.get(row.rotation_id);
    return toMatched(row, inRotation, inBrownout);
  };
}

function keyQuery(db: Kysely<AuthorityTables>) {
  return db
    .selectFrom("digests")
    .innerJoin("keys", "keys.id", "digests.key_id")
    .innerJoin("service_accounts as owner", "owner.id", "keys.owner_id")
    .innerJoin("accounts", "accounts.id", "keys.account_id")
    .selectAll("keys")
    .select([
      "digests.replaced_at",
      "owner.role as owner_role",
      "owner.scopes as owner_scopes",
      "owner.allowed_ips as owner_allowed_ips",
      "owner.disabled_at as owner_disabled_at",
      "owner.deleted_at as owner_deleted_at",
      "accounts.suspended_at as account_suspended_at",
    ])
    .where("digests.digest", "=", "")
    .where("digests.algorithm", "=", sql.lit("sha256"))
    .compile();
}

function toMatched(
  row: MatchRow,
  rotation: Selectable<RotationTable> | null,
  brownout: Selectable<BrownoutTable> | null,
): Matched {
  return {
    key: toKey(row),
    owner: {
      id: row.owner_id as ServiceAccountId,
      own: ownRights({ role: row.owner_role, scopes: row.owner_scopes, allowed_ips: row.owner_allowed_ips }),
      disabledAt: row.owner_disabled_at,
      deletedAt: row.owner_deleted_at,
    },
    accountSuspended: row.account_suspended_at !== null,
    replaced: row.replaced_at !== null,
    rotation: rotation === null ? null : toRotation(rotation),
    brownout: brownout === null ? null : toBrownout(brownout),
  };
}
