import type { Account } from "../accounts/account.ts";
import { newId } from "../ids.ts";
import { type Issued, mintKey } from "../keys/issue.ts";
import { endAfter, type Owner } from "../keys/key.ts";
import type { Change } from "../operation.ts";
import { describeServiceAccount } from "../service-accounts/describe.ts";
import type { ServiceAccount } from "../service-accounts/service-account.ts";

/** Everything, and every part of Keyturn itself: `*` never covers the `keyturn:` namespace, so both are named. */
const ROOT_SCOPES: readonly string[] = ["*", "keyturn:*"];

const ROOT_RIGHTS = { role: "admin", scopes: ROOT_SCOPES, allowedIps: null } as const;

/**
 * A root key for the account, owned by a service account called `root`. It lives as long as its issuer's span allows,
 * for ever when the host asks: a root key that ends by itself locks its people out.
 */
export async function issueRootKey(change: Change, account: Account): Promise<Issued> {
  const owner = await rootOwner(change, account);
  const span = change.actor.kind === "key" ? change.issuer().spanSeconds : null;
  return mintKey(change, {
    accountId: account.id,
    owner,
    lineageId: newId("lin"),
    name: await freeName(change, owner),
    own: ROOT_RIGHTS,
    metadata: {},
    expiresAt: endAfter(span, change.now),
    freshness: "strict",
    rotationId: null,
  });
}

/** The service account called `root`, or the next one where that was disabled or cut down. */
async function rootOwner(change: Change, account: Account): Promise<Owner> {
  for (let number = 1; ; number += 1) {
    const name = number === 1 ? "root" : `root-${number}`;
    const found = await change.tx.serviceAccounts.byName(account.id, name);
    if (found === null) {
      const made: ServiceAccount = {
        id: newId("sa"),
        accountId: account.id,
        name,
        own: ROOT_RIGHTS,
        disabledAt: null,
        deletedAt: null,
        createdAt: change.now,
      };
      await change.tx.serviceAccounts.add(made);
      change.record({
        kind: "service_account",
        id: made.id,
        before: null,
        after: describeServiceAccount(made),
      });
      return made;
    }
    const whole =
      ROOT_SCOPES.every((scope) => found.own.scopes?.includes(scope)) && found.own.allowedIps === null;
    if (found.disabledAt === null && found.own.role === "admin" && whole) return found;
  }
}

async function freeName(change: Change, owner: Owner): Promise<string> {
  for (let number = 1; ; number += 1) {
    const name = number === 1 ? "root" : `root-${number}`;
    if (!(await change.tx.keys.nameTaken(owner.id, name, null, change.now))) return name;
  }
}
