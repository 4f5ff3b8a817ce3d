import type { ServiceAccountId } from "../ids.ts";
import { keepingRoots } from "../keys/root-keys.ts";
import type { Operation } from "../operation.ts";
import { cancelAllOf } from "../rotations/end-rotation.ts";
import { findServiceAccount, replaceServiceAccount } from "./find-service-account.ts";
import type { ServiceAccount } from "./service-account.ts";

export interface SwitchServiceAccount {
  readonly id: ServiceAccountId;
  readonly force?: boolean | undefined;
}

/** `POST /v1/service-accounts/{id}/disable`: all its keys answer `owner_disabled` from the next request on. */
export const disableServiceAccount: Operation<SwitchServiceAccount, ServiceAccount> = {
  name: "service-accounts.disable",
  permission: "keyturn:service-accounts.write",
  run: (change, input) =>
    keepingRoots(change, input.force ?? false, async () => {
      const before = await findServiceAccount(change.tx, change.account(), input.id);
      return replaceServiceAccount(change, before, {
        ...before,
        disabledAt: before.disabledAt ?? change.now,
      });
    }),
};

/** `POST /v1/service-accounts/{id}/enable`: its keys are good again, but for those that were revoked or suspended. */
export const enableServiceAccount: Operation<SwitchServiceAccount, ServiceAccount> = {
  name: "service-accounts.enable",
  permission: "keyturn:service-accounts.write",
  async run(change, input) {
    const before = await findServiceAccount(change.tx, change.account(), input.id);
    return replaceServiceAccount(change, before, { ...before, disabledAt: null });
  },
};

/** `DELETE /v1/service-accounts/{id}`: final; its keys answer `revoked`, its open rotations end. */
export const deleteServiceAccount: Operation<SwitchServiceAccount, ServiceAccount> = {
  name: "service-accounts.delete",
  permission: "keyturn:service-accounts.write",
  run: (change, input) =>
    keepingRoots(change, input.force ?? false, async () => {
      const before = await findServiceAccount(change.tx, change.account(), input.id);
      await cancelAllOf(change, before.id);
      return replaceServiceAccount(change, before, { ...before, deletedAt: change.now });
    }),
};
