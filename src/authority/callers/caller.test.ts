import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  type AddressKept,
  callerIdOf,
  callerLabel,
  isCallerName,
  isUnnamed,
  keptAddress,
  keptAgent,
  OVERFLOW,
  productOf,
} from "./caller.ts";

const KEPT: readonly AddressKept[] = ["full", "prefix", "none"];

describe("who a caller is", () => {
  test("its name where one is given, whatever the address, the agent and what is kept of them", () => {
    for (const kept of KEPT) {
      expect(callerIdOf({ name: "billing", address: "10.0.0.1", agent: "api/1.0" }, kept)).toBe("n:billing");
      expect(callerIdOf({ name: "billing", address: "10.0.0.2", agent: "api/2.0" }, kept)).toBe("n:billing");
    }
  });

  test("without a name the address and the agent's product, whose version a deploy may change", () => {
    expect(callerIdOf({ address: "10.0.0.1", agent: "curl/8.5.0" }, "full")).toBe("u:10.0.0.1 curl");
    expect(callerIdOf({ address: "10.0.0.1", agent: "curl/8.6.0 (x)" }, "full")).toBe("u:10.0.0.1 curl");
    expect(callerIdOf({ address: "10.0.0.2", agent: "curl/8.5.0" }, "full")).toBe("u:10.0.0.2 curl");
  });

  test("an empty name is none", () => {
    expect(callerIdOf({ name: "", address: "10.0.0.1" }, "full")).toBe("u:10.0.0.1 ");
  });

  test("R31: one IPv6 host is one caller by its /64, and a v4-mapped address is the IPv4 one", () => {
    const of = (address: string) => callerIdOf({ address }, "full");
    expect(of("2001:db8:0:1::1")).toBe(of("2001:0db8:0:1:ffff::2"));
    expect(of("2001:db8:0:1::1")).not.toBe(of("2001:db8:0:2::1"));
    expect(of("::ffff:10.0.0.1")).toBe(of("10.0.0.1"));
  });

  test("unnamed callers are marked, and no name passes for one or for the overflow", () => {
    expect(isUnnamed(callerIdOf({ address: "10.0.0.1" }, "full"))).toBe(true);
    expect(isUnnamed(OVERFLOW)).toBe(true);
    for (const name of ["u:overflow", "overflow", "10.0.0.1 curl"]) {
      expect(isUnnamed(callerIdOf({ name }, "full"))).toBe(false);
    }
  });

  test("nothing known is one unnamed caller, not the overflow", () => {
    for (const kept of KEPT) expect(callerIdOf({}, kept)).not.toBe(OVERFLOW);
    expect(callerIdOf({ agent: "overflow" }, "none")).not.toBe(OVERFLOW);
  });

  test("people are shown the name, or the address and product", () => {
    expect(callerLabel("n:billing")).toBe("billing");
    expect(callerLabel("u:10.0.0.1 curl")).toBe("10.0.0.1 curl");
    expect(callerLabel(OVERFLOW)).toContain("too many");
  });
});

describe("what is kept of an address", () => {
  const v4 = fc
    .tuple(...Array.from({ length: 4 }, () => fc.integer({ min: 1, max: 255 })))
    .map((parts) => parts.join("."));
  const v6 = fc
    .array(fc.integer({ min: 1, max: 0xffff }), { minLength: 8, maxLength: 8 })
    .map((parts) => parts.map((part) => part.toString(16)).join(":"));

  test("prefix: no unnamed caller's id, and nothing stored, holds the full address", () => {
    fc.assert(
      fc.property(fc.oneof(v4, v6), (address) => {
        const kept = [
          callerIdOf({ address, agent: "curl/8" }, "prefix"),
          keptAddress(address, "prefix") ?? "",
        ];
        for (const text of kept) expect(text).not.toContain(address);
        expect(keptAddress(address, "prefix")).toMatch(/\/(24|64)$/);
      }),
    );
  });

  test("prefix: is the /24 or the /64", () => {
    expect(keptAddress("203.0.113.77", "prefix")).toBe("203.0.113.0/24");
    expect(callerIdOf({ address: "203.0.113.77", agent: "curl" }, "prefix")).toBe("u:203.0.113.0/24 curl");
    expect(keptAddress("2001:db8:1:2:3:4:5:6", "prefix")).toBe("2001:db8:1:2::/64");
    expect(keptAddress("::ffff:203.0.113.77", "prefix")).toBe("203.0.113.0/24");
  });

  test("none: no part of the address is left anywhere", () => {
    fc.assert(
      fc.property(fc.oneof(v4, v6), (address) => {
        expect(callerIdOf({ address, agent: "curl/8" }, "none")).toBe("u: curl");
        expect(keptAddress(address, "none")).toBeNull();
      }),
    );
  });

  test("full: it is kept as it is", () => {
    expect(keptAddress("203.0.113.77", "full")).toBe("203.0.113.77");
    expect(keptAddress(undefined, "full")).toBeNull();
  });

  test("what is no address is told as unknown, not cut as if it were one", () => {
    expect(keptAddress("not an address", "prefix")).toBe("unknown");
    expect(callerIdOf({ address: "not an address", agent: "curl" }, "prefix")).toBe("u:unknown curl");
  });
});

describe("the agent", () => {
  test("its product is what stands before the version, in lower case", () => {
    expect(productOf("curl/8.5.0")).toBe("curl");
    expect(productOf("Mozilla/5.0 (X11; Linux)")).toBe("mozilla");
    expect(productOf("python-requests")).toBe("python-requests");
    expect(productOf("My Agent")).toBe("my");
    expect(productOf("a;b")).toBe("a");
    expect(productOf(undefined)).toBe("");
  });

  test("a product is cut at 60 characters, and never in the middle of one", () => {
    expect(productOf("x".repeat(61))).toBe("x".repeat(60));
    expect(productOf(`${"x".repeat(59)}😀`).isWellFormed()).toBe(true);
  });

  test("what is kept is well-formed, on one line and 200 characters at most", () => {
    expect(keptAgent("a\r\nb\u0000c\u202ed")).toBe("abcd");
    expect(keptAgent("x".repeat(201))).toBe("x".repeat(200));
    expect(keptAgent("\ud800")?.isWellFormed()).toBe(true);
    expect(keptAgent(`${"x".repeat(199)}😀`)?.isWellFormed()).toBe(true);
    expect(keptAgent(undefined)).toBeNull();
  });
});

describe("a caller's name", () => {
  test("has up to 100 letters, digits, spaces and . _ : / @ + -, a letter or digit first", () => {
    for (const name of ["a", "Ä", "billing-api", "team/api@eu:1+2_3.4", "9 lives", "x".repeat(100)]) {
      expect(isCallerName(name)).toBe(true);
    }
    for (const name of ["", " a", "-a", "a\n", "a\0", "a\u202e", "<b>", "\ud800", "x".repeat(101)]) {
      expect(isCallerName(name)).toBe(false);
    }
  });
});
