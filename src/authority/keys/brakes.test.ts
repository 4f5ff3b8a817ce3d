import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { DAY, HOUR, refusalOf, SECOND, startWorld, type World } from "../../../test/support/authority.ts";
import { OPERATIONS, READINGS } from "../operations.ts";
import type { Issued } from "./issue.ts";

let world: World;
let issued: Issued;
beforeEach(async () => {
  world = await startWorld();
  issued = await world.key((await world.owner({ role: "editor", scopes: ["invoices:*"] })).id, { name: "k" });
});
afterEach(() => world.close());

const { suspendKey, reinstateKey, revokeKey, replaceSecret } = OPERATIONS;
const id = () => issued.key.id;

describe("keys.suspend and keys.reinstate", () => {
  test("refuse at once, and let through again; each is an entry with reason and state", async () => {
    expect(world.verify(issued.secret)).toBe("valid");
    const { key } = await world.do(suspendKey, { id: id(), reason: "leaked?" });
    expect(key.suspensions).toEqual(["operator"]);
    expect(world.verify(issued.secret)).toBe("suspended");
    expect(await world.lastEntry()).toMatchObject({
      operation: "keys.suspend",
      details: { reason: "leaked?" },
      subjects: [
        { id: id(), before: { state: "active" }, after: { state: "suspended", suspensions: ["operator"] } },
      ],
    });
    await world.do(reinstateKey, { id: id() });
    expect(world.verify(issued.secret)).toBe("valid");
    expect(await world.lastEntry()).toMatchObject({
      operation: "keys.reinstate",
      subjects: [{ id: id(), before: { state: "suspended" }, after: { state: "active" } }],
    });
  });

  test("reinstating lifts the operator's suspension and no other", async () => {
    const { rotation, secret } = await world.rotate(id());
    world.verify(secret);
    await world.do(OPERATIONS.completeRotation, { id: rotation.id, force: true });
    await world.do(suspendKey, { id: id() });
    expect((await world.do(reinstateKey, { id: id() })).key.suspensions).toEqual(["rotation"]);
    expect(world.verify(issued.secret)).toBe("suspended");
    await world.do(suspendKey, { id: id() });
    await world.do(OPERATIONS.rollbackRotation, { id: rotation.id });
    expect(world.verify(issued.secret)).toBe("suspended");
    await world.do(reinstateKey, { id: id() });
    expect(world.verify(issued.secret)).toBe("valid");
  });

  test("R40: both refuse a revoked key, and one whose owner was deleted", async () => {
    await world.do(revokeKey, { id: id() });
    const other = await world.keyWith({ scopes: ["a:b"] });
    await world.do(OPERATIONS.deleteServiceAccount, { id: other.owner.id });
    for (const dead of [id(), other.key.id]) {
      expect((await refusalOf(world.do(suspendKey, { id: dead }))).code).toBe("key_revoked");
      expect((await refusalOf(world.do(reinstateKey, { id: dead }))).code).toBe("key_revoked");
    }
  });

  test("reinstating an expired key makes it no younger", async () => {
    await world.do(suspendKey, { id: id() });
    world.clock.pass(91 * DAY);
    await world.do(reinstateKey, { id: id() });
    expect(world.verify(issued.secret)).toBe("expired");
  });
});

describe("keys.revoke", () => {
  test("refuses for ever, and leaves a tombstone that can be read", async () => {
    const { key } = await world.do(revokeKey, { id: id(), reason: "leaked" });
    expect(key.revokedAt).toBe(world.clock.wall());
    expect(world.verify(issued.secret)).toBe("revoked");
    expect(await world.stored(id())).toEqual(key);
    expect(await world.lastEntry()).toMatchObject({
      operation: "keys.revoke",
      details: { reason: "leaked" },
      subjects: [{ id: id(), before: { state: "active" }, after: { state: "revoked" } }],
    });
    const listed = await world.ask(READINGS.listKeys, {
      filter: { state: "revoked" },
      page: { limit: 9, after: null },
    });
    expect(listed.map((view) => view.key.id)).toEqual([id()]);
  });

  test("R14, R40: revoked is still revoked after a clean restart, a crash and a clock that is set back", async () => {
    await world.do(revokeKey, { id: id() });
    world = await world.restart();
    expect(world.verify(issued.secret)).toBe("revoked");
    world = await world.crash();
    expect(world.verify(issued.secret)).toBe("revoked");
    world.clock.jump(-10 * DAY);
    expect(world.verify(issued.secret)).toBe("revoked");
  });

  test("a second time changes nothing and is still somebody's act", async () => {
    const { key } = await world.do(revokeKey, { id: id() });
    world.clock.pass(HOUR);
    const before = (await world.entries()).length;
    expect((await world.do(revokeKey, { id: id() })).key).toEqual(key);
    expect(await world.entries()).toHaveLength(before + 1);
  });

  test("R40: a stale copy of the key, written from the side, does not bring it back", async () => {
    const stale = await world.stored(id());
    await world.do(revokeKey, { id: id() });
    await world.authority.storage.change((tx) => tx.keys.replace(stale));
    expect((await world.stored(id())).revokedAt).not.toBeNull();
  });

  test("R40: changing what an answer holds changes nothing that is stored", async () => {
    const { key } = await world.do(revokeKey, { id: id() });
    Object.assign(key, { revokedAt: null });
    expect((await world.stored(id())).revokedAt).not.toBeNull();
    expect(world.verify(issued.secret)).toBe("revoked");
  });
});

describe("the emergency brake", () => {
  test("names who used the key in the last 24 hours, to the millisecond, whatever the verdict; addresses only as hashes", async () => {
    world.verify(issued.secret, { name: "gone" });
    world.clock.pass(1);
    world.verify(issued.secret, { name: "just in time" });
    world.clock.pass(DAY - SECOND);
    await world.follow();
    world.verify(issued.secret, { name: "refused" }, { scopes: ["users:read"] });
    world.verify(issued.secret, { address: "203.0.113.77", agent: "curl/8" });
    world.clock.pass(SECOND);
    for (const operation of [suspendKey, revokeKey]) {
      const { inUseBy } = await world.do(operation, { id: id() });
      expect(inUseBy.map(({ name, unnamed }) => [name, unnamed])).toEqual([
        ["just in time", false],
        ["refused", false],
        ["203.0.113.77 curl", true],
      ]);
      const { details } = await world.lastEntry();
      expect(details.in_use_by).toEqual(["just in time", "refused", expect.stringMatching(/^sha256:/)]);
      expect(JSON.stringify(details)).not.toContain("203.0.113.77");
    }
  });

  test("is no slower for being in use: the next request is refused", async () => {
    for (let i = 0; i < 3; i += 1) expect(world.verify(issued.secret, { name: "api" })).toBe("valid");
    await world.do(revokeKey, { id: id() });
    expect(world.verify(issued.secret, { name: "api" })).toBe("revoked");
  });

  test("the last root key is neither suspended nor revoked without force; with another it is", async () => {
    const root = world.root.key.id;
    for (const operation of [suspendKey, revokeKey]) {
      const refusal = await refusalOf(world.do(operation, { id: root }));
      expect(refusal.code).toBe("last_root_key");
      expect(await world.lastEntry()).toMatchObject({
        outcome: "refused",
        details: { code: "last_root_key" },
      });
    }
    expect(await world.stored(root)).toEqual(world.root.key);
    await world.key(world.root.owner.id, { ttl: "never", own: { scopes: ["*", "keyturn:*"] } });
    await world.do(suspendKey, { id: root });
    expect((await world.lastEntry()).details).toEqual({});
  });

  test("with force even the last root key goes, and the entry says so", async () => {
    await world.do(revokeKey, { id: world.root.key.id, force: true });
    expect((await world.lastEntry()).details).toEqual({ forced: true });
    expect(world.verify(world.root.secret)).toBe("revoked");
  });
});

describe("keys.replace-secret", () => {
  test("gives the same key a new secret and the earlier text dies, at once", async () => {
    const again = await world.do(replaceSecret, { id: id() });
    expect(again.key).toEqual({ ...issued.key, hint: again.key.hint });
    expect(await world.stored(id())).toEqual(again.key);
    expect([issued, again].map(({ secret }) => world.verify(secret))).toEqual(["revoked", "valid"]);
    expect(await world.lastEntry()).toMatchObject({
      operation: "keys.replace-secret",
      subjects: [
        { id: id(), before: { hint: issued.key.hint }, after: { hint: again.key.hint, secret_ordinal: 2 } },
      ],
    });
  });

  test("is refused after the first use, still in memory or not, and whatever the verdict was", async () => {
    world.verify(issued.secret, {}, { scopes: ["users:read"] });
    expect((await refusalOf(world.do(replaceSecret, { id: id() }))).code).toBe("already_in_use");
    expect(world.verify(issued.secret)).toBe("valid");
  });

  test("R40: is refused for a revoked key and for one whose owner was deleted", async () => {
    await world.do(revokeKey, { id: id() });
    expect((await refusalOf(world.do(replaceSecret, { id: id() }))).code).toBe("key_revoked");
    const other = await world.keyWith({ scopes: ["a:b"] });
    await world.do(OPERATIONS.deleteServiceAccount, { id: other.owner.id });
    expect((await refusalOf(world.do(replaceSecret, { id: other.key.id }))).code).toBe("key_revoked");
  });

  test("lifts no suspension and lengthens no life", async () => {
    await world.do(suspendKey, { id: id() });
    const again = await world.do(replaceSecret, { id: id() });
    expect(world.verify(again.secret)).toBe("suspended");
    expect(again.key.expiresAt).toBe(issued.key.expiresAt);
  });
});
