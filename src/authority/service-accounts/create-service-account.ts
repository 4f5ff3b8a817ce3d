import { exceeding, type OwnRights, ownerRights } from "../access/rights.ts";
import { checkName } from "../accounts/account.ts";
import { assert, Refusal } from "../errors.ts";
import { newId, type ServiceAccountId } from "../ids.ts";
import type { Change, Operation } from "../operation.ts";
import { describeServiceAccount } from "./describe.ts";
import { findServiceAccount } from "./find-service-account.ts";
import type { ServiceAccount } from "./service-account.ts";

export interface CreateServiceAccount {
  readonly name: string;
  readonly own: OwnRights;
}

/** `POST /v1/service-accounts`: its rights are the ceiling of its keys, so they must be the issuer's to give. */
export const createServiceAccount: Operation<CreateServiceAccount, ServiceAccount> = {
  name: "service-accounts.create",
  permission: "keyturn:service-accounts.write",
  async run(change, input) {
    const name = checkName(input.name);
    assertGivable(change, input.own);
    await assertNameFree(change, name);
    const created: ServiceAccount = {
      id: newId("sa"),
      accountId: change.account(),
      name,
      own: input.own,
      disabledAt: null,
      deletedAt: null,
      createdAt: change.now,
    };
    await change.tx.serviceAccounts.add(created);
    change.record({
      kind: "service_account",
      id: created.id,
      before: null,
      after: describeServiceAccount(created),
    });
    return created;
  },
  retry: {
    ids: ({ id }) => ({ service_account_id: id }),
    again: (change, ids) => {
      assert(ids.service_account_id !== undefined, "an idempotency record without its service account");
      return findServiceAccount(change.tx, change.account(), ids.service_account_id as ServiceAccountId);
    },
  },
};

/** Throws `rights_exceeded` for rights that the issuer does not hold. */
export function assertGivable(change: Change, own: OwnRights): void {
  const errors = exceeding(ownerRights(own), change.issuer().rights).map((field) => ({
    field,
    message: "more than the asking key has",
  }));
  if (errors.length === 0) return;
  const fields = errors.map((error) => error.field).join(", ");
  throw new Refusal("rights_exceeded", `A key can't give what it doesn't have (${fields}).`, { errors });
}

/** Throws `name_taken`. */
export async function assertNameFree(change: Change, name: string): Promise<void> {
  if ((await change.tx.serviceAccounts.byName(change.account(), name)) === null) return;
  throw new Refusal("name_taken", `Another service account is called ${JSON.stringify(name)}.`, {
    errors: [{ field: "name", message: "is taken by another service account" }],
  });
}
