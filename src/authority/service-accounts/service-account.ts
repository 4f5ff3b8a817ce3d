import type { OwnRights } from "../access/rights.ts";
import type { AccountId, ServiceAccountId } from "../ids.ts";
import type { Instant } from "../time.ts";

/** An owner of keys that is not a person. Its rights are the ceiling of its keys. */
export interface ServiceAccount {
  readonly id: ServiceAccountId;
  readonly accountId: AccountId;
  readonly name: string;
  readonly own: OwnRights;
  readonly disabledAt: Instant | null;
  /** Final: its keys answer `revoked` from then on. */
  readonly deletedAt: Instant | null;
  readonly createdAt: Instant;
}
