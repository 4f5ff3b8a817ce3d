import { exceeding, type OwnRights, ownerRights } from "../access/rights.ts";
import { checkName } from "../accounts/account.ts";
import type { ServiceAccountId } from "../ids.ts";
import { keepingRoots } from "../keys/root-keys.ts";
import type { Operation } from "../operation.ts";
import { assertGivable, assertNameFree } from "./create-service-account.ts";
import { findServiceAccount, replaceServiceAccount } from "./find-service-account.ts";
import type { ServiceAccount } from "./service-account.ts";

export interface UpdateServiceAccount {
  readonly id: ServiceAccountId;
  readonly name?: string | undefined;
  /** Members that are left out stay as they are; null takes the right away (addresses: opens them). */
  readonly own: Partial<OwnRights>;
  readonly force?: boolean | undefined;
}

/** `PATCH /v1/service-accounts/{id}`: a cut bites all its keys at once; more must be the issuer's to give. */
export const updateServiceAccount: Operation<UpdateServiceAccount, ServiceAccount> = {
  name: "service-accounts.update",
  permission: "keyturn:service-accounts.write",
  run: (change, input) =>
    keepingRoots(change, input.force ?? false, async () => {
      const before = await findServiceAccount(change.tx, change.account(), input.id);
      const own = { ...before.own, ...input.own };
      if (exceeding(ownerRights(own), ownerRights(before.own)).length > 0) assertGivable(change, own);
      const name = input.name === undefined ? before.name : checkName(input.name);
      if (name !== before.name) await assertNameFree(change, name);
      return replaceServiceAccount(change, before, { ...before, name, own });
    }),
};
