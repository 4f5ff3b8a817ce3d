import { type Caller, type CallerId, callerLabel, isUnnamed } from "../callers/caller.ts";
import type { KeyId } from "../ids.ts";
import type { Change } from "../operation.ts";
import type { Instant } from "../time.ts";

/** A caller that used a key a short while ago. */
export interface InUse {
  readonly name: string;
  readonly unnamed: boolean;
  readonly lastSeenAt: Instant;
}

const RECENT_MS = 24 * 3_600_000;
/** What can't be told by then is not waited for: the change holds up all others of the account meanwhile. */
const LONGEST_WAIT_MS = 1_000;

/**
 * The callers that presented the key in the last 24 hours, whatever the verdict: what is stored, and what this process
 * has yet to store. It is not stored now, because the change holds up others, and a revocation took six times as long.
 * The brake must work when the evidence can't be read, or not soon: then nobody is named, and the entry says that it is
 * not known.
 */
export async function inUseBy(change: Change, key: KeyId): Promise<readonly InUse[]> {
  // First: what is stored in between is found there.
  const pending = change.authority.recorder.pendingOf(key);
  const stored = await storedOf(change, key);
  if (stored === null) {
    change.detail("in_use_by", "unknown");
    return [];
  }
  const seen = new Map<CallerId, Instant>();
  for (const { caller, lastSeenAt } of [
    ...stored.map(({ id, lastSeenAt }) => ({ caller: id, lastSeenAt })),
    ...pending,
  ])
    seen.set(caller, Math.max(lastSeenAt, seen.get(caller) ?? 0));
  return [...seen]
    .filter(([, lastSeenAt]) => lastSeenAt >= change.now - RECENT_MS)
    .map(([id, lastSeenAt]) => ({ name: callerLabel(id), unnamed: isUnnamed(id), lastSeenAt }));
}

function storedOf({ authority }: Change, key: KeyId): Promise<readonly Caller[] | null> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(null), LONGEST_WAIT_MS);
    void authority.storage.evidence
      .callersOf(key)
      .then(resolve, () => resolve(null))
      .finally(() => clearTimeout(timer));
  });
}

/** Names stand in the entry; an unnamed caller is an address, and gets a salted hash. */
export function describeUse(change: Change, users: readonly InUse[]): void {
  if (users.length === 0) return;
  change.detail(
    "in_use_by",
    users.map((user) => (user.unnamed ? change.hide(user.name) : user.name)),
  );
}
