import type { Caller, CallerId } from "../../src/authority/callers/caller.ts";
import { callerLabel } from "../../src/authority/callers/caller.ts";
import type { Key, Owner } from "../../src/authority/keys/key.ts";
import type { Brownout } from "../../src/authority/rotations/brownout.ts";
import type { Assessment, Evidence, Reason, ReasonCode } from "../../src/authority/rotations/evidence.ts";
import type { Rotation } from "../../src/authority/rotations/rotation.ts";
import { DAY, SECOND, START } from "./authority.ts";

export function sampleKey(changes: Partial<Key> = {}): Key {
  return {
    id: "key_old",
    accountId: "acc_one",
    ownerId: "sa_one",
    lineageId: "lin_one",
    kind: "service",
    name: "billing",
    hint: "kts_…abcd",
    own: { role: null, scopes: null, allowedIps: null },
    metadata: {},
    suspensions: [],
    createdAt: START,
    expiresAt: null,
    revokedAt: null,
    freshness: "bounded",
    rotationId: null,
    ...changes,
  };
}

export function sampleOwner(changes: Partial<Owner> = {}): Owner {
  return {
    id: "sa_one",
    own: { role: "editor", scopes: ["invoices:*"], allowedIps: null },
    disabledAt: null,
    deletedAt: null,
    ...changes,
  };
}

/** Started at START: overlap 7 d, deadline 30 d, quiet period and undo window 1 d, as nobody said otherwise. */
export function sampleRotation(changes: Partial<Rotation> = {}): Rotation {
  return {
    id: "rot_one",
    accountId: "acc_one",
    ownerId: "sa_one",
    lineageId: "lin_one",
    oldKeyId: "key_old",
    successorKeyId: "key_new",
    state: "issued",
    completion: "when_adopted",
    reason: null,
    overlapSeconds: (7 * DAY) / SECOND,
    quietPeriodSeconds: DAY / SECOND,
    lookBackSeconds: (30 * DAY) / SECOND,
    undoWindowSeconds: DAY / SECOND,
    deadlineAt: START + 30 * DAY,
    oldKeyEndsAt: null,
    startedAt: START,
    firstUsedAt: null,
    adoptedAt: null,
    overdueAt: null,
    completedAt: null,
    undoUntil: null,
    endedAt: null,
    forced: false,
    ...changes,
  };
}

export function sampleBrownout(changes: Partial<Brownout> = {}): Brownout {
  return {
    id: "bro_one",
    rotationId: "rot_one",
    startsAt: START,
    endsAt: START + 300 * SECOND,
    stopAfterCallers: 3,
    stopAfterRefusals: 100,
    stoppedAt: null,
    stopReason: null,
    refusals: 0,
    callersHit: [],
    ...changes,
  };
}

/** A caller seen once, at `at`, and let through. */
export function sampleCaller(id: CallerId, at: number, changes: Partial<Caller> = {}): Caller {
  return {
    id,
    name: id.startsWith("n:") ? callerLabel(id) : null,
    address: null,
    agent: null,
    firstSeenAt: at,
    lastSeenAt: at,
    firstValidAt: at,
    lastValidAt: at,
    counts: { valid: 1 },
    ...changes,
  };
}

/** Nobody was seen, and everything was watched from long before the start. */
export function sampleEvidence(changes: Partial<Evidence> = {}): Evidence {
  return {
    oldCallers: [],
    successorCallers: [],
    successorFirstUsedAt: null,
    watches: [{ from: START - 400 * DAY, until: START + 400 * DAY }],
    watchRestartedAt: null,
    dismissals: [],
    flushSeconds: 10,
    ...changes,
  };
}

/** What the evidence might say: by default that all is well. */
export function sampleAssessment(
  blockedBy: readonly ReasonCode[] = [],
  changes: Partial<Assessment> = {},
): Assessment {
  const blocking = blockedBy.map((code): Reason => ({ code, message: code, callers: [] }));
  return {
    callers: [],
    newCallers: [],
    reasons: blocking,
    blocking,
    safeToComplete: blocking.length === 0,
    adopted: blocking.length === 0,
    ...changes,
  };
}
