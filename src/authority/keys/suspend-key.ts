import { Refusal } from "../errors.ts";
import type { KeyId } from "../ids.ts";
import type { Change, Operation } from "../operation.ts";
import { describeKey } from "./describe.ts";
import { findKey } from "./find-key.ts";
import { describeUse, type InUse, inUseBy } from "./in-use.ts";
import { type Key, lift, type Owner, suspend } from "./key.ts";
import { keepingRoots } from "./root-keys.ts";

export interface BrakeKey {
  readonly id: KeyId;
  readonly reason?: string | undefined;
  readonly force?: boolean | undefined;
}

export interface Braked {
  readonly key: Key;
  readonly owner: Owner;
  /** Who used the key in the last 24 hours. */
  readonly inUseBy: readonly InUse[];
}

/** `POST /v1/keys/{id}/suspend`: refused at once, until an operator reinstates it. */
export const suspendKey: Operation<BrakeKey, Braked> = {
  name: "keys.suspend",
  permission: "keyturn:keys.revoke",
  run: (change, input) =>
    keepingRoots(change, input.force ?? false, async () => {
      const { key, owner } = await findKey(change.tx, change.account(), input.id);
      assertNotRevoked(key, owner);
      const users = await inUseBy(change, key.id);
      if (input.reason !== undefined) change.detail("reason", input.reason);
      describeUse(change, users);
      return { key: await replaceSuspensions(change, key, suspend(key, "operator")), owner, inUseBy: users };
    }),
};

/** `POST /v1/keys/{id}/reinstate`: lifts the operator's suspension, and no other. */
export const reinstateKey: Operation<{ readonly id: KeyId }, { readonly key: Key; readonly owner: Owner }> = {
  name: "keys.reinstate",
  permission: "keyturn:keys.reinstate",
  async run(change, input) {
    const { key, owner } = await findKey(change.tx, change.account(), input.id);
    assertNotRevoked(key, owner);
    return { key: await replaceSuspensions(change, key, lift(key, "operator")), owner };
  },
};

async function replaceSuspensions(change: Change, before: Key, after: Key): Promise<Key> {
  await change.tx.keys.replace(after);
  change.record({ kind: "key", id: after.id, before: describeKey(before), after: describeKey(after) });
  return after;
}

function assertNotRevoked(key: Key, owner: Owner): void {
  if (key.revokedAt === null && owner.deletedAt === null) return;
  throw new Refusal("key_revoked", "The key is revoked, and nothing leaves that state.");
}
