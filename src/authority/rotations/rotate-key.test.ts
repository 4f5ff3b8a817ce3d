import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  actorOf,
  DAY,
  QUICK,
  refusalOf,
  SECOND,
  START,
  startWorld,
  type World,
} from "../../../test/support/authority.ts";
import { times } from "../../../test/support/counts.ts";
import type { Issued } from "../keys/issue.ts";
import { OPERATIONS, READINGS } from "../operations.ts";
import { isCutShort, overdueFrom } from "./rotation.ts";

let world: World;
let old: Issued;
beforeEach(async () => {
  world = await startWorld();
  const owner = await world.owner({ role: "editor", scopes: ["invoices:*"], allowedIps: ["10.0.0.0/8"] });
  const own = { role: "viewer", scopes: ["invoices:read"], allowedIps: ["10.1.0.0/16"] } as const;
  old = await world.key(owner.id, { name: "k", ttl: "60d", own, metadata: { team: "billing" } });
});
afterEach(() => world.close());

const { rotateKey, rotateSelf } = OPERATIONS;
const ADDRESS = { address: "10.1.0.1" };

describe("keys.rotate", () => {
  test("issues a successor with the same lineage, owner, name and rights; both are good", async () => {
    world.clock.pass(10 * DAY);
    const { rotation, key, secret } = await world.rotate(old.key.id, { reason: "90 days" });
    expect(key).toEqual({
      ...old.key,
      id: key.id,
      hint: key.hint,
      createdAt: START + 10 * DAY,
      expiresAt: START + 70 * DAY,
      rotationId: rotation.id,
    });
    expect(key.id).not.toBe(old.key.id);
    expect(await world.stored(old.key.id)).toEqual({ ...old.key, rotationId: rotation.id });
    expect([old.secret, secret].map((one) => world.verify(one, { name: "api" }, ADDRESS))).toEqual([
      "valid",
      "valid",
    ]);
    expect(rotation).toMatchObject({
      state: "issued",
      oldKeyId: old.key.id,
      successorKeyId: key.id,
      oldKeyEndsAt: old.key.expiresAt,
      reason: "90 days",
      completion: "when_adopted",
      startedAt: START + 10 * DAY,
      deadlineAt: START + 40 * DAY,
      firstUsedAt: null,
      forced: false,
    });
    expect(await world.lastEntry()).toMatchObject({
      operation: "keys.rotate",
      details: { reason: "90 days" },
      subjects: [
        { kind: "key", id: key.id, before: null, after: { state: "active", rotation_id: rotation.id } },
        { kind: "key", id: old.key.id, before: { rotation_id: null }, after: { rotation_id: rotation.id } },
        {
          kind: "rotation",
          id: rotation.id,
          before: null,
          after: { state: "issued", old_key_id: old.key.id, successor_key_id: key.id, overdue: false },
        },
      ],
    });
  });

  test("never extends the old key's life, and counts the successor's afresh with the same span, to the millisecond", async () => {
    const { key } = await world.do(OPERATIONS.updateKey, {
      id: old.key.id,
      own: {},
      expiresAt: new Date(START + 5 * DAY + 1).toISOString(),
    });
    world.clock.pass(2 * SECOND + 7);
    const rotated = await world.rotate(key.id);
    expect((await world.stored(key.id)).expiresAt).toBe(START + 5 * DAY + 1);
    expect(rotated.key.expiresAt).toBe(START + 2 * SECOND + 7 + 5 * DAY + 1);
  });

  test("a successor of an endless key is endless", async () => {
    const endless = await world.key(old.owner.id, { ttl: "never" });
    expect((await world.rotate(endless.key.id)).key.expiresAt).toBeNull();
  });

  test("an end of the old key that cuts the overlap short is seen, and overdue is raised before it", async () => {
    world.clock.pass(50 * DAY);
    const { rotation } = await world.rotate(old.key.id, {});
    expect(isCutShort(rotation)).toBe(true);
    expect(overdueFrom(rotation)).toBeLessThan(old.key.expiresAt ?? 0);
  });

  test("refuses a plan that makes no sense, by field", async () => {
    const field = async (plan: Parameters<typeof world.rotate>[1]) => {
      const refusal = await refusalOf(world.rotate(old.key.id, plan));
      expect(refusal.code).toBe("invalid_input");
      return refusal.errors[0]?.field;
    };
    expect(await field({ deadlineAt: START })).toBe("deadline");
    expect(await field({ lookBackSeconds: 401 * 86_400 })).toBe("look_back");
    expect((await world.stored(old.key.id)).rotationId).toBeNull();
  });

  test("R40: refuses a suspended, an expired, a revoked and a disabled owner's key, and says the way out", async () => {
    const refused = async () => {
      const refusal = await refusalOf(world.rotate(old.key.id));
      expect(refusal.code).toBe("key_not_active");
      return [refusal.extensions.state, refusal.message];
    };
    await world.do(OPERATIONS.suspendKey, { id: old.key.id });
    expect(await refused()).toEqual(["suspended", expect.stringContaining("Reinstate")]);
    await world.do(OPERATIONS.reinstateKey, { id: old.key.id });
    await world.do(OPERATIONS.disableServiceAccount, { id: old.owner.id });
    expect(await refused()).toEqual(["owner_disabled", expect.stringContaining("Enable")]);
    await world.do(OPERATIONS.enableServiceAccount, { id: old.owner.id });
    world.clock.pass(60 * DAY - 1);
    const { rotation } = await world.rotate(old.key.id);
    await world.do(OPERATIONS.cancelRotation, { id: rotation.id });
    world.clock.pass(1);
    expect(await refused()).toEqual(["expired", expect.stringContaining("new key")]);
    await world.do(OPERATIONS.revokeKey, { id: old.key.id });
    expect(await refused()).toEqual(["revoked", expect.stringContaining("new key")]);
  });

  test("refuses either key of an open rotation, the undo window included, and names the rotation", async () => {
    const { rotation, key, secret } = await world.rotate(old.key.id);
    const refused = async () => {
      for (const id of [old.key.id, key.id]) {
        const refusal = await refusalOf(world.rotate(id));
        expect([refusal.code, refusal.extensions.rotation_id]).toEqual(["rotation_open", rotation.id]);
      }
    };
    await refused();
    world.verify(secret, { name: "api" }, ADDRESS);
    await world.do(OPERATIONS.completeRotation, { id: rotation.id, force: true });
    await refused();
    await world.pass(600 * SECOND - 1);
    expect(await world.work(rotation.id)).toEqual([]);
    await refused();
    await world.pass(1);
    expect(await world.work(rotation.id)).toEqual(["close"]);
    expect((await refusalOf(world.rotate(old.key.id))).code).toBe("key_not_active");
    expect((await world.rotate(key.id)).key.lineageId).toBe(old.key.lineageId);
  });

  test("after a cancelled rotation the old key can be rotated again", async () => {
    const first = await world.rotate(old.key.id);
    await world.do(OPERATIONS.cancelRotation, { id: first.rotation.id });
    const second = await world.rotate(old.key.id);
    expect([first, second].map(({ secret }) => world.verify(secret, {}, ADDRESS))).toEqual([
      "revoked",
      "valid",
    ]);
  });

  test("R5, B17: whoever asks must hold all that the old key has, by field", async () => {
    const rotator = {
      role: "viewer",
      scopes: ["invoices:read", "keyturn:keys.rotate"],
      allowedIps: ["10.1.0.0/16"],
    } as const;
    const fields = async (own: object, ttl = "60d") => {
      const { key } = await world.keyWith({ ...rotator, ...own }, { ttl });
      const refusal = await refusalOf(world.as(actorOf(key), rotateKey, { keyId: old.key.id, plan: QUICK }));
      expect(refusal.code).toBe("rights_exceeded");
      return refusal.errors.map((error) => error.field);
    };
    expect(await fields({ role: "none" })).toEqual(["role"]);
    expect(await fields({ scopes: ["keyturn:keys.rotate"] })).toEqual(["scopes"]);
    expect(await fields({ allowedIps: ["10.1.0.0/17", "10.1.128.0/18"] })).toEqual(["allowed_ips"]);
    expect(await fields({}, "59d")).toEqual(["expires_at"]);
    const { key } = await world.keyWith(rotator, { ttl: "60d" });
    await world.as(actorOf(key), rotateKey, { keyId: old.key.id, plan: QUICK });
  });
});

describe("self.rotate", () => {
  test("a key turns itself over with that scope alone, and no other key", async () => {
    const { key, secret } = await world.keyWith({
      role: "viewer",
      scopes: ["invoices:read", "keyturn:self.rotate"],
    });
    const rotated = await world.as(actorOf(key), rotateSelf, { plan: QUICK });
    expect(rotated.rotation.oldKeyId).toBe(key.id);
    expect(rotated.key.own).toEqual(key.own);
    expect([secret, rotated.secret].map((one) => world.verify(one))).toEqual(["valid", "valid"]);
    expect(await world.lastEntry()).toMatchObject({ operation: "self.rotate", actor: { id: key.id } });
    const other = world.as(actorOf(rotated.key), rotateKey, { keyId: old.key.id, plan: QUICK });
    expect((await refusalOf(other)).code).toBe("insufficient_scope");
  });

  test("without the scope it is refused", async () => {
    const { key } = await world.keyWith({ role: "admin", scopes: ["*"] });
    expect((await refusalOf(world.as(actorOf(key), rotateSelf, { plan: QUICK }))).code).toBe(
      "insufficient_scope",
    );
  });

  test("the successor can turn itself over once the rotation is closed, and not before", async () => {
    const { key } = await world.keyWith({ scopes: ["keyturn:self.rotate"] });
    const first = await world.as(actorOf(key), rotateSelf, { plan: QUICK });
    expect((await refusalOf(world.as(actorOf(first.key), rotateSelf, { plan: QUICK }))).code).toBe(
      "rotation_open",
    );
    await world.do(OPERATIONS.revokeKey, { id: key.id });
    expect((await world.as(actorOf(first.key), rotateSelf, { plan: QUICK })).rotation.oldKeyId).toBe(
      first.key.id,
    );
  });
});

describe("R15: two rotations at once", () => {
  test(`started at once, ${times(50)} times: exactly one successor each, the other refused`, async () => {
    for (let i = 0; i < times(50); i += 1) {
      const { key } = await world.key(old.owner.id);
      const outcomes = await Promise.allSettled([world.rotate(key.id), world.rotate(key.id)]);
      const refused = outcomes.filter((one) => one.status === "rejected");
      expect(refused.map(({ reason }) => reason.code)).toEqual(["rotation_open"]);
      const views = await world.ask(READINGS.listKeys, {
        filter: { ownerId: old.owner.id },
        page: { limit: 1_000, after: null },
      });
      expect(views.filter((view) => view.key.lineageId === key.lineageId)).toHaveLength(2);
      const page = { limit: 10, after: null };
      expect(await world.ask(READINGS.listRotations, { filter: { keyId: key.id }, page })).toHaveLength(1);
    }
  });

  test("many at once, by the key itself and by others, give one successor", async () => {
    const { key } = await world.keyWith({ scopes: ["keyturn:self.rotate"] });
    const outcomes = await Promise.allSettled([
      ...Array.from({ length: 10 }, () => world.rotate(key.id)),
      ...Array.from({ length: 10 }, () => world.as(actorOf(key), rotateSelf, { plan: QUICK })),
    ]);
    expect(outcomes.filter((one) => one.status === "fulfilled")).toHaveLength(1);
  });
});
