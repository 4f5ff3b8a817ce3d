import type { Clock, Timekeeper } from "../clock.ts";
import { Refusal } from "../errors.ts";
import type { KeyId, ReporterId } from "../ids.ts";
import { newId } from "../ids.ts";
import { VERDICT_CODES, type VerdictCode } from "../keys/verdict.ts";
import type { CallerRow, EvidenceStore, UsageBatch, UsageRow } from "../storage.ts";
import type { Instant } from "../time.ts";
import {
  type AddressKept,
  type CallerId,
  type CallerSighting,
  callerIdOf,
  keptAddress,
  keptAgent,
  MOST_CALLERS_PER_KEY,
  nameOf,
  OVERFLOW,
} from "./caller.ts";

const MINUTE = 60_000;
const CODES = VERDICT_CODES.length;
const VALID = VERDICT_CODES.indexOf("valid");
const CODE_INDEX: Readonly<Record<VerdictCode, number>> = Object.fromEntries(
  VERDICT_CODES.map((code, index) => [code, index]),
) as Record<VerdictCode, number>;

interface PendingCaller {
  readonly id: CallerId;
  readonly name: string | null;
  address: string | undefined;
  agent: string | undefined;
  readonly firstAt: Instant;
  lastAt: Instant;
  firstValidAt: Instant | null;
  lastValidAt: Instant | null;
  readonly counts: Uint32Array | number[];
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

/**
 * Counts uses in memory and hands them to the store in batches, so that verification never waits for a disk. A crash
 * loses what was counted since the last flush, and nothing is ever invented to fill the hole.
 */
export interface Recorder {
  /** Counts one use. `held` is what an earlier call for the same key returned. */
  record(
    keyId: KeyId,
    held: PendingKey | null,
    caller: CallerSighting,
    code: VerdictCode,
    now: Instant,
  ): PendingKey;
  /** Who presented the key and when last, as far as it is not stored yet. */
  pendingOf(keyId: KeyId): readonly Pick<CallerRow, "caller" | "lastSeenAt">[];
  /** Resolves when everything counted so far is stored. */
  flush(): Promise<void>;
  /** Seconds since the last stored flush, on the monotonic clock. */
  lagSeconds(): number;
  /** Up to when everything that was seen is stored; null before the start. */
  flushedAt(): Instant | null;
  start(): Promise<void>;
  /** The clean end: nothing is lost. */
  stop(): Promise<void>;
}

export function createRecorder(
  store: EvidenceStore,
  clock: Clock,
  time: Timekeeper,
  kept: AddressKept,
  process: string,
): Recorder {
  let pending = new Map<KeyId, PendingKey>();
  let full: PendingKey[] = [];
  let reporterId: ReporterId = newId("rep");
  let batchSeq = 0;
  let coveredUntil: Instant = 0;
  let coveredAtMonotonic = 0;
  let unsent: UsageBatch | null = null;
  let unsentAtMonotonic = 0;
  let flushing: Promise<void> = Promise.resolve();
  let queued: Promise<void> | null = null;
  let started = false;

  function open(keyId: KeyId, minute: number): PendingKey {
    const had = pending.get(keyId);
    if (had !== undefined) {
      if (had.minute === minute) return had;
      had.sealed = true;
      full.push(had);
    }
    const fresh: PendingKey = { keyId, minute, sealed: false, named: new Map(), unnamed: new Map() };
    pending.set(keyId, fresh);
    return fresh;
  }

  async function startSession(): Promise<void> {
    const id = newId("rep");
    const now = time.now();
    const monotonic = clock.monotonic();
    // The store first: batches of a session that it does not know would be dropped.
    await store.startReporter(id, process, now);
    reporterId = id;
    batchSeq = 0;
    coveredUntil = now;
    coveredAtMonotonic = monotonic;
  }

  async function flushOnce(): Promise<void> {
    // A command on the host verifies nothing. A session of its own would end that of the server beside it.
    if (!started) return;
    if (unsent === null) {
      const now = time.now();
      const monotonic = clock.monotonic();
      // Time that only the wall clock claims to have passed was not watched by anybody.
      const ahead = now - coveredUntil > monotonic - coveredAtMonotonic + JUMP_TOLERANCE_MS;
      // And a false future that was ended must not keep the watch waiting until it comes.
      const jumped = ahead || now < coveredUntil - JUMP_TOLERANCE_MS;
      const until = jumped ? coveredUntil : Math.max(now, coveredUntil);
      const taken = [...full, ...pending.values()];
      for (const key of taken) key.sealed = true;
      pending = new Map();
      full = [];
      batchSeq += 1;
      unsent = toBatch(taken, reporterId, batchSeq, coveredUntil, until, kept);
      unsentAtMonotonic = monotonic;
      const session = await store.apply(unsent);
      unsent = null;
      coveredUntil = until;
      coveredAtMonotonic = monotonic;
      if (jumped) await store.stopReporter(reporterId);
      if (jumped || session === "ended") await startSession();
      return;
    }
    // A batch whose fate is unknown goes again under its own number, before anything newer.
    const session = await store.apply(unsent);
    coveredUntil = unsent.coversUntil;
    coveredAtMonotonic = unsentAtMonotonic;
    unsent = null;
    if (session === "ended") await startSession();
    await flushOnce();
  }

  /** All who ask while one is under way share the next: it takes what was counted up to now. */
  function flushNext(): Promise<void> {
    const start = () => {
      queued = null;
      return flushOnce();
    };
    queued ??= flushing.then(start, start);
    flushing = queued;
    return queued;
  }

  return {
    record: (keyId, held, caller, code, now) => {
      const minute = Math.floor(now / MINUTE);
      const key = held !== null && !held.sealed && held.minute === minute ? held : open(keyId, minute);
      count(key, caller, CODE_INDEX[code], now, kept);
      return key;
    },
    pendingOf: (keyId) => {
      const held = [...full, ...pending.values()].filter((key) => key.keyId === keyId);
      const counted = held.flatMap(({ named, unnamed }) => [...named.values(), ...unnamed.values()]);
      return [
        ...(unsent?.callers.filter((row) => row.keyId === keyId) ?? []),
        ...counted.map(({ id, lastAt }) => ({ caller: id, lastSeenAt: lastAt })),
      ];
    },
    flush: async () => {
      try {
        await flushNext();
      } catch (cause) {
        throw new Refusal("storage_unavailable", "What was counted of uses could not be stored.", { cause });
      }
    },
    lagSeconds: () => (started ? (clock.monotonic() - coveredAtMonotonic) / 1000 : 0),
    flushedAt: () => (started ? coveredUntil : null),
    start: async () => {
      await startSession();
      started = true;
    },
    stop: async () => {
      await flushNext();
      await store.stopReporter(reporterId);
    },
  };
}

const JUMP_TOLERANCE_MS = 2_000;

function count(
  key: PendingKey,
  sighting: CallerSighting,
  code: number,
  now: Instant,
  kept: AddressKept,
): void {
  let caller = sighting.name === undefined ? undefined : key.named.get(sighting.name);
  if (caller === undefined) {
    caller = meet(key, sighting, now, kept);
    describe(caller, sighting);
  } else if (sighting.isDear !== true) {
    describe(caller, sighting);
  }
  caller.lastAt = now;
  if (code === VALID) {
    caller.firstValidAt ??= now;
    caller.lastValidAt = now;
  }
  caller.counts[code] = (caller.counts[code] ?? 0) + 1;
}

function describe(caller: PendingCaller, { address, agent }: CallerSighting): void {
  if (address !== undefined) caller.address = address;
  if (agent !== undefined) caller.agent = agent;
}

function meet(key: PendingKey, sighting: CallerSighting, now: Instant, kept: AddressKept): PendingCaller {
  const name = nameOf(sighting);
  const apart = key.named.size + key.unnamed.size - (key.unnamed.has(OVERFLOW) ? 1 : 0);
  const isFull = apart >= MOST_CALLERS_PER_KEY;
  const wanted = callerIdOf(sighting, kept);
  const id = isFull && !(name === undefined && key.unnamed.has(wanted)) ? OVERFLOW : wanted;
  const had = id === OVERFLOW || name === undefined ? key.unnamed.get(id) : key.named.get(name);
  if (had !== undefined) return had;
  const caller: PendingCaller = {
    id,
    name: id === OVERFLOW ? null : (name ?? null),
    address: undefined,
    agent: undefined,
    firstAt: now,
    lastAt: now,
    firstValidAt: null,
    lastValidAt: null,
    counts: new Array<number>(CODES).fill(0),
  };
  if (caller.name === null) key.unnamed.set(id, caller);
  else key.named.set(caller.name, caller);
  return caller;
}

function toBatch(
  taken: readonly PendingKey[],
  reporterId: ReporterId,
  batchSeq: number,
  coversFrom: Instant,
  coversUntil: Instant,
  kept: AddressKept,
): UsageBatch {
  const callers: CallerRow[] = [];
  const usage: UsageRow[] = [];
  for (const key of taken) {
    const totals = new Array<number>(CODES).fill(0);
    for (const caller of [...key.named.values(), ...key.unnamed.values()]) {
      callers.push(toRow(key.keyId, caller, kept));
      for (let code = 0; code < CODES; code += 1)
        totals[code] = (totals[code] ?? 0) + (caller.counts[code] ?? 0);
    }
    for (const [index, code] of VERDICT_CODES.entries()) {
      const total = totals[index] ?? 0;
      if (total > 0) usage.push({ keyId: key.keyId, minute: key.minute, code, count: total });
    }
  }
  return { reporterId, batchSeq, coversFrom, coversUntil, callers, usage };
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
