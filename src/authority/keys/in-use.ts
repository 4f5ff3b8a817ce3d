import { type Caller, callerLabel, isUnnamed } from "../callers/caller.ts";
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

/**
 * The callers that presented the key in the last 24 hours, whatever the verdict. The brake must work when the evidence
 * can't be stored or read: then nobody is named, and the entry says that it is not known.
 */
export async function inUseBy(change: Change, key: KeyId): Promise<readonly InUse[]> {
  const { recorder, storage } = change.authority;
  let callers: readonly Caller[];
  try {
    await recorder.flush();
    callers = await storage.evidence.callersOf(key);
  } catch {
    change.detail("in_use_by", "unknown");
    return [];
  }
  return callers
    .filter((caller) => caller.lastSeenAt >= change.now - RECENT_MS)
    .map(({ id, lastSeenAt }) => ({ name: callerLabel(id), unnamed: isUnnamed(id), lastSeenAt }));
}

/** Names stand in the entry; an unnamed caller is an address, and gets a salted hash. */
export function describeUse(change: Change, users: readonly InUse[]): void {
  if (users.length === 0) return;
  change.detail(
    "in_use_by",
    users.map((user) => (user.unnamed ? change.hide(user.name) : user.name)),
  );
}
