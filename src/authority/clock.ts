import type { Instant } from "./time.ts";

/** Where time comes from. `monotonic` is in milliseconds since some fixed moment and never goes back. */
export interface Clock {
  wall(): Instant;
  monotonic(): number;
}

export const SYSTEM_CLOCK: Clock = { wall: () => Date.now(), monotonic: () => performance.now() };

/** Why deadlines and the worker stand still. */
export type ClockTrouble = "behind" | "jumped";

/** How far the wall clock may lie behind the newest entry. */
const BEHIND_TOLERANCE_MS = 5 * 60_000;
/** How far the wall clock may move against the monotonic one. */
const JUMP_TOLERANCE_MS = 60 * 60_000;

/**
 * The time that decides: the later of the wall clock and the newest audit entry, so that a clock which is set back
 * revives nothing. `trouble` says when that time can't be trusted to make things happen by themselves.
 */
export interface Timekeeper {
  now(): Instant;
  trouble(): ClockTrouble | null;
  /** Follows the log. An accepted clock (`clock.accept`) is the one entry that may lead back. */
  noteEntry(at: Instant, acceptsClock: boolean): void;
}

export function createTimekeeper(clock: Clock, newestEntryAt: Instant): Timekeeper {
  let newest = newestEntryAt;
  let base = clock.wall() - clock.monotonic();
  return {
    now: () => Math.max(clock.wall(), newest),
    trouble: () => {
      const wall = clock.wall();
      if (newest - wall > BEHIND_TOLERANCE_MS) return "behind";
      return Math.abs(wall - clock.monotonic() - base) > JUMP_TOLERANCE_MS ? "jumped" : null;
    },
    noteEntry: (at, acceptsClock) => {
      if (acceptsClock) {
        newest = at;
        base = clock.wall() - clock.monotonic();
      } else if (at > newest) {
        newest = at;
      }
    },
  };
}
