import type { Change, Operation } from "../operation.ts";
import { cancelled, closed } from "../rotations/end-rotation.ts";
import { describeKey } from "./describe.ts";
import { findKey } from "./find-key.ts";
import { describeUse, inUseBy } from "./in-use.ts";
import type { Key } from "./key.ts";
import { keepingRoots } from "./root-keys.ts";
import type { BrakeKey, Braked } from "./suspend-key.ts";

/**
 * `POST /v1/keys/{id}/revoke` and `DELETE /v1/keys/{id}`: refused for ever, at once; the tombstone stays. Revoking
 * either key of an open rotation ends the rotation.
 */
export const revokeKey: Operation<BrakeKey, Braked> = {
  name: "keys.revoke",
  permission: "keyturn:keys.revoke",
  needsEvidence: true,
  run: (change, input) =>
    keepingRoots(change, input.force ?? false, async () => {
      const { key, owner } = await findKey(change.tx, change.account(), input.id);
      const users = await inUseBy(change, key.id);
      if (input.reason !== undefined) change.detail("reason", input.reason);
      describeUse(change, users);
      const rotation = key.rotationId === null ? null : await change.tx.rotations.byId(key.accountId, key.rotationId);
      if (rotation !== null) await (rotation.oldKeyId === key.id ? closed : cancelled)(change, rotation);
      const revoked = await revoke(change, key);
      return { key: revoked, owner, inUseBy: users };
    }),
};

/** Marks the key and records it. Revoking a revoked key changes nothing, and is still somebody's act. */
export async function revoke(change: Change, key: Key): Promise<Key> {
  const revoked: Key = { ...key, revokedAt: key.revokedAt ?? change.now, rotationId: null };
  await change.tx.keys.replace(revoked);
  change.record({ kind: "key", id: key.id, before: describeKey(key), after: describeKey(revoked) });
  return revoked;
}
