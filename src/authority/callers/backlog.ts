import type { KeyId } from "../ids.ts";
import { VERDICT_CODES, type VerdictCode } from "../keys/verdict.ts";
import type { CallerRow, UsageBatch, UsageRow } from "../storage.ts";
import type { Instant } from "../time.ts";
import {
  type AddressKept,
  type CallerId,
  keptAddress,
  keptAgent,
  MOST_CALLERS_PER_KEY,
  OVERFLOW,
} from "./caller.ts";

/** What was seen of one caller of one key. `counts` has a place for each verdict code. */
export interface PendingCaller {
  readonly id: CallerId;
  readonly name: string | null;
  address: string | undefined;
  agent: string | undefined;
  firstAt: Instant;
  lastAt: Instant;
  firstValidAt: Instant | null;
  lastValidAt: Instant | null;
  readonly counts: number[];
}

/** What was seen of one key since the last flush, in one minute. Kept at hand by whoever verifies the key. */
export interface PendingKey {
  readonly keyId: KeyId;
  readonly minute: number;
  /** Taken by a flush: ask the recorder for another. */
  sealed: boolean;
  readonly named: Map<string, PendingCaller>;
  readonly unnamed: Map<CallerId, PendingCaller>;
}

/** A part of what waits, small enough for one transaction. */
export interface Portion extends Pick<UsageBatch, "callers" | "usage"> {
  readonly isLast: boolean;
}

/**
 * What waits to be stored. While the store is away it grows with the keys and callers that are seen, not with the time: of
 * each key it is a row for each caller, and its counts.
 */
export interface Backlog {
  /** Takes over a key that is sealed, with its callers. */
  add(key: PendingKey): void;
  /** The same with all of these, and with the map that holds them. */
  addAll(keys: Map<KeyId, PendingKey>): void;
  callersOf(key: KeyId): readonly PendingCaller[];
  /** All that waits by now, each part taken out when it is asked for. There is always a last one. */
  portions(): Generator<Portion>;
}

/** A portion is sent when it has as many rows as this; one key more may be in it. */
export const MOST_ROWS = 20_000;
/** Counts of one key that are kept to the minute. With more, each earlier hour becomes one count, in its first minute. */
export const MOST_COUNTS = 120;

const CODES = VERDICT_CODES.length;
const MINUTES_OF_HOUR = 60;
/** Counts are kept flat, three numbers each: the minute, the code's place and the count. */
const WIDTH = 3;

/** What was seen of a key in more than one minute. */
interface Folded {
  readonly callers: Map<CallerId, PendingCaller>;
  counts: number[];
}

export function createBacklog(kept: AddressKept): Backlog {
  // As long as the store is there, what comes in one minute goes in the same: nothing is folded, and most maps are taken whole.
  let held = new Map<KeyId, PendingKey | Folded>();

  function add(key: PendingKey): void {
    const had = held.get(key.keyId);
    if (had === undefined) held.set(key.keyId, key);
    else if ("counts" in had) fold(had, key);
    else held.set(key.keyId, fold(fold({ callers: new Map(), counts: [] }, had), key));
  }

  return {
    add,
    addAll: (keys) => {
      if (held.size === 0) held = keys;
      else for (const key of keys.values()) add(key);
    },
    callersOf: (keyId) => {
      const key = held.get(keyId);
      return key === undefined ? [] : callersIn(key);
    },
    portions: function* () {
      let callers: CallerRow[] = [];
      let usage: UsageRow[] = [];
      const whole = held;
      // What comes in while these are under way goes with the next, however fast it comes: a flush must end.
      let left = whole.size;
      for (const [keyId, key] of whole) {
        if (left === 0) break;
        left -= 1;
        if (callers.length + usage.length >= MOST_ROWS) {
          yield { callers, usage, isLast: false };
          callers = [];
          usage = [];
        }
        whole.delete(keyId);
        for (const caller of callersIn(key)) callers.push(toRow(keyId, caller, kept));
        addRows(usage, keyId, "counts" in key ? key.counts : countsOf(key));
      }
      yield { callers, usage, isLast: true };
    },
  };
}

function callersIn(key: PendingKey | Folded): readonly PendingCaller[] {
  return "counts" in key ? [...key.callers.values()] : [...key.named.values(), ...key.unnamed.values()];
}

function countsOf({ minute, named, unnamed }: PendingKey): number[] {
  const totals = new Array<number>(CODES).fill(0);
  for (const callers of [named, unnamed])
    for (const caller of callers.values()) addCounts(totals, caller.counts);
  const counts: number[] = [];
  for (let code = 0; code < CODES; code += 1) {
    const total = totals[code] ?? 0;
    if (total > 0) counts.push(minute, code, total);
  }
  return counts;
}

function fold(into: Folded, key: PendingKey): Folded {
  const counts = countsOf(key);
  for (let at = 0; at < counts.length; at += WIDTH)
    addCount(into.counts, counts[at] ?? 0, counts[at + 1] ?? 0, counts[at + 2] ?? 0);
  for (const caller of callersIn(key)) addCaller(into.callers, caller);
  if (into.counts.length > MOST_COUNTS * WIDTH) into.counts = coarser(into.counts, key.minute);
  return into;
}

/** The bound of callers holds for what waits as well. */
function addCaller(callers: Map<CallerId, PendingCaller>, caller: PendingCaller): void {
  const isKnown = callers.has(caller.id);
  const apart = callers.size - (callers.has(OVERFLOW) ? 1 : 0);
  const isOver = !isKnown && caller.id !== OVERFLOW && apart >= MOST_CALLERS_PER_KEY;
  const told = isOver
    ? { ...caller, id: OVERFLOW, name: null, address: undefined, agent: undefined }
    : caller;
  const had = callers.get(told.id);
  if (had === undefined) callers.set(told.id, told);
  else merge(had, told);
}

function merge(had: PendingCaller, told: PendingCaller): void {
  had.address = told.address ?? had.address;
  had.agent = told.agent ?? had.agent;
  had.firstAt = Math.min(had.firstAt, told.firstAt);
  had.lastAt = Math.max(had.lastAt, told.lastAt);
  if (told.firstValidAt !== null)
    had.firstValidAt = Math.min(had.firstValidAt ?? told.firstValidAt, told.firstValidAt);
  if (told.lastValidAt !== null)
    had.lastValidAt = Math.max(had.lastValidAt ?? told.lastValidAt, told.lastValidAt);
  addCounts(had.counts, told.counts);
}

function addCounts(sum: number[], counts: readonly number[]): void {
  for (let code = 0; code < CODES; code += 1) sum[code] = (sum[code] ?? 0) + (counts[code] ?? 0);
}

/** The newest stand last, and are what is added to. */
function addCount(counts: number[], minute: number, code: number, count: number): void {
  for (let at = counts.length - WIDTH; at >= 0; at -= WIDTH) {
    if (counts[at] !== minute || counts[at + 1] !== code) continue;
    counts[at + 2] = (counts[at + 2] ?? 0) + count;
    return;
  }
  counts.push(minute, code, count);
}

function coarser(counts: readonly number[], now: number): number[] {
  const thisHour = now - (now % MINUTES_OF_HOUR);
  const fewer: number[] = [];
  for (let at = 0; at < counts.length; at += WIDTH) {
    const [minute, code, count] = [counts[at] ?? 0, counts[at + 1] ?? 0, counts[at + 2] ?? 0];
    addCount(fewer, minute < thisHour ? minute - (minute % MINUTES_OF_HOUR) : minute, code, count);
  }
  return fewer;
}

function addRows(usage: UsageRow[], keyId: KeyId, counts: readonly number[]): void {
  for (let at = 0; at < counts.length; at += WIDTH) {
    const code = VERDICT_CODES[counts[at + 1] ?? -1];
    if (code !== undefined) usage.push({ keyId, minute: counts[at] ?? 0, code, count: counts[at + 2] ?? 0 });
  }
}

function toRow(keyId: KeyId, caller: PendingCaller, kept: AddressKept): CallerRow {
  const counts: Partial<Record<VerdictCode, number>> = {};
  for (const [index, code] of VERDICT_CODES.entries()) {
    const seen = caller.counts[index] ?? 0;
    if (seen > 0) counts[code] = seen;
  }
  return {
    keyId,
    caller: caller.id,
    name: caller.name,
    address: keptAddress(caller.address, kept),
    agent: keptAgent(caller.agent),
    firstSeenAt: caller.firstAt,
    lastSeenAt: caller.lastAt,
    firstValidAt: caller.firstValidAt,
    lastValidAt: caller.lastValidAt,
    counts,
  };
}
