import { join } from "node:path";
import type { Place } from "../support/installation.ts";
import { SEED } from "../support/random.ts";
import type { Ledger } from "./acknowledged.ts";
import { createDisk, LEFTOVERS } from "./disk.ts";
import { chainOf, missingIn } from "./left.ts";
import type { Recorded } from "./recording.ts";

/** What was asked of the disk, and what was answered meanwhile. */
export interface Run {
  readonly place: Place;
  readonly recorded: readonly Recorded[];
  readonly ledger: Ledger;
}

/** Cuts the power after so many calls, once for each number, and counts the times that something acknowledged was gone. */
export async function cutPower(
  { place, recorded, ledger }: Run,
  moments: readonly number[],
  random: () => number,
): Promise<number> {
  const chain = chainOf(place.data);
  const disk = createDisk();
  let losses = 0;
  let done = 0;
  for (const [n, moment] of moments.toSorted((a, b) => a - b).entries()) {
    for (; done < moment; done += 1) {
      const next = recorded[done];
      if (next !== undefined) disk.apply(next.asked);
    }
    const leftover = LEFTOVERS[n % LEFTOVERS.length] ?? "nothing";
    const length = recorded[moment - 1]?.end ?? 0;
    const acknowledged = ledger.acknowledged.filter(({ end }) => end <= length);
    const image = disk.afterPowerCut(leftover, random);
    try {
      const missing = await missingIn(image, join(place.folder, "left"), acknowledged, chain);
      if (missing > 0) losses += 1;
    } catch (error) {
      console.error(`KEYTURN_TEST_SEED=${SEED}: power cut ${n}, after call ${moment}, ${leftover} left`);
      throw error;
    }
  }
  return losses;
}

/** Half of them right after an answer, when something may be missing; the others anywhere. */
export function momentsOf({ recorded, ledger }: Run, count: number, random: () => number): readonly number[] {
  return Array.from({ length: count }, (_, n) => {
    if (n % 2 === 1) return Math.floor(random() * (recorded.length + 1));
    const answered = ledger.acknowledged[Math.floor(random() * ledger.acknowledged.length)];
    return callsUntil(recorded, answered?.end ?? 0);
  });
}

/** How many calls stand in the record up to a length. */
export function callsUntil(recorded: readonly Recorded[], length: number): number {
  const after = recorded.findIndex((one) => one.end > length);
  return after < 0 ? recorded.length : after;
}
