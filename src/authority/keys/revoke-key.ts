import type { Change, Operation } from "../operation.ts";
import { cancelled, closed } from "../rotations/end-rotation.ts";
import { describeKey } from "./describe.ts";
import { findKey } from "./find-key.ts";
import { describeUse, inUseBy } from "./in-use.ts";
import type { Key } from "./key.ts";
import { keepingRoots } from "./root-keys.ts";
import type { Braked, BrakeKey } from "./suspend-key.ts";

/**
 * `POST /v1/keys/{id}/revoke` and `DELETE /v1/keys/{id}`: refused for ever, at once; the tombstone stays. Revoking
 * either key of an open rotation ends the rotation.
 */
export const revokeKey: Operation<BrakeKey, Braked> = {
  name: "keys.revoke",
  permission: "keyturn:keys.revoke",
  run: (change, input) =>
    keepingRoots(change, input.force ?? false, async () => {
      const { key, owner } = await findKey(change.tx, change.account(), input.id);
      const users = await inUseBy(change, key.id);
      if (input.reason !== undefined) change.detail("reason", input.reason);
      describeUse(change, users);
      await endRotationOf(change, key);
      const revoked = await revoke(change, key);
      return { key: revoked, owner, inUseBy: users };
    }),
};

/** The rotation that a key takes part in cannot go on without it. */
export async function endRotationOf(change: Change, key: Key): Promise<void> {
  const rotation =
    key.rotationId === null ? null : await change.tx.rotations.byId(key.accountId, key.rotationId);
  if (rotation === null) return;
  if (rotation.oldKeyId === key.id) await closed(change, rotation);
  else await cancelled(change, rotation);
}

/** Marks the key and records it. Revoking a revoked key changes nothing, and is still somebody's act. */
export async function revoke(change: Change, key: Key): Promise<Key> {
  const revoked: Key = { ...key, revokedAt: key.revokedAt ?? change.now, rotationId: null };
  await change.tx.keys.replace(revoked);
  change.record({ kind: "key", id: key.id, before: describeKey(key), after: describeKey(revoked) });
  return revoked;
}
