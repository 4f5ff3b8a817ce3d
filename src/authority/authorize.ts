import { coversScope, type Rights } from "./access/rights.ts";
import type { Actor } from "./audit/entry.ts";
import { Refusal } from "./errors.ts";
import { rightsOf, spanOf } from "./keys/key.ts";
import { judge } from "./keys/verdict.ts";
import type { Issuer, Permission } from "./operation.ts";
import type { Reader } from "./storage.ts";
import type { Instant } from "./time.ts";

/**
 * The truth about the asking key: it may have been revoked a moment ago. An operation reads it inside its own transaction.
 * Throws `unauthenticated`, `insufficient_scope` or `operator_only`.
 */
export async function authorize(
  tx: Pick<Reader, "keys" | "accounts">,
  operation: { readonly permission: Permission; readonly operatorOnly?: boolean },
  actor: Actor & { kind: "key" },
  now: Instant,
): Promise<Issuer> {
  const found = await tx.keys.byIdAnywhere(actor.id);
  if (found === null) {
    throw new Refusal("unauthenticated", "The key is not good any more.", {
      extensions: { verdict: "unknown" },
    });
  }
  const rights = rightsOf(found.key, found.owner);
  const matched = { ...found, replaced: false, rotation: null, brownout: null };
  const verdict = judge(matched, { rights, addresses: null }, {}, now);
  if (verdict !== "valid") {
    throw new Refusal("unauthenticated", "The key is not good any more.", { extensions: { verdict } });
  }
  await checkPermission(operation, rights, () => tx.accounts.byId(found.key.accountId));
  return { ...found, rights, spanSeconds: spanOf(found.key) };
}

async function checkPermission(
  operation: { readonly permission: Permission; readonly operatorOnly?: boolean },
  rights: Rights,
  account: () => Promise<{ readonly operator: boolean } | null>,
): Promise<void> {
  const { permission } = operation;
  const allowed =
    permission === "any_key" ||
    (permission.startsWith("keyturn:") && rights.scopes.some((scope) => coversScope(scope, permission)));
  if (!allowed) {
    throw new Refusal("insufficient_scope", `This needs the scope ${permission}.`, {
      extensions: { scope: permission },
    });
  }
  if (operation.operatorOnly && !(await account())?.operator) {
    throw new Refusal("operator_only", "Only keys of the operator's account may do this.");
  }
}
