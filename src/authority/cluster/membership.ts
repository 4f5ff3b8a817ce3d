import type { Authority } from "../authority.ts";
import type { ProcessReport } from "../storage.ts";
import type { Instant } from "../time.ts";

/** This process on the list of those that serve. */
export interface Membership {
  /** Before the first request is served: from then on, who waits for all waits for this process, too. */
  join(): Promise<void>;
  /** Tells what was applied, if that is news; and once in a while that the process lives. */
  report(): Promise<void>;
  leave(): Promise<void>;
}

/** News go out at most this often, so that a burst of changes is not a burst of reports. */
const NEWS_MS = 50;
const LIFE_MS = 1_000;

/** What a process can say of itself. */
export function reportOf(
  { follower, recorder }: Pick<Authority, "follower" | "recorder">,
  at: Instant,
): ProcessReport {
  const staleness = follower.stalenessMs();
  return {
    appliedSeq: follower.appliedSeq(),
    stalenessMs: Number.isFinite(staleness) ? Math.ceil(staleness) : null,
    flushedAt: recorder.flushedAt(),
    at,
  };
}

export function createMembership(authority: Authority): Membership {
  const { clock, follower, process, recorder, storage, time } = authority;
  let toldSeq = -1;
  let toldAt = Number.NEGATIVE_INFINITY;
  let hasLeft = false;
  let soon: Promise<void> | null = null;

  const reportNow = () => reportOf({ follower, recorder }, time.now());

  const join = () => storage.cluster.join({ ...process, ...reportNow() });

  async function tell(): Promise<void> {
    const report = reportNow();
    toldAt = clock.monotonic();
    // Another process took the name, or the list was emptied: this one serves all the same.
    if (!(await storage.cluster.report(process.id, report)) && !hasLeft) await join();
    toldSeq = report.appliedSeq;
  }

  async function tellLater(ms: number): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, ms));
    soon = null;
    if (!hasLeft) await tell();
  }

  return {
    join,
    report: async () => {
      // Somebody who had news on the way out must not put the process back on the list.
      if (hasLeft) return;
      const since = clock.monotonic() - toldAt;
      const isNews = follower.appliedSeq() !== toldSeq;
      if (since >= LIFE_MS || (isNews && since >= NEWS_MS)) return tell();
      // Later, not with the next round: whoever waits for this process waits for as long.
      if (isNews) soon ??= tellLater(NEWS_MS - since);
      await soon;
    },
    leave: () => {
      hasLeft = true;
      return storage.cluster.leave(process.id);
    },
  };
}
