import { type AddressKept, type CallerSighting, callerIdOf, callerLabel } from "../callers/caller.ts";
import type { Recorder } from "../callers/recorder.ts";
import type { Timekeeper } from "../clock.ts";
import type { AccountId, BrownoutId, KeyId } from "../ids.ts";
import type { Brownout } from "../rotations/brownout.ts";
import { digestOf, inspectSecret, type SecretFormat } from "../secret.ts";
import type { FollowedEntry, Storage } from "../storage.ts";
import { createKeyMemory, type Remembered } from "./key-memory.ts";
import { type Effective, judge, type Matched, type Requirement, type VerdictCode } from "./verdict.ts";

/** A key as the verifier remembers it. Faces may hang what they derive from it on its identity. */
export interface KnownKey {
  readonly matched: Matched;
  readonly effective: Effective;
}

/** `key` is null when nothing is known of it, or nothing that this verifier may know. */
export interface Verdict {
  readonly code: VerdictCode;
  readonly key: KnownKey | null;
}

/** What was counted of a brownout that is running, before it is stored. */
export interface BrownoutTally {
  readonly refusals: number;
  readonly callersHit: readonly string[];
  readonly spent: "callers" | "refusals" | null;
}

export interface Verifier {
  /**
   * Whether the presented text is good for what is asked, now; never throws for a bad key, and counts the use.
   * `account` is the verifier's: a key of another is `unknown`. Null is Keyturn itself, asking who is calling.
   */
  verify(
    presented: string,
    ask: Requirement,
    caller: CallerSighting,
    account: AccountId | null,
  ): Verdict | Promise<Verdict>;
  /** Forgets what an entry of the log may have changed. */
  apply(entry: FollowedEntry): Promise<void>;
  tallyOf(brownout: BrownoutId): BrownoutTally | null;
  size(): number;
}

export interface VerifierOptions {
  readonly storage: Pick<Storage, "match" | "digestsOf">;
  readonly recorder: Recorder;
  readonly time: Timekeeper;
  readonly format: SecretFormat;
  /** How much of an address may stand in what a brownout found. */
  readonly callerAddress: AddressKept;
  /** How many keys are remembered; the oldest makes room. */
  readonly capacity: number;
  /** Called once when a brownout has reached a threshold. */
  readonly onBrownoutSpent: (id: BrownoutId) => void;
}

interface LiveBrownout {
  refusals: number;
  readonly callers: Set<string>;
  spent: "callers" | "refusals" | null;
}

const MALFORMED: Verdict = { code: "malformed", key: null };
const WRONG_REGION: Verdict = { code: "wrong_region", key: null };
const UNKNOWN: Verdict = { code: "unknown", key: null };
const LONGEST_TEXT = 512;

export function createVerifier(options: VerifierOptions): Verifier {
  const { storage, recorder, time, format, callerAddress, capacity } = options;
  const memory = createKeyMemory(capacity);
  const brownouts = new Map<BrownoutId, LiveBrownout>();
  let generation = 0;

  function conclude(
    entry: Remembered,
    ask: Requirement,
    caller: CallerSighting,
    account: AccountId | null,
  ): Verdict {
    const { key } = entry.matched;
    if (account !== null && key.accountId !== account) return UNKNOWN;
    const now = time.now();
    const { brownout } = entry.matched;
    if (brownout !== null && brownouts.get(brownout.id)?.spent != null) {
      entry.matched = { ...entry.matched, brownout: null };
    }
    const code = judge(entry.matched, entry.effective, ask, now);
    if (code === "brownout" && brownout !== null) hit(brownout, caller);
    entry.pending = recorder.record(key.id, entry.pending, caller, code, now);
    return { code, key: entry };
  }

  /** Counted at once, not by flush: a threshold must hold however fast the refusals come. */
  function hit(brownout: Brownout, caller: CallerSighting): void {
    let live = brownouts.get(brownout.id);
    if (live === undefined) {
      live = { refusals: brownout.refusals, callers: new Set(brownout.callersHit), spent: null };
      brownouts.set(brownout.id, live);
    }
    live.refusals += 1;
    live.callers.add(callerLabel(callerIdOf(caller, callerAddress)));
    if (live.refusals >= brownout.stopAfterRefusals) live.spent = "refusals";
    if (live.callers.size >= brownout.stopAfterCallers) live.spent = "callers";
    if (live.spent !== null) options.onBrownoutSpent(brownout.id);
  }

  return {
    verify: (presented, ask, caller, account) => {
      if (presented.length > LONGEST_TEXT) return MALFORMED;
      const digest = digestOf(presented);
      const entry = memory.get(digest);
      // What is remembered under this digest has passed its checksum: no other text has the same digest.
      if (entry !== undefined) return conclude(entry, ask, caller, account);
      const form = inspectSecret(presented, format);
      if (form === "malformed") return MALFORMED;
      if (form === "wrong_region") return WRONG_REGION;
      const since = generation;
      const match = storage.match(digest);
      const found = (matched: Matched | null): Verdict => {
        if (matched === null) return UNKNOWN;
        const known = memory.put(digest, matched);
        // Something changed while the store was asked: good for this answer, not for the next.
        if (since !== generation) memory.forget(digest);
        return conclude(known, ask, caller, account);
      };
      return match instanceof Promise ? match.then(found) : found(match);
    },
    apply: async (entry) => {
      generation += 1;
      for (const { kind, id } of entry.subjects) {
        if (kind === "key") {
          for (const digest of await storage.digestsOf(id as KeyId)) memory.forget(digest);
        } else if (kind === "service_account" || kind === "account" || kind === "rotation") {
          memory.forgetKeysOf(kind, id);
        }
      }
    },
    tallyOf: (id) => {
      const live = brownouts.get(id);
      return live === undefined
        ? null
        : { refusals: live.refusals, callersHit: [...live.callers], spent: live.spent };
    },
    size: () => memory.size(),
  };
}
