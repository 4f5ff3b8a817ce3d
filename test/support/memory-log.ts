import { Refusal } from "../../src/authority/errors.ts";
import type { FollowedEntry, Storage } from "../../src/authority/storage.ts";
import { START } from "./authority.ts";

/** A log without a database under it, for tests of whoever follows one. */
export interface MemoryLog extends Pick<Storage, "follow"> {
  readonly entries: readonly FollowedEntry[];
  /** How often somebody looked. */
  looks: number;
  /** Set: nobody gets an answer. */
  away: boolean;
  /** Waited for between the question and the answer. The answer is what stood in the log at the question. */
  underWay: () => Promise<void>;
  append(entry?: Partial<FollowedEntry>): FollowedEntry;
  /** Another entry stands where this one stood. */
  replace(seq: number): void;
  /** The log ends earlier, as a backup of it would. */
  cutTo(length: number): void;
}

export function createMemoryLog(): MemoryLog {
  let entries: FollowedEntry[] = [];
  let made = 0;
  const fresh = (seq: number, entry: Partial<FollowedEntry> = {}): FollowedEntry => {
    made += 1;
    const chainHash = `hash ${made}`;
    return { seq, at: START, chainHash, operation: "test.do", subjects: [], revoked: [], ...entry };
  };
  const log: MemoryLog = {
    get entries() {
      return entries;
    },
    looks: 0,
    away: false,
    underWay: async () => undefined,
    append: (entry) => {
      const appended = fresh(entries.length + 1, entry);
      entries = [...entries, appended];
      return appended;
    },
    replace: (seq) => {
      entries = entries.map((entry) => (entry.seq === seq ? fresh(seq) : entry));
    },
    cutTo: (length) => {
      entries = entries.slice(0, length);
    },
    follow: async (after, limit) => {
      log.looks += 1;
      const last = entries[after.seq - 1];
      const continuous = after.seq === 0 || last?.chainHash === after.chainHash;
      const found = continuous ? entries.slice(after.seq, after.seq + limit) : [];
      await log.underWay();
      if (log.away) throw new Refusal("storage_unavailable", "The database can't be reached.");
      return { continuous, entries: found };
    },
  };
  return log;
}
