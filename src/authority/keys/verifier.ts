import { type AddressKept, type CallerSighting, callerIdOf, callerLabel } from "../callers/caller.ts";
import type { Recorder } from "../callers/recorder.ts";
import type { Timekeeper } from "../clock.ts";
import { Refusal } from "../errors.ts";
import type { Follower } from "../follower.ts";
import type { AccountId, KeyId } from "../ids.ts";
import type { BrownoutCounts } from "../rotations/brownout-counts.ts";
import { digestOf, inspectSecret, type SecretFormat } from "../secret.ts";
import type { FollowedEntry, Storage } from "../storage.ts";
import { createKeyMemory, type Remembered } from "./key-memory.ts";
import {
  type Effective,
  judge,
  type Matched,
  precedes,
  type Requirement,
  type VerdictCode,
} from "./verdict.ts";

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

export interface Verifier {
  /**
   * Whether the presented text is good for what is asked, now; never throws for a bad key, and counts the use.
   * `account` is the verifier's: a key of another is `unknown`. Null is Keyturn itself, asking who is calling.
   * The answer takes all entries up to `atLeast` into account, or is `stale`.
   */
  verify(
    presented: string,
    ask: Requirement,
    caller: CallerSighting,
    account: AccountId | null,
    atLeast?: number,
  ): Verdict | Promise<Verdict>;
  /** Forgets what an entry of the log may have changed. */
  forget(entry: FollowedEntry): Promise<void>;
  size(): number;
}

export interface VerifierOptions {
  readonly storage: Pick<Storage, "match" | "digestsOf">;
  readonly recorder: Recorder;
  readonly follower: Pick<Follower, "allows" | "appliedSeq" | "catchUp" | "history">;
  readonly brownouts: Pick<BrownoutCounts, "hit" | "isSpent">;
  readonly time: Timekeeper;
  readonly format: SecretFormat;
  /** How much of an address may stand in what a brownout found. */
  readonly callerAddress: AddressKept;
  /** How many keys are remembered; the oldest makes room. */
  readonly capacity: number;
}

const MALFORMED: Verdict = { code: "malformed", key: null };
const WRONG_REGION: Verdict = { code: "wrong_region", key: null };
const UNKNOWN: Verdict = { code: "unknown", key: null };
const STALE: Verdict = { code: "stale", key: null };
const LONGEST_TEXT = 512;

export function createVerifier(options: VerifierOptions): Verifier {
  const { storage, recorder, follower, brownouts, time, format, callerAddress, capacity } = options;
  const memory = createKeyMemory(capacity);
  let generation = 0;

  /** The verdict on a key that was found. Null: not by what is known at this moment, for it may be out of date. */
  function conclude(
    entry: Remembered,
    { ask, caller, account, atLeast }: Asked,
    knowledge: "current" | "remembered" | "given up",
  ): Verdict | null {
    const { key } = entry.matched;
    const { freshness } = entry;
    if (knowledge === "remembered" && atLeast > 0 && !follower.allows(freshness, atLeast)) return null;
    if (account !== null && key.accountId !== account) return UNKNOWN;
    const now = time.now();
    const { brownout } = entry.matched;
    if (brownout !== null && brownouts.isSpent(brownout.id))
      entry.matched = { ...entry.matched, brownout: null };
    let code = judge(entry.matched, entry.effective, ask, now);
    if (precedes("stale", code)) {
      if (knowledge === "given up") code = "stale";
      else if (knowledge === "remembered" && !follower.allows(freshness, atLeast)) return null;
    }
    if (code === "brownout" && brownout !== null)
      brownouts.hit(brownout, callerLabel(callerIdOf(caller, callerAddress)));
    entry.pending = recorder.record(key.id, entry.pending, caller, code, now);
    return { code, key: entry };
  }

  function fromStore(digest: string, asked: Asked): Verdict | Promise<Verdict> {
    const since = generation;
    const found = (matched: Matched | null): Verdict => {
      // R14: a database that was put back, or was left for another, would bring revoked keys back to life.
      if (follower.history() !== "whole") return STALE;
      if (matched === null) return UNKNOWN;
      const known = memory.put(digest, matched);
      // Something changed while the store was asked: good for this answer, not for the next.
      if (since !== generation) memory.forget(digest);
      return conclude(known, asked, "current") ?? STALE;
    };
    const match = askStore(digest);
    if (match instanceof Promise) return match.then(found, unavailable);
    return found(match);
  }

  function askStore(digest: string): ReturnType<VerifierOptions["storage"]["match"]> {
    try {
      // R14: were the database an older one by now, a look would notice only later.
      return storage.match(digest, follower.appliedSeq());
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** The store as it is now, unless that is before what was asked for: then it is another than the one that is known. */
  function fromStoreAt(digest: string, asked: Asked): Verdict | Promise<Verdict> {
    const { atLeast } = asked;
    if (atLeast === 0 || follower.allows("static", atLeast)) return fromStore(digest, asked);
    return follower
      .catchUp("static", atLeast)
      .then((current) => (current ? fromStore(digest, asked) : STALE));
  }

  /** By what is remembered once that is up to date, or by the little that stays true when it can't be. */
  async function whenCurrent(digest: string, entry: Remembered, asked: Asked): Promise<Verdict> {
    const current = await follower.catchUp(entry.freshness, asked.atLeast);
    const known = memory.get(digest);
    if (known === undefined)
      return follower.allows("static", asked.atLeast) ? fromStore(digest, asked) : STALE;
    return conclude(known, asked, current ? "current" : "given up") ?? STALE;
  }

  return {
    verify: (presented, ask, caller, account, atLeast = 0) => {
      if (presented.length > LONGEST_TEXT) return MALFORMED;
      const asked: Asked = { ask, caller, account, atLeast };
      const digest = digestOf(presented);
      const entry = memory.get(digest);
      // What is remembered under this digest has passed its checksum: no other text has the same digest.
      if (entry !== undefined)
        return conclude(entry, asked, "remembered") ?? whenCurrent(digest, entry, asked);
      const form = inspectSecret(presented, format);
      if (form === "malformed") return MALFORMED;
      if (form === "wrong_region") return WRONG_REGION;
      return fromStoreAt(digest, asked);
    },
    forget: async (entry) => {
      generation += 1;
      for (const { kind, id } of entry.subjects) {
        if (kind === "key") {
          for (const digest of await storage.digestsOf(id as KeyId)) memory.forget(digest);
        } else if (kind === "service_account" || kind === "account" || kind === "rotation") {
          memory.forgetKeysOf(kind, id);
        }
      }
    },
    size: () => memory.size(),
  };
}

interface Asked {
  readonly ask: Requirement;
  readonly caller: CallerSighting;
  readonly account: AccountId | null;
  readonly atLeast: number;
}

/** A store that can't be asked says nothing about the key; a bug is no verdict. */
function unavailable(error: unknown): Verdict {
  if (error instanceof Refusal && error.code === "storage_unavailable") return STALE;
  throw error;
}
