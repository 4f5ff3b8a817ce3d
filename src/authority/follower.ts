import type { Head } from "./audit/entry.ts";
import type { Clock, Timekeeper } from "./clock.ts";
import { Refusal } from "./errors.ts";
import { type Freshness, leaseOf } from "./freshness.ts";
import type { FollowedEntry, Storage } from "./storage.ts";
import type { Seconds } from "./time.ts";

/**
 * How a process keeps up with the log. All that it knows of keys is as old as its last look at the end of the log, and
 * it judges nothing by knowledge that is older than the key allows.
 */
export interface Follower {
  /** The newest entry that this process has applied. */
  appliedSeq(): number;
  /** Milliseconds since a moment at which nothing was missing; infinite when the clocks can't tell. */
  stalenessMs(): number;
  /** Whether a key of this kind may be judged by what is known now, which must include the entry `atLeast`. */
  allows(freshness: Freshness, atLeast: number): boolean;
  /** Looks at the log until `allows` says yes. False when the store can't be asked, or has no such entry. */
  catchUp(freshness: Freshness, atLeast: number): Promise<boolean>;
  /** Applies all entries that are durable by now. Rejects when the store can't be asked. */
  renew(): Promise<void>;
  /**
   * Throws where the log, whose end a change has locked, ends before what was applied here, or there with another entry:
   * the change would be made by, and chained to, what is not the log that was followed.
   */
  assertGoesOn(head: Pick<Head, "seq" | "chainHash">): void;
  /** Applies one that this process has just made durable. */
  applyOwn(entry: FollowedEntry): Promise<void>;
  /** Whether the last look got an answer. */
  reachable(): boolean;
  /** The log goes on in another database, and this one says nothing of what is revoked there: nothing is judged any more. */
  leave(): void;
  /** `broken` once the log turned out to be another than the one that was followed; `moved` once it was left. */
  history(): "whole" | "broken" | "moved";
}

export interface FollowerParts {
  readonly storage: Pick<Storage, "follow">;
  readonly clock: Clock;
  readonly time: Timekeeper;
  readonly boundedSeconds: Seconds;
  readonly head: Head;
  /** Both clocks before `head` was read. */
  readonly since: Moment;
  /** Drops what the entry may have changed. */
  readonly forget: (entry: FollowedEntry) => Promise<void>;
  /** Told of entries that others have appended, once they are applied. */
  readonly onFollowed: (entries: readonly FollowedEntry[]) => void;
  readonly onBroken: (cause: unknown) => void;
}

export interface Moment {
  readonly wall: number;
  readonly monotonic: number;
}

export function momentOf(clock: Clock): Moment {
  return { wall: clock.wall(), monotonic: clock.monotonic() };
}

const PAGE = 1_000;

export function createFollower(parts: FollowerParts): Follower {
  const { storage, clock, time, boundedSeconds } = parts;
  const leases: Readonly<Record<Freshness, number>> = {
    strict: leaseOf("strict", boundedSeconds),
    bounded: leaseOf("bounded", boundedSeconds),
    static: leaseOf("static", boundedSeconds),
  };
  let applied = { seq: parts.head.seq, chainHash: parts.head.chainHash };
  let wholeAt = parts.since;
  let lastWall = parts.since.wall;
  let setBacks = 0;
  let setBacksBefore = 0;
  let unreachable = false;
  let broken = false;
  let moved = false;
  let looking: Promise<void> | null = null;
  let next: Promise<void> | null = null;

  async function apply(entry: FollowedEntry): Promise<void> {
    // One that was applied already must not bring back what ended since: a false future, or a closed store.
    if (entry.seq <= applied.seq) return;
    await parts.forget(entry);
    if (entry.seq <= applied.seq) return;
    time.noteEntry(entry.at, entry.operation === "clock.accept");
    applied = { seq: entry.seq, chainHash: entry.chainHash };
  }

  async function look(): Promise<void> {
    // Before the question, not after the answer: what happens in between may not be in it.
    const since = momentOf(clock);
    noteWall(since.wall);
    const setBacksBeforeLook = setBacks;
    try {
      for (;;) {
        const { continuous, entries } = await storage.follow(applied, PAGE);
        if (!continuous) throw breakOff();
        const before = applied.seq;
        try {
          for (const entry of entries) await apply(entry);
        } finally {
          // What was applied is not brought by another look, so it is told of even where one after it failed.
          const others = entries.filter(({ seq }) => seq > before && seq <= applied.seq);
          if (others.length > 0) parts.onFollowed(others);
        }
        if (entries.length < PAGE) break;
      }
      unreachable = false;
      setBacksBefore = setBacksBeforeLook;
      if (since.monotonic >= wholeAt.monotonic) wholeAt = since;
    } catch (error) {
      unreachable = true;
      throw error;
    }
  }

  function breakOff(): Refusal {
    const cause = new Error(
      `The database no longer has entry ${applied.seq} as this process has seen it: it was put back to an older state, or replaced by another.`,
    );
    if (!broken) parts.onBroken(cause);
    broken = true;
    return new Refusal("storage_unavailable", "The database is not the one that was followed so far.", {
      cause,
    });
  }

  /** How long ago anything was can't be told by a clock that goes back. Only a look that starts later can. */
  function noteWall(wall: number): void {
    if (wall < lastWall) setBacks += 1;
    lastWall = wall;
  }

  function stalenessMs(): number {
    const wall = clock.wall();
    noteWall(wall);
    if (moved || broken || setBacks > setBacksBefore) return Number.POSITIVE_INFINITY;
    return Math.max(clock.monotonic() - wholeAt.monotonic, wall - wholeAt.wall);
  }

  const allows = (freshness: Freshness, atLeast: number): boolean =>
    !moved && applied.seq >= atLeast && (freshness === "static" || stalenessMs() <= leases[freshness]);

  /** One look at a time. Who asks while one is under way gets the next: it might have missed what is asked for. */
  function renew(): Promise<void> {
    if (looking === null) {
      looking = look().finally(() => {
        looking = null;
      });
      return looking;
    }
    next ??= looking
      .finally(() => {
        next = null;
      })
      .then(renew);
    return next;
  }

  return {
    appliedSeq: () => applied.seq,
    stalenessMs,
    allows,
    renew,
    catchUp: async (freshness, atLeast) => {
      // Nobody waits for a store that has just failed to answer: it is asked again in a moment.
      if (unreachable) return false;
      try {
        await renew();
      } catch {
        return false;
      }
      return allows(freshness, atLeast);
    },
    assertGoesOn: ({ seq, chainHash }) => {
      if (seq < applied.seq || (seq === applied.seq && chainHash !== applied.chainHash)) throw breakOff();
    },
    applyOwn: async (entry) => {
      // Entries of other processes may stand in between: they are applied first, in order. All of them are durable, so
      // a look that starts now finds them, and this one.
      if (applied.seq + 1 < entry.seq) {
        await renew();
        if (applied.seq < entry.seq) throw breakOff();
      }
      await apply(entry);
    },
    reachable: () => !unreachable,
    leave: () => {
      moved = true;
    },
    history: () => {
      if (moved) return "moved";
      return broken ? "broken" : "whole";
    },
  };
}
