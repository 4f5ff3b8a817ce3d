import { createHash } from "node:crypto";
import { createAuthority } from "../src/authority/authority.ts";
import { SYSTEM_CLOCK } from "../src/authority/clock.ts";
import { type AccountId, newId } from "../src/authority/ids.ts";
import { perform } from "../src/authority/operation.ts";
import { digestOf, hintOf, mintSecret, type SecretFormat } from "../src/authority/secret.ts";
import { HOST, recover } from "../src/authority/setup/setup.ts";
import type { Storage } from "../src/authority/storage.ts";

const FORMAT: SecretFormat = { brand: "kt", retiredBrands: [], region: null };

export type EngineName = "SQLite" | "PostgreSQL";

/** The settings by which a process of the bench, or Keyturn itself, finds a store. */
export type Place = { readonly KEYTURN_DATA: string } | { readonly KEYTURN_DATABASE_URL: string };

export interface Filled {
  readonly engine: EngineName;
  readonly place: Place;
  readonly root: string;
  readonly keys: number;
  /** The ids of the first service accounts and of the first keys, by their numbers. */
  readonly owners: readonly string[];
  readonly ids: readonly string[];
}

export interface Filling {
  readonly keys: number;
  /** Keys to a service account; 100, as a product with many customers would have them. */
  readonly keysPerOwner: number;
}

const KEY_SPAN_MS = 90 * 86_400_000;
const IDS_TOLD = 20_000;
const SCOPES = JSON.stringify(["invoices:read", "invoices:write", "customers:read"]);

/** The secret of the key with this number: derived, so that every process of the bench can make it again. */
export function secretOf(number: number): string {
  const seed = createHash("sha512").update(`keyturn bench ${number}`).digest();
  return mintSecret(FORMAT, "service", (size) => seed.subarray(0, size));
}

/** The first root key, through the gate. Closes the store: filling it is done past it. */
export async function foundInstallation(storage: Storage): Promise<{ root: string; account: AccountId }> {
  const authority = await createAuthority({
    settings: {
      format: FORMAT,
      callerAddress: "full",
      flushSeconds: 1,
      cacheKeys: 1_000,
      boundedSeconds: 10,
    },
    storage,
    clock: SYSTEM_CLOCK,
    random: (size) => crypto.getRandomValues(new Uint8Array(size)),
    witness: null,
    process: { name: "bench", version: "0" },
  });
  const { output: root } = await perform(authority, recover, HOST, {});
  await storage.close();
  return { root: root.secret, account: root.key.accountId };
}

export interface OwnerRow {
  readonly id: string;
  readonly name: string;
  readonly scopes: string;
  readonly createdAt: number;
}

export interface KeyRow {
  readonly id: string;
  readonly owner: string;
  readonly lineage: string;
  readonly name: string;
  readonly hint: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly digest: string;
}

/** Where rows go on either engine. */
export interface RowTaker {
  owner(row: OwnerRow): void;
  key(row: KeyRow): void;
}

/** Makes the rows of keys `from` to `to`, each owner before its keys, and notes the first ids of both. */
export function createRows({ keysPerOwner }: Filling) {
  const owners: string[] = [];
  const ids: string[] = [];
  const createdAt = Date.now();
  let owner = "";
  return {
    owners,
    ids,
    make: (from: number, to: number, take: RowTaker): void => {
      for (let number = from; number < to; number += 1) {
        if (number % keysPerOwner === 0) {
          owner = newId("sa");
          if (owners.length < IDS_TOLD) owners.push(owner);
          take.owner({ id: owner, name: `team-${number / keysPerOwner}`, scopes: SCOPES, createdAt });
        }
        const secret = secretOf(number);
        const id = newId("key");
        if (ids.length < IDS_TOLD) ids.push(id);
        take.key({
          id,
          owner,
          // Ids are alike but for their beginning, and to draw one takes a fifth of the time of a row.
          lineage: `lin_${id.slice("key_".length)}`,
          name: `key-${number}`,
          hint: hintOf(secret),
          createdAt,
          expiresAt: createdAt + KEY_SPAN_MS,
          digest: digestOf(secret),
        });
      }
    },
  };
}
