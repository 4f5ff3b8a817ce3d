import type { Head } from "./audit/entry.ts";
import { isRestore, type Witness, type WitnessLine } from "./audit/witness.ts";
import type { AddressKept } from "./callers/caller.ts";
import { createRecorder, type Recorder } from "./callers/recorder.ts";
import { type Clock, createTimekeeper, type Timekeeper } from "./clock.ts";
import { createNeighbours, type Neighbours } from "./cluster/neighbours.ts";
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

/** What ends writing for good: the disk of the store, that of the witness file, or a log that is not the one followed so far. */
export type Fault = "disk" | "witness" | "history";

/** A fault ends writing, never all verification. */
export interface Health {
  /** The fault where the store is closed besides: that needs a restart, whatever becomes of the move. */
  state(): "open" | "closed" | Fault;
  writable(): boolean;
  /** Throws `storage_unavailable`. Whoever moves the installation writes where it is closed for others. */
  assertWritable(evenIfClosed?: boolean): void;
  /** The installation is being moved, or was: changes are refused until it is opened. */
  close(closed: boolean): void;
  stopWriting(fault: Fault, cause: unknown): void;
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
  readonly neighbours: Neighbours;
  readonly refusals: RefusalCounts;
  /** Retry keys being worked on at this moment. */
  readonly inProgress: Set<string>;
  /** Retry keys by which this process made something a moment ago, with the monotonic time. Oldest first. */
  readonly madeLately: Map<string, number>;
  /** The same of records that others made, by which a retry was refused, and when the first was. */
  readonly knownLately: Map<string, number>;
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
  readonly onFault?: (fault: Fault, cause: unknown) => void;
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
    forget: async (entry) => {
      if (entry.operation === "store.close" || entry.operation === "store.open")
        health.close(entry.operation === "store.close");
      if (entry.operation === "store.close" && (await storage.read.facts.get("closed")) === "moved")
        follower.leave();
      await verifier.forget(entry);
    },
    onFollowed: (entries) => {
      try {
        witnessAll(entries.filter(isWitnessed));
      } catch {
        // Writing has stopped by then; whoever made the change has told its own witness.
      }
    },
    onBroken: (cause) => health.stopWriting("history", cause),
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
      health.stopWriting("witness", cause);
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
          if (unknown && storage.stopsAtFault) health.stopWriting("disk", error.cause);
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
    neighbours: createNeighbours(process, settings.boundedSeconds),
    refusals: createRefusalCounts(),
    inProgress: new Set(),
    madeLately: new Map(),
    knownLately: new Map(),
    committed: async (entry) => {
      try {
        // First: a head in the witness file says that what was applied by then stands there.
        witnessAll([entry].filter(isWitnessed));
      } finally {
        // The change is made, whatever comes now. What can't be applied here is followed like the changes of others.
        await follower.applyOwn(entry).catch(() => undefined);
      }
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

const AFTER_FAULT: Readonly<Record<Fault, string>> = {
  disk: "The database reported a fault; no change is accepted until the service is restarted. Verification goes on.",
  witness:
    "The witness file could not be written; no change is accepted until the service is restarted with one that can be. Verification goes on.",
  // R14: a process that is started again has forgotten what it saw.
  history:
    "The database was put back to an older state, or replaced by another; no change is accepted, and only static keys are judged. Stop all processes, then run keyturn restore; a restart alone could bring revoked keys back.",
};

function createHealth(onFault: (fault: Fault, cause: unknown) => void): Health {
  let fault: Fault | null = null;
  let isClosed = false;
  const state = () => fault ?? (isClosed ? "closed" : "open");
  return {
    state,
    writable: () => state() === "open",
    close: (closed) => {
      isClosed = closed;
    },
    assertWritable: (evenIfClosed = false) => {
      if (state() === "closed" && !evenIfClosed) throw closedForChanges();
      if (fault !== null) throw new Refusal("storage_unavailable", AFTER_FAULT[fault]);
    },
    stopWriting: (next, cause) => {
      // Whoever was told to restart must hear that this would be wrong now.
      if (fault !== null && (next !== "history" || fault === "history")) return;
      fault = next;
      onFault(next, cause);
    },
  };
}
