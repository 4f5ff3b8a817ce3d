import { Database } from "bun:sqlite";
import { join } from "node:path";
import { AUTHORITY_FILE, openSqliteStorage } from "../src/storage/sqlite-storage.ts";
import { createRows, type Filled, type Filling, foundInstallation } from "./fill.ts";

/**
 * A data folder with a root key made through the gate, and keys written straight into the real schema: through the gate a
 * million would take minutes, and leave a million audit entries that no row of the bench looks at.
 */
export async function fillSqlite(folder: string, filling: Filling): Promise<Filled> {
  const { root, account } = await foundInstallation(openSqliteStorage(folder));
  const rows = createRows(filling);
  const file = new Database(join(folder, AUTHORITY_FILE));
  // A filled store is thrown away when the filling is cut short, so nothing has to be durable on the way.
  file.run("pragma synchronous = off");
  file.run("pragma journal_mode = wal");
  file.run("pragma cache_size = -262144");
  const indexes = file
    .query<{ name: string; sql: string }, []>(
      "select name, sql from sqlite_master where type = 'index' and tbl_name in ('keys', 'digests') and sql is not null",
    )
    .all();
  file.run("begin");
  // Built afterwards in one sorting pass each, from the schema's own text.
  for (const { name } of indexes) file.run(`drop index ${name}`);
  const addOwner = file.query(
    "insert into service_accounts (id, account_id, name, role, scopes, allowed_ips, created_at) values (?, ?, ?, 'editor', ?, null, ?)",
  );
  const addKey = file.query(
    `insert into keys (id, account_id, owner_id, lineage_id, kind, name, hint, role, scopes, allowed_ips, metadata,
       suspensions, created_at, expires_at, revoked_at, rotation_id)
     values (?, ?, ?, ?, 'service', ?, ?, null, null, null, '{}', '[]', ?, ?, null, null)`,
  );
  const addDigest = file.query(
    "insert into digests (key_id, ordinal, algorithm, selector, digest, replaced_at) values (?, 1, 'sha256', null, ?, null)",
  );
  rows.make(0, filling.keys, {
    owner: ({ id, name, scopes, createdAt }) => void addOwner.run(id, account, name, scopes, createdAt),
    key: ({ id, owner, lineage, name, hint, createdAt, expiresAt, digest }) => {
      addKey.run(id, account, owner, lineage, name, hint, createdAt, expiresAt);
      addDigest.run(id, digest);
    },
  });
  for (const { sql } of indexes) file.run(sql);
  file.run("commit");
  file.run("pragma wal_checkpoint(truncate)");
  file.close();
  return {
    engine: "SQLite",
    place: { KEYTURN_DATA: folder },
    root,
    keys: filling.keys,
    owners: rows.owners,
    ids: rows.ids,
  };
}
