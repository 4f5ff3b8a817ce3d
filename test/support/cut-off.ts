import { Refusal } from "../../src/authority/errors.ts";
import type { ClusterStore, Storage } from "../../src/authority/storage.ts";

/** A store that can be cut off: while `away` is set, nothing that is asked of it gets an answer. */
export interface Line {
  away: boolean;
  /** How often the log was looked at, or tried to be. */
  looks: number;
  /** How often a key was asked for. */
  matches: number;
}

export function newLine(): Line {
  return { away: false, looks: 0, matches: 0 };
}

/** For `through` of a world: what stands between the authority and its store. */
export function over(line: Line): (storage: Storage) => Storage {
  const answered = <T>(ask: () => T): T => {
    if (line.away) throw new Refusal("storage_unavailable", "The database can't be reached.");
    return ask();
  };
  return (storage) => {
    const processes: ClusterStore["processes"] = async () => answered(() => storage.cluster.processes());
    return {
      ...storage,
      cluster: { ...storage.cluster, processes },
      match: (digest) => {
        line.matches += 1;
        return answered(() => storage.match(digest));
      },
      digestsOf: async (key) => answered(() => storage.digestsOf(key)),
      follow: async (after, limit) => {
        line.looks += 1;
        return answered(() => storage.follow(after, limit));
      },
    };
  };
}
