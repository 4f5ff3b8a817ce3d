import { Refusal } from "../errors.ts";
import type { AccountId } from "../ids.ts";
import type { Change } from "../operation.ts";
import type { Reader } from "../storage.ts";
import type { Instant } from "../time.ts";
import { isRoot, stateOf } from "./key.ts";

/** When the last good key with `keyturn:*` ends: an instant, Infinity for never, -Infinity if there is none. */
export async function rootsEnd(tx: Pick<Reader, "keys">, account: AccountId, now: Instant): Promise<number> {
  const roots = await tx.keys.roots(account);
  const ends = roots
    .filter(
      ([key, owner]) =>
        isRoot(key, owner) && owner.disabledAt === null && stateOf(key, owner, now) === "active",
    )
    .map(([key]) => key.expiresAt ?? Number.POSITIVE_INFINITY);
  return Math.max(Number.NEGATIVE_INFINITY, ...ends);
}

/**
 * Runs a change that may take root rights away. If the account would be without a good root key, or sooner than
 * before, it throws `last_root_key`, unless forced.
 */
export function keepingRoots<T>(change: Change, force: boolean, work: () => Promise<T>): Promise<T> {
  return guarding(change, force, work, (before, after) => after >= before);
}

/** The same for a change that puts things back to where they were: one good root key must be left, however old. */
export function keepingSomeRoot<T>(change: Change, force: boolean, work: () => Promise<T>): Promise<T> {
  return guarding(change, force, work, (before, after) => after >= Math.min(before, change.now));
}

async function guarding<T>(
  change: Change,
  force: boolean,
  work: () => Promise<T>,
  isEnough: (before: number, after: number) => boolean,
): Promise<T> {
  const before = await rootsEnd(change.tx, change.account(), change.now);
  const result = await work();
  const after = await rootsEnd(change.tx, change.account(), change.now);
  if (isEnough(before, after)) return result;
  if (!force) {
    throw new Refusal(
      "last_root_key",
      "This would take away the account's last key with keyturn:*, or let it end sooner. Issue another root key first, or insist with force.",
    );
  }
  change.detail("forced", true);
  return result;
}
