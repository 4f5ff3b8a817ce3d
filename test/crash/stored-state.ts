import { Database } from "bun:sqlite";
import { expect } from "bun:test";
import { join } from "node:path";
import type { Selectable } from "kysely";
import { z } from "zod";
import { createChainCheck, type KnownHead } from "../../src/authority/audit/verify-chain.ts";
import { witnessedHeads } from "../../src/authority/audit/witness.ts";
import { describeKey } from "../../src/authority/keys/describe.ts";
import type { Key } from "../../src/authority/keys/key.ts";
import { describeRotation } from "../../src/authority/rotations/describe.ts";
import { inOverlap, isOpen, type Rotation } from "../../src/authority/rotations/rotation.ts";
import { describeServiceAccount } from "../../src/authority/service-accounts/describe.ts";
import { toKey, toRotation, toServiceAccount } from "../../src/storage/rows.ts";
import type {
  AuditEntryTable,
  DigestTable,
  IdempotencyTable,
  KeyTable,
  RotationTable,
  ServiceAccountTable,
} from "../../src/storage/tables.ts";
import { readWitnessFile } from "../../src/storage/witness-file.ts";

const entryText = z.object({
  operation: z.string(),
  subjects: z.array(
    z.object({
      kind: z.string(),
      id: z.string(),
      before: z.record(z.string(), z.unknown()).nullable(),
      after: z.record(z.string(), z.unknown()).nullable(),
    }),
  ),
});

/** Everything that one look at the files saw, in one transaction. */
export interface StoredState {
  readonly keys: ReadonlyMap<string, Key>;
  readonly rotations: ReadonlyMap<string, Rotation>;
  readonly entries: number;
}

/** What one look at the tables saw. */
export interface StoredRows {
  readonly entries: readonly Selectable<AuditEntryTable>[];
  readonly keys: readonly Selectable<KeyTable>[];
  readonly rotations: readonly Selectable<RotationTable>[];
  readonly owners: readonly Selectable<ServiceAccountTable>[];
  readonly digests: readonly Selectable<DigestTable>[];
  readonly records: readonly Selectable<IdempotencyTable>[];
}

/** The statements for them, in an order that the checks rely on. */
export const STORED_ROWS: Readonly<Record<keyof StoredRows, string>> = {
  entries: "select * from audit_entries order by seq",
  keys: "select * from keys",
  rotations: "select * from rotations",
  owners: "select * from service_accounts",
  digests: "select * from digests order by key_id, ordinal",
  records: "select * from idempotency_records",
};

/** Looks at what a crash left in a data folder, and holds it to itself and to what the witness saw. */
export function checkStored(data: string, witness: string): StoredState {
  // Read first: whatever it has seen by now is in the database already.
  const heads = witnessedHeads(readWitnessFile(witness));
  const file = new Database(join(data, "keyturn.db"), { readonly: true });
  try {
    file.run("pragma busy_timeout = 5000");
    const all = <Row>(statement: string) => file.query<Row, []>(statement).all();
    // The server is at work beside this: one snapshot for all that is compared.
    return file.transaction(() =>
      checkRows(
        {
          entries: all(STORED_ROWS.entries),
          keys: all(STORED_ROWS.keys),
          rotations: all(STORED_ROWS.rotations),
          owners: all(STORED_ROWS.owners),
          digests: all(STORED_ROWS.digests),
          records: all(STORED_ROWS.records),
        },
        heads,
      ),
    )();
  } finally {
    file.close();
  }
}

/**
 * Holds rows to each other: the chain is whole and goes through all that a witness saw, and the rows are what the log says
 * that they became: no change without its entry, no entry without its change.
 */
export function checkRows(rows: StoredRows, heads: readonly KnownHead[]): StoredState {
  const { entries, digests, records } = rows;
  checkChain(entries, heads);
  const told = replay(entries);
  const keys = rows.keys.map(toKey);
  const rotations = rows.rotations.map(toRotation);
  expect(told.of("key")).toEqual(byId(keys, describeKey));
  expect(told.of("rotation")).toEqual(byId(rotations, describeRotation));
  expect(told.of("service_account")).toEqual(byId(rows.owners.map(toServiceAccount), describeServiceAccount));
  const state = {
    keys: new Map(keys.map((key) => [key.id, key])),
    rotations: new Map(rotations.map((rotation) => [rotation.id, rotation])),
    entries: entries.length,
  };
  for (const rotation of rotations) checkPair(state, rotation);
  checkDigests(digests, keys, told.ordinals);
  for (const record of records) {
    const entry = entries[record.seq - 1];
    expect([record.operation, entry?.actor_id]).toEqual([entry?.operation ?? "no entry", record.actor_id]);
    for (const id of Object.values(JSON.parse(record.result))) expect(told.ids.has(String(id))).toBe(true);
  }
  return state;
}

function byId<T extends { readonly id: string }>(
  all: readonly T[],
  describe: (one: T) => Readonly<Record<string, unknown>>,
) {
  return Object.fromEntries(all.map((one) => [one.id, JSON.parse(JSON.stringify(describe(one)))]));
}

function checkChain(entries: readonly Selectable<AuditEntryTable>[], heads: readonly KnownHead[]): void {
  const check = createChainCheck(heads);
  for (const row of entries) {
    check.add({ seq: row.seq, text: row.entry, entryHash: row.entry_hash, chainHash: row.chain_hash });
  }
  expect(check.end()).toMatchObject({ ok: true, entries: entries.length, comparedWith: heads.length });
}

/** What the log says that everything is now: each entry's members over those before. */
function replay(entries: readonly Selectable<AuditEntryTable>[]) {
  const kinds = new Map<string, Map<string, Record<string, unknown>>>();
  const ordinals = new Map<string, number>();
  const ids = new Set<string>();
  for (const row of entries) {
    for (const { kind, id, before, after } of entryText.parse(JSON.parse(row.entry)).subjects) {
      const things = kinds.get(kind) ?? new Map<string, Record<string, unknown>>();
      kinds.set(kind, things);
      const known = things.get(id);
      // What was is what the log said before: an entry that was lost, or came twice, would show here.
      for (const [name, value] of Object.entries(before ?? {}))
        expect<unknown>([id, name, known?.[name] ?? null]).toEqual([id, name, value]);
      if (before === null && kind !== "installation") expect([id, known]).toEqual([id, undefined]);
      const { secret_ordinal: ordinal, ...members } = after ?? {};
      if (typeof ordinal === "number") ordinals.set(id, ordinal);
      things.set(id, { ...known, ...members });
      ids.add(id);
    }
  }
  return { of: (kind: string) => Object.fromEntries(kinds.get(kind) ?? []), ordinals, ids };
}

/** A rotation has both its keys, and each says of itself what the rotation's state makes of it. */
function checkPair({ keys }: Pick<StoredState, "keys">, rotation: Rotation): void {
  const old = keys.get(rotation.oldKeyId);
  const successor = keys.get(rotation.successorKeyId);
  const here = (key: Key | undefined) => key?.rotationId === rotation.id;
  const seen = {
    id: rotation.id,
    state: rotation.state,
    both: old !== undefined && successor !== undefined && old.lineageId === successor.lineageId,
    held: here(old) && here(successor),
    letGo: !here(old) && !here(successor),
  };
  expect(seen).toEqual({
    id: rotation.id,
    state: rotation.state,
    both: true,
    held: isOpen(rotation.state),
    letGo: !isOpen(rotation.state),
  });
  if (inOverlap(rotation.state)) expect(old?.suspensions).not.toContain("rotation");
  if (rotation.state === "completed") expect(old?.suspensions).toContain("rotation");
  if (rotation.state === "cancelled") expect(successor?.revokedAt).not.toBeNull();
  if (rotation.state === "closed") expect(old?.revokedAt).not.toBeNull();
}

/** Each key has one living secret, and as many dead ones before it as the log tells of. */
function checkDigests(
  digests: readonly Selectable<DigestTable>[],
  keys: readonly Key[],
  ordinals: ReadonlyMap<string, number>,
): void {
  const ofKey = Map.groupBy(digests, (digest) => digest.key_id);
  expect([...ofKey.keys()].sort()).toEqual(keys.map((key) => key.id).sort());
  for (const [id, rows] of ofKey) {
    const expected = Array.from({ length: ordinals.get(id) ?? 1 }, (_, index) => index + 1);
    expect([id, rows.map((row) => row.ordinal)]).toEqual([id, expected]);
    expect(rows.filter((row) => row.replaced_at === null).map((row) => row.ordinal)).toEqual(
      expected.slice(-1),
    );
  }
}

/** Uses by key, each counted alike in every table that counts it: a batch is applied whole or not at all. */
export function storedUsesByKey(data: string): ReadonlyMap<string, number> {
  const file = new Database(join(data, "evidence.db"), { readonly: true });
  try {
    file.run("pragma busy_timeout = 5000");
    return file.transaction(() => {
      const counts = (table: string) =>
        file
          .query<{ key_id: string; total: number }, []>(
            `select key_id, sum(count) as total from ${table} group by key_id order by key_id`,
          )
          .all();
      const hours = counts("usage_hours");
      expect(counts("usage_minutes")).toEqual(hours);
      expect(counts("caller_counts")).toEqual(hours);
      return new Map(hours.map((row) => [row.key_id, row.total]));
    })();
  } finally {
    file.close();
  }
}
