import { SYSTEM } from "../audit/entry.ts";
import type { Authority } from "../authority.ts";
import type { ProcessId } from "../ids.ts";
import { perform } from "../operation.ts";
import { noteDatabase } from "../setup/installation.ts";
import type { ServingProcess } from "../storage.ts";
import type { Instant } from "../time.ts";

/** A database that is not the one that was noted last. */
interface Sighting {
  readonly identity: string;
  /** When each process on its list had last reported, at the first look. */
  readonly reportedAt: ReadonlyMap<ProcessId, Instant>;
}

/**
 * Notes which database holds the log, as long as it goes on where every process knows it to end: a standby that took
 * over with everything in it may be started on later, one that lacks entries, or was put back from a backup, may not (R14).
 * The function that is returned looks once. It throws, and tells the neighbours, while something speaks against it.
 */
export function createDatabaseWatch(authority: Authority): () => Promise<void> {
  const { storage, follower, health, neighbours, process } = authority;
  let sighting: Sighting | null = null;

  /** What the others on the list of this database have to say against it. */
  function objection(others: readonly ServingProcess[], isFirst: boolean): string | null {
    const ahead = others.filter((one) => one.appliedSeq > follower.appliedSeq());
    if (ahead.length > 0) return `the database lacks entries that ${namesOf(ahead)} applied`;
    // This list is as old as the database is: only a report of after it took over tells how far a process is.
    const silent = others.filter(({ id, at }) => at <= (sighting?.reportedAt.get(id) ?? -1));
    if (isFirst || silent.length === 0) return null;
    return `the database is another than before, and ${namesOf(silent)} may have applied entries that it lacks: not heard of since. Let it report, or forget it with keyturn cluster forget`;
  }

  return async () => {
    const identity = await storage.identity();
    const noted = await storage.read.facts.get("database_identity");
    if (identity === null || identity === noted) {
      sighting = null;
      neighbours.doubt(null);
      return;
    }
    const others = (await storage.cluster.processes()).filter(({ id }) => id !== process.id);
    // After the list was read, so that no process on it can be ahead by an entry that was just made.
    await follower.renew();
    if (sighting?.identity !== identity) {
      sighting = { identity, reportedAt: new Map(others.map(({ id, at }) => [id, at])) };
      // Who joined later than this list was written has until the next look to be on it.
      if (noted !== null) return;
    }
    const why = objection(others, noted === null);
    neighbours.doubt(why);
    if (why !== null) throw new Error(why);
    if (health.writable()) await perform(authority, noteDatabase, SYSTEM, { identity });
  };
}

function namesOf(processes: readonly ServingProcess[]): string {
  return processes.map(({ name }) => name).join(", ");
}
