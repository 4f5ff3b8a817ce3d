import type { ServiceAccount } from "./service-account.ts";

/** A service account as the audit log tells of it, in the API's spelling. */
export function describeServiceAccount(one: ServiceAccount): Readonly<Record<string, unknown>> {
  return {
    name: one.name,
    role: one.own.role,
    scopes: one.own.scopes,
    allowed_ips: one.own.allowedIps,
    disabled: one.disabledAt !== null,
    deleted: one.deletedAt !== null,
  };
}
