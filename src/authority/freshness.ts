import type { Seconds } from "./time.ts";

/** How long a revoked key may still be accepted by a process that hears nothing of the revocation. */
export const FRESHNESS = ["static", "bounded", "strict"] as const;
export type Freshness = (typeof FRESHNESS)[number];

/** What the installation promises for `bounded` keys, when nobody says. */
export const BOUNDED_SECONDS: Seconds = 10;
const STRICT_CEILING_MS = 1_500;

/**
 * What a ceiling is larger than the lease it rests on: clocks of two machines run apart, and a process may be held up
 * between its look at the clock and its answer.
 */
const MARGIN_MS = 500;

/**
 * The ceiling in milliseconds: from the acknowledgement of a change to the last moment at which a request can be sent
 * that is judged without it. Null: there is none.
 */
export function ceilingOf(freshness: Freshness, boundedSeconds: Seconds): number | null {
  if (freshness === "static") return null;
  return freshness === "strict" ? STRICT_CEILING_MS : boundedSeconds * 1000;
}

/** How old what a process knows of the log may be, in milliseconds, for it to judge such a key. */
export function leaseOf(freshness: Freshness, boundedSeconds: Seconds): number {
  const ceiling = ceilingOf(freshness, boundedSeconds);
  return ceiling === null ? Number.POSITIVE_INFINITY : ceiling - MARGIN_MS;
}

/**
 * Whoever may change what Keyturn does is cut off first: a key with a `keyturn:` scope is strict, whatever it says. But
 * for one that may do nothing but ask for verdicts: were it strict, no verdict outlived the database by more than that.
 */
export function freshnessOf(said: Freshness, scopes: readonly string[]): Freshness {
  return scopes.some((scope) => scope.startsWith("keyturn:") && scope !== "keyturn:keys.verify")
    ? "strict"
    : said;
}

/** Whether `other` promises at least as much as `one`. */
export function atLeastAsFresh(other: Freshness, one: Freshness): boolean {
  return FRESHNESS.indexOf(other) >= FRESHNESS.indexOf(one);
}

/** The weakest of what is promised for several keys; strict where there are none. */
export function weakest(all: readonly Freshness[]): Freshness {
  return all.reduce((weak, one) => (atLeastAsFresh(one, weak) ? weak : one), "strict");
}
