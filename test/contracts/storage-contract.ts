import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Account } from "../../src/authority/accounts/account.ts";
import { GENESIS } from "../../src/authority/audit/entry.ts";
import { createChainCheck } from "../../src/authority/audit/verify-chain.ts";
import { type KeyId, newId } from "../../src/authority/ids.ts";
import { KEY_STATES, type Key, stateOf } from "../../src/authority/keys/key.ts";
import type { ServiceAccount } from "../../src/authority/service-accounts/service-account.ts";
import type { IdempotencyRecord, PageRequest, Storage } from "../../src/authority/storage.ts";
import { DAY, START } from "../support/authority.ts";
import { times } from "../support/counts.ts";
import { sampleBrownout } from "../support/samples.ts";
import {
  addKeys,
  appendEntry,
  newAccount,
  newDigest,
  newKey,
  newOwner,
  newRotation,
  seed,
} from "../support/storage.ts";
import { evidenceContract } from "./evidence-contract.ts";

const ALL: PageRequest = { limit: 1_000, after: null };

class Broken extends Error {}

/** What the core relies on, whatever engine keeps it. Each `describe` has a store of its own, each test its own account. */
export function storageContract(engine: string, open: () => Promise<Storage>): void {
  let storage: Storage;
  let account: Account;
  let owner: ServiceAccount;

  function suite(name: string, tests: () => void): void {
    describe(`${engine}: ${name}`, () => {
      beforeAll(async () => {
        storage = await open();
      });
      afterAll(() => storage.close());
      beforeEach(async () => {
        ({ account, owner } = await seed(storage));
      });
      tests();
    });
  }

  async function stored(key: Key, digest = newDigest()): Promise<Key> {
    await storage.change((tx) => tx.keys.add(key, digest));
    return key;
  }

  const read = (id: KeyId) => storage.read.keys.byId(account.id, id);

  suite("a change", () => {
    test("that throws at its end leaves nothing, its audit entry included", async () => {
      const before = await storage.read.audit.head();
      const key = newKey(owner);
      const digest = newDigest();
      const attempt = storage.change(async (tx) => {
        await tx.keys.add(key, digest);
        await tx.accounts.setSuspendedAt(account.id, START);
        await tx.facts.set("restored_at", "now");
        await tx.idempotency.put(recordOf("actor", "undone"));
        await appendEntry(tx, { subjects: [{ kind: "key", id: key.id, before: null, after: {} }] });
        throw new Broken();
      });
      await expect(attempt).rejects.toBeInstanceOf(Broken);

      expect(await read(key.id)).toBeNull();
      expect(await storage.match(digest)).toBeNull();
      expect(await storage.digestsOf(key.id)).toEqual([]);
      expect((await storage.read.accounts.byId(account.id))?.suspendedAt).toBeNull();
      expect(await storage.read.facts.get("restored_at")).toBeNull();
      expect(await storage.change((tx) => tx.idempotency.find("actor", "undone", 0))).toBeNull();
      expect(await storage.read.audit.head()).toEqual(before);
      expect(await storage.follow(before, 10)).toEqual({ continuous: true, entries: [] });
    });

    test("that the database itself refuses leaves nothing, and the next one goes through", async () => {
      const digest = newDigest();
      const first = await stored(newKey(owner), digest);
      const second = newKey(owner);
      const attempt = storage.change(async (tx) => {
        await appendEntry(tx);
        await tx.keys.add(second, digest);
      });
      await expect(attempt).rejects.toThrow();
      expect(await read(second.id)).toBeNull();
      expect((await storage.match(digest))?.key.id).toBe(first.id);
      await stored(second);
      expect(await read(second.id)).toEqual(second);
    });

    test("is not seen by readers until it is done, and whole afterwards", async () => {
      const digest = newDigest();
      const key = newKey(owner);
      const before = await storage.read.audit.head();
      await storage.change(async (tx) => {
        await tx.keys.add(key, digest);
        await appendEntry(tx);
        await Bun.sleep(5);
        expect(await read(key.id)).toBeNull();
        expect(await storage.match(digest)).toBeNull();
        expect(await storage.read.audit.head()).toEqual(before);
        expect(await storage.read.keys.list(account.id, { now: START }, ALL)).toEqual([]);
        // It sees itself.
        expect(await tx.keys.byId(account.id, key.id)).toEqual(key);
        expect((await tx.audit.head()).seq).toBe(before.seq + 1);
      });
      expect(await read(key.id)).toEqual(key);
      expect((await storage.match(digest))?.key).toEqual(key);
      expect((await storage.read.audit.head()).seq).toBe(before.seq + 1);
    });

    test("runs alone: of many at once each sees all before it, and none is lost", async () => {
      const before = await storage.read.audit.head();
      const count = times(200);
      let running = 0;
      await Promise.all(
        Array.from({ length: count }, (_, index) =>
          storage
            .change(async (tx) => {
              running += 1;
              expect(running).toBe(1);
              const { seq } = await appendEntry(tx);
              if (index % 7 === 0) await Bun.sleep(1);
              await addKeys(tx, newKey(owner, { name: `key-${seq}` }));
              running -= 1;
              if (index % 10 === 9) throw new Broken();
            })
            .catch((error: unknown) => {
              if (!(error instanceof Broken)) throw error;
            }),
        ),
      );
      const kept = count - Math.floor(count / 10);
      const lines = await storage.read.audit.lines(before.seq, 1_000);
      expect(lines.map((line) => line.seq)).toEqual(
        Array.from({ length: kept }, (_, i) => before.seq + 1 + i),
      );
      const keys = await storage.read.keys.list(account.id, { now: START }, ALL);
      expect(keys.map(([key]) => key.name).sort()).toEqual(lines.map((line) => `key-${line.seq}`).sort());
    });

    test("gives back what its work returns", async () => {
      expect(await storage.change(async () => 42)).toBe(42);
    });
  });

  suite("keys", () => {
    test("come back as they were stored, every member of them", async () => {
      const inherited = newKey(owner);
      const full = newKey(owner, {
        kind: "legacy",
        own: {
          role: "viewer",
          scopes: ["invoices:read", "keyturn:keys.verify"],
          allowedIps: ["10.0.0.0/8", "2001:db8::/32"],
        },
        metadata: { team: "billing", ü: "\u0000\u{1f511}…" },
        suspensions: ["operator", "rotation"],
        expiresAt: START + DAY,
        revokedAt: START + 1,
        rotationId: newId("rot"),
      });
      const nothing = newKey(owner, { own: { role: "none", scopes: [], allowedIps: [] } });
      for (const key of [inherited, full, nothing]) {
        const digest = newDigest();
        await stored(key, digest);
        expect(await read(key.id)).toEqual(key);
        expect(await storage.match(digest)).toEqual({
          key,
          owner: ownerOf(owner),
          accountSuspended: false,
          replaced: false,
          rotation: null,
          brownout: null,
        });
        expect(await storage.change((tx) => tx.keys.byIdAnywhere(key.id))).toEqual({
          key,
          owner: ownerOf(owner),
          accountSuspended: false,
        });
      }
    });

    test("of another account are not found by id, owner or lineage", async () => {
      const key = await stored(newKey(owner));
      const { account: other } = await seed(storage);
      expect(await storage.read.keys.byId(other.id, key.id)).toBeNull();
      expect(await storage.read.keys.owner(other.id, owner.id)).toBeNull();
      expect(await storage.read.keys.ofLineage(other.id, key.lineageId)).toEqual([]);
      expect(await storage.read.keys.list(other.id, { now: START, ownerId: owner.id }, ALL)).toEqual([]);
      expect(await storage.read.keys.ofLineage(account.id, key.lineageId)).toEqual([key]);
    });

    test("R40: that were revoked stay revoked, whatever is written over them", async () => {
      const key = await stored(newKey(owner, { name: "k" }));
      await storage.change((tx) => tx.keys.replace({ ...key, revokedAt: START }));
      await storage.change((tx) => tx.keys.replace({ ...key, name: "stale", suspensions: ["operator"] }));
      expect(await read(key.id)).toEqual({ ...key, revokedAt: START });
    });

    test("can be changed in nothing but what may change: account, owner, lineage and birth are fixed", async () => {
      const key = await stored(newKey(owner));
      const other = await seed(storage);
      const moved = {
        ...key,
        ownerId: other.owner.id,
        lineageId: newId("lin"),
        createdAt: 1,
        kind: "user" as const,
      };
      await storage.change((tx) => tx.keys.replace({ ...moved, name: "renamed" }));
      expect(await read(key.id)).toEqual({ ...key, name: "renamed" });
      await storage.change((tx) => tx.keys.replace({ ...key, accountId: other.account.id, name: "stolen" }));
      expect((await read(key.id))?.name).toBe("renamed");
    });

    test("of a suspended account or a disabled or deleted owner say so at the look-up", async () => {
      const digest = newDigest();
      await stored(newKey(owner), digest);
      await storage.change((tx) => tx.accounts.setSuspendedAt(account.id, START));
      expect((await storage.match(digest))?.accountSuspended).toBe(true);
      await storage.change((tx) => tx.accounts.setSuspendedAt(account.id, null));
      await storage.change((tx) => tx.serviceAccounts.replace({ ...owner, disabledAt: START }));
      expect(await storage.match(digest)).toMatchObject({
        accountSuspended: false,
        owner: { disabledAt: START },
      });
      await storage.change((tx) => tx.serviceAccounts.replace({ ...owner, deletedAt: START + 1 }));
      expect((await storage.match(digest))?.owner.deletedAt).toBe(START + 1);
    });

    test("have digests that no two of them share, dead ones included", async () => {
      const digest = newDigest();
      const key = await stored(newKey(owner), digest);
      await storage.change((tx) => tx.keys.replaceDigest(key.id, newDigest(), "kts_…new1", START));
      expect(await storage.change((tx) => tx.keys.digestTaken(digest))).toBe(true);
      expect(await storage.change((tx) => tx.keys.digestTaken(newDigest()))).toBe(false);
      await expect(stored(newKey(owner), digest)).rejects.toThrow();
    });

    test("whose secret was replaced have one living digest; the others are found as replaced", async () => {
      const digests = [newDigest(), newDigest(), newDigest()];
      const [first = "", second = "", third = ""] = digests;
      const key = await stored(newKey(owner), first);
      expect(await storage.change((tx) => tx.keys.replaceDigest(key.id, second, "kts_…2222", START))).toBe(2);
      expect(await storage.change((tx) => tx.keys.replaceDigest(key.id, third, "kts_…3333", START))).toBe(3);
      const matched = await Promise.all(digests.map((digest) => storage.match(digest)));
      expect(matched.map((one) => one?.replaced)).toEqual([true, true, false]);
      expect(matched.map((one) => one?.key.id)).toEqual([key.id, key.id, key.id]);
      expect((await read(key.id))?.hint).toBe("kts_…3333");
      expect([...(await storage.digestsOf(key.id))].sort()).toEqual(digests.sort());
    });

    test("lose the digests before an ordinal, and only those", async () => {
      const [first, second] = [newDigest(), newDigest()];
      const key = await stored(newKey(owner), first);
      await storage.change((tx) => tx.keys.killDigestsBefore(key.id, 1, START));
      expect((await storage.match(first))?.replaced).toBe(false);
      await storage.change((tx) => tx.keys.replaceDigest(key.id, second, key.hint, START));
      await storage.change((tx) => tx.keys.killDigestsBefore(key.id, 3, START));
      expect((await storage.match(second))?.replaced).toBe(true);
    });

    test("keep a name taken while they live: until the millisecond of their end, or until they are revoked", async () => {
      const taken = (name: string, now: number, except: Key["lineageId"] | null = null) =>
        storage.change((tx) => tx.keys.nameTaken(owner.id, name, except, now));
      const ending = await stored(newKey(owner, { name: "ending", expiresAt: START + 10 }));
      const forever = await stored(newKey(owner, { name: "forever", suspensions: ["operator"] }));
      await stored(newKey(owner, { name: "revoked", revokedAt: START }));
      expect(await taken("ending", START + 9)).toBe(true);
      expect(await taken("ending", START + 10)).toBe(false);
      expect(await taken("forever", START + 400 * DAY)).toBe(true);
      expect(await taken("revoked", START)).toBe(false);
      expect(await taken("nobody", START)).toBe(false);
      // One's own lineage is not in the way, and names are each owner's own.
      expect(await taken("ending", START, ending.lineageId)).toBe(false);
      expect(await taken("forever", START, ending.lineageId)).toBe(true);
      const other = newOwner(account);
      await storage.change((tx) => tx.serviceAccounts.add(other));
      expect(await storage.change((tx) => tx.keys.nameTaken(other.id, forever.name, null, START))).toBe(
        false,
      );
    });

    test("that name keyturn:* are found as roots until they are revoked, with their owners", async () => {
      const rooted = { role: "admin", scopes: ["*", "keyturn:*"], allowedIps: null } as const;
      const root = await stored(newKey(owner, { own: rooted }));
      await stored(newKey(owner, { own: rooted, revokedAt: START }));
      await stored(newKey(owner, { own: { ...rooted, scopes: ["*", "keyturn:keys.*"] } }));
      await stored(newKey(owner));
      expect(await storage.read.keys.roots(account.id)).toEqual([[root, ownerOf(owner)]]);
    });
  });

  suite("the list of keys", () => {
    const state = fc.record({
      revokedAt: fc.constantFrom(null, START - DAY, START),
      expiresAt: fc.constantFrom(null, START - 1, START, START + 1, START + DAY),
      suspensions: fc.constantFrom<Key["suspensions"]>(
        [],
        ["operator"],
        ["rotation"],
        ["operator", "rotation"],
      ),
      ofDeleted: fc.boolean(),
    });

    test("has in each state the keys that the domain says are in it, in pages of any size, oldest first", async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(state, { maxLength: 40 }),
          fc.integer({ min: 1, max: 7 }),
          async (states, limit) => {
            const { account: here, owner: living } = await seed(storage);
            const deleted = newOwner(here, { deletedAt: START });
            const keys = states.map(({ ofDeleted, ...rest }) => newKey(ofDeleted ? deleted : living, rest));
            await storage.change(async (tx) => {
              await tx.serviceAccounts.add(deleted);
              await addKeys(tx, ...keys);
            });
            const ownerOfKey = (key: Key) => ownerOf(key.ownerId === deleted.id ? deleted : living);
            const sorted = [...keys].sort((a, b) => (a.id < b.id ? -1 : 1));
            for (const wanted of [undefined, ...KEY_STATES]) {
              const expected = sorted.filter(
                (key) => wanted === undefined || stateOf(key, ownerOfKey(key), START) === wanted,
              );
              const got: Key[] = [];
              for (let after: string | null = null; ; ) {
                const page = await storage.read.keys.list(
                  here.id,
                  { state: wanted, now: START },
                  { limit, after },
                );
                expect(page.map(([key, its]) => [key, its])).toEqual(
                  page.map(([key]) => [key, ownerOfKey(key)]),
                );
                got.push(...page.map(([key]) => key));
                after = page.at(-1)?.[0].id ?? null;
                if (page.length < limit) break;
              }
              expect(got).toEqual(expected);
            }
            const soon = await storage.read.keys.list(
              here.id,
              { expiringBefore: START + DAY, now: START },
              ALL,
            );
            expect(soon.map(([key]) => key)).toEqual(
              sorted.filter((key) => {
                const ends = key.expiresAt ?? Number.POSITIVE_INFINITY;
                return (
                  stateOf(key, ownerOfKey(key), START) !== "revoked" && ends > START && ends < START + DAY
                );
              }),
            );
          },
        ),
        { numRuns: times(100) },
      );
    });

    test("can be narrowed to one owner, and its filters add up", async () => {
      const other = newOwner(account);
      await storage.change((tx) => tx.serviceAccounts.add(other));
      const mine = await stored(newKey(owner));
      const revoked = await stored(newKey(owner, { revokedAt: START }));
      await stored(newKey(other));
      const list = async (filter: { state?: "active" | "revoked" }) =>
        (await storage.read.keys.list(account.id, { ...filter, ownerId: owner.id, now: START }, ALL)).map(
          ([key]) => key.id,
        );
      expect(await list({})).toEqual([mine.id, revoked.id].sort());
      expect(await list({ state: "active" })).toEqual([mine.id]);
      expect(await list({ state: "revoked" })).toEqual([revoked.id]);
    });
  });

  suite("accounts and service accounts", () => {
    test("are listed in the order of their ids, in pages that neither skip nor repeat", async () => {
      const more = [newOwner(account), newOwner(account), newOwner(account)];
      await storage.change(async (tx) => {
        for (const one of more) await tx.serviceAccounts.add(one);
      });
      const ids = [owner, ...more].map((one) => one.id).sort();
      const first = await storage.read.serviceAccounts.list(account.id, { limit: 3, after: null });
      const rest = await storage.read.serviceAccounts.list(account.id, {
        limit: 3,
        after: first.at(-1)?.id ?? "",
      });
      expect([...first, ...rest].map((one) => one.id)).toEqual(ids);
      expect((await storage.read.accounts.list(ALL, account.id)).map((one) => one.id)).toEqual([account.id]);
      const accounts = (await storage.read.accounts.list(ALL, null)).map((one) => one.id);
      expect(accounts).toEqual([...accounts].sort());
      expect(accounts).toContain(account.id);
    });

    test("have names: an account's for ever, a service account's until it is deleted", async () => {
      expect((await storage.read.accounts.byName(account.name))?.id).toBe(account.id);
      await expect(
        storage.change((tx) => tx.accounts.add(newAccount({ name: account.name }))),
      ).rejects.toThrow();
      const rival = newOwner(account, { name: owner.name });
      await expect(storage.change((tx) => tx.serviceAccounts.add(rival))).rejects.toThrow();
      await storage.change((tx) => tx.serviceAccounts.replace({ ...owner, deletedAt: START }));
      expect(await storage.read.serviceAccounts.byName(account.id, owner.name)).toBeNull();
      await storage.change((tx) => tx.serviceAccounts.add(rival));
      expect(await storage.read.serviceAccounts.byName(account.id, owner.name)).toEqual(rival);
    });

    test("R40: a deleted service account stays deleted and as it was, whatever is written over it", async () => {
      const deleted = { ...owner, deletedAt: START };
      await storage.change((tx) => tx.serviceAccounts.replace(deleted));
      await storage.change((tx) => tx.serviceAccounts.replace({ ...owner, name: "back" }));
      await storage.change((tx) => tx.serviceAccounts.replace({ ...owner, deletedAt: START + DAY }));
      expect(await storage.read.serviceAccounts.byId(account.id, owner.id)).toEqual(deleted);
    });

    test("of another account are not found", async () => {
      const { account: other } = await seed(storage);
      expect(await storage.read.serviceAccounts.byId(other.id, owner.id)).toBeNull();
      expect(await storage.read.serviceAccounts.byName(other.id, owner.name)).toBeNull();
      await storage.change((tx) =>
        tx.serviceAccounts.replace({ ...owner, accountId: other.id, name: "stolen" }),
      );
      expect((await storage.read.serviceAccounts.byId(account.id, owner.id))?.name).toBe(owner.name);
    });

    test("the operator's account is known as such", async () => {
      expect(await storage.read.accounts.operator()).toBeNull();
      const operator = newAccount({ operator: true });
      await storage.change((tx) => tx.accounts.add(operator));
      expect(await storage.read.accounts.operator()).toEqual(operator);
    });
  });

  suite("rotations", () => {
    async function pair(): Promise<readonly [Key, Key]> {
      const old = newKey(owner);
      const successor = newKey(owner, { lineageId: old.lineageId });
      await storage.change((tx) => addKeys(tx, old, successor));
      return [old, successor];
    }

    test("are open for a key at most once, whatever the code above believes", async () => {
      const [old, successor] = await pair();
      const [, another] = await pair();
      const rotation = newRotation(old, successor);
      await storage.change((tx) => tx.rotations.add(rotation));
      const rival = newRotation(old, another);
      await expect(storage.change((tx) => tx.rotations.add(rival))).rejects.toThrow();
      await storage.change((tx) => tx.rotations.replace({ ...rotation, state: "cancelled", endedAt: START }));
      await storage.change((tx) => tx.rotations.add(rival));
      expect(await storage.read.rotations.byId(account.id, rival.id)).toEqual(rival);
      // A successor is one rotation's for ever.
      const [third] = await pair();
      await expect(storage.change((tx) => tx.rotations.add(newRotation(third, successor)))).rejects.toThrow();
    });

    test("come back as they were stored, and stay as they ended", async () => {
      const [old, successor] = await pair();
      const rotation = newRotation(old, successor, {
        reason: "leaked",
        oldKeyEndsAt: START + DAY,
        firstUsedAt: START + 1,
        overdueAt: START + 2,
        forced: true,
      });
      await storage.change((tx) => tx.rotations.add(rotation));
      expect(await storage.read.rotations.byId(account.id, rotation.id)).toEqual(rotation);
      expect(await storage.change((tx) => tx.rotations.byIdAnywhere(rotation.id))).toEqual(rotation);
      const ended = {
        ...rotation,
        state: "closed" as const,
        completedAt: START + 3,
        undoUntil: START + 4,
        endedAt: START + 5,
      };
      await storage.change((tx) => tx.rotations.replace(ended));
      await storage.change((tx) => tx.rotations.replace({ ...rotation, state: "adopting" }));
      expect(await storage.read.rotations.byId(account.id, rotation.id)).toEqual(ended);
      expect(await storage.read.rotations.byId(newId("acc"), rotation.id)).toBeNull();
    });

    test("are found by either key, by state, by owner while open, newest first in an account, oldest first for the worker", async () => {
      const made = [];
      for (let i = 0; i < 3; i += 1) {
        const rotation = newRotation(...(await pair()));
        await storage.change((tx) => tx.rotations.add(rotation));
        made.push(rotation);
      }
      const [first, second, third] = made;
      if (first === undefined || second === undefined || third === undefined)
        throw new Error("three were made");
      await storage.change((tx) => tx.rotations.replace({ ...second, state: "cancelled", endedAt: START }));
      const list = async (filter: object, page: PageRequest = ALL) =>
        (await storage.read.rotations.list(account.id, filter, page)).map((one) => one.id);
      expect(await list({})).toEqual([third.id, second.id, first.id]);
      expect(await list({}, { limit: 2, after: third.id })).toEqual([second.id, first.id]);
      expect(await list({ state: "cancelled" })).toEqual([second.id]);
      expect(await list({ keyId: first.oldKeyId })).toEqual([first.id]);
      expect(await list({ keyId: first.successorKeyId })).toEqual([first.id]);
      const open = await storage.read.rotations.open(null, 1_000);
      expect(open.filter((one) => one.accountId === account.id).map((one) => one.id)).toEqual([
        first.id,
        third.id,
      ]);
      expect((await storage.read.rotations.open(first.id, 1_000)).map((one) => one.id)).toContain(third.id);
      expect((await storage.change((tx) => tx.rotations.openOfOwner(owner.id))).map((one) => one.id)).toEqual(
        [first.id, third.id],
      );
    });

    test("keep dismissals in their order and brownouts until they are over, and a look-up finds both", async () => {
      const digest = newDigest();
      const old = newKey(owner, { rotationId: newId("rot") });
      const successor = newKey(owner, { lineageId: old.lineageId });
      const rotation = newRotation(old, successor, { id: old.rotationId ?? newId("rot") });
      const brownout = sampleBrownout({
        id: newId("bro"),
        rotationId: rotation.id,
        stoppedAt: null,
        stopReason: null,
      });
      await storage.change(async (tx) => {
        await tx.keys.add(old, digest);
        await addKeys(tx, successor);
        await tx.rotations.add(rotation);
        await tx.rotations.addDismissal(rotation.id, { caller: "n:cron", reason: "gone", at: START });
        await tx.rotations.addDismissal(rotation.id, {
          caller: "u:10.0.0.1 curl",
          reason: "a person",
          at: START,
        });
        await tx.rotations.addBrownout(brownout);
      });
      expect((await storage.read.rotations.dismissals(rotation.id)).map((one) => one.caller)).toEqual([
        "n:cron",
        "u:10.0.0.1 curl",
      ]);
      expect(await storage.read.rotations.brownouts(rotation.id)).toEqual([brownout]);
      expect(await storage.read.rotations.openBrownouts()).toContainEqual(brownout);
      expect(await storage.match(digest)).toMatchObject({ rotation, brownout });
      const over = {
        ...brownout,
        stoppedAt: START,
        stopReason: "callers" as const,
        refusals: 7,
        callersHit: ["cron"],
      };
      await storage.change((tx) => tx.rotations.replaceBrownout(over));
      expect(await storage.change((tx) => tx.rotations.brownoutById(brownout.id))).toEqual(over);
      expect((await storage.read.rotations.openBrownouts()).map((one) => one.id)).not.toContain(brownout.id);
      expect((await storage.match(digest))?.brownout).toBeNull();
    });
  });

  suite("the audit log", () => {
    test("starts at nothing, is gap-free, and checks out as a chain", async () => {
      const fresh = await open();
      expect(await fresh.read.audit.head()).toEqual(GENESIS);
      const heads = [];
      for (let i = 0; i < 5; i += 1)
        heads.push(await fresh.change((tx) => appendEntry(tx, { at: START + i })));
      const lines = await fresh.read.audit.lines(0, 100);
      const check = createChainCheck(heads);
      for (const line of lines) check.add(line);
      expect(check.end()).toMatchObject({ ok: true, entries: 5, comparedWith: 5 });
      expect(lines.map((line) => line.text)).toEqual(heads.map((head) => head.text));
      expect(await fresh.read.audit.head()).toMatchObject({
        seq: 5,
        chainHash: heads[4]?.chainHash,
        at: START + 4,
      });
      expect((await fresh.read.audit.lines(2, 2)).map((line) => line.seq)).toEqual([3, 4]);
      await fresh.close();
    });

    test("never has two entries in one place", async () => {
      const { seq, chainHash } = await storage.change((tx) => appendEntry(tx));
      const draft = {
        at: START,
        accountId: null,
        actor: { kind: "system", id: "worker", accountId: null } as const,
        operation: "test.do",
        outcome: "performed" as const,
        subjects: [],
        details: {},
      };
      const rival = { seq, text: "{}", entryHash: "", chainHash };
      await expect(storage.change((tx) => tx.audit.append(draft, rival, []))).rejects.toThrow();
    });

    test("is listed newest first, an account's own entries alone, by operation, subject, actor and time", async () => {
      const { account: other } = await seed(storage);
      const actor = { kind: "key", id: newId("key"), accountId: account.id } as const;
      const subject = { kind: "key", id: newId("key"), before: null, after: { name: "k" } } as const;
      const add = (draft: Parameters<typeof appendEntry>[1]) =>
        storage.change((tx) => appendEntry(tx, { accountId: account.id, ...draft })).then(({ seq }) => seq);
      const created = await add({ operation: "keys.create", actor, subjects: [subject], at: START });
      await add({ accountId: other.id, operation: "keys.create", subjects: [subject] });
      await add({ accountId: null, operation: "clock.accept" });
      // A subject that stands twice in an entry is found once.
      const revoked = await add({ operation: "keys.revoke", subjects: [subject, subject], at: START + 10 });
      const list = async (filter: object, before: number | null = null, limit = 100) =>
        (await storage.read.audit.list(account.id, filter, before, limit)).map((line) => line.seq);
      expect(await list({})).toEqual([revoked, created]);
      expect(await list({}, revoked)).toEqual([created]);
      expect(await list({}, null, 1)).toEqual([revoked]);
      expect(await list({ operation: "keys.create" })).toEqual([created]);
      expect(await list({ subjectId: subject.id })).toEqual([revoked, created]);
      expect(await list({ subjectId: newId("key") })).toEqual([]);
      expect(await list({ actorId: actor.id })).toEqual([created]);
      expect(await list({ from: START + 10 })).toEqual([revoked]);
      expect(await list({ until: START + 10 })).toEqual([created]);
      const [line] = await storage.read.audit.list(account.id, {}, null, 1);
      expect(JSON.parse(line?.text ?? "")).toMatchObject({ seq: revoked, operation: "keys.revoke" });
    });

    test("is followed from any place, with what dropping cached keys needs", async () => {
      const start = await storage.read.audit.head();
      const key = newId("key");
      const subjects = [{ kind: "key", id: key, before: null, after: {} } as const];
      const first = await storage.change((tx) =>
        appendEntry(tx, { operation: "keys.create", subjects, at: START + 1 }),
      );
      const second = await storage.change((tx) =>
        appendEntry(tx, { operation: "keys.revoke", subjects, at: START + 2 }),
      );
      const followed = await storage.follow(start, 100);
      expect(followed.continuous).toBe(true);
      expect(followed.entries).toMatchObject([
        {
          seq: first.seq,
          at: START + 1,
          chainHash: first.chainHash,
          operation: "keys.create",
          subjects: [{ kind: "key", id: key }],
        },
        {
          seq: second.seq,
          at: START + 2,
          chainHash: second.chainHash,
          operation: "keys.revoke",
          subjects: [{ kind: "key", id: key }],
        },
      ]);
      expect((await storage.follow(start, 1)).entries.map((entry) => entry.seq)).toEqual([first.seq]);
      expect(await storage.follow(second, 100)).toEqual({ continuous: true, entries: [] });
    });

    test("tells whoever follows what must stay dead, for a witness of its own", async () => {
      const start = await storage.read.audit.head();
      const id = newId("key");
      const before = { state: "active" };
      await storage.change((tx) =>
        appendEntry(tx, {
          operation: "keys.revoke",
          subjects: [{ kind: "key", id, before, after: { state: "revoked" } }],
        }),
      );
      await storage.change((tx) => appendEntry(tx, { operation: "keys.update" }));
      const { entries } = await storage.follow(start, 100);
      expect(entries.map(({ revoked }) => revoked)).toEqual([[{ kind: "key", id }], []]);
    });

    test("R14: is not followed from an entry that another stands in the place of, nor from one beyond its end", async () => {
      const head = await storage.change((tx) => appendEntry(tx));
      const another = "ff".repeat(32);
      const broken = { continuous: false, entries: [] };
      expect(await storage.follow({ seq: head.seq, chainHash: another }, 10)).toEqual(broken);
      expect(await storage.follow({ seq: head.seq + 1, chainHash: another }, 10)).toEqual(broken);
      await storage.change((tx) => appendEntry(tx));
      expect(await storage.follow({ seq: head.seq, chainHash: another }, 10)).toEqual(broken);
      expect((await storage.follow(head, 10)).entries).toHaveLength(1);
    });
  });

  suite("idempotency records and facts", () => {
    test("are found by actor and key, from the instant asked for on, and the newer displaces the older", async () => {
      const record = recordOf("actor", "retry");
      await storage.change((tx) => tx.idempotency.put(record));
      const find = (actor: string, key: string, notBefore: number) =>
        storage.change((tx) => tx.idempotency.find(actor, key, notBefore));
      expect(await find("actor", "retry", START)).toEqual(record);
      expect(await find("actor", "retry", START + 1)).toBeNull();
      expect(await find("another", "retry", 0)).toBeNull();
      expect(await find("actor", "another", 0)).toBeNull();
      const newer = {
        ...record,
        operation: "keys.rotate",
        requestHash: "ff",
        result: { key_id: "key_2" },
        seq: 2,
        createdAt: START + 5,
      };
      await storage.change((tx) => tx.idempotency.put(newer));
      expect(await find("actor", "retry", START + 5)).toEqual(newer);
    });

    test("are dropped before an instant, and kept from it on", async () => {
      await storage.change((tx) => tx.idempotency.put({ ...recordOf("a", "old"), createdAt: START - 1 }));
      await storage.change((tx) => tx.idempotency.put({ ...recordOf("a", "new"), createdAt: START }));
      await storage.change((tx) => tx.idempotency.dropBefore(START));
      expect(await storage.change((tx) => tx.idempotency.find("a", "old", 0))).toBeNull();
      expect((await storage.change((tx) => tx.idempotency.find("a", "new", 0)))?.key).toBe("new");
    });

    test("facts are set, replaced and taken away", async () => {
      const get = () => storage.read.facts.get("restored_at");
      expect(await get()).toBeNull();
      for (const value of ["one", "two", null, null]) {
        await storage.change((tx) => tx.facts.set("restored_at", value));
        expect(await get()).toBe(value);
      }
    });
  });

  suite("many keys", () => {
    test("are each found by their own digest alone", async () => {
      const keys = new Map<string, Key>();
      await storage.change(async (tx) => {
        for (let i = 0; i < times(1_000); i += 1) {
          const digest = newDigest();
          const key = newKey(owner);
          keys.set(digest, key);
          await tx.keys.add(key, digest);
        }
      });
      for (const [digest, key] of keys) expect((await storage.match(digest))?.key).toEqual(key);
      expect(await storage.match(newDigest())).toBeNull();
    });
  });

  evidenceContract(engine, open);
}

function recordOf(actorId: string, key: string): IdempotencyRecord {
  return {
    actorId,
    key,
    operation: "keys.create",
    requestHash: "00",
    result: { key_id: "key_1" },
    seq: 1,
    createdAt: START,
  };
}

function ownerOf({ id, own, disabledAt, deletedAt }: ServiceAccount) {
  return { id, own, disabledAt, deletedAt };
}
