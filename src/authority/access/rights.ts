import { blocksWithin, intersectBlocks } from "./addresses.ts";

/**
 * What a key or an owner may be, from least to most; its meaning is the API's own at which the key is used.
 */
export type Role = "none" | "viewer" | "editor" | "admin";

/** Every role, from least to most. */
export const ROLES: readonly Role[] = ["none", "viewer", "editor", "admin"];

const RANK: Readonly<Record<Role, number>> = { none: 0, viewer: 1, editor: 2, admin: 3 };

/**
 * What may be done: a role, scopes, and the CIDR blocks it may be done from (null is any address, empty is
 * none).
 */
export interface Rights {
  readonly role: Role;
  readonly scopes: readonly string[];
  readonly allowedIps: readonly string[] | null;
}

/** What a key or an owner itself says of its rights; null leaves a right to what stands above it. */
export interface OwnRights {
  readonly role: Role | null;
  readonly scopes: readonly string[] | null;
  readonly allowedIps: readonly string[] | null;
}

/** The rights by name, as they are called on the wire. */
export type RightsField = "role" | "scopes" | "allowed_ips";

/**
 * The first segment of the scopes that Keyturn's own API asks for; these are named or absent, never implied.
 */
export const KEYTURN_NAMESPACE = "keyturn";

const LONGEST_SCOPE = 128;
const SCOPE = /^(?:\*|[a-z0-9][a-z0-9_.-]*(?::[a-z0-9][a-z0-9_.-]*){0,7}|(?:[a-z0-9][a-z0-9_.-]*:){1,7}\*)$/;

/** Whether `have` is `want` or more. */
export function roleAtLeast(have: Role, want: Role): boolean {
  return RANK[have] >= RANK[want];
}

/** The lesser of two roles. */
export function lowerRole(a: Role, b: Role): Role {
  return roleAtLeast(a, b) ? b : a;
}

/**
 * Whether a text is a scope: 1 to 8 segments of `[a-z0-9][a-z0-9_.-]*` with colons between, 128 characters at
 * most; the last segment may be `*`, which may also stand alone.
 */
export function isScope(text: string): boolean {
  return text.length <= LONGEST_SCOPE && SCOPE.test(text);
}

/** Whether a scope is Keyturn's own: `keyturn` itself or anything below it. */
export function isKeyturnScope(scope: string): boolean {
  return scope === KEYTURN_NAMESPACE || scope.startsWith(`${KEYTURN_NAMESPACE}:`);
}

/**
 * Whether holding `grant` is holding `wanted`: it is the same, or a wildcard above it (`invoices:*` covers
 * `invoices:a:b` and `invoices:*`, not `invoices`). `*` covers all but Keyturn's own scopes.
 */
export function coversScope(grant: string, wanted: string): boolean {
  if (grant === wanted) return true;
  if (grant === "*") return !isKeyturnScope(wanted);
  return grant.endsWith(":*") && wanted.startsWith(grant.slice(0, -1));
}

/** Whether each wanted scope is covered by one of the grants; nothing wanted is always covered. */
export function coversAll(grants: readonly string[], wanted: readonly string[]): boolean {
  // Loops, because this runs at each verification: 25 ns for one scope, where closures took 70.
  for (const scope of wanted) if (!isCovered(grants, scope)) return false;
  return true;
}

function isCovered(grants: readonly string[], wanted: string): boolean {
  for (const grant of grants) if (coversScope(grant, wanted)) return true;
  return false;
}

/**
 * The scopes that cover exactly what both lists cover, sorted and each once. Scopes are nested or apart, so
 * each of them stood in one of the lists.
 */
export function intersectScopes(a: readonly string[], b: readonly string[]): readonly string[] {
  const inBoth = [
    ...a.filter((scope) => coversAll(b, [scope])),
    ...b.filter((scope) => coversAll(a, [scope])),
  ];
  return [...new Set(inBoth)].sort();
}

/** An owner's rights, the ceiling of its keys: what it leaves out is role `none`, no scopes, any address. */
export function ownerRights(own: OwnRights): Rights {
  return { role: own.role ?? "none", scopes: own.scopes ?? [], allowedIps: own.allowedIps };
}

/**
 * What a key may do: what both it and its owner may (R3, R6). What the key leaves out is its owner's, but
 * Keyturn's own scopes are never inherited. Address lists with nothing in common give an empty one: nobody,
 * not anybody.
 */
export function effectiveRights(key: OwnRights, owner: Rights): Rights {
  return {
    role: key.role === null ? owner.role : lowerRole(key.role, owner.role),
    scopes:
      key.scopes === null
        ? owner.scopes.filter((scope) => !isKeyturnScope(scope))
        : intersectScopes(key.scopes, owner.scopes),
    allowedIps: commonBlocks(key.allowedIps, owner.allowedIps),
  };
}

function commonBlocks(
  key: readonly string[] | null,
  owner: readonly string[] | null,
): readonly string[] | null {
  if (key === null) return owner;
  return owner === null ? key : intersectBlocks(key, owner);
}

/**
 * Which of the wanted rights are more than the holder has; empty when all may be handed on. No address list
 * is any address, so wanting none exceeds a holder who has one; an empty list, being nobody, exceeds nothing
 * (R3).
 */
export function exceeding(wanted: Rights, holder: Rights): readonly RightsField[] {
  const fields: RightsField[] = [];
  if (!roleAtLeast(holder.role, wanted.role)) fields.push("role");
  if (!coversAll(holder.scopes, wanted.scopes)) fields.push("scopes");
  if (!addressesWithin(wanted.allowedIps, holder.allowedIps)) fields.push("allowed_ips");
  return fields;
}

function addressesWithin(wanted: readonly string[] | null, holder: readonly string[] | null): boolean {
  if (holder === null) return true;
  return wanted !== null && blocksWithin(wanted, holder);
}
