import { notFound, Refusal } from "../errors.ts";
import type { AccountId } from "../ids.ts";
import type { Change, Operation } from "../operation.ts";
import type { Instant } from "../time.ts";
import type { Account } from "./account.ts";
import { describeAccount } from "./describe.ts";

/** `POST /v1/accounts/{id}/suspend`: all keys of the account answer `owner_disabled` at once. */
export const suspendAccount: Operation<{ readonly id: AccountId }, Account> = {
  name: "accounts.suspend",
  permission: "keyturn:accounts.write",
  operatorOnly: true,
  run: (change, { id }) => setSuspended(change, id, (account) => account.suspendedAt ?? change.now),
};

/** `POST /v1/accounts/{id}/reinstate`: its keys are good again, but for those refused for a reason of their own. */
export const reinstateAccount: Operation<{ readonly id: AccountId }, Account> = {
  name: "accounts.reinstate",
  permission: "keyturn:accounts.write",
  operatorOnly: true,
  run: (change, { id }) => setSuspended(change, id, () => null),
};

async function setSuspended(
  change: Change,
  id: AccountId,
  decide: (account: Account) => Instant | null,
): Promise<Account> {
  const before = await change.tx.accounts.byId(id);
  if (before === null) throw notFound("account");
  if (before.operator) {
    throw new Refusal(
      "account_protected",
      "The operator's account can't be suspended: nobody could reinstate it.",
    );
  }
  const after = { ...before, suspendedAt: decide(before) };
  await change.tx.accounts.setSuspendedAt(id, after.suspendedAt);
  change.record({ kind: "account", id, before: describeAccount(before), after: describeAccount(after) });
  return after;
}
