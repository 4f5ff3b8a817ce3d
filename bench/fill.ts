import { Database } from "bun:sqlite";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { createAuthority } from "../src/authority/authority.ts";
import { SYSTEM_CLOCK } from "../src/authority/clock.ts";
import { newId } from "../src/authority/ids.ts";
import { perform } from "../src/authority/operation.ts";
import { digestOf, hintOf, mintSecret, type SecretFormat } from "../src/authority/secret.ts";
import { HOST, recover } from "../src/authority/setup/setup.ts";
import { AUTHORITY_FILE, openSqliteStorage } from "../src/storage/sqlite-storage.ts";

export const FORMAT: SecretFormat = { brand: "kt", retiredBrands: [], region: null };

/** Keys to a service account, as a product with many customers would have them. */
const KEYS_PER_OWNER = 100;
/** Rows to an INSERT. 1 row: 9.5 s for a million keys and digests; 20 rows: see docs/benchmarks.md. */
const KEY_SPAN_MS = 90 * 86_400_000;

export interface Filled {
  readonly folder: string;
  readonly root: string;
  readonly keys: number;
}

/** The secret of the key with this number: derived, so that every process of the bench can make it again. */
export function secretOf(number: number): string {
  const seed = createHash("sha512").update(`keyturn bench ${number}`).digest();
  return mintSecret(FORMAT, "service", (size) => seed.subarray(0, size));
}

/**
 * A data folder with a root key made through the gate, and `keys` more written straight into the real schema: through
 * the gate a million would take minutes, and leave a million audit entries that no row of the bench looks at.
 */
export async function fillStore(folder: string, keys: number): Promise<Filled> {
  const storage = openSqliteStorage(folder);
  const authority = await createAuthority({
    settings: { format: FORMAT, callerAddress: "full", flushSeconds: 1, cacheKeys: 1_000 },
    storage,
    clock: SYSTEM_CLOCK,
    random: (size) => crypto.getRandomValues(new Uint8Array(size)),
    witness: null,
  });
  const { output: root } = await perform(authority, recover, HOST, {});
  await storage.close();
  insertKeys(join(folder, AUTHORITY_FILE), root.key.accountId, keys);
  return { folder, root: root.secret, keys };
}

function insertKeys(path: string, account: string, keys: number): void {
  const file = new Database(path);
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
  const now = Date.now();
  let owner = "";
  for (let number = 0; number < keys; number += 1) {
    if (number % KEYS_PER_OWNER === 0) {
      owner = newId("sa");
      const scopes = JSON.stringify(["invoices:read", "invoices:write", "customers:read"]);
      addOwner.run(owner, account, `team-${number / KEYS_PER_OWNER}`, scopes, now);
    }
    const secret = secretOf(number);
    const id = newId("key");
    addKey.run(id, account, owner, newId("lin"), `key-${number}`, hintOf(secret), now, now + KEY_SPAN_MS);
    addDigest.run(id, digestOf(secret));
  }
  for (const { sql } of indexes) file.run(sql);
  file.run("commit");
  file.run("pragma wal_checkpoint(truncate)");
  file.close();
}
