import { notFound } from "../errors.ts";
import type { ServiceAccountId } from "../ids.ts";
import type { Reading } from "../reading.ts";
import type { PageRequest } from "../storage.ts";
import type { ServiceAccount } from "./service-account.ts";

/** `GET /v1/service-accounts/{id}`: a deleted one can still be read. */
export const readServiceAccount: Reading<{ readonly id: ServiceAccountId }, ServiceAccount> = {
  name: "service-accounts.read",
  permission: "keyturn:service-accounts.read",
  async run({ read, account }, { id }) {
    const found = await read.serviceAccounts.byId(account, id);
    if (found === null) throw notFound("service account");
    return found;
  },
};

/** `GET /v1/service-accounts`, oldest first. */
export const listServiceAccounts: Reading<{ readonly page: PageRequest }, readonly ServiceAccount[]> = {
  name: "service-accounts.list",
  permission: "keyturn:service-accounts.read",
  run: ({ read, account }, { page }) => read.serviceAccounts.list(account, page),
};
