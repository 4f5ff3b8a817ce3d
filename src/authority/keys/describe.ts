import { formatInstant } from "../time.ts";
import type { Key } from "./key.ts";

/** A key as the audit log tells of it: what can change, in the API's spelling. */
export function describeKey(key: Key): Readonly<Record<string, unknown>> {
  return {
    name: key.name,
    owner_id: key.ownerId,
    state: key.revokedAt !== null ? "revoked" : key.suspensions.length > 0 ? "suspended" : "active",
    suspensions: key.suspensions,
    hint: key.hint,
    role: key.own.role,
    scopes: key.own.scopes,
    allowed_ips: key.own.allowedIps,
    expires_at: key.expiresAt === null ? null : formatInstant(key.expiresAt),
    freshness: key.freshness,
    rotation_id: key.rotationId,
  };
}
