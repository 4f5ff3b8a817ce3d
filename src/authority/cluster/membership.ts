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

/** `onNamesake` is told once of a living process that is called the same, for the log. */
export function createMembership(authority: Authority, onNamesake: () => void = () => undefined): Membership {
  const { clock, follower, neighbours, process, recorder, settings, storage, time } = authority;
  const { boundedSeconds } = settings;
  let toldSeq = -1;
  let toldAt = Number.NEGATIVE_INFINITY;
  let lookedAt = Number.NEGATIVE_INFINITY;
  let hasLeft = false;
  let soon: Promise<void> | null = null;
  let toldOfNamesake = false;

  const reportNow = () => reportOf({ follower, recorder }, time.now());

  async function tell(): Promise<void> {
    const report = reportNow();
    toldAt = clock.monotonic();
    // Another process took the name, or the list was emptied: this one serves all the same. Both must be waited for.
    if (!(await storage.cluster.report(process.id, report)) && !hasLeft)
      await storage.cluster.rejoin({ ...process, boundedSeconds, ...report });
    toldSeq = report.appliedSeq;
  }

  async function lookAround(): Promise<void> {
    const now = clock.monotonic();
    if (now - lookedAt < LIFE_MS) return;
    lookedAt = now;
    neighbours.note(await storage.cluster.processes(), time.now());
    if (!neighbours.disagreement().hasNamesake || toldOfNamesake) return;
    toldOfNamesake = true;
    onNamesake();
  }

  async function tellLater(ms: number): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, ms));
    soon = null;
    if (!hasLeft) await tell();
  }

  return {
    join: () => storage.cluster.join({ ...process, boundedSeconds, ...reportNow() }),
    report: async () => {
      // Somebody who had news on the way out must not put the process back on the list.
      if (hasLeft) return;
      const since = clock.monotonic() - toldAt;
      const isNews = follower.appliedSeq() !== toldSeq;
      if (since >= LIFE_MS || (isNews && since >= NEWS_MS)) {
        await tell();
        return lookAround();
      }
      // Later, not with the next round: whoever waits for this process waits for as long.
      if (isNews) soon ??= tellLater(NEWS_MS - since);
      await soon;
    },
    leave: async () => {
      hasLeft = true;
      // A last look. Whoever has applied what the log lacks stays on the list: that keeps others from serving it (R14).
      if (follower.history() === "whole") await follower.renew().catch(() => undefined);
      if (follower.history() !== "broken") await storage.cluster.leave(process.id);
      else await storage.cluster.report(process.id, reportNow());
    },
  };
}
