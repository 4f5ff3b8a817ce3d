import { createHash, randomBytes } from "node:crypto";
import { type Actor, chain, type EntryDraft, type Subject } from "./audit/entry.ts";
import { revocationsIn } from "./audit/witness.ts";
import type { Authority } from "./authority.ts";
import { assert, ReportsWanted } from "./errors.ts";
import type { AccountId } from "./ids.ts";
import type { Change, Issuer, PerformOptions } from "./operation.ts";
import { withoutSecrets } from "./secret.ts";
import type { FollowedEntry, HiddenText, Transaction } from "./storage.ts";
import type { Instant } from "./time.ts";

/** What an operation tells of itself while it runs, and the entry that comes of it. */
export function createDraft(
  authority: Authority,
  tx: Transaction,
  { name: operation, datedByWall }: { readonly name: string; readonly datedByWall?: boolean },
  actor: Actor,
  issuer: Issuer | null,
  now: Instant,
  allHaveTold: boolean | null,
) {
  const subjects: Subject[] = [];
  const details: Record<string, unknown> = {};
  const hidden: HiddenText[] = [];
  let account: AccountId | null = actor.accountId;
  const hide = (text: string): string => {
    const salt = randomBytes(16).toString("hex");
    const hash = `sha256:${createHash("sha256").update(`${salt}${text}`, "utf8").digest("hex")}`;
    hidden.push({ hash, salt, text });
    return hash;
  };
  const change: Change = {
    tx,
    now,
    actor,
    authority,
    issuer: () => {
      assert(issuer !== null, "an operation that issues was performed by no key");
      return issuer;
    },
    account: () => {
      assert(account !== null, "an operation in no account");
      return account;
    },
    inAccount: (id) => {
      account = id;
    },
    record: (subject) => void subjects.push(subject),
    detail: (name, value) => {
      details[name] = value;
    },
    hide,
    allHaveTold: () => {
      if (allHaveTold === null) throw new ReportsWanted();
      return allHaveTold;
    },
  };
  return {
    change,
    subjects,
    append: async (origin: PerformOptions["origin"]): Promise<FollowedEntry> => {
      if (origin?.address !== undefined) details.address = hide(origin.address);
      if (origin?.agent !== undefined) details.agent = hide(withoutSecrets(origin.agent.toWellFormed()));
      const refusedBefore = authority.refusals.takeCount(actor.id, operation);
      if (refusedBefore > 0) details.refused_before = refusedBefore;
      const head = await tx.audit.head();
      authority.follower.assertGoesOn(head);
      // An entry that this process has yet to apply may be newer than its clock: no entry is older than the one before.
      const at = datedByWall ? now : Math.max(now, head.at);
      const entryDraft: EntryDraft = {
        at,
        accountId: account,
        actor,
        operation,
        outcome: "performed",
        subjects,
        details,
      };
      const entry = chain(entryDraft, head);
      await tx.audit.append(entryDraft, entry, hidden);
      return {
        seq: entry.seq,
        at,
        chainHash: entry.chainHash,
        operation,
        subjects,
        revoked: revocationsIn(subjects),
      };
    },
  };
}
