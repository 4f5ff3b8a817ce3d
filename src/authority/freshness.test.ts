import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  atLeastAsFresh,
  BOUNDED_SECONDS,
  ceilingOf,
  FRESHNESS,
  type Freshness,
  freshnessOf,
  leaseOf,
  weakest,
} from "./freshness.ts";

const freshness = fc.constantFrom(...FRESHNESS);

describe("R12: the ceiling of a key", () => {
  test("is 1.5 s when it is strict, what the installation says when it is bounded, and none when it is static", () => {
    expect(ceilingOf("strict", 10)).toBe(1_500);
    expect(ceilingOf("strict", 600)).toBe(1_500);
    expect(ceilingOf("bounded", 10)).toBe(10_000);
    expect(ceilingOf("bounded", 2)).toBe(2_000);
    expect(ceilingOf("static", 10)).toBeNull();
    expect(BOUNDED_SECONDS).toBe(10);
  });

  test("is half a second longer than the lease that it rests on, and no lease outlives its ceiling", () => {
    expect(leaseOf("strict", 10)).toBe(1_000);
    expect(leaseOf("bounded", 10)).toBe(9_500);
    expect(leaseOf("static", 10)).toBe(Number.POSITIVE_INFINITY);
    for (const bounded of [1, 2, 10, 3_600]) {
      for (const one of ["strict", "bounded"] as const)
        expect((ceilingOf(one, bounded) ?? 0) - leaseOf(one, bounded)).toBe(500);
    }
  });
});

describe("R12: a key with a scope of Keyturn's own", () => {
  test("is strict, whatever it says, and whichever of its scopes it is", () => {
    for (const said of FRESHNESS) {
      for (const scope of ["keyturn:*", "keyturn:keys.*", "keyturn:self.rotate"]) {
        expect(freshnessOf(said, [scope])).toBe("strict");
        expect(freshnessOf(said, ["invoices:read", scope, "*"])).toBe("strict");
      }
    }
  });

  test("is one that names it: a wildcard covers none of them, and a scope that only looks alike is none", () => {
    for (const said of FRESHNESS) {
      for (const scopes of [[], ["*"], ["invoices:*"], ["keyturns:read"], ["a:keyturn:b"]])
        expect(freshnessOf(said, scopes)).toBe(said);
    }
  });
});

describe("the weakest promise", () => {
  const rank = (one: Freshness) => FRESHNESS.indexOf(one);

  test("among several keys is the one that decides, and strict where there are none", () => {
    expect(weakest([])).toBe("strict");
    expect(weakest(["strict", "bounded"])).toBe("bounded");
    expect(weakest(["bounded", "static", "strict"])).toBe("static");
    fc.assert(
      fc.property(fc.array(freshness, { minLength: 1 }), (all) => {
        expect(rank(weakest(all))).toBe(Math.min(...all.map(rank)));
        expect(weakest(all.toReversed())).toBe(weakest(all));
      }),
    );
  });

  test("a promise is at least as fresh as another exactly when its lease is not longer", () => {
    for (const one of FRESHNESS) {
      for (const other of FRESHNESS)
        expect(atLeastAsFresh(other, one)).toBe(leaseOf(other, 10) <= leaseOf(one, 10));
    }
  });
});
