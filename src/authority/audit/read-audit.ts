import type { Reading } from "../reading.ts";
import type { AuditFilter } from "../storage.ts";

export interface AuditQuestion {
  readonly filter: AuditFilter;
  readonly before: number | null;
  readonly limit: number;
}

/** `GET /v1/audit`, newest first, the account's own entries alone. Texts are canonical JSON. */
export const readAudit: Reading<
  AuditQuestion,
  readonly { readonly seq: number; readonly text: string; readonly chainHash: string }[]
> = {
  name: "audit.read",
  permission: "keyturn:audit.read",
  run: ({ read, account }, { filter, before, limit }) => read.audit.list(account, filter, before, limit),
};
