import { assert, Refusal } from "../errors.ts";
import { type KeyId, newId, type RotationId } from "../ids.ts";
import { describeKey } from "../keys/describe.ts";
import { findKey } from "../keys/find-key.ts";
import { assertIssuable, type Issued, mintKey, replaceSecretOf } from "../keys/issue.ts";
import { endAfter, type Key, type Owner, rightsOf, spanOf, stateOf } from "../keys/key.ts";
import type { Change, Operation } from "../operation.ts";
import { describeRotation } from "./describe.ts";
import { findRotation } from "./gather-evidence.ts";
import { planRotation, type Rotation, type RotationPlan } from "./rotation.ts";

export interface RotateKey {
  readonly keyId: KeyId;
  readonly plan: RotationPlan;
}

export interface Rotated extends Issued {
  readonly rotation: Rotation;
}

const retry: NonNullable<Operation<RotateKey, Rotated>["retry"]> = {
  ids: ({ rotation, key }) => ({ rotation_id: rotation.id, key_id: key.id }),
  again: async (change, ids) => {
    assert(
      ids.rotation_id !== undefined && ids.key_id !== undefined,
      "an idempotency record without its rotation",
    );
    const rotation = await findRotation(change.tx, change.account(), ids.rotation_id as RotationId);
    const { key, owner } = await findKey(change.tx, change.account(), ids.key_id as KeyId);
    return { rotation, ...(await replaceSecretOf(change, key, owner)) };
  },
};

/** `POST /v1/keys/{id}/rotations`: issues the successor; both keys are good from now on. */
export const rotateKey: Operation<RotateKey, Rotated> = {
  name: "keys.rotate",
  permission: "keyturn:keys.rotate",
  issuesCredential: true,
  run: (change, input) => startRotation(change, input),
  retry,
};

/** `POST /v1/keys/self/rotations`: the asking key rotates itself. */
export const rotateSelf: Operation<Omit<RotateKey, "keyId">, Rotated> = {
  name: "self.rotate",
  permission: "keyturn:self.rotate",
  issuesCredential: true,
  run: (change, input) => startRotation(change, { ...input, keyId: change.issuer().key.id }),
  retry,
};

async function startRotation(change: Change, { keyId, plan }: RotateKey): Promise<Rotated> {
  const { key: old, owner } = await findKey(change.tx, change.account(), keyId);
  assertRotatable(change, old, owner);
  // The answer holds a secret with the old key's rights, so whoever asks must have them all.
  assertIssuable(change.issuer(), rightsOf(old, owner), spanOf(old));
  const settings = planRotation(plan, change.now);
  const span = spanOf(old);
  const rotationId = newId("rot");
  const issued = await mintKey(change, {
    accountId: old.accountId,
    owner,
    lineageId: old.lineageId,
    name: old.name,
    own: old.own,
    metadata: old.metadata,
    expiresAt: endAfter(span, change.now),
    freshness: old.freshness,
    rotationId,
  });
  const rotation: Rotation = {
    id: rotationId,
    accountId: old.accountId,
    ownerId: old.ownerId,
    lineageId: old.lineageId,
    oldKeyId: old.id,
    successorKeyId: issued.key.id,
    state: "issued",
    ...settings,
    oldKeyEndsAt: old.expiresAt,
    startedAt: change.now,
    firstUsedAt: null,
    adoptedAt: null,
    overdueAt: null,
    completedAt: null,
    undoUntil: null,
    endedAt: null,
    forced: false,
  };
  await change.tx.rotations.add(rotation);
  const inRotation: Key = { ...old, rotationId };
  await change.tx.keys.replace(inRotation);
  change.record({ kind: "key", id: old.id, before: describeKey(old), after: describeKey(inRotation) });
  change.record({ kind: "rotation", id: rotation.id, before: null, after: describeRotation(rotation) });
  if (rotation.reason !== null) change.detail("reason", rotation.reason);
  return { rotation, ...issued };
}

function assertRotatable(change: Change, key: Key, owner: Owner): void {
  const state = stateOf(key, owner, change.now);
  if (key.rotationId !== null) {
    throw new Refusal(
      "rotation_open",
      `The key is in the open rotation ${key.rotationId}. Complete or cancel that one first.`,
      {
        extensions: { rotation_id: key.rotationId },
      },
    );
  }
  if (owner.disabledAt !== null) {
    throw new Refusal("key_not_active", "The key's service account is disabled. Enable it first.", {
      extensions: { state: "owner_disabled" },
    });
  }
  if (state === "active") return;
  const wayOut = state === "suspended" ? "Reinstate it first." : "Issue a new key instead.";
  throw new Refusal("key_not_active", `The key is ${state}; only an active key can be rotated. ${wayOut}`, {
    extensions: { state },
  });
}
