import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { DAY, refusalIn, START } from "../../../test/support/authority.ts";
import { sampleKey, sampleOwner } from "../../../test/support/samples.ts";
import {
  checkMetadata,
  endAfter,
  isLiving,
  isRoot,
  lift,
  type Metadata,
  rightsOf,
  spanOf,
  stateOf,
  suspend,
} from "./key.ts";

describe("a key's state", () => {
  const owner = sampleOwner();
  const end = START + DAY;

  test("R17: turns from active to expired at its end, to the millisecond", () => {
    const key = sampleKey({ expiresAt: end });
    expect([end - 1, end, end + 1].map((now) => stateOf(key, owner, now))).toEqual([
      "active",
      "expired",
      "expired",
    ]);
  });

  test("goes by the verdicts' precedence: revoked before suspended before expired", () => {
    const all = sampleKey({ revokedAt: START, suspensions: ["operator"], expiresAt: START });
    expect(stateOf(all, owner, START)).toBe("revoked");
    expect(stateOf({ ...all, revokedAt: null }, owner, START)).toBe("suspended");
    expect(stateOf({ ...all, revokedAt: null, suspensions: [] }, owner, START)).toBe("expired");
  });

  test("R40: no clock and no lifted suspension leads out of revoked", () => {
    const revoked = sampleKey({ revokedAt: START, suspensions: ["operator"], expiresAt: end });
    for (const now of [0, START - 1, START, end, Number.MAX_SAFE_INTEGER]) {
      expect(stateOf(revoked, owner, now)).toBe("revoked");
      expect(stateOf(lift(revoked, "operator"), owner, now)).toBe("revoked");
    }
  });

  test("R11: is revoked when its owner was deleted", () => {
    expect(stateOf(sampleKey(), sampleOwner({ deletedAt: START }), START)).toBe("revoked");
  });

  test("a key keeps its name taken until it is revoked or has ended, to the millisecond", () => {
    const key = sampleKey({ expiresAt: end });
    expect([end - 1, end].map((now) => isLiving(key, now))).toEqual([true, false]);
    expect(isLiving({ ...key, suspensions: ["operator"] }, START)).toBe(true);
    expect(isLiving({ ...key, revokedAt: START }, START)).toBe(false);
    expect(isLiving(sampleKey(), Number.MAX_SAFE_INTEGER)).toBe(true);
  });
});

describe("suspensions", () => {
  test("each reason lifts only its own", () => {
    const both = suspend(suspend(sampleKey(), "rotation"), "operator");
    expect(both.suspensions).toEqual(["rotation", "operator"]);
    expect(lift(both, "rotation").suspensions).toEqual(["operator"]);
    expect(lift(both, "operator").suspensions).toEqual(["rotation"]);
  });

  test("the same reason twice is one, and one lift ends it", () => {
    const key = suspend(suspend(sampleKey(), "operator"), "operator");
    expect(key.suspensions).toEqual(["operator"]);
    expect(lift(key, "operator").suspensions).toEqual([]);
  });

  test("lifting what is not there changes nothing", () => {
    expect(lift(sampleKey(), "rotation")).toEqual(sampleKey());
  });

  test("R40: neither changes the key that it was given", () => {
    const key = Object.freeze(sampleKey({ suspensions: Object.freeze(["rotation"] as const) }));
    suspend(key, "operator");
    lift(key, "rotation");
    expect(key.suspensions).toEqual(["rotation"]);
  });
});

describe("a key's life", () => {
  test("its span is what it was made to live, and null for ever", () => {
    expect(spanOf({ createdAt: START, expiresAt: START + DAY })).toBe(86_400);
    expect(spanOf({ createdAt: START, expiresAt: START + 1_001 })).toBe(1.001);
    expect(spanOf({ createdAt: START, expiresAt: null })).toBeNull();
  });

  test("a successor lives exactly as long as its predecessor, in whole milliseconds, for any span", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10 ** 13 }),
        fc.integer({ min: 0, max: 10 ** 10 }),
        (span, later) => {
          const end = endAfter(spanOf({ createdAt: START, expiresAt: START + span }), START + later);
          expect(end).toBe(START + later + span);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test("the successor of an endless key is endless", () => {
    expect(endAfter(null, START)).toBeNull();
  });
});

describe("a key's rights", () => {
  test("R3: what the key leaves out is its owner's", () => {
    expect(rightsOf(sampleKey(), sampleOwner())).toEqual({
      role: "editor",
      scopes: ["invoices:*"],
      allowedIps: null,
    });
  });

  test("R6: a cut of the owner bites at once, whatever the key lists", () => {
    const key = sampleKey({ own: { role: "admin", scopes: ["invoices:*", "users:read"], allowedIps: null } });
    const owner = sampleOwner({
      own: { role: "viewer", scopes: ["invoices:read"], allowedIps: ["10.0.0.0/8"] },
    });
    expect(rightsOf(key, owner)).toEqual({
      role: "viewer",
      scopes: ["invoices:read"],
      allowedIps: ["10.0.0.0/8"],
    });
  });

  const ROOT = ["*", "keyturn:*"];
  const rooted = sampleKey({ own: { role: null, scopes: ROOT, allowedIps: null } });
  const rootOwner = sampleOwner({ own: { role: "admin", scopes: ROOT, allowedIps: null } });

  test("a root key names keyturn:*, and its owner lets it", () => {
    expect(isRoot(rooted, rootOwner)).toBe(true);
    expect(isRoot(rooted, sampleOwner())).toBe(false);
  });

  test("keyturn:* is never inherited, nor meant by *", () => {
    expect(isRoot(sampleKey(), rootOwner)).toBe(false);
    expect(isRoot(sampleKey({ own: { role: null, scopes: ["*"], allowedIps: null } }), rootOwner)).toBe(
      false,
    );
  });

  test("a key that may be used from nowhere is no root key", () => {
    expect(isRoot({ ...rooted, own: { ...rooted.own, allowedIps: [] } }, rootOwner)).toBe(false);
    expect(isRoot({ ...rooted, own: { ...rooted.own, allowedIps: ["10.0.0.0/8"] } }, rootOwner)).toBe(true);
  });
});

describe("metadata", () => {
  const refused = (metadata: Metadata) =>
    refusalIn(() => checkMetadata(metadata)).errors.map((error) => error.field);
  const pairs = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, "v"]));

  test("20 pairs, names of 40 and values of 500 characters pass as they are", () => {
    const most = { ...pairs(19), [`a${"b".repeat(39)}`]: "v".repeat(500) };
    expect(checkMetadata(most)).toEqual(most);
    expect(checkMetadata({})).toEqual({});
  });

  test("one more of each is refused by name", () => {
    expect(refused(pairs(21))).toEqual(["metadata"]);
    expect(refused({ [`a${"b".repeat(40)}`]: "v" })).toEqual(["metadata"]);
    expect(refused({ team: "v".repeat(501) })).toEqual(["metadata.team"]);
  });

  test("names that are no names are refused, __proto__ among them", () => {
    const poisoned: Metadata = JSON.parse('{"__proto__":"x"}');
    for (const metadata of [poisoned, { "": "x" }, { "1a": "x" }, { "a b": "x" }, { ä: "x" }]) {
      expect(refused(metadata)).toEqual(["metadata"]);
    }
  });

  test("a lone surrogate or a NUL in a value is refused by name", () => {
    expect(refused({ team: "\ud800" })).toEqual(["metadata.team"]);
    expect(refused({ team: "a\0b" })).toEqual(["metadata.team"]);
  });
});
