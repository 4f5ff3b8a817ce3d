import type { Revocation } from "../audit/witness.ts";
import type { KeyId, ServiceAccountId } from "../ids.ts";
import { endRotationOf, revoke } from "../keys/revoke-key.ts";
import type { Change, Operation } from "../operation.ts";
import { cancelAllOf } from "../rotations/end-rotation.ts";
import { replaceServiceAccount } from "../service-accounts/find-service-account.ts";
import { formatInstant } from "../time.ts";

/** `keyturn doctor --accept-clock`: ends a false future. The one entry that may be dated before its predecessor. */
export const acceptClock: Operation<Record<string, never>, void> = {
  name: "clock.accept",
  permission: "host",
  datedByWall: true,
  async run(change) {
    await inOperatorsAccount(change);
    change.record({
      kind: "installation",
      id: "clock",
      before: { at: formatInstant(change.authority.time.now()) },
      after: { at: formatInstant(change.authority.clock.wall()) },
    });
  },
};

/** `keyturn restore`: revocations that the witness knows of, made good in what was restored. */
export const mergeWitness: Operation<{ readonly revocations: readonly Revocation[] }, number> = {
  name: "restore.merge",
  permission: "host",
  async run(change, { revocations }) {
    await inOperatorsAccount(change);
    let merged = 0;
    for (const revocation of revocations) if (await makeGood(change, revocation)) merged += 1;
    change.record({
      kind: "installation",
      id: "restore",
      before: null,
      after: { revocations_merged: merged },
    });
    await change.tx.facts.set("restored_unaccepted", null);
    return merged;
  },
};

/** Whether there was anything to make good: the backup may know of the revocation, or not of the thing at all. */
async function makeGood(change: Change, { kind, id, ordinal = 1 }: Revocation): Promise<boolean> {
  if (kind === "service_account") {
    const found = await change.tx.serviceAccounts.byIdAnywhere(id as ServiceAccountId);
    if (found === null || found.deletedAt !== null) return false;
    await cancelAllOf(change, found.id);
    await replaceServiceAccount(change, found, { ...found, deletedAt: change.now });
    return true;
  }
  const found = await change.tx.keys.byIdAnywhere(id as KeyId);
  if (found === null) return false;
  if (kind === "secret") {
    await change.tx.keys.killDigestsBefore(found.key.id, ordinal, change.now);
    change.record({ kind: "key", id: found.key.id, before: null, after: { secrets_before: ordinal } });
    return true;
  }
  if (found.key.revokedAt !== null) return false;
  await endRotationOf(change, found.key);
  await revoke(change, found.key);
  return true;
}

/** `keyturn restore --accept-loss`: without a witness, a person answers for what the backup does not know. */
export const acceptLoss: Operation<Record<string, never>, void> = {
  name: "restore.accept-loss",
  permission: "host",
  async run(change) {
    await inOperatorsAccount(change);
    const restoredAt = await change.tx.facts.get("restored_at");
    await change.tx.facts.set("restored_unaccepted", null);
    change.record({
      kind: "installation",
      id: "restore",
      before: { restored_at: restoredAt },
      after: { loss_accepted: true },
    });
  },
};

/** What is done to the installation itself stands in the operator's log, once there is an operator. */
async function inOperatorsAccount(change: Change): Promise<void> {
  const operator = await change.tx.accounts.operator();
  if (operator !== null) change.inAccount(operator.id);
}
