import { type Actor, chain, type EntryDraft } from "./audit/entry.ts";
import type { Authority } from "./authority.ts";
import type { Refusal, RefusalCode } from "./errors.ts";

/** What says nothing about who may do what: nobody we know, a slip of the pen, or a fault of ours. */
const UNAUDITED_REFUSALS: ReadonlySet<RefusalCode> = new Set([
  "unauthenticated",
  "invalid_input",
  "idempotency_in_progress",
  "outcome_unknown",
  "storage_unavailable",
]);

/** The first refusal of an actor per operation and minute is an entry; the rest are a count in the next one. */
export async function noteRefusal(
  authority: Authority,
  operation: string,
  actor: Actor,
  refusal: Refusal,
): Promise<void> {
  if (actor.kind !== "key" || UNAUDITED_REFUSALS.has(refusal.code)) return;
  const now = authority.time.now();
  if (!authority.refusals.isFirst(actor.id, operation, now) || !authority.health.writable()) return;
  const counted = authority.refusals.takeCount(actor.id, operation);
  const draft: Omit<EntryDraft, "at"> = {
    accountId: actor.accountId,
    actor,
    operation,
    outcome: "refused",
    subjects: [],
    details: { code: refusal.code, ...(counted > 0 ? { refused_before: counted } : {}) },
  };
  const entry = await authority.storage.change(async (tx) => {
    const head = await tx.audit.head();
    authority.follower.assertGoesOn(head);
    const dated: EntryDraft = { ...draft, at: Math.max(now, head.at) };
    const chained = chain(dated, head);
    await tx.audit.append(dated, chained, []);
    return { ...chained, at: dated.at };
  }, actor.accountId);
  await authority.committed({
    seq: entry.seq,
    at: entry.at,
    chainHash: entry.chainHash,
    operation,
    subjects: [],
    revoked: [],
  });
}
