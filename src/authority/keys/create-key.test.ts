import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  actorOf,
  DAY,
  INHERITED,
  refusalOf,
  SECOND,
  START,
  startWorld,
  type World,
} from "../../../test/support/authority.ts";
import { OPERATIONS, READINGS } from "../operations.ts";
import { inspectSecret } from "../secret.ts";
import type { ServiceAccount } from "../service-accounts/service-account.ts";

let world: World;
let owner: ServiceAccount;
beforeEach(async () => {
  world = await startWorld();
  owner = await world.owner({ role: "editor", scopes: ["invoices:*"], allowedIps: ["10.0.0.0/8"] });
});
afterEach(() => world.close());

const { createKey } = OPERATIONS;
const plain = { name: "k", own: INHERITED };

describe("keys.create", () => {
  test("issues a key that is good at once, and says all of it in one entry", async () => {
    const own = { role: "viewer", scopes: ["invoices:read"], allowedIps: ["10.1.0.0/16"] } as const;
    const issued = await world.do(createKey, {
      name: "k",
      ownerId: owner.id,
      own,
      metadata: { team: "billing" },
    });
    expect(issued.key).toMatchObject({
      accountId: world.account,
      ownerId: owner.id,
      kind: "service",
      name: "k",
      own,
      metadata: { team: "billing" },
      suspensions: [],
      createdAt: START,
      expiresAt: START + 90 * DAY,
      revokedAt: null,
      rotationId: null,
    });
    expect(inspectSecret(issued.secret, world.authority.settings.format)).toBe("ours");
    expect(issued.secret.endsWith(issued.key.hint.slice(-4))).toBe(true);
    expect(
      world.verify(issued.secret, {}, { address: "10.1.2.3", scopes: ["invoices:read"], role: "viewer" }),
    ).toBe("valid");
    expect(world.verify(issued.secret, {}, { address: "10.2.0.1" })).toBe("ip_not_allowed");
    expect(await world.lastEntry()).toMatchObject({
      operation: "keys.create",
      details: {},
      subjects: [
        {
          kind: "key",
          id: issued.key.id,
          before: null,
          after: {
            name: "k",
            owner_id: owner.id,
            state: "active",
            hint: issued.key.hint,
            role: "viewer",
            scopes: ["invoices:read"],
            allowed_ips: ["10.1.0.0/16"],
            expires_at: "2026-04-05T12:00:00.000Z",
            rotation_id: null,
          },
        },
      ],
    });
    expect(await world.stored(issued.key.id)).toEqual(issued.key);
  });

  test("lives as long as was asked: a span, an instant, or for ever by name", async () => {
    const ends = async (life: { ttl?: string; expiresAt?: string }) => {
      const { key } = await world.do(createKey, {
        ...plain,
        name: JSON.stringify(life),
        ownerId: owner.id,
        ...life,
      });
      return key.expiresAt;
    };
    expect(await ends({ ttl: "1d12h" })).toBe(START + 1.5 * DAY);
    expect(await ends({ expiresAt: "2026-01-05T12:00:00.001Z" })).toBe(START + 1);
    expect(await ends({ ttl: "never" })).toBeNull();
  });

  test("refuses a lifetime that makes no sense, by field", async () => {
    const field = async (life: { ttl?: string; expiresAt?: string }) => {
      const refusal = await refusalOf(world.do(createKey, { ...plain, ownerId: owner.id, ...life }));
      expect(refusal.code).toBe("invalid_input");
      return refusal.errors[0]?.field;
    };
    expect(await field({ ttl: "1.5h" })).toBe("ttl");
    expect(await field({ ttl: "90" })).toBe("ttl");
    expect(await field({ expiresAt: "not-a-date" })).toBe("expires_at");
    expect(await field({ expiresAt: "2026-01-05T12:00:00Z" })).toBe("expires_at");
    expect(await field({ ttl: "1d", expiresAt: "2027-01-01T00:00:00Z" })).toBe("expires_at");
  });

  test("refuses a name or metadata that are none, by field", async () => {
    const fields = async (changes: { name?: string; metadata?: Record<string, string> }) => {
      const refusal = await refusalOf(world.do(createKey, { ...plain, ownerId: owner.id, ...changes }));
      return refusal.errors.map((error) => error.field);
    };
    expect(await fields({ name: " " })).toEqual(["name"]);
    expect(await fields({ name: "a\u0000b" })).toEqual(["name"]);
    expect(await fields({ name: "x".repeat(121) })).toEqual(["name"]);
    expect(await fields({ metadata: { "1": "x" } })).toEqual(["metadata"]);
  });

  test("refuses an owner that was deleted like one that never was; a disabled one's key waits for it", async () => {
    await world.do(OPERATIONS.disableServiceAccount, { id: owner.id });
    const { secret } = await world.key(owner.id);
    expect(world.verify(secret)).toBe("owner_disabled");
    await world.do(OPERATIONS.deleteServiceAccount, { id: owner.id });
    expect((await refusalOf(world.do(createKey, { ...plain, ownerId: owner.id }))).code).toBe("not_found");
    expect((await refusalOf(world.do(createKey, { ...plain, ownerId: "sa_nobody" }))).code).toBe("not_found");
  });

  test("R3: the owner's rights are the ceiling, by field, even for the root key", async () => {
    const fields = async (own: Partial<typeof INHERITED>) => {
      const refusal = await refusalOf(
        world.do(createKey, { name: "k", ownerId: owner.id, own: { ...INHERITED, ...own } }),
      );
      expect(refusal.code).toBe("rights_exceeded");
      return refusal.errors.map((error) => error.field);
    };
    expect(await fields({ role: "admin" })).toEqual(["role"]);
    expect(await fields({ scopes: ["users:read"] })).toEqual(["scopes"]);
    expect(await fields({ scopes: ["*"] })).toEqual(["scopes"]);
    expect(await fields({ scopes: ["keyturn:keys.read"] })).toEqual(["scopes"]);
    expect(await fields({ allowedIps: ["11.0.0.0/8"] })).toEqual(["allowed_ips"]);
    expect(await fields({ role: "admin", scopes: ["*"], allowedIps: ["0.0.0.0/0"] })).toEqual([
      "role",
      "scopes",
      "allowed_ips",
    ]);
  });
});

describe("a name", () => {
  const create = (name: string, ownerId = owner.id, ttl = "1d") =>
    world.do(createKey, { name, ownerId, ttl, own: INHERITED });

  test("is one living lineage's per owner; another owner's is its own", async () => {
    await create("k");
    const refusal = await refusalOf(create("k"));
    expect([refusal.code, refusal.errors[0]?.field]).toEqual(["name_taken", "name"]);
    await create("k", (await world.owner()).id);
  });

  test("is the same in whatever way it is composed and padded", async () => {
    await create("Zo\u00eb");
    expect((await refusalOf(create(" Zoe\u0308 "))).code).toBe("name_taken");
  });

  test("stays taken while the key is suspended, and while either key of a rotation lives", async () => {
    const { key } = await create("k");
    await world.do(OPERATIONS.suspendKey, { id: key.id });
    expect((await refusalOf(create("k"))).code).toBe("name_taken");
    await world.do(OPERATIONS.reinstateKey, { id: key.id });
    const { key: successor } = await world.rotate(key.id);
    await world.do(OPERATIONS.revokeKey, { id: key.id });
    expect((await refusalOf(create("k"))).code).toBe("name_taken");
    await world.do(OPERATIONS.revokeKey, { id: successor.id });
    expect((await create("k")).key.lineageId).not.toBe(key.lineageId);
  });

  test("becomes free when its lineage is dead: revoked, or ended to the millisecond", async () => {
    const { key } = await create("revoked");
    await world.do(OPERATIONS.revokeKey, { id: key.id });
    await create("revoked");
    await create("ended");
    world.clock.pass(DAY - 1);
    expect((await refusalOf(create("ended"))).code).toBe("name_taken");
    world.clock.pass(1);
    await create("ended");
  });
});

describe("R3, B17: a key can't issue a stronger key than itself", () => {
  const ISSUER = {
    role: "viewer",
    scopes: ["invoices:read", "keyturn:keys.create"],
    allowedIps: ["10.1.0.0/16"],
  } as const;

  test("by field: what the new key would inherit from its owner counts as well", async () => {
    const issuer = actorOf((await world.keyWith(ISSUER)).key);
    const fields = async (own: Partial<typeof INHERITED>) => {
      const attempt = world.as(issuer, createKey, {
        name: "k",
        ownerId: owner.id,
        own: { ...INHERITED, ...own },
      });
      const refusal = await refusalOf(attempt);
      expect(refusal.code).toBe("rights_exceeded");
      return refusal.errors.map((error) => error.field);
    };
    const within = { role: "viewer", scopes: ["invoices:read"], allowedIps: ["10.1.0.0/16"] } as const;
    expect(await fields({})).toEqual(["role", "scopes", "allowed_ips"]);
    expect(await fields({ ...within, role: "editor" })).toEqual(["role"]);
    expect(await fields({ ...within, role: null })).toEqual(["role"]);
    expect(await fields({ ...within, scopes: ["invoices:write"] })).toEqual(["scopes"]);
    expect(await fields({ ...within, scopes: null })).toEqual(["scopes"]);
    expect(await fields({ ...within, allowedIps: ["10.1.0.0/16", "10.2.0.0/32"] })).toEqual(["allowed_ips"]);
    expect(await fields({ ...within, allowedIps: null })).toEqual(["allowed_ips"]);
    const made = await world.as(issuer, createKey, { name: "k", ownerId: owner.id, own: within });
    expect(made.key.own).toEqual(within);
  });

  test("a life of the issuer's own span is the longest it can give, and what it gives when nobody says", async () => {
    const { key } = await world.keyWith({ ...ISSUER, allowedIps: null }, { ttl: "10d" });
    const issuer = actorOf(key);
    const mine = await world.owner({ scopes: ["invoices:read"] });
    const create = (life: { ttl?: string; expiresAt?: string }) =>
      world.as(issuer, createKey, { name: JSON.stringify(life), ownerId: mine.id, own: INHERITED, ...life });
    world.clock.pass(DAY);
    expect((await create({})).key.expiresAt).toBe(START + 11 * DAY);
    expect((await create({ ttl: "10d" })).key.expiresAt).toBe(START + 11 * DAY);
    for (const life of [
      { ttl: "864001s" },
      { ttl: "never" },
      { expiresAt: new Date(START + 11 * DAY + 1).toISOString() },
    ]) {
      const refusal = await refusalOf(create(life));
      expect([refusal.code, refusal.errors.map((error) => error.field)]).toEqual([
        "rights_exceeded",
        ["expires_at"],
      ]);
    }
  });

  test("a default life is whole milliseconds, whatever the issuer's span", async () => {
    const { key } = await world.keyWith(
      { scopes: ["keyturn:keys.create"] },
      { expiresAt: new Date(START + DAY + 1).toISOString() },
    );
    const mine = await world.owner({});
    world.clock.pass(7 * SECOND);
    const made = await world.as(actorOf(key), createKey, { name: "k", ownerId: mine.id, own: INHERITED });
    expect(made.key.expiresAt).toBe(START + 7 * SECOND + DAY + 1);
  });
});

test("R32: a clash of secrets hands out nobody else's key: another secret is drawn, and a stuck source issues none", async () => {
  const bytes = (fill: number) => new Uint8Array(64).fill(fill);
  let next = [1];
  const stuck = await startWorld({
    random: (size) => bytes(next.length > 1 ? (next.shift() ?? 0) : (next[0] ?? 0)).slice(0, size),
  });
  const mine = await stuck.do(OPERATIONS.createServiceAccount, { name: "o", own: INHERITED });
  const make = (name: string) => stuck.do(createKey, { name, ownerId: mine.id, own: INHERITED });
  await expect(make("same as the root key")).rejects.toThrow("randomness repeats itself");
  next = [1, 2];
  const made = await make("drawn again");
  expect(made.secret).not.toBe(stuck.root.secret);
  expect(stuck.verify(made.secret)).toBe("valid");
  expect(stuck.verify(stuck.root.secret)).toBe("valid");
  const listed = await stuck.ask(READINGS.listKeys, {
    filter: { ownerId: mine.id },
    page: { limit: 9, after: null },
  });
  expect(listed.map(({ key }) => key.name)).toEqual(["drawn again"]);
  await stuck.close();
});
