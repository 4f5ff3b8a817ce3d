import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  actorOf,
  DAY,
  HOUR,
  MINUTE,
  START,
  startWorld,
  type World,
} from "../../../test/support/authority.ts";
import { OPERATIONS, READINGS } from "../operations.ts";
import { consult } from "../reading.ts";
import type { KeyView } from "./read-keys.ts";

let world: World;
beforeEach(async () => {
  world = await startWorld();
});
afterEach(() => world.close());
const PAGE = { limit: 100, after: null };

describe("keys.list", () => {
  test("filters by state in the verdicts' precedence, by owner, and by what ends soon", async () => {
    const owner = await world.owner({ scopes: ["a:b"] });
    const make = async (name: string, ttl = "90d") => (await world.key(owner.id, { name, ttl })).key;
    await make("active");
    await make("expired", "1h");
    await make("soon", "2d");
    const suspended = await make("suspended");
    const both = await make("suspended and expired", "1h");
    const revoked = await make("revoked, suspended, expired", "1h");
    for (const { id } of [suspended, both, revoked]) await world.do(OPERATIONS.suspendKey, { id });
    await world.do(OPERATIONS.revokeKey, { id: revoked.id });
    world.clock.pass(HOUR);
    const names = async (filter: {
      state?: "active" | "suspended" | "expired" | "revoked";
      expiringBefore?: number;
    }) =>
      (await world.ask(READINGS.listKeys, { filter: { ownerId: owner.id, ...filter }, page: PAGE })).map(
        ({ key }) => key.name,
      );
    expect(await names({ state: "active" })).toEqual(["active", "soon"]);
    expect(await names({ state: "suspended" })).toEqual(["suspended", "suspended and expired"]);
    expect(await names({ state: "expired" })).toEqual(["expired"]);
    expect(await names({ state: "revoked" })).toEqual(["revoked, suspended, expired"]);
    expect(await names({ expiringBefore: START + 2 * DAY + 1 })).toEqual(["soon"]);
    expect(await names({ expiringBefore: START + 2 * DAY })).toEqual([]);
    await world.do(OPERATIONS.deleteServiceAccount, { id: owner.id });
    expect(await names({ state: "revoked" })).toHaveLength(6);
  });

  test("goes page by page, oldest first, each key once", async () => {
    const owner = await world.owner({});
    const made: string[] = [];
    for (let i = 0; i < 7; i += 1) made.push((await world.key(owner.id)).key.id);
    const seen: string[] = [];
    let after: string | null = null;
    for (;;) {
      const page: readonly KeyView[] = await world.ask(READINGS.listKeys, {
        filter: { ownerId: owner.id },
        page: { limit: 3, after },
      });
      seen.push(...page.map(({ key }) => key.id));
      after = page.at(-1)?.key.id ?? null;
      if (page.length < 3) break;
    }
    expect(seen).toEqual(made);
  });
});

describe("what is known of a key's use", () => {
  test("self.read tells any good key what it is, with its newest stored use", async () => {
    const { key, secret } = await world.keyWith({ role: "viewer", scopes: ["a:b"] });
    world.verify(secret, { name: "api" });
    await world.authority.recorder.flush();
    const self = await consult(world.authority, READINGS.readSelf, actorOf(key), {});
    expect(self.key).toEqual(key);
    expect(self.use).toEqual({ firstValidAt: START, lastValidAt: START, lastSeenAt: START });
  });

  test("keys.callers and keys.usage hold what is still in memory, by verdict", async () => {
    const { key, secret } = await world.keyWith({ role: "viewer", scopes: ["a:b"] });
    world.verify(secret, { name: "api", address: "10.0.0.1", agent: "api/1" });
    world.verify(secret, { name: "api" }, { scopes: ["c:d"] });
    world.clock.pass(MINUTE);
    await world.follow();
    world.verify(secret, { name: "api", address: "10.0.0.1", agent: "api/1" });
    expect(await world.ask(READINGS.listCallers, { id: key.id })).toMatchObject([
      { id: "n:api", address: "10.0.0.1", agent: "api/1", counts: { valid: 2, insufficient_scope: 1 } },
    ]);
    const usage = (unit: "minute" | "hour") =>
      world.ask(READINGS.readUsage, { id: key.id, unit, from: START, until: START + HOUR });
    expect(await usage("minute")).toEqual([
      { from: START, code: "insufficient_scope", count: 1 },
      { from: START, code: "valid", count: 1 },
      { from: START + MINUTE, code: "valid", count: 1 },
    ]);
    expect(await usage("hour")).toEqual([
      { from: START, code: "insufficient_scope", count: 1 },
      { from: START, code: "valid", count: 2 },
    ]);
  });
});
