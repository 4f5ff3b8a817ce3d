import { Refusal } from "../errors.ts";
import type { BrownoutId } from "../ids.ts";
import type { BrownoutHit, ClusterStore } from "../storage.ts";
import type { Brownout } from "./brownout.ts";

/** What was counted of a brownout that is running, before it is stored. */
export interface BrownoutTally {
  readonly refusals: number;
  readonly callersHit: readonly string[];
  readonly spent: "callers" | "refusals" | null;
}

/**
 * Counts the refusals of brownouts that are running. Each is counted here at once, and told to the other processes in
 * the next moment: a threshold is overrun by no more than what is refused while a report is under way.
 */
export interface BrownoutCounts {
  hit(brownout: Brownout, caller: string): void;
  isSpent(id: BrownoutId): boolean;
  tallyOf(id: BrownoutId): BrownoutTally | null;
  /** What all processes have counted. What can't be asked for is left out. */
  total(brownout: Brownout): Promise<BrownoutTally>;
}

interface LiveCount {
  readonly brownout: Brownout;
  refusals: number;
  readonly callers: Set<string>;
  unsent: Map<string, number>;
  sending: Promise<void> | null;
}

export function createBrownoutCounts(cluster: Pick<ClusterStore, "countBrownout">): BrownoutCounts {
  const counts = new Map<BrownoutId, LiveCount>();

  function countOf(brownout: Brownout): LiveCount {
    const had = counts.get(brownout.id);
    if (had !== undefined) return had;
    const { refusals, callersHit } = brownout;
    const fresh = { brownout, refusals, callers: new Set(callersHit), unsent: new Map(), sending: null };
    counts.set(brownout.id, fresh);
    return fresh;
  }

  function spentBy({ brownout, callers, refusals }: LiveCount): BrownoutTally["spent"] {
    if (callers.size >= brownout.stopAfterCallers) return "callers";
    return refusals >= brownout.stopAfterRefusals ? "refusals" : null;
  }

  async function send(count: LiveCount): Promise<void> {
    const hits = count.unsent;
    count.unsent = new Map();
    let all: readonly BrownoutHit[];
    try {
      all = await cluster.countBrownout(
        count.brownout.id,
        [...hits].map(([caller, refusals]) => ({ caller, refusals })),
      );
    } catch (error) {
      // What may have been counted must not be told again. This process' own count stands, whatever became of it.
      if (error instanceof Refusal && error.code === "outcome_unknown") throw error;
      for (const [caller, refusals] of hits)
        count.unsent.set(caller, (count.unsent.get(caller) ?? 0) + refusals);
      throw error;
    }
    const sent = all.reduce((sum, { refusals }) => sum + refusals, 0);
    const since = [...count.unsent.values()].reduce((sum, refusals) => sum + refusals, 0);
    // What the store has missed was refused all the same.
    count.refusals = Math.max(count.refusals, sent + since);
    for (const { caller } of all) count.callers.add(caller);
  }

  /** One report at a time, so that no older answer follows a newer one; what comes in meanwhile goes with the next. */
  function keepSending(count: LiveCount): Promise<void> {
    count.sending ??= (async () => {
      try {
        do await send(count);
        while (count.unsent.size > 0);
      } finally {
        count.sending = null;
      }
    })();
    return count.sending;
  }

  const tally = (count: LiveCount): BrownoutTally => ({
    refusals: count.refusals,
    callersHit: [...count.callers],
    spent: spentBy(count),
  });

  return {
    hit: (brownout, caller) => {
      const count = countOf(brownout);
      count.refusals += 1;
      count.callers.add(caller);
      count.unsent.set(caller, (count.unsent.get(caller) ?? 0) + 1);
      // The count at hand stands whether or not the others can be told; the next refusal tries again.
      keepSending(count).catch(() => undefined);
    },
    isSpent: (id) => {
      const count = counts.get(id);
      return count !== undefined && spentBy(count) !== null;
    },
    tallyOf: (id) => {
      const count = counts.get(id);
      return count === undefined ? null : tally(count);
    },
    total: async (brownout) => {
      const count = countOf(brownout);
      try {
        await count.sending;
        await keepSending(count);
      } catch {
        // What this process knows is better than nothing.
      }
      return tally(count);
    },
  };
}
