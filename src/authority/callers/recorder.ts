import type { Clock, Timekeeper } from "../clock.ts";
import { Refusal } from "../errors.ts";
import type { KeyId, ReporterId } from "../ids.ts";
import { newId } from "../ids.ts";
import { VERDICT_CODES, type VerdictCode } from "../keys/verdict.ts";
import type { CallerRow, EvidenceStore, UsageBatch } from "../storage.ts";
import type { Instant, Seconds } from "../time.ts";
import { createBacklog, type PendingCaller, type PendingKey } from "./backlog.ts";
import {
  type AddressKept,
  type CallerSighting,
  callerIdOf,
  MOST_CALLERS_PER_KEY,
  nameOf,
  OVERFLOW,
} from "./caller.ts";

/** How long `KEYTURN_FLUSH_INTERVAL` may be. */
export const LONGEST_FLUSH_SECONDS: Seconds = 60;

/**
 * What a flush can't send in one batch goes in several. The last of them says up to when everything was told, and has the
 * next multiple of this for its number; those before it count on from the multiple before.
 */
const BATCHES_PER_FLUSH = 1_000_000;

/** What a session is called that goes on after another of the same process was given up: `of` is its id. */
export function furtherSession(process: string, of: ReporterId | ""): string {
  return `${process} session ${of}`;
}

/** How many flushes a session has stored whole, by the number of its newest batch. */
export function flushesIn(batchSeq: number): number {
  return Math.floor(batchSeq / BATCHES_PER_FLUSH);
}

const MINUTE = 60_000;
const CODES = VERDICT_CODES.length;
const VALID = VERDICT_CODES.indexOf("valid");
const CODE_INDEX: Readonly<Record<VerdictCode, number>> = Object.fromEntries(
  VERDICT_CODES.map((code, index) => [code, index]),
) as Record<VerdictCode, number>;

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
  /** Under which session it tells; null before the start. */
  session(): ReporterId | null;
  /** Up to when everything that was seen is stored; null before the start. */
  flushedAt(): Instant | null;
  start(): Promise<void>;
  /** The clean end: nothing is lost. */
  stop(): Promise<void>;
}

/** A batch on its way, and the monotonic time up to which it covers. */
interface Sending {
  readonly batch: UsageBatch;
  readonly coveredAtMonotonic: number;
}

export function createRecorder(
  store: EvidenceStore,
  clock: Clock,
  time: Timekeeper,
  kept: AddressKept,
  process: string,
): Recorder {
  let pending = new Map<KeyId, PendingKey>();
  const backlog = createBacklog(kept);
  let reporterId: ReporterId = newId("rep");
  let flushes = 0;
  /** Of the flush under way, or of one that failed and goes on with the next. */
  let parts = 0;
  let isGivenUp = false;
  let coveredUntil: Instant = 0;
  let coveredAtMonotonic = 0;
  let unsent: Sending | null = null;
  let flushing: Promise<void> = Promise.resolve();
  let queued: Promise<void> | null = null;
  let started = false;

  function open(keyId: KeyId, minute: number): PendingKey {
    const had = pending.get(keyId);
    if (had !== undefined) {
      if (had.minute === minute) return had;
      had.sealed = true;
      backlog.add(had);
    }
    const fresh: PendingKey = { keyId, minute, sealed: false, named: new Map(), unnamed: new Map() };
    pending.set(keyId, fresh);
    return fresh;
  }

  async function startSession(
    at: Instant,
    atMonotonic: number,
    goneOn: ReporterId | null = null,
  ): Promise<void> {
    const id = newId("rep");
    // Whoever gave up the one before may be a living process of the same name: under a name of its own this session ends
    // nobody else's, or the two would end each other's for ever.
    const name = isGivenUp ? furtherSession(process, id) : process;
    // The store first: batches of a session that it does not know would be dropped.
    await store.startReporter(id, name, at, goneOn);
    reporterId = id;
    flushes = 0;
    parts = 0;
    isGivenUp = false;
    coveredUntil = at;
    coveredAtMonotonic = atMonotonic;
  }

  async function send(sending: Sending): Promise<void> {
    unsent = sending;
    const session = await store.apply(sending.batch);
    unsent = null;
    coveredUntil = sending.batch.coversUntil;
    coveredAtMonotonic = sending.coveredAtMonotonic;
    if (session === "ended") isGivenUp = true;
  }

  async function flushOnce(): Promise<void> {
    // A command on the host verifies nothing. A session of its own would end that of the server beside it.
    if (!started) return;
    // A batch whose fate is unknown goes again under its own number, before anything newer.
    if (unsent !== null) await send(unsent);
    const now = time.now();
    const monotonic = clock.monotonic();
    // Time that only the wall clock claims to have passed was not watched by anybody.
    const ahead = now - coveredUntil > monotonic - coveredAtMonotonic + JUMP_TOLERANCE_MS;
    // And a false future that was ended must not keep the watch waiting until it comes.
    const jumped = ahead || now < coveredUntil - JUMP_TOLERANCE_MS;
    const until = jumped ? coveredUntil : Math.max(now, coveredUntil);
    for (const key of pending.values()) key.sealed = true;
    backlog.addAll(pending);
    pending = new Map();
    for (const { isLast, callers, usage } of backlog.portions()) {
      flushes += isLast ? 1 : 0;
      parts = isLast ? 0 : parts + 1;
      const batchSeq = flushes * BATCHES_PER_FLUSH + parts;
      const coversUntil = isLast ? until : coveredUntil;
      const batch = { reporterId, batchSeq, coversFrom: coveredUntil, coversUntil, callers, usage };
      await send({ batch, coveredAtMonotonic: isLast ? monotonic : coveredAtMonotonic });
    }
    // From when all was told, and not before: a session must not claim to have told what is still to be sent.
    if (jumped || isGivenUp) await startSession(now, monotonic, jumped ? reporterId : null);
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
      const open = pending.get(keyId);
      return [
        ...(unsent?.batch.callers.filter((row) => row.keyId === keyId) ?? []),
        ...[
          ...backlog.callersOf(keyId),
          ...(open?.named.values() ?? []),
          ...(open?.unnamed.values() ?? []),
        ].map(({ id, lastAt }) => ({ caller: id, lastSeenAt: lastAt })),
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
    session: () => (started ? reporterId : null),
    flushedAt: () => (started ? coveredUntil : null),
    start: async () => {
      await startSession(time.now(), clock.monotonic());
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
