import type { Instant } from "../time.ts";

/** A stretch of time over which every verifying process has reported what it saw. */
export interface Watch {
  readonly from: Instant;
  readonly until: Instant;
}

/** What is known of the time over which use was watched. */
export interface Watched {
  /** Ascending and apart; only what lies after the last unclean stop. */
  readonly watches: readonly Watch[];
  /** When the watch began anew after the last unclean stop; null if there was none. */
  readonly restartedAt: Instant | null;
  /** Up to when every living reporter has told what it saw; null where none lives. */
  readonly watermark: Instant | null;
}

/** What one process has reported on, without a gap. `endedAt` is when its session was given up as lost. */
export interface ReporterSession extends Watch {
  readonly ended: string | null;
  readonly endedAt: Instant | null;
}

/**
 * The watch that several reporters kept together. Up to the lowest watermark of those that live, whoever verified has
 * told all of it. What a lost one saw at last is not known, so the watch begins anew when it was given up.
 */
export function watchedIn(sessions: readonly ReporterSession[]): Watched {
  const living = sessions.filter(({ ended }) => ended === null);
  const watermark = living.length === 0 ? null : Math.min(...living.map(({ until }) => until));
  const lost = sessions.filter(({ ended }) => ended === "unclean");
  const restartedAt = lost.length === 0 ? null : Math.max(...lost.map((one) => one.endedAt ?? one.until));
  const watches: Watch[] = [];
  for (const session of sessions.toSorted((one, other) => one.from - other.from)) {
    if (session.ended === "unclean") continue;
    const from = Math.max(session.from, restartedAt ?? session.from, watches.at(-1)?.until ?? session.from);
    const until = Math.min(session.until, watermark ?? session.until);
    if (until <= from) continue;
    const last = watches.at(-1);
    if (last?.until === from) watches[watches.length - 1] = { from: last.from, until };
    else watches.push({ from, until });
  }
  return { watches, restartedAt, watermark };
}
