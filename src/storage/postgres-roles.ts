import { type ClientBase, escapeIdentifier } from "pg";
import type { AuthorityTables, EvidenceTables } from "./tables.ts";

type Table = keyof AuthorityTables | keyof EvidenceTables | "audit_head" | "schema_versions";
type Privileges = "select" | "select, insert" | "select, update" | "select, insert, update, delete";

const ALL = "select, insert, update, delete";

/**
 * What a serving process needs of each table. What stands in the log it may read and add to, and nothing else: whoever
 * takes over a process can't rewrite what it did (src/storage/postgres-roles.test.ts).
 */
const RUNTIME: Readonly<Record<Table, Privileges>> = {
  accounts: ALL,
  service_accounts: ALL,
  keys: ALL,
  digests: ALL,
  rotations: ALL,
  dismissals: ALL,
  brownouts: ALL,
  audit_entries: "select, insert",
  audit_subjects: "select, insert",
  audit_hidden_texts: "select, insert",
  audit_head: "select, update",
  idempotency_records: ALL,
  facts: ALL,
  callers: ALL,
  caller_counts: ALL,
  key_uses: ALL,
  usage_minutes: ALL,
  usage_hours: ALL,
  reporters: ALL,
  processes: ALL,
  claims: ALL,
  brownout_tallies: ALL,
  setup_tokens: ALL,
  schema_versions: "select",
};

/** Throws where there is no such role, or where it is the one that owns the tables: that one's rights are its own. */
export async function assertRuntimeRole(client: ClientBase, runtimeRole: string): Promise<void> {
  const { rows } = await client.query<{ is_own: boolean }>(
    "select rolname = current_user as is_own from pg_roles where rolname = $1",
    [runtimeRole],
  );
  const [found] = rows;
  if (found === undefined)
    throw new Error(
      `The server has no role "${runtimeRole}". Make it first (create role … login), or correct --runtime-role.`,
    );
  if (found.is_own)
    throw new Error(`--runtime-role names ${runtimeRole}, which owns the tables. Name the role that serves.`);
}

/** The roles that were given what `serve` needs: nobody else may add to the log. */
export async function runtimeRoles(client: ClientBase): Promise<readonly string[]> {
  const { rows } = await client.query<{ role: string }>(
    `select distinct pg_get_userbyid(grantee)::text as role from pg_class, aclexplode(relacl)
     where pg_class.oid = to_regclass('audit_entries') and privilege_type = 'INSERT' and grantee not in (0, relowner)`,
  );
  return rows.map(({ role }) => role);
}

/**
 * Gives a role what `serve` needs, and takes from it what it was given before. As the role that owns the tables, in a
 * transaction.
 */
export async function grantRuntime(client: ClientBase, runtimeRole: string): Promise<void> {
  const role = escapeIdentifier(runtimeRole);
  const { rows } = await client.query<{ schema: string }>("select current_schema() as schema");
  const schema = escapeIdentifier(rows[0]?.schema ?? "public");
  const statements = [
    `grant usage on schema ${schema} to ${role}`,
    ...Object.entries(RUNTIME).flatMap(([table, privileges]) => [
      `revoke all on ${escapeIdentifier(table)} from ${role}`,
      `grant ${privileges} on ${escapeIdentifier(table)} to ${role}`,
    ]),
  ];
  for (const statement of statements) await client.query(statement);
}
