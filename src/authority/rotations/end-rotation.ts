import type { KeyId, OwnerId } from "../ids.ts";
import { describeKey } from "../keys/describe.ts";
import { findKey } from "../keys/find-key.ts";
import { type Key, lift, suspend } from "../keys/key.ts";
import type { Change } from "../operation.ts";
import { formatInstant } from "../time.ts";
import type { Brownout, BrownoutStop } from "./brownout.ts";
import { describeRotation } from "./describe.ts";
import { close, type Rotation } from "./rotation.ts";

/** Stores the rotation's new state and records it. */
export async function replaceRotation(change: Change, before: Rotation, after: Rotation): Promise<Rotation> {
  await change.tx.rotations.replace(after);
  change.record({
    kind: "rotation",
    id: after.id,
    before: describeRotation(before),
    after: describeRotation(after),
  });
  return after;
}

/** Stores a key of the rotation as `changed` makes it, and records it. */
export async function replaceKey(
  change: Change,
  rotation: Rotation,
  id: KeyId,
  changed: (key: Key) => Key,
): Promise<Key> {
  const { key } = await findKey(change.tx, rotation.accountId, id);
  const after = changed(key);
  await change.tx.keys.replace(after);
  change.record({ kind: "key", id, before: describeKey(key), after: describeKey(after) });
  return after;
}

/** The rotation is over because its old key is revoked; the successor goes on alone. */
export async function closed(change: Change, rotation: Rotation): Promise<void> {
  await replaceRotation(change, rotation, close(rotation, change.now));
  await stopBrownouts(change, rotation);
  await replaceKey(change, rotation, rotation.successorKeyId, release);
}

/**
 * The rotation is over because its successor is revoked; the old key goes on alone. If it was suspended by then, it
 * stays so, as an operator's suspension: nothing comes back to life by itself, and nothing is lost for good.
 */
export async function cancelled(change: Change, rotation: Rotation, forced = rotation.forced): Promise<void> {
  await replaceRotation(change, rotation, { ...rotation, state: "cancelled", endedAt: change.now, forced });
  await stopBrownouts(change, rotation);
  await replaceKey(change, rotation, rotation.oldKeyId, (key) =>
    release(rotation.state === "completed" ? suspend(lift(key, "rotation"), "operator") : key),
  );
}

/** Ends all open rotations of an owner that is deleted, and leaves none of its keys in one. */
export async function cancelAllOf(change: Change, owner: OwnerId): Promise<void> {
  for (const rotation of await change.tx.rotations.openOfOwner(owner)) {
    await cancelled(change, rotation);
    await replaceKey(change, rotation, rotation.successorKeyId, release);
  }
}

function release(key: Key): Key {
  return { ...key, rotationId: null };
}

/** What comes to an end takes its brownouts along, with what they found so far. */
export async function stopBrownouts(change: Change, rotation: Rotation): Promise<void> {
  for (const brownout of await change.tx.rotations.brownouts(rotation.id)) {
    if (brownout.stoppedAt !== null) continue;
    await stopBrownout(change, brownout, "rotation");
  }
}

/** Stores that a brownout is over, and what it found. */
export async function stopBrownout(change: Change, brownout: Brownout, reason: BrownoutStop): Promise<void> {
  const { refusals, callersHit } = await change.authority.brownouts.total(brownout);
  const ended = {
    ...brownout,
    refusals,
    callersHit,
    stoppedAt: Math.min(change.now, brownout.endsAt),
    stopReason: reason,
  };
  await change.tx.rotations.replaceBrownout(ended);
  change.record({
    kind: "brownout",
    id: brownout.id,
    before: { stopped_at: null },
    after: {
      stopped_at: formatInstant(ended.stoppedAt),
      stop_reason: ended.stopReason,
      refusals: ended.refusals,
      callers_hit: ended.callersHit.length,
    },
  });
}
