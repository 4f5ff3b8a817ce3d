import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  actorOf,
  DAY,
  MINUTE,
  QUICK,
  START,
  startWorld,
  type World,
} from "../../../test/support/authority.ts";
import { checksumOf } from "../../../test/support/checksum.ts";
import { SYSTEM } from "../audit/entry.ts";
import { OPERATIONS, READINGS } from "../operations.ts";
import type { Storage } from "../storage.ts";
import type { Issued } from "./issue.ts";
import type { KnownKey } from "./verifier.ts";

let world: World;
let issued: Issued;
beforeEach(async () => {
  world = await startWorld();
  issued = await world.keyWith({ role: "editor", scopes: ["invoices:*"] }, { name: "k", ttl: "10d" });
});
afterEach(() => world.close());

const known = (secret = issued.secret): KnownKey => {
  const verdict = world.authority.verifier.verify(secret, {}, {}, world.account);
  if (verdict instanceof Promise || verdict.key === null) throw new Error("nothing is known of it");
  return verdict.key;
};

describe("a text that is no key of ours", () => {
  test("R20: is malformed before the store is asked, whatever stands in it", async () => {
    let asked = 0;
    const counting = (storage: Storage): Storage => ({
      ...storage,
      match: (digest) => {
        asked += 1;
        return storage.match(digest);
      },
    });
    const watched = await startWorld({ through: counting });
    const { secret } = await watched.keyWith({ scopes: ["a:b"] });
    const broken = secret.slice(0, -1) + (secret.endsWith("0") ? "1" : "0");
    for (const text of [
      "",
      " ",
      "x".repeat(1_000_000),
      "' or 1=1; --",
      "kts_\0",
      "\ud800",
      broken,
      secret.toUpperCase(),
      ` ${secret}`,
    ]) {
      expect(watched.verify(text)).toBe("malformed");
    }
    expect(asked).toBe(0);
    expect(watched.verify(secret)).toBe("valid");
    expect(asked).toBe(1);
    expect(watched.verify(secret)).toBe("valid");
    expect(asked).toBe(1);
    await watched.close();
  });

  test("of good form that was never issued is unknown, and one of another region is told so", () => {
    const body = "0".repeat(32);
    expect(world.verify(checksumOf(`kts_${body}`))).toBe("unknown");
    expect(world.verify(checksumOf(`kts_eu_${body}`))).toBe("wrong_region");
  });
});

describe("R10: a key of another account", () => {
  test("is unknown to this account's verifier, nothing is told of it, and no use is counted", async () => {
    const other = await world.do(OPERATIONS.createAccount, { name: "tenant" });
    const verdict = world.authority.verifier.verify(other.secret, {}, { name: "api" }, world.account);
    expect(verdict).toEqual({ code: "unknown", key: null });
    await world.authority.recorder.flush();
    expect(await world.authority.storage.evidence.callersOf(other.key.id)).toEqual([]);
    expect(world.authority.verifier.verify(other.secret, {}, {}, other.account.id)).toMatchObject({
      code: "valid",
    });
  });
});

describe("R12: what is remembered of a key follows every change of it at once", () => {
  const code = (ask = {}) => world.verify(issued.secret, {}, ask);
  const changes: Readonly<Record<string, () => Promise<readonly [unknown, unknown]>>> = {
    suspend: async () => {
      const before = code();
      await world.do(OPERATIONS.suspendKey, { id: issued.key.id });
      return [before, code()];
    },
    revoke: async () => {
      const before = code();
      await world.do(OPERATIONS.revokeKey, { id: issued.key.id });
      return [before, code()];
    },
    "narrow the key": async () => {
      const before = code({ scopes: ["invoices:write"] });
      await world.do(OPERATIONS.updateKey, { id: issued.key.id, own: { scopes: ["invoices:read"] } });
      return [before, code({ scopes: ["invoices:write"] })];
    },
    "shut in by address": async () => {
      const before = code();
      await world.do(OPERATIONS.updateKey, { id: issued.key.id, own: { allowedIps: ["10.0.0.0/8"] } });
      return [before, code()];
    },
    "bring the end forward": async () => {
      const before = code();
      await world.do(OPERATIONS.updateKey, {
        id: issued.key.id,
        own: {},
        expiresAt: new Date(START + 1).toISOString(),
      });
      world.clock.pass(1);
      return [before, code()];
    },
    "narrow the owner": async () => {
      const before = code({ role: "editor" });
      await world.do(OPERATIONS.updateServiceAccount, { id: issued.owner.id, own: { role: "viewer" } });
      return [before, code({ role: "editor" })];
    },
    "disable the owner": async () => {
      const before = code();
      await world.do(OPERATIONS.disableServiceAccount, { id: issued.owner.id });
      return [before, code()];
    },
    "delete the owner": async () => {
      const before = code();
      await world.do(OPERATIONS.deleteServiceAccount, { id: issued.owner.id });
      return [before, code()];
    },
    "complete a rotation": async () => {
      const { rotation } = await world.rotate(issued.key.id);
      const before = code();
      await world.do(OPERATIONS.completeRotation, { id: rotation.id, force: true });
      return [before, code()];
    },
  };
  const AFTER: Readonly<Record<string, string>> = {
    suspend: "suspended",
    revoke: "revoked",
    "narrow the key": "insufficient_scope",
    "shut in by address": "ip_not_allowed",
    "bring the end forward": "expired",
    "narrow the owner": "insufficient_role",
    "disable the owner": "owner_disabled",
    "delete the owner": "revoked",
    "complete a rotation": "suspended",
  };
  for (const [what, change] of Object.entries(changes)) {
    test(`${what}: valid before, ${AFTER[what]} at the next request`, async () => {
      expect(await change()).toEqual(["valid", AFTER[what] ?? ""]);
    });
  }

  test("one owner's change reaches all its keys, and no other owner's key is the worse for it", async () => {
    const siblings = [issued];
    for (let i = 0; i < 20; i += 1) siblings.push(await world.key(issued.owner.id));
    const other = await world.keyWith({ scopes: ["a:b"] });
    const codes = () => new Set(siblings.map(({ secret }) => world.verify(secret)));
    expect(codes()).toEqual(new Set(["valid"]));
    expect(world.verify(other.secret)).toBe("valid");
    await world.do(OPERATIONS.disableServiceAccount, { id: issued.owner.id });
    expect(codes()).toEqual(new Set(["owner_disabled"]));
    expect(world.verify(other.secret)).toBe("valid");
    await world.do(OPERATIONS.enableServiceAccount, { id: issued.owner.id });
    expect(codes()).toEqual(new Set(["valid"]));
  });

  test("a step of the rotation reaches the verdicts of both keys, which tell of it", async () => {
    const rotated = await world.rotate(issued.key.id, { ...QUICK, completion: "manual" });
    const states = () =>
      [issued.secret, rotated.secret].map((secret) => known(secret).matched.rotation?.state);
    expect(states()).toEqual(["issued", "issued"]);
    await world.work(rotated.rotation.id);
    expect(states()).toEqual(["adopting", "adopting"]);
    await world.do(OPERATIONS.extendRotation, {
      id: rotated.rotation.id,
      by: { deadlineAt: START + 100 * DAY },
    });
    expect(known(issued.secret).matched.rotation?.deadlineAt).toBe(START + 100 * DAY);
    await world.do(OPERATIONS.cancelRotation, { id: rotated.rotation.id, force: true });
    expect(known(issued.secret).matched.rotation).toBeNull();
  });

  test("what another process appended is followed", async () => {
    expect(world.verify(issued.secret)).toBe("valid");
    const elsewhere = await startWorld({ folder: world.folder, clock: world.clock });
    await elsewhere.as(actorOf(world.root.key), OPERATIONS.suspendKey, { id: issued.key.id });
    await world.follow();
    expect(world.verify(issued.secret)).toBe("suspended");
    expect(world.authority.follower.appliedSeq()).toBe((await world.lastEntry()).seq);
    await elsewhere.authority.storage.close();
  });
});

describe("the memory of the verifier", () => {
  test("a key that made room for others is answered as well as one that is at hand, before and after a change", async () => {
    const small = await startWorld({ settings: { cacheKeys: 3 } });
    const { owner } = await small.keyWith({ scopes: ["a:b"] });
    const keys: Issued[] = [];
    for (let i = 0; i < 50; i += 1) keys.push(await small.key(owner.id));
    for (let round = 0; round < 3; round += 1) {
      for (const { secret } of keys) expect(small.verify(secret, {}, { scopes: ["a:b"] })).toBe("valid");
    }
    await small.do(OPERATIONS.revokeKey, { id: keys[7]?.key.id ?? "key_none" });
    expect(keys.map(({ secret }) => small.verify(secret))).toEqual(
      keys.map((_, i) => (i === 7 ? "revoked" : "valid")),
    );
    await small.close();
  });

  test("R16: a key that made room between its uses has each of them counted once", async () => {
    const small = await startWorld({ settings: { cacheKeys: 1 } });
    const one = await small.keyWith({ scopes: ["a:b"] });
    const two = await small.keyWith({ scopes: ["a:b"] });
    for (let i = 0; i < 10; i += 1)
      for (const { secret } of [one, two]) small.verify(secret, { name: "api" });
    for (const { key } of [one, two]) {
      expect(await small.ask(READINGS.listCallers, { id: key.id })).toMatchObject([
        { counts: { valid: 10 } },
      ]);
    }
    await small.close();
  });

  test("keeps no digest of a key that was never asked for", async () => {
    const before = world.authority.verifier.size();
    for (let i = 0; i < 100; i += 1) world.verify(checksumOf(`kts_${String(i).padStart(32, "0")}`));
    expect(world.authority.verifier.size()).toBe(before);
  });
});

test("R17: an end is kept to the millisecond also for a key that is remembered", async () => {
  world.clock.pass(10 * DAY - 1);
  await world.follow();
  expect([world.verify(issued.secret), world.verify(issued.secret)]).toEqual(["valid", "valid"]);
  world.clock.pass(1);
  expect(world.verify(issued.secret)).toBe("expired");
});

test("R40: a verdict that somebody changes spoils no later one", async () => {
  const verdict = known();
  Object.assign(verdict.matched.key, { revokedAt: START });
  await world.do(OPERATIONS.suspendKey, { id: issued.key.id });
  await world.do(OPERATIONS.reinstateKey, { id: issued.key.id });
  expect(world.verify(issued.secret)).toBe("valid");
});

test("the worker's end of a brownout and a rotation's end are followed like any other entry", async () => {
  const rotated = await world.rotate(issued.key.id);
  world.verify(rotated.secret);
  await world.do(OPERATIONS.announceBrownout, { id: rotated.rotation.id, stopAfterCallers: 99 });
  expect(world.verify(issued.secret)).toBe("brownout");
  const [brownout] = (await world.view(rotated.rotation.id)).brownouts;
  if (brownout === undefined) throw new Error("no brownout");
  world.clock.pass(MINUTE);
  await world.as(SYSTEM, OPERATIONS.endBrownout, { id: brownout.id, reason: "ended" });
  expect(world.verify(issued.secret)).toBe("valid");
});
