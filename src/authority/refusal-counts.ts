import type { Instant } from "./time.ts";

/** Keeps the log from being flooded by an actor that is refused again and again. */
export interface RefusalCounts {
  /** True once per actor, operation and minute; otherwise the refusal is counted. */
  isFirst(actorId: string, operation: string, now: Instant): boolean;
  /** The refusals counted since the last entry, which the next entry carries. */
  takeCount(actorId: string, operation: string): number;
}

const MINUTE = 60_000;
const MOST_PAIRS = 10_000;

export function createRefusalCounts(): RefusalCounts {
  const pairs = new Map<string, { minute: number; count: number }>();
  return {
    isFirst: (actorId, operation, now) => {
      const pair = `${actorId} ${operation}`;
      const minute = Math.floor(now / MINUTE);
      const had = pairs.get(pair);
      if (had?.minute === minute) {
        had.count += 1;
        return false;
      }
      if (had === undefined && pairs.size >= MOST_PAIRS) pairs.clear();
      pairs.set(pair, { minute, count: had?.count ?? 0 });
      return true;
    },
    takeCount: (actorId, operation) => {
      const had = pairs.get(`${actorId} ${operation}`);
      const count = had?.count ?? 0;
      if (had !== undefined) had.count = 0;
      return count;
    },
  };
}
