import type { Revocation } from "../audit/witness.ts";
import { type KeyId, newId, type RotationId, type ServiceAccountId } from "../ids.ts";
import { endRotationOf, revoke } from "../keys/revoke-key.ts";
import type { Change, Operation } from "../operation.ts";
import { cancelAllOf, replaceRotation } from "../rotations/end-rotation.ts";
import type { Rotation } from "../rotations/rotation.ts";
import { replaceServiceAccount } from "../service-accounts/find-service-account.ts";
import { formatInstant } from "../time.ts";

const PAGE = 100;

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
  movesStore: true,
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
    await accept(change);
    return merged;
  },
};

/** From here on this database is the one that counts. */
async function accept(change: Change): Promise<void> {
  await change.tx.facts.set("restored_unaccepted", null);
  for (const fact of ["closed", "move"] as const) await change.tx.facts.set(fact, null);
  await change.tx.facts.set("database_identity", await change.authority.storage.identity());
}

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

/**
 * `keyturn restore --accept-loss`: without a witness, a person answers for what the backup does not know. One that `lacksUse`
 * doesn't know who used keys before.
 */
export const acceptLoss: Operation<{ readonly lacksUse: boolean }, void> = {
  name: "restore.accept-loss",
  permission: "host",
  movesStore: true,
  async run(change, { lacksUse }) {
    await inOperatorsAccount(change);
    const restoredAt = await change.tx.facts.get("restored_at");
    await accept(change);
    if (lacksUse) await leaveToPeople(change);
    change.record({
      kind: "installation",
      id: "restore",
      before: { restored_at: restoredAt },
      after: { loss_accepted: true },
    });
  },
};

/** Whoever uses an old key and was not seen since would be cut off, so no rotation that is open completes by itself. */
async function leaveToPeople(change: Change): Promise<void> {
  for (let after: RotationId | null = null; ; ) {
    const page: readonly Rotation[] = await change.tx.rotations.open(after, PAGE);
    for (const rotation of page) {
      after = rotation.id;
      if (rotation.completion === "when_adopted")
        await replaceRotation(change, rotation, { ...rotation, completion: "manual" });
    }
    if (page.length < PAGE) return;
  }
}

/** Why an installation takes no changes. */
export type Closed = "moving" | "moved";

/**
 * `keyturn migrate-store`: what is copied from here must not change meanwhile, nor when the copy serves. Each copy has a
 * move of its own: one that was made for another must not be opened beside it (R14).
 */
export const closeStore: Operation<{ readonly why: Closed }, void> = {
  name: "store.close",
  permission: "host",
  movesStore: true,
  async run(change, { why }) {
    const before = await closing(change);
    const isItsEnd = before.closed === "moving" && why === "moved";
    await setClosing(change, before, { closed: why, move: isItsEnd ? before.move : newId("mov") });
  },
};

/** The end of a move, at the new database; or of one that was called off, at the old one. */
export const openStore: Operation<Record<string, never>, void> = {
  name: "store.open",
  permission: "host",
  movesStore: true,
  run: async (change) => setClosing(change, await closing(change), { closed: null, move: null }),
};

type Closing = Readonly<Record<"closed" | "move", string | null>>;

async function closing({ tx: { facts } }: Change): Promise<Closing> {
  return { closed: await facts.get("closed"), move: await facts.get("move") };
}

async function setClosing(change: Change, before: Closing, after: Closing): Promise<void> {
  await inOperatorsAccount(change);
  await change.tx.facts.set("closed", after.closed);
  await change.tx.facts.set("move", after.move);
  change.record({ kind: "installation", id: "store", before, after });
}

/**
 * The database is another than before, and nothing is missing in it: it is new, or a standby took over that held
 * everything that a process of this installation has seen.
 */
export const noteDatabase: Operation<{ readonly identity: string }, void> = {
  name: "database.note",
  permission: "system",
  mayBeIdle: true,
  async run(change, { identity }) {
    const before = await change.tx.facts.get("database_identity");
    if (before === identity) return;
    await inOperatorsAccount(change);
    await change.tx.facts.set("database_identity", identity);
    change.record({
      kind: "installation",
      id: "database",
      before: { identity: before },
      after: { identity },
    });
  },
};

/** What is done to the installation itself stands in the operator's log, once there is an operator. */
async function inOperatorsAccount(change: Change): Promise<void> {
  const operator = await change.tx.accounts.operator();
  if (operator !== null) change.inAccount(operator.id);
}
