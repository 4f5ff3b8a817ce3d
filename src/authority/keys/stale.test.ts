import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  DAY,
  HOUR,
  INHERITED,
  refusalOf,
  SECOND,
  startWorld,
  type World,
} from "../../../test/support/authority.ts";
import { type Line, newLine, over } from "../../../test/support/cut-off.ts";
import { Refusal } from "../errors.ts";
import { FRESHNESS, type Freshness } from "../freshness.ts";
import { OPERATIONS } from "../operations.ts";
import type { Storage } from "../storage.ts";
import type { Issued } from "./issue.ts";
import type { Matched, VerdictCode } from "./verdict.ts";

let line: Line;
let world: World;
let keys: Readonly<Record<Freshness, Issued>>;
beforeEach(async () => {
  line = newLine();
  world = await startWorld({ through: over(line) });
  const owner = await world.owner({ role: "editor", scopes: ["invoices:*"] });
  const make = (freshness: Freshness) => world.key(owner.id, { freshness });
  keys = { static: await make("static"), bounded: await make("bounded"), strict: await make("strict") };
});
afterEach(() => {
  line.away = false;
  return world.close();
});

async function codes(): Promise<Readonly<Record<string, VerdictCode>>> {
  const judged: Record<string, VerdictCode> = {};
  for (const freshness of FRESHNESS) judged[freshness] = await world.judged(keys[freshness].secret);
  return judged;
}
const ALL_VALID = { static: "valid", bounded: "valid", strict: "valid" } as const;

describe("R12: while the store can't be reached", () => {
  test("a remembered key is good as long as its lease lasts: strict 1 s, bounded 9.5 s, static for ever", async () => {
    expect(await codes()).toEqual(ALL_VALID);
    line.away = true;
    world.clock.pass(1_000);
    expect(await codes()).toEqual(ALL_VALID);
    world.clock.pass(1);
    expect(await codes()).toEqual({ ...ALL_VALID, strict: "stale" });
    world.clock.pass(8_499);
    expect(await codes()).toEqual({ ...ALL_VALID, strict: "stale" });
    world.clock.pass(1);
    expect(await codes()).toEqual({ static: "valid", bounded: "stale", strict: "stale" });
    world.clock.pass(300 * SECOND);
    expect(await codes()).toEqual({ static: "valid", bounded: "stale", strict: "stale" });
  });

  test("a key that is not remembered is stale, whatever it is promised, and good again when the store is back", async () => {
    line.away = true;
    expect(await codes()).toEqual({ static: "stale", bounded: "stale", strict: "stale" });
    line.away = false;
    expect(await codes()).toEqual(ALL_VALID);
  });

  test("nothing is told of a key that is stale because it could not be asked for, and no malformed text is stale", async () => {
    line.away = true;
    const { secret } = keys.bounded;
    expect(await world.authority.verifier.verify(secret, {}, {}, world.account)).toEqual({
      code: "stale",
      key: null,
    });
    expect(world.verify(`${secret}x`)).toBe("malformed");
  });

  test("a key with a scope of Keyturn's own is strict, whatever it says", async () => {
    const root = world.root.secret;
    expect(await world.judged(root)).toBe("valid");
    line.away = true;
    world.clock.pass(1_001);
    expect(await world.judged(root)).toBe("stale");
  });

  test("a wall clock that goes back, were it by a millisecond, makes strict and bounded keys stale", async () => {
    expect(await codes()).toEqual(ALL_VALID);
    world.clock.pass(5);
    expect(await codes()).toEqual(ALL_VALID);
    line.away = true;
    world.clock.jump(-1);
    expect(await codes()).toEqual({ static: "valid", bounded: "stale", strict: "stale" });
  });
});

describe("a remembered key whose lease is lost", () => {
  test("asks the store first, once, and is answered by what is true now", async () => {
    expect(await codes()).toEqual(ALL_VALID);
    const { looks, matches } = line;
    world.clock.pass(HOUR);
    expect(await world.judged(keys.bounded.secret)).toBe("valid");
    expect([line.looks - looks, line.matches - matches]).toEqual([1, 0]);
    // With the look, all of them are current again.
    expect(await codes()).toEqual(ALL_VALID);
    expect(line.looks - looks).toBe(1);
  });

  test("R12: learns by that of what others have changed since, before it is judged", async () => {
    expect(await codes()).toEqual(ALL_VALID);
    const other = await startWorld({ folder: world.folder, clock: world.clock, process: "other" });
    await other.as(world.actor, OPERATIONS.revokeKey, { id: keys.bounded.key.id });
    await other.as(world.actor, OPERATIONS.updateKey, {
      id: keys.strict.key.id,
      own: { ...INHERITED, scopes: [] },
    });
    world.clock.pass(HOUR);
    expect(await world.judged(keys.bounded.secret)).toBe("revoked");
    expect(await world.judged(keys.strict.secret, {}, { scopes: ["invoices:read"] })).toBe(
      "insufficient_scope",
    );
    await other.leave();
  });

  test("has the stale verdict counted as a use like any other: whoever presents it is a caller", async () => {
    await codes();
    line.away = true;
    world.clock.pass(HOUR);
    expect(await world.judged(keys.bounded.secret, { name: "api" })).toBe("stale");
    line.away = false;
    await world.authority.recorder.flush();
    const callers = await world.authority.storage.evidence.callersOf(keys.bounded.key.id);
    expect(callers.find(({ id }) => id === "n:api")?.counts).toEqual({ stale: 1 });
  });
});

describe("the precedence of stale", () => {
  /** What a key that has come to this answers while the store is away. */
  async function whenAway(spoil: (issued: Issued) => Promise<unknown>, ask = {}): Promise<VerdictCode> {
    const issued = keys.bounded;
    await spoil(issued);
    await world.follow();
    await world.judged(issued.secret);
    line.away = true;
    world.clock.pass(HOUR);
    return world.judged(issued.secret, {}, ask);
  }
  const before: readonly (readonly [VerdictCode, (issued: Issued) => Promise<unknown>])[] = [
    ["revoked", ({ key }) => world.do(OPERATIONS.revokeKey, { id: key.id })],
    [
      "owner_disabled",
      ({ owner }) => world.do(OPERATIONS.disableServiceAccount, { id: owner.id as `sa_${string}` }),
    ],
    ["suspended", ({ key }) => world.do(OPERATIONS.suspendKey, { id: key.id })],
    [
      "expired",
      async ({ key }) => {
        const expiresAt = new Date(world.clock.wall() + SECOND).toISOString();
        await world.do(OPERATIONS.updateKey, { id: key.id, own: {}, expiresAt });
      },
    ],
  ];
  for (const [code, spoil] of before) {
    test(`${code} is said before it: what is dead needs no store to be refused`, async () => {
      expect(await whenAway(spoil)).toBe(code);
    });
  }

  test("a key of another account is unknown before it is stale", async () => {
    const tenant = await world.do(OPERATIONS.createAccount, { name: "tenant" });
    expect(await world.judged(tenant.secret)).toBe("unknown");
    line.away = true;
    world.clock.pass(HOUR);
    expect(await world.judged(tenant.secret)).toBe("unknown");
  });

  test("it is said before brownout, and the refusal does not count as the brownout's", async () => {
    const { rotation, secret } = await world.rotate(keys.bounded.key.id);
    expect(await world.judged(secret)).toBe("valid");
    await world.do(OPERATIONS.announceBrownout, { id: rotation.id, durationSeconds: 3_600 });
    expect(await world.judged(keys.bounded.secret)).toBe("brownout");
    line.away = true;
    world.clock.pass(60 * SECOND);
    expect(await world.judged(keys.bounded.secret)).toBe("stale");
    line.away = false;
    await world.follow();
    expect((await world.view(rotation.id)).brownouts[0]?.refusals).toBe(1);
  });

  const after: readonly (readonly [VerdictCode, (issued: Issued) => Promise<unknown>, object])[] = [
    [
      "ip_not_allowed",
      ({ key }) => world.do(OPERATIONS.updateKey, { id: key.id, own: { allowedIps: ["10.0.0.0/8"] } }),
      {},
    ],
    ["insufficient_scope", async () => undefined, { scopes: ["users:read"] }],
    ["insufficient_role", async () => undefined, { role: "admin" }],
  ];
  for (const [code, spoil, ask] of after) {
    test(`it is said before ${code}: what the key may do is what may have changed`, async () => {
      await spoil(keys.bounded);
      expect(await world.judged(keys.bounded.secret, {}, ask)).toBe(code);
      expect(await whenAway(async () => undefined, ask)).toBe("stale");
    });
  }
});

describe("an answer from an entry on", () => {
  test("R12: is stale for any key when that entry can't be had, whether it is remembered or not", async () => {
    const { seq } = await world.authority.storage.read.audit.head();
    const known = keys.bounded.secret;
    const unseen = keys.static.secret;
    expect(await world.judged(known)).toBe("valid");
    for (const secret of [known, unseen]) {
      expect(await world.judged(secret, {}, {}, seq)).toBe("valid");
      expect(await world.judged(secret, {}, {}, seq + 1)).toBe("stale");
    }
    expect(await world.judged(keys.strict.secret, {}, {}, seq + 1)).toBe("stale");
  });

  test("R12: holds what another process has done up to then, without a look of its own before", async () => {
    const { bounded, static: unbounded } = keys;
    for (const { secret } of [bounded, unbounded]) expect(await world.judged(secret)).toBe("valid");
    const other = await startWorld({ folder: world.folder, clock: world.clock, process: "other" });
    await other.as(world.actor, OPERATIONS.suspendKey, { id: bounded.key.id });
    await other.as(world.actor, OPERATIONS.revokeKey, { id: unbounded.key.id });
    const { seq } = await other.authority.storage.read.audit.head();
    expect(await world.judged(unbounded.secret)).toBe("valid");
    expect(await world.judged(unbounded.secret, {}, {}, seq)).toBe("revoked");
    expect(await world.judged(bounded.secret, {}, {}, seq)).toBe("suspended");
    await other.leave();
  });
});

describe("R14: an answer from an entry on, where the database lacks that entry", () => {
  test("is stale, also where the key changed on the way there and is looked up anew", async () => {
    let lastKept = Number.POSITIVE_INFINITY;
    let asItWas: Matched | null = null;
    const through = (storage: Storage): Storage => ({
      ...storage,
      follow: async (after, limit) => {
        const { continuous, entries } = await storage.follow(after, limit);
        return { continuous, entries: entries.filter(({ seq }) => seq <= lastKept) };
      },
      match: (digest, atLeast) => asItWas ?? storage.match(digest, atLeast),
    });
    const another = await startWorld({ folder: world.folder, clock: world.clock, process: "other", through });
    const { key, secret } = keys.bounded;
    await another.follow();
    expect(await another.judged(secret)).toBe("valid");
    await world.do(OPERATIONS.updateKey, { id: key.id, own: {}, name: "renamed" });
    const { storage } = world.authority;
    for (const digest of await storage.digestsOf(key.id)) asItWas ??= await storage.match(digest);
    lastKept = (await storage.read.audit.head()).seq;
    await world.do(OPERATIONS.revokeKey, { id: key.id });
    for (let asked = 0; asked < 2; asked += 1)
      expect(await another.judged(secret, {}, {}, lastKept + 1)).toBe("stale");
    await another.leave();
  });
});

describe("R14: a database that was put back in the midst of it", () => {
  test("is asked for no key as it was before what was applied, so it gives none away until a look notices", async () => {
    const asked: (number | undefined)[] = [];
    const through = (storage: Storage): Storage => ({
      ...storage,
      match: (_, atLeast) => {
        asked.push(atLeast);
        return Promise.reject(new Refusal("storage_unavailable", "The log ends before that."));
      },
    });
    const another = await startWorld({ through });
    const { secret } = await another.keyWith({ scopes: ["a:b"] }, { freshness: "static" });
    expect(await another.judged(secret)).toBe("stale");
    expect(asked).toEqual([another.authority.follower.appliedSeq()]);
    expect(asked[0]).toBeGreaterThan(0);
    await another.close();
  });

  test("brings no revoked key back: what is not remembered is stale, and static keys go by what was known", async () => {
    let putBack = false;
    const through = (storage: Storage): Storage => ({
      ...storage,
      follow: (after, limit) =>
        putBack ? Promise.resolve({ continuous: false, entries: [] }) : storage.follow(after, limit),
    });
    const another = await startWorld({ through });
    const owner = await another.owner({ scopes: ["a:b"] });
    const remembered = await another.key(owner.id, { freshness: "static" });
    const bounded = await another.key(owner.id);
    const unseen = await another.key(owner.id, { freshness: "static" });
    for (const { secret } of [remembered, bounded]) expect(await another.judged(secret)).toBe("valid");
    putBack = true;
    expect((await refusalOf(another.follow())).code).toBe("storage_unavailable");
    expect(await another.judged(remembered.secret)).toBe("valid");
    expect(await another.judged(bounded.secret)).toBe("stale");
    expect(await another.judged(unseen.secret)).toBe("stale");
    another.clock.pass(DAY);
    expect(await another.judged(remembered.secret)).toBe("valid");
    await another.close();
  });
});
