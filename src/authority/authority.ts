import { isRestore, revocationsIn, type Witness } from "./audit/witness.ts";
import type { AddressKept } from "./callers/caller.ts";
import { createRecorder, type Recorder } from "./callers/recorder.ts";
import { type Clock, createTimekeeper, type Timekeeper } from "./clock.ts";
import type { CommittedEntry } from "./entry-draft.ts";
import { Refusal } from "./errors.ts";
import type { BrownoutId } from "./ids.ts";
import { createVerifier, type Verifier } from "./keys/verifier.ts";
import { createRefusalCounts, type RefusalCounts } from "./refusal-counts.ts";
import type { SecretFormat } from "./secret.ts";
import type { FollowedEntry, Storage } from "./storage.ts";
import type { Seconds } from "./time.ts";

export interface AuthoritySettings {
  readonly format: SecretFormat;
  readonly callerAddress: AddressKept;
  readonly flushSeconds: Seconds;
  /** How many keys the verifier remembers. */
  readonly cacheKeys: number;
}

/** What goes wrong with the disk ends writing, never verification. */
export interface Health {
  writable(): boolean;
  /** Throws `storage_unavailable`. */
  assertWritable(): void;
  stopWriting(cause: unknown): void;
}

/** Everything that operations and verification stand on. One per process. */
export interface Authority {
  readonly settings: AuthoritySettings;
  readonly storage: Storage;
  readonly clock: Clock;
  readonly time: Timekeeper;
  readonly random: (size: number) => Uint8Array;
  readonly recorder: Recorder;
  readonly verifier: Verifier;
  readonly health: Health;
  readonly refusals: RefusalCounts;
  readonly setup: SetupTokens;
  /** Retry keys being worked on at this moment. */
  readonly inProgress: Set<string>;
  /** The newest entry that this process has applied. */
  appliedSeq(): number;
  /** Applies an entry that this process has just made durable. */
  committed(entry: CommittedEntry): Promise<void>;
  /** Applies what other processes (commands on the host) have appended. */
  followOthers(): Promise<void>;
  /** Brownouts that reached a threshold and wait for their end to be stored. */
  takeSpentBrownouts(): readonly BrownoutId[];
}

/** The one-time set-up token, kept as a digest in memory alone. */
export interface SetupTokens {
  digest: string | null;
  expiresAt: number;
}

export interface AuthorityParts {
  readonly settings: AuthoritySettings;
  readonly storage: Storage;
  readonly clock: Clock;
  readonly random: (size: number) => Uint8Array;
  readonly witness: Witness | null;
  /** Told of faults that end writing, for the log. */
  readonly onFault?: (cause: unknown) => void;
}

/** Puts an authority together over an open storage. */
export async function createAuthority(parts: AuthorityParts): Promise<Authority> {
  const { settings, storage, clock, witness } = parts;
  const head = await storage.read.audit.head();
  const time = createTimekeeper(clock, head.at);
  const recorder = createRecorder(storage.evidence, clock, time, settings.callerAddress);
  const spent = new Set<BrownoutId>();
  const verifier = createVerifier({
    storage,
    recorder,
    time,
    format: settings.format,
    callerAddress: settings.callerAddress,
    capacity: settings.cacheKeys,
    onBrownoutSpent: (id) => void spent.add(id),
  });
  const health = createHealth(parts.onFault ?? (() => undefined));
  let applied = head.seq;

  async function apply(entry: FollowedEntry): Promise<void> {
    await verifier.apply(entry);
    // One that was followed already must not bring back a false future that was ended since.
    if (entry.seq <= applied) return;
    time.noteEntry(entry.at, entry.operation === "clock.accept");
    applied = entry.seq;
  }

  async function followOthers(): Promise<void> {
    for (;;) {
      const entries = await storage.follow(applied, 1_000);
      for (const entry of entries) await apply(entry);
      if (entries.length < 1_000) return;
    }
  }

  return {
    settings,
    storage: {
      ...storage,
      change: async (work) => {
        try {
          return await storage.change(work);
        } catch (error) {
          if (error instanceof Refusal && error.code === "outcome_unknown") health.stopWriting(error.cause);
          throw error;
        }
      },
    },
    clock,
    time,
    random: parts.random,
    recorder,
    verifier,
    health,
    refusals: createRefusalCounts(),
    setup: { digest: null, expiresAt: 0 },
    inProgress: new Set(),
    appliedSeq: () => applied,
    committed: async (entry) => {
      // Entries of other processes may stand in between: they are applied first, in order.
      if (entry.seq > applied + 1) await followOthers();
      await apply(entry);
      const revoked = revocationsIn(entry.full);
      const restored = isRestore(entry.operation);
      if (witness === null || (revoked.length === 0 && !restored)) return;
      const { seq, chainHash, at } = entry;
      try {
        witness.write({ seq, chainHash, at, revoked, ...(restored ? { restored } : {}) });
      } catch (cause) {
        health.stopWriting(cause);
        throw new Refusal(
          "outcome_unknown",
          "The change was made, but the witness file could not be written.",
          { cause },
        );
      }
    },
    followOthers,
    takeSpentBrownouts: () => {
      const taken = [...spent];
      spent.clear();
      return taken;
    },
  };
}

function createHealth(onFault: (cause: unknown) => void): Health {
  let writing = true;
  return {
    writable: () => writing,
    assertWritable: () => {
      if (!writing) {
        throw new Refusal(
          "storage_unavailable",
          "The database reported a fault; no change is accepted until the service is restarted. Verification goes on.",
        );
      }
    },
    stopWriting: (cause) => {
      if (writing) onFault(cause);
      writing = false;
    },
  };
}
