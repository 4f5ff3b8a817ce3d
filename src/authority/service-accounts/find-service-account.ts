import { notFound } from "../errors.ts";
import type { AccountId, ServiceAccountId } from "../ids.ts";
import type { Change } from "../operation.ts";
import type { Reader } from "../storage.ts";
import { describeServiceAccount } from "./describe.ts";
import type { ServiceAccount } from "./service-account.ts";

/** A living service account of this account. Throws `not_found`, the same for ids of other accounts. */
export async function findServiceAccount(
  tx: Pick<Reader, "serviceAccounts">,
  account: AccountId,
  id: ServiceAccountId,
): Promise<ServiceAccount> {
  const found = await tx.serviceAccounts.byId(account, id);
  if (found === null || found.deletedAt !== null) throw notFound("service account");
  return found;
}

/** Stores its new state and records it. */
export async function replaceServiceAccount(
  change: Change,
  before: ServiceAccount,
  after: ServiceAccount,
): Promise<ServiceAccount> {
  await change.tx.serviceAccounts.replace(after);
  change.record({
    kind: "service_account",
    id: after.id,
    before: describeServiceAccount(before),
    after: describeServiceAccount(after),
  });
  return after;
}
