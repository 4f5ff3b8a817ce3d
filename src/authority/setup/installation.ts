import type { Revocation } from "../audit/witness.ts";
import type { KeyId, ServiceAccountId } from "../ids.ts";
import { endRotationOf, revoke } from "../keys/revoke-key.ts";
import type { Operation } from "../operation.ts";
import { cancelled } from "../rotations/end-rotation.ts";
import { replaceServiceAccount } from "../service-accounts/find-service-account.ts";
import { formatInstant } from "../time.ts";

/** `keyturn doctor --accept-clock`: ends a false future. The one entry that may be dated before its predecessor. */
export const acceptClock: Operation<Record<string, never>, void> = {
  name: "clock.accept",
  permission: "host",
  datedByWall: true,
  async run(change) {
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
    let merged = 0;
    for (const revocation of revocations) {
      if (revocation.kind === "service_account") {
        const accounts = await change.tx.accounts.list({ limit: 1_000_000, after: null }, null);
        for (const account of accounts) {
          const found = await change.tx.serviceAccounts.byId(account.id, revocation.id as ServiceAccountId);
          if (found === null || found.deletedAt !== null) continue;
          for (const rotation of await change.tx.rotations.openOfOwner(found.id)) await cancelled(change, rotation);
          await replaceServiceAccount(change, found, { ...found, deletedAt: change.now });
          merged += 1;
        }
        continue;
      }
      const found = await change.tx.keys.byIdAnywhere(revocation.id as KeyId);
      if (found === null) continue;
      if (revocation.kind === "secret") {
        await change.tx.keys.killDigestsBefore(found.key.id, revocation.ordinal ?? 1, change.now);
        change.record({ kind: "key", id: found.key.id, before: null, after: { secrets_before: revocation.ordinal ?? 1 } });
      } else if (found.key.revokedAt === null) {
        await endRotationOf(change, found.key);
        await revoke(change, found.key);
      } else continue;
      merged += 1;
    }
    change.record({ kind: "installation", id: "restore", before: null, after: { revocations_merged: merged } });
    await change.tx.facts.set("restored_unaccepted", null);
    return merged;
  },
};

/** `keyturn restore --accept-loss`: without a witness, a person answers for what the backup does not know. */
export const acceptLoss: Operation<Record<string, never>, void> = {
  name: "restore.accept-loss",
  permission: "host",
  async run(change) {
    const restoredAt = await change.tx.facts.get("restored_at");
    await change.tx.facts.set("restored_unaccepted", null);
    change.record({ kind: "installation", id: "restore", before: { restored_at: restoredAt }, after: { loss_accepted: true } });
  },
};
