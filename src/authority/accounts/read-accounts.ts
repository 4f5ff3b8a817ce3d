import type { Reading } from "../reading.ts";
import type { PageRequest } from "../storage.ts";
import type { Account } from "./account.ts";

/** `GET /v1/accounts`: the operator sees all accounts, everybody else their own. */
export const listAccounts: Reading<{ readonly page: PageRequest }, readonly Account[]> = {
  name: "accounts.list",
  permission: "keyturn:accounts.read",
  async run({ read, account }, { page }) {
    const own = await read.accounts.byId(account);
    return read.accounts.list(page, own?.operator ? null : account);
  },
};
