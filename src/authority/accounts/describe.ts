import type { Account } from "./account.ts";

/** An account as the audit log tells of it, in the API's spelling. */
export function describeAccount(account: Account): Readonly<Record<string, unknown>> {
  return { name: account.name, operator: account.operator, suspended: account.suspendedAt !== null };
}
