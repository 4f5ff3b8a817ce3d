import { Database } from "bun:sqlite";
import { expect } from "bun:test";
import { appendFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readConfig } from "../../src/config.ts";
import { assertServable, openInstallation } from "../../src/host/open.ts";
import { readWitnessFile } from "../../src/storage/witness-file.ts";
import { checkStored, storedUsesByKey } from "../crash/stored-state.ts";
import type { Acknowledged } from "./acknowledged.ts";
import type { Image } from "./disk.ts";

/** The witness of a recorded server stands beside its files, so that the power is cut for all of them. */
export const WITNESS = "witness.jsonl";

/** The chain hash of each entry, by its number. */
export type Chain = ReadonlyMap<number, string>;

/** The log of an installation that lost nothing. */
export function chainOf(data: string): Chain {
  const file = new Database(join(data, "keyturn.db"), { readonly: true });
  try {
    const rows = file.query<{ seq: number; chain_hash: string }, []>(
      "select seq, chain_hash from audit_entries",
    );
    return new Map(rows.all().map((row) => [row.seq, row.chain_hash]));
  } finally {
    file.close();
  }
}

/**
 * Opens what a power cut left as a server would, and holds it to itself: the chain is whole, the rows are what it says,
 * no batch of usage is half applied. Resolves to the number of entries that were acknowledged, or seen by the witness,
 * and are not there. Where none is missing, the newest of them is the very one that was made, and what was revoked is
 * refused.
 */
export async function missingIn(
  image: Image,
  folder: string,
  acknowledged: readonly Acknowledged[],
  chain: Chain,
): Promise<number> {
  rmSync(folder, { recursive: true, force: true });
  const data = join(folder, "data");
  mkdirSync(data, { recursive: true });
  for (const [name, content] of image) writeFileSync(join(data, name), content);
  const witness = join(data, WITNESS);

  const config = readConfig({ KEYTURN_DATA: data, KEYTURN_WITNESS_FILE: witness });
  const { authority, close } = await openInstallation(config);
  try {
    const { seq } = await authority.storage.read.audit.head();
    const lines = readWitnessFile(witness);
    const newest = [...acknowledged, ...lines].reduce((most, one) => Math.max(most, one.seq), 0);
    const missing = Math.max(0, newest - seq);
    // As if the witness had written this head at that moment: a server that finds another does not serve.
    if (missing === 0 && newest > 0) appendFileSync(witness, headLine(newest, chain));
    const stored = checkStored(data, missing > 0 ? join(folder, "no witness") : witness);
    storedUsesByKey(data);
    if (missing > 0) return missing;
    const witnessed = new Set(lines.flatMap((line) => line.revoked.map(({ id }) => id)));
    await assertServable(authority, config);
    for (const { revoked } of acknowledged) {
      if (revoked === null) continue;
      expect([revoked.id, stored.keys.get(revoked.id)?.revokedAt ?? null]).not.toEqual([revoked.id, null]);
      expect(witnessed).toContain(revoked.id);
      if (revoked.secret === undefined) continue;
      const verdict = await authority.verifier.verify(revoked.secret, {}, {}, null);
      expect([revoked.id, verdict.code]).toEqual([revoked.id, "revoked"]);
    }
    return 0;
  } finally {
    await close();
  }
}

function headLine(seq: number, chain: Chain): string {
  const head = { seq, chain_hash: chain.get(seq), at: 0, revoked: [] };
  return `${JSON.stringify(head)}\n`;
}
