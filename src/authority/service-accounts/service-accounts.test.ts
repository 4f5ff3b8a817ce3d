import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  actorOf,
  HOUR,
  INHERITED,
  refusalOf,
  startWorld,
  type World,
} from "../../../test/support/authority.ts";
import type { OwnRights } from "../access/rights.ts";
import { OPERATIONS, READINGS } from "../operations.ts";

let world: World;
beforeEach(async () => {
  world = await startWorld();
});
afterEach(() => world.close());

const {
  createServiceAccount,
  updateServiceAccount,
  disableServiceAccount,
  enableServiceAccount,
  deleteServiceAccount,
} = OPERATIONS;
const OWN: OwnRights = { role: "editor", scopes: ["invoices:*"], allowedIps: ["10.0.0.0/8"] };
const read = (id: `sa_${string}`) => world.ask(READINGS.readServiceAccount, { id });

describe("service-accounts.create", () => {
  test("makes an owner whose rights are as given, in one entry", async () => {
    const made = await world.do(createServiceAccount, { name: " billing ", own: OWN });
    expect(made).toMatchObject({
      accountId: world.account,
      name: "billing",
      own: OWN,
      disabledAt: null,
      deletedAt: null,
    });
    expect(await read(made.id)).toEqual(made);
    expect(await world.lastEntry()).toMatchObject({
      operation: "service-accounts.create",
      subjects: [
        {
          kind: "service_account",
          id: made.id,
          before: null,
          after: {
            name: "billing",
            role: "editor",
            scopes: ["invoices:*"],
            allowed_ips: ["10.0.0.0/8"],
            disabled: false,
          },
        },
      ],
    });
  });

  test("refuses a name that is taken or none", async () => {
    await world.owner({}, "billing");
    expect((await refusalOf(world.owner({}, "billing "))).code).toBe("name_taken");
    expect((await refusalOf(world.owner({}, ""))).errors[0]?.field).toBe("name");
  });

  test("R2, R6: refuses rights that the asking key does not hold, by field; no addresses means any", async () => {
    const scopes = ["invoices:read", "keyturn:service-accounts.write"];
    const { key } = await world.keyWith({ role: "viewer", scopes, allowedIps: ["10.0.0.0/8"] });
    const fields = async (own: Partial<OwnRights>) => {
      const attempt = world.as(actorOf(key), createServiceAccount, {
        name: "x",
        own: { ...INHERITED, ...own },
      });
      const refusal = await refusalOf(attempt);
      expect(refusal.code).toBe("rights_exceeded");
      return refusal.errors.map((error) => error.field);
    };
    const inside = { allowedIps: ["10.1.0.0/16"] };
    expect(await fields({})).toEqual(["allowed_ips"]);
    expect(await fields({ ...inside, role: "editor" })).toEqual(["role"]);
    expect(await fields({ ...inside, scopes: ["*"] })).toEqual(["scopes"]);
    expect(await fields({ ...inside, scopes: ["invoices:*"] })).toEqual(["scopes"]);
    expect(await fields({ ...inside, scopes: ["keyturn:*"] })).toEqual(["scopes"]);
    await world.as(actorOf(key), createServiceAccount, {
      name: "x",
      own: { role: "viewer", scopes, ...inside },
    });
  });
});

describe("service-accounts.update", () => {
  test("a cut bites all keys at once, a widening lets the inheriting ones through; the entry has before and after", async () => {
    const owner = await world.owner(OWN);
    const { secret } = await world.key(owner.id);
    const ask = (scope: string) => world.verify(secret, {}, { address: "10.0.0.1", scopes: [scope] });
    expect([ask("invoices:write"), ask("users:read")]).toEqual(["valid", "insufficient_scope"]);
    await world.do(updateServiceAccount, { id: owner.id, own: { scopes: ["invoices:read"] } });
    expect(ask("invoices:write")).toBe("insufficient_scope");
    expect(await world.lastEntry()).toMatchObject({
      operation: "service-accounts.update",
      subjects: [{ before: { scopes: ["invoices:*"] }, after: { scopes: ["invoices:read"] } }],
    });
    await world.do(updateServiceAccount, { id: owner.id, own: { scopes: ["*"] } });
    expect(ask("users:read")).toBe("valid");
    await world.do(updateServiceAccount, { id: owner.id, own: { allowedIps: [] } });
    expect(ask("users:read")).toBe("ip_not_allowed");
  });

  test("renames, keeping what is left out; a taken name is refused, its own is not", async () => {
    const owner = await world.owner(OWN, "one");
    await world.owner({}, "two");
    const renamed = await world.do(updateServiceAccount, { id: owner.id, name: "three", own: {} });
    expect(renamed).toEqual({ ...owner, name: "three" });
    expect(
      (await refusalOf(world.do(updateServiceAccount, { id: owner.id, name: "two", own: {} }))).code,
    ).toBe("name_taken");
    await world.do(updateServiceAccount, { id: owner.id, name: "three", own: {} });
  });

  test("R2: widens only to what the asking key holds; narrowing asks for nothing more", async () => {
    const owner = await world.owner(OWN);
    const { key } = await world.keyWith({ scopes: ["keyturn:service-accounts.write"] });
    const update = (own: Partial<OwnRights>) =>
      world.as(actorOf(key), updateServiceAccount, { id: owner.id, own });
    for (const own of [{ role: "admin" }, { scopes: ["*"] }, { allowedIps: null }] as const) {
      expect((await refusalOf(update(own))).code).toBe("rights_exceeded");
    }
    expect(
      (await update({ role: "viewer", scopes: ["invoices:read"], allowedIps: ["10.1.0.0/16"] })).own,
    ).toEqual({
      role: "viewer",
      scopes: ["invoices:read"],
      allowedIps: ["10.1.0.0/16"],
    });
    expect((await update({ role: null, scopes: null })).own).toMatchObject({ role: null, scopes: null });
  });
});

describe("service-accounts.disable and enable", () => {
  test("R12, R13: all keys are refused at once and come back at once, but for those revoked or suspended", async () => {
    const owner = await world.owner(OWN);
    const keys = [await world.key(owner.id), await world.key(owner.id), await world.key(owner.id)] as const;
    const verdicts = () => keys.map(({ secret }) => world.verify(secret, {}, { address: "10.0.0.1" }));
    expect(verdicts()).toEqual(["valid", "valid", "valid"]);
    await world.do(disableServiceAccount, { id: owner.id });
    expect(verdicts()).toEqual(["owner_disabled", "owner_disabled", "owner_disabled"]);
    expect(await world.lastEntry()).toMatchObject({
      operation: "service-accounts.disable",
      subjects: [
        { kind: "service_account", id: owner.id, before: { disabled: false }, after: { disabled: true } },
      ],
    });
    await world.do(OPERATIONS.suspendKey, { id: keys[1].key.id });
    await world.do(OPERATIONS.revokeKey, { id: keys[2].key.id });
    expect(verdicts()).toEqual(["owner_disabled", "owner_disabled", "revoked"]);
    await world.do(enableServiceAccount, { id: owner.id });
    expect(verdicts()).toEqual(["valid", "suspended", "revoked"]);
    expect(await world.lastEntry()).toMatchObject({ operation: "service-accounts.enable" });
  });

  test("a second time changes nothing, not even since when", async () => {
    const owner = await world.owner(OWN);
    const first = await world.do(disableServiceAccount, { id: owner.id });
    world.clock.pass(HOUR);
    expect(await world.do(disableServiceAccount, { id: owner.id })).toEqual(first);
    await world.do(enableServiceAccount, { id: owner.id });
    expect(await world.do(enableServiceAccount, { id: owner.id })).toEqual(owner);
  });
});

describe("service-accounts.delete", () => {
  test("R11: is final: all keys answer revoked, and nothing brings them back", async () => {
    const owner = await world.owner(OWN, "billing");
    const { key, secret } = await world.key(owner.id);
    expect(world.verify(secret, {}, { address: "10.0.0.1" })).toBe("valid");
    await world.do(deleteServiceAccount, { id: owner.id });
    expect(world.verify(secret, {}, { address: "10.0.0.1" })).toBe("revoked");
    expect(await world.lastEntry()).toMatchObject({
      operation: "service-accounts.delete",
      subjects: [{ id: owner.id, before: { deleted: false }, after: { deleted: true } }],
    });
    for (const attempt of [
      () => world.do(enableServiceAccount, { id: owner.id }),
      () => world.do(disableServiceAccount, { id: owner.id }),
      () => world.do(updateServiceAccount, { id: owner.id, own: {} }),
      () => world.do(deleteServiceAccount, { id: owner.id }),
    ]) {
      expect((await refusalOf(attempt())).code).toBe("not_found");
    }
    for (const attempt of [
      () => world.do(OPERATIONS.reinstateKey, { id: key.id }),
      () => world.do(OPERATIONS.replaceSecret, { id: key.id }),
      () => world.do(OPERATIONS.updateKey, { id: key.id, own: {} }),
    ]) {
      expect((await refusalOf(attempt())).code).toBe("key_revoked");
    }
    expect((await refusalOf(world.rotate(key.id))).extensions.state).toBe("revoked");
    world = await world.restart();
    expect(world.verify(secret, {}, { address: "10.0.0.1" })).toBe("revoked");
    expect((await read(owner.id)).deletedAt).not.toBeNull();
  });

  test("gives the name free, and a new owner of that name has none of the old keys", async () => {
    const owner = await world.owner(OWN, "billing");
    const { secret } = await world.key(owner.id);
    await world.do(deleteServiceAccount, { id: owner.id });
    const again = await world.owner(OWN, "billing");
    expect(again.id).not.toBe(owner.id);
    expect(world.verify(secret, {}, { address: "10.0.0.1" })).toBe("revoked");
  });
});

describe("the owner of the last root key", () => {
  const root = () => world.root.owner.id;

  test("is neither disabled, deleted nor cut below keyturn:* without force, and stays as it was", async () => {
    const before = await read(root());
    for (const attempt of [
      () => world.do(disableServiceAccount, { id: root() }),
      () => world.do(deleteServiceAccount, { id: root() }),
      () => world.do(updateServiceAccount, { id: root(), own: { scopes: ["*"] } }),
      () => world.do(updateServiceAccount, { id: root(), own: { scopes: null } }),
      () => world.do(updateServiceAccount, { id: root(), own: { allowedIps: [] } }),
    ]) {
      expect((await refusalOf(attempt())).code).toBe("last_root_key");
    }
    expect(await read(root())).toEqual(before);
    expect(world.verify(world.root.secret)).toBe("valid");
  });

  test("may lose what does not make its keys root keys", async () => {
    await world.do(updateServiceAccount, { id: root(), own: { role: "viewer" } });
    expect((await read(root())).own.role).toBe("viewer");
  });

  test("goes with force, and the entry says so", async () => {
    await world.do(disableServiceAccount, { id: root(), force: true });
    expect((await world.lastEntry()).details).toEqual({ forced: true });
    expect(world.verify(world.root.secret)).toBe("owner_disabled");
  });

  test("goes without force when another owner has a root key that lives as long", async () => {
    const all = { role: "admin", scopes: ["*", "keyturn:*"] } as const;
    await world.keyWith(all, { ttl: "90d" });
    expect((await refusalOf(world.do(disableServiceAccount, { id: root() }))).code).toBe("last_root_key");
    await world.keyWith(all, { ttl: "never" });
    await world.do(disableServiceAccount, { id: root() });
    expect((await world.lastEntry()).details).not.toHaveProperty("forced");
  });
});
