import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { START } from "../../../test/support/authority.ts";
import { sampleBrownout, sampleKey, sampleOwner, sampleRotation } from "../../../test/support/samples.ts";
import { digestOf } from "../secret.ts";
import type { Key } from "./key.ts";
import { rightsOf } from "./key.ts";
import { createKeyMemory } from "./key-memory.ts";
import { createPackedTexts } from "./packed-texts.ts";
import type { Matched } from "./verdict.ts";

function matchedOf(key: Key, changes: Partial<Matched> = {}): Matched {
  return {
    key,
    owner: sampleOwner(),
    accountSuspended: false,
    replaced: false,
    rotation: null,
    brownout: null,
    ...changes,
  };
}

const digest = (name: number | string) => digestOf(`secret ${name}`);

// More than the 10,000 that are kept as objects, so that the first ones are packed.
const MANY = 10_050;

function fill(memory: ReturnType<typeof createKeyMemory>, count = MANY): void {
  for (let i = 0; i < count; i += 1) memory.put(digest(i), matchedOf(sampleKey({ id: `key_${i}` })));
}

describe("what is remembered of a key", () => {
  test("is all that was put in, packed or not", () => {
    const key = fc.record({
      name: fc.string({ unit: "binary", maxLength: 60 }),
      hint: fc.constantFrom("kts_…a1B2", "…", "…ab\\\"'"),
      kind: fc.constantFrom<Key["kind"]>("service", "user", "legacy"),
      own: fc.record({
        role: fc.constantFrom(null, "viewer" as const),
        scopes: fc.constantFrom(null, [], ["invoices:read"]),
        allowedIps: fc.constantFrom(null, [], ["10.0.0.0/8"]),
      }),
      metadata: fc.dictionary(fc.string(), fc.string(), { maxKeys: 3, noNullPrototype: true }),
      suspensions: fc.constantFrom<Key["suspensions"]>([], ["operator"]),
      expiresAt: fc.constantFrom(null, START),
      revokedAt: fc.constantFrom(null, START + 1),
    });
    fc.assert(
      fc.property(fc.array(fc.tuple(key, fc.boolean()), { minLength: 1, maxLength: 20 }), (several) => {
        const memory = createKeyMemory(MANY * 2);
        const put = several.map(([changes, replaced], i) =>
          matchedOf(sampleKey({ id: `key_x${i}`, ...changes }), { replaced }),
        );
        for (const [i, matched] of put.entries()) memory.put(digest(`x${i}`), matched);
        fill(memory);
        for (const [i, matched] of put.entries()) {
          const got = memory.get(digest(`x${i}`));
          expect(got?.matched).toEqual(matched);
          expect(got?.effective.rights).toEqual(rightsOf(matched.key, matched.owner));
        }
      }),
      { numRuns: 5 },
    );
  });

  test("is forgotten by its digest, packed or not, and no other with it", () => {
    const memory = createKeyMemory(MANY * 2);
    fill(memory);
    for (const forgotten of [1, MANY - 1]) {
      memory.forget(digest(forgotten));
      expect(memory.get(digest(forgotten))).toBeUndefined();
    }
    for (const kept of [0, 2, MANY - 2]) expect(memory.get(digest(kept))?.matched.key.id).toBe(`key_${kept}`);
    expect(memory.get(digest("never put in"))).toBeUndefined();
  });

  test("is forgotten with its owner, its account or its rotation, packed or not, and no other with it", () => {
    const memory = createKeyMemory(MANY * 2);
    const other = sampleOwner({ id: "sa_other" });
    memory.put(
      digest("other"),
      matchedOf(sampleKey({ id: "key_other", ownerId: "sa_other" }), { owner: other }),
    );
    memory.put(
      digest("away"),
      matchedOf(sampleKey({ accountId: "acc_two", ownerId: "sa_away" }), {
        owner: sampleOwner({ id: "sa_away" }),
      }),
    );
    fill(memory);
    memory.forgetKeysOf("service_account", "sa_one");
    for (const forgotten of [0, MANY - 1]) expect(memory.get(digest(forgotten))).toBeUndefined();
    expect(memory.get(digest("other"))?.matched.key.id).toBe("key_other");
    memory.forgetKeysOf("account", "acc_one");
    expect(memory.get(digest("other"))).toBeUndefined();
    expect(memory.get(digest("away"))).toBeDefined();

    const rotation = sampleRotation();
    memory.put(digest("rotating"), matchedOf(sampleKey({ rotationId: rotation.id }), { rotation }));
    memory.forgetKeysOf("rotation", rotation.id);
    expect(memory.get(digest("rotating"))).toBeUndefined();
  });

  test("of an owner that was put in anew is the new: what stood under the old is gone", () => {
    const memory = createKeyMemory(MANY * 2);
    fill(memory);
    const cut = sampleOwner({ own: { role: "viewer", scopes: [], allowedIps: null } });
    expect(memory.put(digest("new"), matchedOf(sampleKey(), { owner: cut })).effective.rights.role).toBe(
      "viewer",
    );
    for (const old of [0, MANY - 1]) expect(memory.get(digest(old))).toBeUndefined();
    const suspended = memory.put(
      digest("again"),
      matchedOf(sampleKey(), { owner: cut, accountSuspended: true }),
    );
    expect(suspended.matched.accountSuspended).toBe(true);
    expect(memory.get(digest("new"))).toBeUndefined();
  });

  test("in a rotation or a brownout is never packed: it is asked of the store again", () => {
    const memory = createKeyMemory(MANY * 2);
    const rotation = sampleRotation();
    memory.put(
      digest("rotating"),
      matchedOf(sampleKey({ rotationId: rotation.id }), { rotation, brownout: sampleBrownout() }),
    );
    expect(memory.get(digest("rotating"))?.matched.brownout).not.toBeNull();
    fill(memory);
    expect(memory.get(digest("rotating"))).toBeUndefined();
  });

  test("is bounded: the oldest make room, the newest stay", () => {
    for (const capacity of [1, 10, 10_000, 10_001, 12_000]) {
      const memory = createKeyMemory(capacity);
      fill(memory, 25_000);
      expect(memory.size()).toBeLessThanOrEqual(capacity);
      expect(memory.size()).toBeGreaterThan(capacity * 0.7);
      expect(memory.get(digest(24_999))?.matched.key.id).toBe("key_24999");
      expect(memory.get(digest(0))).toBeUndefined();
    }
  });
});

describe("packed texts", () => {
  test("behave as a map from which each text is taken once, as long as there is room", () => {
    const step = fc.tuple(
      fc.constantFrom("put", "take", "forget"),
      fc.integer({ min: 0, max: 8 }),
      fc.string({ unit: "binary" }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const packed = createPackedTexts(2_000, 256);
        const model = new Map<string, string>();
        for (const [what, name, text] of steps) {
          const key = digest(name);
          if (what === "put") {
            packed.put(key, text);
            model.set(key, text);
          } else {
            if (what === "take") expect(packed.take(key)).toBe(model.get(key));
            else packed.forget(key);
            model.delete(key);
          }
          expect(packed.size()).toBe(model.size);
        }
      }),
    );
  });

  test("hold no more than their bytes: old ones go by the block, also those that were put in again and again", () => {
    const packed = createPackedTexts(100_000, 256);
    const text = "x".repeat(1_000);
    for (let i = 0; i < 60_000; i += 1) packed.put(digest(i % 2 === 0 ? "same" : i), text);
    expect(packed.size()).toBeLessThan(26_000);
    expect(packed.take(digest("same"))).toBe(text);
    expect(packed.take(digest(1))).toBeUndefined();
    expect(packed.take(digest(59_999))).toBe(text);
  });

  test("tell apart digests that begin alike", () => {
    const packed = createPackedTexts(2_000, 256);
    const [one, two] = [`AAAAAAAA${"B".repeat(35)}=`, `AAAAAAAA${"C".repeat(35)}=`];
    packed.put(one, "one");
    expect(packed.take(two)).toBeUndefined();
    packed.put(two, "two");
    expect(packed.take(one)).toBeUndefined();
    expect(packed.take(two)).toBe("two");
  });
});
