import type { Account } from "../../src/authority/accounts/account.ts";
import type { Actor, EntryDraft } from "../../src/authority/audit/entry.ts";
import { chain } from "../../src/authority/audit/entry.ts";
import { newId } from "../../src/authority/ids.ts";
import type { Key } from "../../src/authority/keys/key.ts";
import type { Rotation } from "../../src/authority/rotations/rotation.ts";
import { digestOf } from "../../src/authority/secret.ts";
import type { ServiceAccount } from "../../src/authority/service-accounts/service-account.ts";
import type { Storage, Transaction } from "../../src/authority/storage.ts";
import { openSqliteStorage } from "../../src/storage/sqlite-storage.ts";
import type { Pair } from "../contracts/cluster-contract.ts";
import { START } from "./authority.ts";
import { sampleKey, sampleRotation } from "./samples.ts";
import { dropFolder, newFolder } from "./traces.ts";

/** A store over a folder that is gone when it is closed. */
export async function openThrowawayStorage(): Promise<Storage> {
  const folder = newFolder("storage");
  const storage = openSqliteStorage(folder);
  return {
    ...storage,
    close: async () => {
      await storage.close();
      dropFolder(folder);
    },
  };
}

/** Two stores over one such folder, as two processes have them. */
export async function openThrowawayPair(): Promise<Pair> {
  const folder = newFolder("storage");
  const [one, other] = [openSqliteStorage(folder), openSqliteStorage(folder)];
  return {
    one,
    other,
    close: async () => {
      await one.close();
      await other.close();
      dropFolder(folder);
    },
  };
}

export function newAccount(changes: Partial<Account> = {}): Account {
  const id = newId("acc");
  return { id, name: id, operator: false, suspendedAt: null, createdAt: START, ...changes };
}

export function newOwner(account: Account, changes: Partial<ServiceAccount> = {}): ServiceAccount {
  const id = newId("sa");
  return {
    id,
    accountId: account.id,
    name: id,
    own: { role: "editor", scopes: ["invoices:*"], allowedIps: null },
    disabledAt: null,
    deletedAt: null,
    createdAt: START,
    ...changes,
  };
}

export function newKey(owner: ServiceAccount, changes: Partial<Key> = {}): Key {
  const id = newId("key");
  return sampleKey({
    id,
    accountId: owner.accountId,
    ownerId: owner.id,
    lineageId: newId("lin"),
    name: id,
    ...changes,
  });
}

export function newRotation(old: Key, successor: Key, changes: Partial<Rotation> = {}): Rotation {
  return sampleRotation({
    id: newId("rot"),
    accountId: old.accountId,
    ownerId: old.ownerId,
    lineageId: old.lineageId,
    oldKeyId: old.id,
    successorKeyId: successor.id,
    ...changes,
  });
}

/** A digest of nobody's secret. */
export function newDigest(): string {
  return digestOf(crypto.randomUUID());
}

export async function addKeys(tx: Transaction, ...keys: readonly Key[]): Promise<void> {
  for (const key of keys) await tx.keys.add(key, newDigest());
}

/** An account with one owner, stored. */
export async function seed(
  storage: Storage,
): Promise<{ readonly account: Account; readonly owner: ServiceAccount }> {
  const account = newAccount();
  const owner = newOwner(account);
  await storage.change(async (tx) => {
    await tx.accounts.add(account);
    await tx.serviceAccounts.add(owner);
  });
  return { account, owner };
}

/** Appends an entry as the gate does, and returns its place. */
export async function appendEntry(
  tx: Transaction,
  draft: Partial<EntryDraft> & { readonly actor?: Actor } = {},
): Promise<{ readonly seq: number; readonly chainHash: string; readonly text: string }> {
  const full: EntryDraft = {
    at: START,
    accountId: null,
    actor: { kind: "host", id: "test", accountId: null },
    operation: "test.do",
    outcome: "performed",
    subjects: [],
    details: {},
    ...draft,
  };
  const entry = chain(full, await tx.audit.head());
  await tx.audit.append(full, entry, []);
  return entry;
}
