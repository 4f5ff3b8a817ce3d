/** Milliseconds since the Unix epoch, UTC. */
export type Instant = number;

/** A span in whole seconds. */
export type Seconds = number;

/** What a caller asks of a key's life: a span or `never`, or an instant; at most one of the two. */
export type LifetimeRequest = {
  readonly ttl?: string | undefined;
  readonly expiresAt?: string | undefined;
};

type ParsedSpan =
  | { readonly ok: true; readonly seconds: Seconds }
  | { readonly ok: false; readonly message: string };

type ResolvedExpiry =
  | { readonly ok: true; readonly expiresAt: Instant | null }
  | { readonly ok: false; readonly field: "ttl" | "expires_at"; readonly message: string };

const DAY = 86_400;

// Largest first: the order in which a compound is written.
const UNITS: ReadonlyMap<string, Seconds> = new Map([
  ["y", 365 * DAY],
  ["M", 30 * DAY],
  ["w", 7 * DAY],
  ["d", DAY],
  ["h", 3_600],
  ["m", 60],
  ["s", 1],
]);

/** The longest span anything may be given: 100 years of 365 days, in seconds. */
export const LONGEST_SPAN_SECONDS: Seconds = 100 * 365 * DAY;

const HOW_TO_WRITE = "write a whole number and a unit: s, m, h, d, w, M (30 days) or y, such as 12h or 1d12h";

const SPAN = /^(?:[0-9]+[A-Za-z])+$/;

// Longer than any compound of seven units below the limit; keeps the scan of hostile text short.
const LONGEST_SPAN_TEXT = 64;

/**
 * Reads a span such as `90d` or `1d12h` into seconds (1M is 30 days, 1y is 365). The grammar is our own; a
 * refusal says what is wrong and how to write it.
 */
export function parseSpan(text: string): ParsedSpan {
  const objection = objectionToShape(text);
  if (objection !== undefined) return refusedSpan(objection);

  let total = 0;
  let previous = Number.POSITIVE_INFINITY;
  for (const [, digits = "", unit = ""] of text.matchAll(/([0-9]+)([A-Za-z])/g)) {
    const size = UNITS.get(unit);
    if (size === undefined) return refusedSpan(`${unit} is not a unit of time`);
    if (/^0+$/.test(digits)) return refusedSpan("a span cannot be zero, nor can any part of it");
    if (digits.startsWith("0")) return refusedSpan("a number has no leading zero");
    if (size === previous) return refusedSpan(`the unit ${unit} is given twice`);
    if (size > previous) return refusedSpan("the largest unit comes first");
    previous = size;
    total += Number(digits) * size;
  }
  if (total > LONGEST_SPAN_SECONDS) return refusedSpan("a span is at most 100 years");
  return { ok: true, seconds: total };
}

function objectionToShape(text: string): string | undefined {
  if (text === "") return "a span is missing";
  if (text.length > LONGEST_SPAN_TEXT) return "a span is much shorter than this";
  if (SPAN.test(text)) return undefined;
  if (/\s/.test(text)) return "a span has no spaces";
  if (text.startsWith("-")) return "a span cannot be negative";
  if (text.startsWith("+")) return "a span has no sign";
  if (/^[0-9]+$/.test(text)) return "the unit is missing";
  if (/[0-9][.,]/.test(text)) return "a span has no fractions";
  if (/^[A-Za-z]/.test(text)) return "a span starts with a number";
  return "this is not a span";
}

function refusedSpan(objection: string): ParsedSpan {
  return { ok: false, message: `${objection}; ${HOW_TO_WRITE}` };
}

/**
 * Writes whole seconds as a compound of d, h, m and s, each unit at most once and none of them zero: `90d`,
 * `1d12h`. `parseSpan` reads it back. Zero is `0s`; a negative or broken number throws RangeError.
 */
export function formatSpan(seconds: Seconds): string {
  if (!Number.isSafeInteger(seconds) || seconds < 0)
    throw new RangeError("a span is whole seconds, from zero");
  if (seconds === 0) return "0s";
  const days = Math.floor(seconds / DAY);
  const hours = Math.floor((seconds % DAY) / 3_600);
  const minutes = Math.floor((seconds % 3_600) / 60);
  return part(days, "d") + part(hours, "h") + part(minutes, "m") + part(seconds % 60, "s");
}

function part(count: number, unit: string): string {
  return count === 0 ? "" : `${count}${unit}`;
}

/** Writes an instant as RFC 3339 in UTC with milliseconds; throws RangeError outside what a Date holds. */
export function formatInstant(at: Instant): string {
  return new Date(at).toISOString();
}

const LAST_INSTANT: Instant = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

const DATE_TIME = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:Z|([+-])(\d\d):(\d\d))$/i;

/**
 * Reads an RFC 3339 date-time (section 5.6, with `Z` or an offset) of the years 1970 to 9999; anything else,
 * such as 30 February, 24:00 or a leap second, is undefined. Digits beyond the millisecond are cut off.
 */
export function parseInstant(text: string): Instant | undefined {
  const match = DATE_TIME.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second, fraction = "", sign, offsetHour, offsetMinute] = match;
  const y = Number(year);
  const mo = Number(month);
  const d = Number(day);
  const time = { h: Number(hour), m: Number(minute), s: Number(second) };
  const offset = { h: Number(offsetHour ?? 0), m: Number(offsetMinute ?? 0) };

  // Years below 100 would be read as 19xx by Date.UTC, so the text is judged before the instant is.
  if (y < 1970 || mo < 1 || mo > 12 || d < 1 || d > daysIn(y, mo)) return undefined;
  if (time.h > 23 || time.m > 59 || time.s > 59 || offset.h > 23 || offset.m > 59) return undefined;

  const local = Date.UTC(y, mo - 1, d, time.h, time.m, time.s, Number(fraction.slice(0, 3).padEnd(3, "0")));
  const east = (offset.h * 60 + offset.m) * 60_000;
  const at = sign === "-" ? local + east : local - east;
  return at < 0 || at > LAST_INSTANT ? undefined : at;
}

/** The number of days in a month (1 to 12) of the Gregorian calendar. */
function daysIn(year: number, month: number): number {
  return new Date(Date.UTC(year, month, 0)).getUTCDate();
}

/**
 * When a key made at `now` ends: after its `ttl`, at its `expires_at`, never (null, asked for as `ttl:
 * "never"`), or after the default. A refusal names the field.
 */
export function resolveExpiry(
  request: LifetimeRequest,
  now: Instant,
  defaultSeconds: Seconds,
): ResolvedExpiry {
  const { ttl, expiresAt } = request;
  if (ttl !== undefined && expiresAt !== undefined) {
    return refusedExpiry("expires_at", "give either ttl or expires_at, not both");
  }
  if (expiresAt !== undefined) return expiryAt(expiresAt, now);
  if (ttl === "never") return { ok: true, expiresAt: null };
  // The default may be another key's span, which need not be whole seconds; an instant is whole milliseconds.
  if (ttl === undefined) return { ok: true, expiresAt: now + Math.round(defaultSeconds * 1_000) };
  const span = parseSpan(ttl);
  if (!span.ok) return refusedExpiry("ttl", `${span.message}; or "never"`);
  return { ok: true, expiresAt: now + span.seconds * 1_000 };
}

function expiryAt(text: string, now: Instant): ResolvedExpiry {
  const at = parseInstant(text);
  if (at === undefined) {
    return refusedExpiry("expires_at", "write an RFC 3339 date and time, such as 2030-01-31T12:00:00Z");
  }
  // A key is expired from the instant itself on, so one that ends now would be born dead.
  if (at <= now) return refusedExpiry("expires_at", "this time has passed; give one in the future");
  if (at > now + LONGEST_SPAN_SECONDS * 1_000) {
    return refusedExpiry(
      "expires_at",
      'a key may live for at most 100 years; for no end ask for ttl "never"',
    );
  }
  return { ok: true, expiresAt: at };
}

function refusedExpiry(field: "ttl" | "expires_at", message: string): ResolvedExpiry {
  return { ok: false, field, message };
}
