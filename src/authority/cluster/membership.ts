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
/** How often a process that stops tries to learn whether the log goes on. */
const LAST_LOOKS = 3;

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
  const { clock, follower, neighbours, process, recorder, settings, storage } = authority;
  const { boundedSeconds } = settings;
  let toldSeq = -1;
  let toldAt = Number.NEGATIVE_INFINITY;
  let lookedAt = Number.NEGATIVE_INFINITY;
  let hasLeft = false;
  let soon: Promise<void> | null = null;
  let toldOfNamesake = false;

  // By the wall clock: where the newest entry is dated ahead the authority's time stands still, and each report is another.
  const reportNow = () => reportOf({ follower, recorder }, clock.wall());
  const stand = (report: ProcessReport) => storage.cluster.rejoin({ ...process, boundedSeconds, ...report });

  async function tell(): Promise<void> {
    const report = reportNow();
    toldAt = clock.monotonic();
    // Another process took the name, or the list was emptied: this one serves all the same. Both must be waited for.
    if (!(await storage.cluster.report(process.id, report)) && !hasLeft) await stand(report);
    toldSeq = report.appliedSeq;
  }

  /** Whether the log goes on where this process knows it to end, as far as can be told. */
  async function lastLook(): Promise<boolean> {
    for (let tries = 1; follower.history() === "whole"; tries += 1) {
      try {
        await follower.renew();
        return true;
      } catch {
        if (tries === LAST_LOOKS) return false;
      }
    }
    return follower.history() !== "broken";
  }

  async function lookAround(): Promise<void> {
    const now = clock.monotonic();
    if (now - lookedAt < LIFE_MS) return;
    lookedAt = now;
    neighbours.note(await storage.cluster.processes(), clock.wall());
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
      // Whoever has applied what the log lacks, or may have, stays on the list: that keeps others from serving it (R14).
      if (await lastLook()) return storage.cluster.leave(process.id);
      const report = reportNow();
      if (!(await storage.cluster.report(process.id, report))) await stand(report);
    },
  };
}
