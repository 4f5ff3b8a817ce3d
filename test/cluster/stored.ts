import { expect } from "bun:test";
import { Client } from "pg";
import type { KnownHead } from "../../src/authority/audit/verify-chain.ts";
import { witnessedHeads } from "../../src/authority/audit/witness.ts";
import { POSTGRES_TYPES } from "../../src/storage/engine.ts";
import { readWitnessFile } from "../../src/storage/witness-file.ts";
import { checkRows, STORED_ROWS, type StoredRows, type StoredState } from "../crash/stored-state.ts";
import type { Cluster } from "../support/cluster.ts";

/** What is stored, held to itself and to what the witness of each process has seen. */
export async function checkCluster(cluster: Cluster): Promise<StoredState> {
  // Read first: whatever they have seen by now is in the database already.
  const heads = cluster.members().flatMap(({ place }) => headsIn(place.witness));
  return checkRows(await storedRows(cluster.databaseUrl()), heads);
}

function headsIn(witness: string): readonly KnownHead[] {
  return witnessedHeads(readWitnessFile(witness));
}

function storedRows(url: string): Promise<StoredRows> {
  return inSnapshot(url, async (all) => ({
    entries: await all(STORED_ROWS.entries),
    keys: await all(STORED_ROWS.keys),
    rotations: await all(STORED_ROWS.rotations),
    owners: await all(STORED_ROWS.owners),
    digests: await all(STORED_ROWS.digests),
    records: await all(STORED_ROWS.records),
  }));
}

/** Uses by key, each counted alike in every table that counts it: a batch is applied whole or not at all. */
export function usesByKey(url: string): Promise<ReadonlyMap<string, number>> {
  return inSnapshot(url, async (all) => {
    const counts = (table: string) =>
      all<{ key_id: string; total: string }>(
        `select key_id, sum(count)::text as total from ${table} group by key_id order by key_id`,
      );
    const hours = await counts("usage_hours");
    expect(await counts("usage_minutes")).toEqual(hours);
    expect(await counts("caller_counts")).toEqual(hours);
    return new Map(hours.map(({ key_id, total }) => [key_id, Number(total)]));
  });
}

type All = <Row>(statement: string) => Promise<Row[]>;

async function inSnapshot<T>(url: string, read: (all: All) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url, types: POSTGRES_TYPES });
  await client.connect();
  try {
    await client.query("begin isolation level repeatable read read only");
    return await read(async <Row>(statement: string) => (await client.query(statement)).rows as Row[]);
  } finally {
    await client.end();
  }
}
