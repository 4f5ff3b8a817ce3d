import { assert, Refusal } from "../errors.ts";
import { type AccountId, type KeyId, newId } from "../ids.ts";
import { findKey } from "../keys/find-key.ts";
import { type Issued, replaceSecretOf } from "../keys/issue.ts";
import type { Operation } from "../operation.ts";
import { issueRootKey } from "../setup/root-key.ts";
import { type Account, checkName } from "./account.ts";
import { describeAccount } from "./describe.ts";

export interface AccountMade extends Issued {
  readonly account: Account;
}

/** `POST /v1/accounts`: a tenant, and its own root key. */
export const createAccount: Operation<{ readonly name: string }, AccountMade> = {
  name: "accounts.create",
  permission: "keyturn:accounts.write",
  operatorOnly: true,
  issuesCredential: true,
  async run(change, input) {
    const name = checkName(input.name);
    if ((await change.tx.accounts.byName(name)) !== null) {
      throw new Refusal("name_taken", `Another account is called ${JSON.stringify(name)}.`, {
        errors: [{ field: "name", message: "is taken by another account" }],
      });
    }
    const account: Account = {
      id: newId("acc"),
      name,
      operator: false,
      suspendedAt: null,
      createdAt: change.now,
    };
    await change.tx.accounts.add(account);
    change.record({ kind: "account", id: account.id, before: null, after: describeAccount(account) });
    return { account, ...(await issueRootKey(change, account)) };
  },
  retry: {
    ids: ({ account, key }) => ({ account_id: account.id, key_id: key.id }),
    again: async (change, ids) => {
      assert(
        ids.account_id !== undefined && ids.key_id !== undefined,
        "an idempotency record without its account",
      );
      const account = await change.tx.accounts.byId(ids.account_id as AccountId);
      assert(account !== null, "accounts are never deleted");
      const { key, owner } = await findKey(change.tx, account.id, ids.key_id as KeyId);
      return { account, ...(await replaceSecretOf(change, key, owner)) };
    },
  },
};
