import { notFound } from "../errors.ts";
import type { AccountId, KeyId } from "../ids.ts";
import type { Reader } from "../storage.ts";
import type { Key, Owner } from "./key.ts";

/** A key of this account with its owner. Throws `not_found`, the same for ids of other accounts. */
export async function findKey(
  tx: Pick<Reader, "keys">,
  account: AccountId,
  id: KeyId,
): Promise<{ readonly key: Key; readonly owner: Owner }> {
  const key = await tx.keys.byId(account, id);
  if (key === null) throw notFound("key");
  const owner = await tx.keys.owner(account, key.ownerId);
  if (owner === null) throw notFound("key");
  return { key, owner };
}
