import type { Authority } from "../authority.ts";
import { ceilingOf, type Freshness, freshnessOf, weakest } from "../freshness.ts";
import { type Key, type Owner, rightsOf } from "../keys/key.ts";
import type { ServingProcess } from "../storage.ts";

/** Whether a change is in force everywhere. */
export interface Propagation {
  /** Every process has applied it, or may not judge the keys any more by what it knew before. */
  readonly everywhere: boolean;
  /** The names of the processes that have not said that they applied it. */
  readonly silent: readonly string[];
}

/** How long anybody is waited for where no ceiling says that it is over. */
const LONGEST_WAIT_MS = 15_000;
const PAUSE_MS = 20;

/** What the key is promised. */
export function freshnessOfKey(key: Key, owner: Owner): Freshness {
  return freshnessOf(key.freshness, rightsOf(key, owner).scopes);
}

/**
 * `wait=all`: resolves when every process has applied the entry, or the ceiling of the keys it is about has passed since
 * it was durable. With `static` keys among them there is no ceiling: then whoever is silent after 15 s is named.
 *
 * The ceiling is that of the silent processes: each was given its own, and one that differs must not be contradicted.
 *
 * `affected` is what the keys ask for now. A process that is silent may not have heard yet that they ask for more than
 * before, so what it last knew counts as well.
 */
export async function awaitAll(
  authority: Authority,
  seq: number,
  affected: readonly Freshness[],
): Promise<Propagation> {
  const { clock } = authority;
  // The entry is durable by now, so a ceiling that is counted from here ends late, if anything.
  const since = clock.monotonic();
  const beforeThat = createUnheard(authority);
  let silent: readonly ServingProcess[] | null = null;
  for (;;) {
    silent = await silentAbout(authority, seq, silent);
    if (silent?.length === 0) return { everywhere: true, silent: [] };
    const waited = clock.monotonic() - since;
    const known = silent === null || silent.some(isInDoubt) ? STATIC : await beforeThat(silent);
    const boundedSeconds = Math.max(0, ...(silent ?? []).map((one) => one.boundedSeconds));
    const ceiling = ceilingOf(weakest([...affected, ...known]), boundedSeconds);
    const names = silent?.map(({ name }) => name) ?? [authority.process.name];
    if (ceiling !== null && waited > ceiling) return { everywhere: true, silent: names };
    if (ceiling === null && waited > LONGEST_WAIT_MS) return { everywhere: false, silent: names };
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

/** One that finds the log not to go on says so by this, and its numbers are those of another log. */
function isInDoubt({ stalenessMs }: ServingProcess): boolean {
  return stalenessMs === null;
}

/** Who has not said that it applied the entry; as it was last known where the list can't be read. */
async function silentAbout(
  { storage, follower, process }: Authority,
  seq: number,
  lastKnown: readonly ServingProcess[] | null,
): Promise<readonly ServingProcess[] | null> {
  let processes: readonly ServingProcess[];
  try {
    processes = await storage.cluster.processes();
  } catch {
    return lastKnown;
  }
  return processes
    .map((one) =>
      one.id === process.id ? { ...one, appliedSeq: follower.appliedSeq(), stalenessMs: 0 } : one,
    )
    .filter((one) => one.appliedSeq < seq || isInDoubt(one));
}

const STATIC: readonly Freshness[] = ["static"];
const MOST_UNHEARD = 1_000;

/** What was asked for keys that changed, before they did, in the entries that somebody has not heard of. */
function createUnheard({ storage }: Authority) {
  let from: number | null = null;
  let known: readonly Freshness[] = [];
  return async (silent: readonly ServingProcess[]): Promise<readonly Freshness[]> => {
    const lowest = Math.min(...silent.map(({ appliedSeq }) => appliedSeq));
    if (from !== null && from <= lowest) return known;
    try {
      // Whoever has missed more than that has missed who knows what.
      known = (await storage.read.audit.freshnessBefore(lowest, MOST_UNHEARD)) ?? STATIC;
      from = lowest;
      return known;
    } catch {
      return STATIC;
    }
  };
}
