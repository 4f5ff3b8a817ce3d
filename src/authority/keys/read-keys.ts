import type { Caller } from "../callers/caller.ts";
import type { KeyId } from "../ids.ts";
import type { Reading } from "../reading.ts";
import type { KeyFilter, KeyUse, PageRequest, UsageCount } from "../storage.ts";
import type { Instant } from "../time.ts";
import { findKey } from "./find-key.ts";
import type { Key, Owner } from "./key.ts";

/** A key with its owner and its newest use. */
export interface KeyView {
  readonly key: Key;
  readonly owner: Owner;
  readonly use: KeyUse | null;
  readonly now: Instant;
}

/** `GET /v1/keys/{id}`: the tombstone of a revoked key can be read like any other. */
export const readKey: Reading<{ readonly id: KeyId }, KeyView> = {
  name: "keys.read",
  permission: "keyturn:keys.read",
  async run({ read, account, authority, now }, { id }) {
    const found = await findKey(read, account, id);
    return { ...found, use: (await authority.storage.evidence.useOf([id])).get(id) ?? null, now };
  },
};

/** `GET /v1/keys/self`: what the asking key is and may do. Any good key may ask. */
export const readSelf: Reading<Record<string, never>, KeyView> = {
  name: "self.read",
  permission: "any_key",
  async run({ authority, issuer, now }) {
    const { key, owner } = issuer;
    return { key, owner, use: (await authority.storage.evidence.useOf([key.id])).get(key.id) ?? null, now };
  },
};

/** `GET /v1/keys`, oldest first. */
export const listKeys: Reading<
  { readonly filter: Omit<KeyFilter, "now">; readonly page: PageRequest },
  readonly KeyView[]
> = {
  name: "keys.list",
  permission: "keyturn:keys.read",
  async run({ read, account, authority, now }, { filter, page }) {
    const found = await read.keys.list(account, { ...filter, now }, page);
    const uses = await authority.storage.evidence.useOf(found.map(([key]) => key.id));
    return found.map(([key, owner]) => ({ key, owner, use: uses.get(key.id) ?? null, now }));
  },
};

/** `GET /v1/keys/{id}/callers`: who presented the key, up to this moment. */
export const listCallers: Reading<{ readonly id: KeyId }, readonly Caller[]> = {
  name: "keys.callers",
  permission: "keyturn:keys.read",
  async run({ read, account, authority }, { id }) {
    await findKey(read, account, id);
    await authority.recorder.flush();
    return authority.storage.evidence.callersOf(id);
  },
};

export interface UsageQuestion {
  readonly id: KeyId;
  readonly unit: "minute" | "hour";
  readonly from: Instant;
  readonly until: Instant;
}

/** `GET /v1/keys/{id}/usage`: counts by verdict, sparse. Minutes are kept for two days, hours for 400. */
export const readUsage: Reading<UsageQuestion, readonly UsageCount[]> = {
  name: "keys.usage",
  permission: "keyturn:keys.read",
  async run({ read, account, authority }, { id, unit, from, until }) {
    await findKey(read, account, id);
    await authority.recorder.flush();
    return authority.storage.evidence.usage(id, unit, from, until);
  },
};
