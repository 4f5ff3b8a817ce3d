import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { DAY, INHERITED, refusalOf, START, startWorld, type World } from "../../../test/support/authority.ts";
import type { OwnRights } from "../access/rights.ts";
import { OPERATIONS } from "../operations.ts";
import type { Issued } from "./issue.ts";
import { rightsOf } from "./key.ts";

let world: World;
let issued: Issued;
const OWNER = { role: "editor", scopes: ["invoices:*"], allowedIps: ["10.0.0.0/8"] } as const;
beforeEach(async () => {
  world = await startWorld();
  issued = await world.key((await world.owner(OWNER)).id, { name: "k", ttl: "10d", own: { role: "editor" } });
});
afterEach(() => world.close());

const { updateKey } = OPERATIONS;
const update = (own: Partial<OwnRights>, more: { expiresAt?: string; name?: string; force?: boolean } = {}) =>
  world.do(updateKey, { id: issued.key.id, own, ...more });
const iso = (at: number) => new Date(at).toISOString();

describe("keys.update", () => {
  test("changes name and metadata, narrows, brings the end forward, and bites at once", async () => {
    expect(world.verify(issued.secret, {}, { address: "10.0.0.1", scopes: ["invoices:write"] })).toBe(
      "valid",
    );
    const { key } = await world.do(updateKey, {
      id: issued.key.id,
      name: "renamed",
      metadata: { team: "x" },
      own: { role: "viewer", scopes: ["invoices:read"], allowedIps: ["10.1.0.0/16"] },
      expiresAt: iso(START + DAY),
    });
    expect(key).toEqual({
      ...issued.key,
      name: "renamed",
      metadata: { team: "x" },
      own: { role: "viewer", scopes: ["invoices:read"], allowedIps: ["10.1.0.0/16"] },
      expiresAt: START + DAY,
    });
    expect(await world.stored(key.id)).toEqual(key);
    expect(world.verify(issued.secret, {}, { address: "10.1.0.1", scopes: ["invoices:write"] })).toBe(
      "insufficient_scope",
    );
    expect(world.verify(issued.secret, {}, { address: "10.0.0.1" })).toBe("ip_not_allowed");
    expect(await world.lastEntry()).toMatchObject({
      operation: "keys.update",
      subjects: [
        {
          id: key.id,
          before: { name: "k", role: "editor", scopes: null, allowed_ips: null },
          after: { name: "renamed", role: "viewer", scopes: ["invoices:read"], allowed_ips: ["10.1.0.0/16"] },
        },
      ],
    });
  });

  test("members that are left out stay as they are", async () => {
    expect((await update({})).key).toEqual(issued.key);
    expect((await update({ scopes: ["invoices:read"] })).key.own).toEqual({
      ...issued.key.own,
      scopes: ["invoices:read"],
    });
    expect((await update({ role: "viewer" })).key.own.scopes).toEqual(["invoices:read"]);
  });

  test("R3: never widens, by field", async () => {
    await update({ role: "viewer", scopes: ["invoices:read"], allowedIps: ["10.1.0.0/16"] });
    const wider: readonly [Partial<OwnRights>, string][] = [
      [{ role: "editor" }, "role"],
      [{ role: null }, "role"],
      [{ scopes: ["invoices:read", "invoices:write"] }, "scopes"],
      [{ scopes: ["invoices:*"] }, "scopes"],
      [{ scopes: null }, "scopes"],
      [{ allowedIps: ["10.0.0.0/8"] }, "allowed_ips"],
      [{ allowedIps: null }, "allowed_ips"],
    ];
    for (const [own, field] of wider) {
      const refusal = await refusalOf(update(own));
      expect([refusal.code, refusal.errors[0]?.field]).toEqual(["invalid_input", field]);
    }
  });

  test("R3: lists no right that would lie in wait for the day when the owner gets it", async () => {
    for (const own of [
      { role: "admin" },
      { scopes: ["invoices:read", "users:read"] },
      { allowedIps: ["11.0.0.0/8"] },
    ] as const) {
      expect((await refusalOf(update(own))).code).toBe("invalid_input");
    }
  });

  test("R3: gives no limit up, not even one that means nothing today: the owner's widening would widen the key", async () => {
    await update({ scopes: ["invoices:*"], allowedIps: ["10.0.0.0/8"] });
    for (const own of [{ role: null }, { scopes: null }, { allowedIps: null }]) {
      expect((await refusalOf(update(own))).code).toBe("invalid_input");
    }
    await world.do(OPERATIONS.updateServiceAccount, {
      id: issued.owner.id,
      own: { role: "admin", scopes: ["*"], allowedIps: null },
    });
    const key = await world.stored(issued.key.id);
    const owner = { ...issued.owner, own: { role: "admin", scopes: ["*"], allowedIps: null } } as const;
    expect(rightsOf(key, owner)).toEqual({
      role: "editor",
      scopes: ["invoices:*"],
      allowedIps: ["10.0.0.0/8"],
    });
  });

  test("never lengthens: the same end is none, a millisecond later is refused, and never is no end to ask for", async () => {
    const end = issued.key.expiresAt ?? 0;
    expect((await update({}, { expiresAt: iso(end) })).key.expiresAt).toBe(end);
    for (const expiresAt of [iso(end + 1), iso(START), "never", "2026-02-30T00:00:00Z"]) {
      const refusal = await refusalOf(update({}, { expiresAt }));
      expect([refusal.code, refusal.errors[0]?.field]).toEqual(["invalid_input", "expires_at"]);
    }
    expect((await update({}, { expiresAt: iso(START + 1) })).key.expiresAt).toBe(START + 1);
  });

  test("an expired key is not revived by it", async () => {
    world.clock.pass(11 * DAY);
    expect((await refusalOf(update({}, { expiresAt: iso(START + 12 * DAY) }))).code).toBe("invalid_input");
    expect(world.verify(issued.secret, {}, { address: "10.0.0.1" })).toBe("expired");
  });

  test("refuses a taken name, a revoked key and one whose owner was deleted", async () => {
    await world.key(issued.owner.id, { name: "other" });
    expect((await refusalOf(update({}, { name: "other" }))).code).toBe("name_taken");
    expect((await update({}, { name: "k" })).key.name).toBe("k");
    const second = await world.keyWith({ scopes: ["a:b"] });
    await world.do(OPERATIONS.deleteServiceAccount, { id: second.owner.id });
    expect((await refusalOf(world.do(updateKey, { id: second.key.id, own: {} }))).code).toBe("key_revoked");
    await world.do(OPERATIONS.revokeKey, { id: issued.key.id });
    expect((await refusalOf(update({ role: "viewer" }))).code).toBe("key_revoked");
  });

  test("refuses metadata that is none", async () => {
    const attempt = world.do(updateKey, { id: issued.key.id, own: {}, metadata: { "": "x" } });
    expect((await refusalOf(attempt)).errors[0]?.field).toBe("metadata");
  });
});

describe("narrowing one key of an open rotation", () => {
  const cut = { role: "viewer", scopes: ["invoices:read"], allowedIps: ["10.1.0.0/16"] } as const;

  test("narrows both, whichever is named, in one entry with both", async () => {
    for (const which of ["old", "successor"] as const) {
      const old = await world.key(issued.owner.id, { name: which });
      const rotated = await world.rotate(old.key.id);
      const id = which === "old" ? old.key.id : rotated.key.id;
      await world.do(updateKey, { id, name: `${which} renamed`, own: cut });
      for (const one of [old, rotated]) {
        expect(await world.stored(one.key.id)).toMatchObject({ own: cut, name: `${which} renamed` });
        expect(world.verify(one.secret, {}, { address: "10.1.0.1", scopes: ["invoices:write"] })).toBe(
          "insufficient_scope",
        );
      }
      const { subjects } = await world.lastEntry();
      expect(subjects.map(({ id }) => id).sort()).toEqual([old.key.id, rotated.key.id].sort());
    }
  });

  test("goes on in the undo window", async () => {
    const rotated = await world.rotate(issued.key.id);
    world.verify(rotated.secret, { name: "api" }, { address: "10.0.0.1" });
    await world.do(OPERATIONS.completeRotation, { id: rotated.rotation.id, force: true });
    await world.do(updateKey, { id: rotated.key.id, own: cut });
    expect((await world.stored(issued.key.id)).own).toEqual(cut);
  });

  test("an end brought forward is the old key's alone, and moves the rotation's due instant", async () => {
    const rotated = await world.rotate(issued.key.id);
    const end = rotated.key.expiresAt;
    await update({}, { expiresAt: iso(START + DAY) });
    expect((await world.stored(rotated.key.id)).expiresAt).toBe(end);
    expect((await world.view(rotated.rotation.id)).rotation.oldKeyEndsAt).toBe(START + DAY);
    expect((await world.lastEntry()).subjects.at(-1)).toMatchObject({
      kind: "rotation",
      after: { old_key_ends_at: START + DAY },
    });
  });
});

describe("the last root key", () => {
  const root = (more: { expiresAt?: string; force?: boolean } = {}, own: Partial<OwnRights> = {}) =>
    world.do(updateKey, { id: world.root.key.id, own, ...more });

  test("is not given an end, nor its root scope away, nor shut out from everywhere, without force", async () => {
    for (const attempt of [
      () => root({ expiresAt: iso(START + DAY) }),
      () => root({}, { scopes: ["*"] }),
      () => root({}, { allowedIps: [] }),
    ]) {
      expect((await refusalOf(attempt())).code).toBe("last_root_key");
    }
    expect(await world.stored(world.root.key.id)).toEqual(world.root.key);
    await root({ expiresAt: iso(START + DAY), force: true });
    expect((await world.lastEntry()).details).toMatchObject({ forced: true });
  });

  test("may lose what does not make it a root key, and anything when another root key lives as long", async () => {
    await root({}, { role: "viewer" });
    expect((await world.lastEntry()).details).toEqual({});
    const another = { role: "viewer", scopes: ["keyturn:*"] } as const;
    const short = await world.key(world.root.owner.id, { ttl: "30d", own: another });
    expect((await refusalOf(root({}, { scopes: ["*"] }))).code).toBe("last_root_key");
    await world.do(OPERATIONS.revokeKey, { id: short.key.id });
    await world.key(world.root.owner.id, { ttl: "never", own: another });
    await root({}, { scopes: ["*"] });
    expect((await world.lastEntry()).details).not.toHaveProperty("forced");
  });
});

test("inheriting everything still inherits no scope of Keyturn's own after any update", async () => {
  const owner = await world.owner({ scopes: ["keyturn:keys.read", "a:b"] });
  const { key } = await world.key(owner.id, { own: INHERITED });
  const { key: updated } = await world.do(updateKey, { id: key.id, own: { scopes: null }, name: "still" });
  expect(rightsOf(updated, owner).scopes).toEqual(["a:b"]);
});
