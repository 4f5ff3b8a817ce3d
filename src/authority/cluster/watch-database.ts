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
  /** The dates of the first different reports of each process on its list, in order, by that process' own clock. */
  readonly reports: Map<ProcessId, readonly Instant[]>;
}

/** Of the first reports: one that is as old as the database, and one that was under way when it took over. */
const IN_DOUBT = 2;

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
    if (isFirst) return null;
    const doubting = others.filter((one) => one.stalenessMs === null && reportsOf(one).length > 1);
    if (doubting.length > 0)
      return `the database is another than before, and may lack entries that ${namesOf(doubting)} applied: there the log does not go on, or the clock was set`;
    const silent = others.filter((one) => !hasLookedSince(one));
    if (silent.length === 0) return null;
    return `the database is another than before, and ${namesOf(silent)} may have applied entries that it lacks: not heard of since. Let it report, or forget it with keyturn cluster forget`;
  }

  const reportsOf = ({ id }: ServingProcess) => sighting?.reports.get(id) ?? [];

  /** The list is as old as the database, so this takes a report of after it took over, of a look of after it took over. */
  function hasLookedSince(one: ServingProcess): boolean {
    const since = reportsOf(one)[IN_DOUBT];
    return since !== undefined && one.stalenessMs !== null && one.at - one.stalenessMs >= since;
  }

  function noteReports(reports: Sighting["reports"], others: readonly ServingProcess[]): void {
    for (const { id, at } of others) {
      // Who was not on it at the first look has reported since.
      const known = reports.get(id) ?? [Number.NEGATIVE_INFINITY];
      const last = known.at(-1) ?? at;
      // A clock that was set back would take as long to get there again.
      if (at < last) reports.set(id, [at]);
      else if (known.length <= IN_DOUBT && at > last) reports.set(id, [...known, at]);
    }
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
      sighting = { identity, reports: new Map(others.map(({ id, at }) => [id, [at]])) };
      // Who joined later than this list was written has until the next look to be on it.
      if (noted !== null) return;
    }
    noteReports(sighting.reports, others);
    const why = objection(others, noted === null);
    neighbours.doubt(why);
    if (why !== null) throw new Error(why);
    if (health.writable()) await perform(authority, noteDatabase, SYSTEM, { identity });
  };
}

function namesOf(processes: readonly ServingProcess[]): string {
  return processes.map(({ name }) => name).join(", ");
}
