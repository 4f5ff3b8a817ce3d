import type { Head } from "./audit/entry.ts";
import { isRestore, type Witness, type WitnessLine } from "./audit/witness.ts";
import type { AddressKept } from "./callers/caller.ts";
import { createRecorder, type Recorder } from "./callers/recorder.ts";
import { type Clock, createTimekeeper, type Timekeeper } from "./clock.ts";
import { Refusal } from "./errors.ts";
import { createFollower, type Follower, momentOf } from "./follower.ts";
import { newId, type ProcessId } from "./ids.ts";
import { createVerifier, type Verifier } from "./keys/verifier.ts";
import { createRefusalCounts, type RefusalCounts } from "./refusal-counts.ts";
import { type BrownoutCounts, createBrownoutCounts } from "./rotations/brownout-counts.ts";
import type { SecretFormat } from "./secret.ts";
import type { FollowedEntry, Storage } from "./storage.ts";
import type { Instant, Seconds } from "./time.ts";

export interface AuthoritySettings {
  readonly format: SecretFormat;
  readonly callerAddress: AddressKept;
  readonly flushSeconds: Seconds;
  /** How many keys the verifier remembers. */
  readonly cacheKeys: number;
  /** The ceiling of `bounded` keys. */
  readonly boundedSeconds: Seconds;
}

/** This process among those of the installation. */
export interface OwnProcess {
  readonly id: ProcessId;
  readonly name: string;
  readonly version: string;
  readonly startedAt: Instant;
}

/** What goes wrong with the disk ends writing, never verification. */
export interface Health {
  /** `fault` where the store is closed besides: that needs a restart, whatever becomes of the move. */
  state(): "open" | "closed" | "fault";
  writable(): boolean;
  /** Throws `storage_unavailable`. Whoever moves the installation writes where it is closed for others. */
  assertWritable(evenIfClosed?: boolean): void;
  /** The installation is being moved, or was: changes are refused until it is opened. */
  close(closed: boolean): void;
  stopWriting(cause: unknown): void;
}

/** Everything that operations and verification stand on. One per process. */
export interface Authority {
  readonly settings: AuthoritySettings;
  readonly process: OwnProcess;
  readonly storage: Storage;
  readonly clock: Clock;
  readonly time: Timekeeper;
  readonly random: (size: number) => Uint8Array;
  readonly recorder: Recorder;
  readonly verifier: Verifier;
  readonly follower: Follower;
  readonly brownouts: BrownoutCounts;
  readonly health: Health;
  readonly refusals: RefusalCounts;
  /** Retry keys being worked on at this moment. */
  readonly inProgress: Set<string>;
  /** Retry keys by which this process made something a moment ago, with the monotonic time. Oldest first. */
  readonly madeLately: Map<string, number>;
  /** Applies an entry that this process has just made durable, and tells the witness. */
  committed(entry: FollowedEntry): Promise<void>;
}

export interface AuthorityParts {
  readonly settings: AuthoritySettings;
  readonly storage: Storage;
  readonly clock: Clock;
  readonly random: (size: number) => Uint8Array;
  readonly witness: Witness | null;
  readonly process: Pick<OwnProcess, "name" | "version">;
  /** Told of faults that end writing, for the log. */
  readonly onFault?: (cause: unknown) => void;
}

/** Puts an authority together over an open storage. */
export async function createAuthority(parts: AuthorityParts): Promise<Authority> {
  const { settings, storage, clock, witness } = parts;
  const since = momentOf(clock);
  const head: Head = await storage.read.audit.head();
  const time = createTimekeeper(clock, head.at);
  const { name, version } = parts.process;
  const process: OwnProcess = { id: newId("prc"), name, version, startedAt: time.now() };
  const recorder = createRecorder(storage.evidence, clock, time, settings.callerAddress, name);
  const brownouts = createBrownoutCounts(storage.cluster);
  const health = createHealth(parts.onFault ?? (() => undefined));
  health.close((await storage.read.facts.get("closed")) !== null);
  const follower = createFollower({
    storage,
    clock,
    time,
    boundedSeconds: settings.boundedSeconds,
    head,
    since,
    forget: (entry) => {
      if (entry.operation === "store.close" || entry.operation === "store.open")
        health.close(entry.operation === "store.close");
      return verifier.forget(entry);
    },
    onFollowed: (entries) => {
      try {
        witnessAll(entries.filter(isWitnessed));
      } catch {
        // Writing has stopped by then; whoever made the change has told its own witness.
      }
    },
    onBroken: health.stopWriting,
  });
  const verifier = createVerifier({
    storage,
    recorder,
    follower,
    brownouts,
    time,
    format: settings.format,
    callerAddress: settings.callerAddress,
    capacity: settings.cacheKeys,
  });

  /** Each process has a witness of its own, so it must see what the others revoke, too. */
  function witnessAll(entries: readonly FollowedEntry[]): void {
    if (witness === null || entries.length === 0) return;
    try {
      witness.writeAll(entries.map(toWitnessLine));
    } catch (cause) {
      health.stopWriting(cause);
      throw new Refusal(
        "outcome_unknown",
        "The change was made, but the witness file could not be written.",
        {
          cause,
        },
      );
    }
  }

  return {
    settings,
    process,
    storage: {
      ...storage,
      change: async (work, scope) => {
        try {
          return await storage.change(work, scope);
        } catch (error) {
          const unknown = error instanceof Refusal && error.code === "outcome_unknown";
          if (unknown && storage.stopsAtFault) health.stopWriting(error.cause);
          throw error;
        }
      },
    },
    clock,
    time,
    random: parts.random,
    recorder,
    verifier,
    follower,
    brownouts,
    health,
    refusals: createRefusalCounts(),
    inProgress: new Set(),
    madeLately: new Map(),
    committed: async (entry) => {
      // The change is made, whatever comes now. What can't be applied here is followed like the changes of others.
      await follower.applyOwn(entry).catch(() => undefined);
      witnessAll([entry].filter(isWitnessed));
    },
  };
}

function isWitnessed({ operation, revoked }: FollowedEntry): boolean {
  return revoked.length > 0 || isRestore(operation);
}

function toWitnessLine({ seq, chainHash, at, operation, revoked }: FollowedEntry): WitnessLine {
  return { seq, chainHash, at, revoked, ...(isRestore(operation) ? { restored: true } : {}) };
}

/** What is answered to changes while the installation moves from one database to another. */
export function closedForChanges(): Refusal {
  return new Refusal(
    "storage_unavailable",
    "The installation is being moved to another database; changes are accepted again when that is done. Verification goes on.",
  );
}

function createHealth(onFault: (cause: unknown) => void): Health {
  let writing = true;
  let isClosed = false;
  const state = () => {
    if (!writing) return "fault";
    return isClosed ? "closed" : "open";
  };
  return {
    state,
    writable: () => state() === "open",
    close: (closed) => {
      isClosed = closed;
    },
    assertWritable: (evenIfClosed = false) => {
      if (state() === "closed" && !evenIfClosed) throw closedForChanges();
      if (state() === "fault") {
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
