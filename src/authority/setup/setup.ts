import { type Account, checkName } from "../accounts/account.ts";
import { describeAccount } from "../accounts/describe.ts";
import type { Actor } from "../audit/entry.ts";
import type { Authority } from "../authority.ts";
import { Refusal } from "../errors.ts";
import { newId } from "../ids.ts";
import type { Issued } from "../keys/issue.ts";
import { rootsEnd } from "../keys/root-keys.ts";
import type { Change, Operation } from "../operation.ts";
import { digestOf, mintSecret } from "../secret.ts";
import { issueRootKey } from "./root-key.ts";

/** Whoever has no key yet but the machine, or a token that it printed. */
export const HOST: Actor = { kind: "host", id: "host", accountId: null };

export const SETUP_TOKEN_SECONDS = 15 * 60;

/** Whether nobody holds a good root key of the operator's account. */
export async function needsSetup(authority: Authority): Promise<boolean> {
  const operator = await authority.storage.read.accounts.operator();
  if (operator === null) return true;
  const end = await rootsEnd(authority.storage.read, operator.id, authority.time.now());
  return end === Number.NEGATIVE_INFINITY;
}

/** A one-time token, good for 15 minutes; an earlier one dies. It is to be shown on the host and nowhere else. */
export async function openSetup(authority: Authority): Promise<string> {
  const token = `setup_${mintSecret({ brand: "x", retiredBrands: [], region: null }, "service", authority.random).slice(4, 36)}`;
  const expiresAt = authority.time.now() + SETUP_TOKEN_SECONDS * 1000;
  await authority.storage.cluster.offerSetup(digestOf(token), expiresAt);
  return token;
}

/** `POST /v1/setup`: the token for the first root key; once. Throws `setup_token_invalid`. */
export const redeemSetupToken: Operation<{ readonly token: string }, Issued> = {
  name: "setup.redeem",
  permission: "host",
  issuesCredential: true,
  async run(change, { token }) {
    // Burnt before the key exists: should the commit fail, a new token is one restart away.
    if (!(await change.authority.storage.cluster.takeSetup(digestOf(token), change.now))) {
      throw new Refusal(
        "setup_token_invalid",
        "The set-up token is wrong, used or older than 15 minutes. A start without a good root key prints a new one; on the host, keyturn setup --recover issues a root key.",
      );
    }
    return issueRootKey(change, await operatorAccount(change));
  },
};

/** `keyturn setup --recover` and `KEYTURN_ROOT_KEY_FILE`. `keep` runs before the commit; if it throws, no key was made. */
export const recover: Operation<{ readonly keep?: (secret: string) => void }, Issued> = {
  name: "setup.recover",
  permission: "host",
  issuesCredential: true,
  async run(change, { keep }) {
    const issued = await issueRootKey(change, await operatorAccount(change));
    keep?.(issued.secret);
    return issued;
  },
};

async function operatorAccount(change: Change): Promise<Account> {
  const found = await change.tx.accounts.operator();
  const account = found ?? (await makeOperator(change));
  change.inAccount(account.id);
  return account;
}

async function makeOperator(change: Change): Promise<Account> {
  const account: Account = {
    id: newId("acc"),
    name: checkName("operator"),
    operator: true,
    suspendedAt: null,
    createdAt: change.now,
  };
  await change.tx.accounts.add(account);
  change.record({ kind: "account", id: account.id, before: null, after: describeAccount(account) });
  return account;
}
