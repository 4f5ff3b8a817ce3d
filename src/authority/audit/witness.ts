import type { Instant } from "../time.ts";
import type { Subject } from "./entry.ts";
import type { KnownHead } from "./verify-chain.ts";

/** What must survive even if the database is put back to an older state. */
export interface Revocation {
  readonly kind: "key" | "service_account" | "secret";
  readonly id: string;
  /** For a replaced secret: every secret of the key before this ordinal is dead. */
  readonly ordinal?: number | undefined;
}

export interface WitnessLine {
  readonly seq: number;
  readonly chainHash: string;
  readonly at: Instant;
  readonly revoked: readonly Revocation[];
  /** A restore was accepted with this entry: what was witnessed from its number on belongs to a past that is gone. */
  readonly restored?: boolean | undefined;
}

/** A second place, meant to be on another disk, that is told of revocations before anybody gets the answer. */
export interface Witness {
  /** All of them with one sync. Durable when it returns; throws when they could not be written. */
  writeAll(lines: readonly WitnessLine[]): void;
}

/** Whether an operation accepts an earlier state of the database, which only somebody who answers for it may. */
export function isRestore(operation: string): boolean {
  return operation === "restore.merge" || operation === "restore.accept-loss";
}

/** The places in the chain that a log must go through: all that were witnessed, but for a past that was restored away. */
export function witnessedHeads(lines: readonly WitnessLine[]): readonly KnownHead[] {
  let heads: WitnessLine[] = [];
  for (const line of lines) {
    if (line.restored) heads = heads.filter((head) => head.seq < line.seq);
    heads.push(line);
  }
  return heads.map(({ seq, chainHash }) => ({ seq, chainHash }));
}

/** Up to which entry all revocations stand in the file: a head says so, and no line of a revocation or a restore does. */
export function vouchedSeq(lines: readonly WitnessLine[]): number {
  let heads: number[] = [];
  for (const { seq, revoked, restored } of lines) {
    if (restored) heads = heads.filter((head) => head < seq);
    else if (revoked.length === 0) heads.push(seq);
  }
  return heads.reduce((newest, head) => Math.max(newest, head), 0);
}

/** The revocations among an operation's subjects. */
export function revocationsIn(subjects: readonly Subject[]): readonly Revocation[] {
  return subjects.flatMap(({ kind, id, after }): Revocation[] => {
    if (kind === "key" && after?.state === "revoked") return [{ kind, id }];
    if (kind === "service_account" && after?.deleted === true) return [{ kind, id }];
    const ordinal = after?.secret_ordinal;
    if (kind === "key" && typeof ordinal === "number" && ordinal > 1)
      return [{ kind: "secret", id, ordinal }];
    return [];
  });
}
