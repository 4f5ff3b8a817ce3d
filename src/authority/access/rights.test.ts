import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { addressWithin } from "./addresses.ts";
import {
  coversAll,
  coversScope,
  effectiveRights,
  exceeding,
  intersectScopes,
  isKeyturnScope,
  isScope,
  KEYTURN_NAMESPACE,
  lowerRole,
  type OwnRights,
  ownerRights,
  type Rights,
  ROLES,
  type Role,
  roleAtLeast,
} from "./rights.ts";

// R3 asks for 100,000 generated cases; a newcomer's run does a tenth.
const manyRuns = { numRuns: process.env.KEYTURN_TEST_REQUIRE_ALL === "1" ? 100_000 : 10_000 };

// Few words, so that generated scopes often cover one another.
const segment = fc.constantFrom(KEYTURN_NAMESPACE, "invoices", "a", "b");
const scope = fc.oneof(
  { weight: 1, arbitrary: fc.constant("*") },
  {
    weight: 8,
    arbitrary: fc
      .tuple(fc.array(segment, { minLength: 1, maxLength: 3 }), fc.boolean())
      .map(([segments, wild]) => segments.join(":") + (wild ? ":*" : "")),
  },
);
const scopes = fc.array(scope, { maxLength: 4 });

const v4Block = fc
  .tuple(fc.constantFrom(8, 10, 24, 32), fc.constantFrom(10, 203), fc.constantFrom(0, 64, 128))
  .map(([prefix, first, second]) => `${first}.${prefix === 8 ? 0 : second}.0.0/${prefix}`);
const block = fc.oneof(
  v4Block,
  fc.constantFrom("2001:db8::/32", "2001:db8:1::/48", "2001:db8::1/128", "::/0", "0.0.0.0/0"),
);
const blocks = fc.option(fc.array(block, { maxLength: 4 }));
const address = fc.oneof(
  fc.tuple(fc.constantFrom(10, 203), fc.constantFrom(0, 1, 64, 65, 128)).map(([a, b]) => `${a}.${b}.0.0`),
  fc.constantFrom("2001:db8::1", "2001:db8:1::1", "2001:db8:2::1", "::1", "8.8.8.8", "not an address"),
);

const role = fc.constantFrom<Role>(...ROLES);
const own: fc.Arbitrary<OwnRights> = fc.record({
  role: fc.option(role),
  scopes: fc.option(scopes),
  allowedIps: blocks,
});
const rights: fc.Arbitrary<Rights> = fc.record({ role, scopes, allowedIps: blocks });

function mayFrom(list: readonly string[] | null, from: string): boolean {
  return list === null || addressWithin(from, list);
}

describe("a role", () => {
  test("is at least each role before it and no role after it", () => {
    expect(ROLES).toEqual(["none", "viewer", "editor", "admin"]);
    for (const [have, a] of ROLES.entries()) {
      for (const [want, b] of ROLES.entries()) {
        expect(roleAtLeast(a, b)).toBe(have >= want);
        expect(lowerRole(a, b)).toBe(have < want ? a : b);
      }
    }
  });
});

describe("a scope", () => {
  test.each([
    "*",
    "invoices",
    "invoices:read",
    "invoices:*",
    "keyturn:keys.rotate",
    "keyturn:*",
    "0:a_b.c-d",
    "a:b:c:d:e:f:g:h",
    "a:b:c:d:e:f:g:*",
    "a".repeat(128),
    `${"a".repeat(126)}:*`,
  ])("may be %s", (text) => {
    expect(isScope(text)).toBe(true);
  });

  test.each([
    "",
    ":",
    "**",
    "*:read",
    "invoices:",
    ":read",
    "invoices::read",
    "invoices:*:read",
    "invoices:r*",
    "invoices*",
    "*invoices",
    "Invoices:read",
    "invoices:réad",
    "invoices: read",
    "invoices:read\n",
    "_a",
    ".a",
    "-a",
    "a:b:c:d:e:f:g:h:i",
    "a:b:c:d:e:f:g:h:*",
    "a".repeat(129),
    `${"a".repeat(127)}:*`,
  ])("may not be %j", (text) => {
    expect(isScope(text)).toBe(false);
  });

  test("is refused in linear time, however long", () => {
    const start = Bun.nanoseconds();
    for (let round = 0; round < 1_000; round++) isScope(`${"a-._".repeat(25_000)}!`);
    expect(Bun.nanoseconds() - start).toBeLessThan(1e9);
  });

  test.each([
    ["invoices:read", "invoices:read"],
    ["invoices:*", "invoices:read"],
    ["invoices:*", "invoices:a:b"],
    ["invoices:*", "invoices:a:*"],
    ["invoices:*", "invoices:*"],
    ["*", "invoices:read"],
    ["*", "invoices:*"],
    ["*", "*"],
    ["*", "keyturns:read"],
    ["keyturn:*", "keyturn:keys.rotate"],
    ["keyturn:keys.rotate", "keyturn:keys.rotate"],
  ])("%s covers %s", (grant, wanted) => {
    expect(coversScope(grant, wanted)).toBe(true);
    expect(coversAll(["other:read", grant], [wanted])).toBe(true);
  });

  test.each([
    ["invoices:read", "invoices:write"],
    ["invoices:read", "invoices:*"],
    ["invoices:read", "invoices:read:all"],
    ["invoices:*", "invoices"],
    ["invoices:*", "invoicesx:read"],
    ["invoices:*", "*"],
    ["invoices", "invoices:read"],
    ["*", "keyturn:keys.rotate"],
    ["*", "keyturn:*"],
    ["*", "keyturn"],
    ["keyturn:*", "*"],
    ["keyturn:*", "invoices:read"],
    ["keyturn:keys.rotate", "keyturn:keys.revoke"],
  ])("%s does not cover %s", (grant, wanted) => {
    expect(coversScope(grant, wanted)).toBe(false);
    expect(coversAll(["other:read", grant], [wanted])).toBe(false);
  });

  test("needs to be covered each by one grant, and nothing wanted needs none", () => {
    expect(coversAll([], [])).toBe(true);
    expect(coversAll([], ["a"])).toBe(false);
    expect(coversAll(["a", "b:*"], ["b:c", "a"])).toBe(true);
    expect(coversAll(["a", "b:*"], ["b:c", "c"])).toBe(false);
  });
});

describe("scopes in common", () => {
  test.each([
    [["*"], ["invoices:*", "keyturn:*"], ["invoices:*"]],
    [["invoices:*"], ["invoices:read", "*"], ["invoices:*", "invoices:read"]],
    [
      ["b", "a"],
      ["a", "b"],
      ["a", "b"],
    ],
    [["keyturn:*"], ["keyturn:keys.rotate"], ["keyturn:keys.rotate"]],
    [["a:b"], ["a:c"], []],
    [[], ["*"], []],
  ])("of %j and %j are %j", (a, b, common) => {
    expect(intersectScopes(a, b)).toEqual(common);
    expect(intersectScopes(b, a)).toEqual(common);
  });

  test("cover a scope if and only if both lists cover it", () => {
    fc.assert(
      fc.property(scopes, scopes, scope, (a, b, wanted) => {
        const both = coversAll(a, [wanted]) && coversAll(b, [wanted]);
        return coversAll(intersectScopes(a, b), [wanted]) === both;
      }),
      manyRuns,
    );
  });

  test("are sorted, each once, and scopes again", () => {
    fc.assert(
      fc.property(scopes, scopes, (a, b) => {
        const common = intersectScopes(a, b);
        expect(common).toEqual([...new Set(common)].sort());
        expect(common.every(isScope)).toBe(true);
      }),
    );
  });
});

describe("an owner", () => {
  test("that says nothing has no role, no scopes, and any address", () => {
    expect(ownerRights({ role: null, scopes: null, allowedIps: null })).toEqual({
      role: "none",
      scopes: [],
      allowedIps: null,
    });
  });

  test("has what it says, an empty address list included", () => {
    const said = { role: "editor", scopes: ["keyturn:*"], allowedIps: [] } as const;
    expect(ownerRights(said)).toEqual(said);
  });
});

describe("a key's effective rights", () => {
  const root: Rights = { role: "admin", scopes: ["*", "keyturn:*"], allowedIps: null };
  const bare: OwnRights = { role: null, scopes: null, allowedIps: null };

  test("are its owner's where it says nothing, without Keyturn's own scopes", () => {
    expect(effectiveRights(bare, root)).toEqual({ role: "admin", scopes: ["*"], allowedIps: null });
    const owner: Rights = {
      role: "viewer",
      scopes: ["a", "keyturn:keys.verify"],
      allowedIps: ["10.0.0.0/8"],
    };
    expect(effectiveRights(bare, owner)).toEqual({
      role: "viewer",
      scopes: ["a"],
      allowedIps: ["10.0.0.0/8"],
    });
  });

  test("hold a Keyturn scope that the key names and its owner has", () => {
    expect(effectiveRights({ ...bare, scopes: ["keyturn:keys.rotate"] }, root).scopes).toEqual([
      "keyturn:keys.rotate",
    ]);
    expect(effectiveRights({ ...bare, scopes: ["keyturn:*"] }, { ...root, scopes: ["*"] }).scopes).toEqual(
      [],
    );
  });

  test("shrink at once when the owner's do", () => {
    const key: OwnRights = { role: "admin", scopes: ["*"], allowedIps: ["10.0.0.0/8", "192.0.2.0/24"] };
    const owner: Rights = { role: "viewer", scopes: ["invoices:read"], allowedIps: ["10.1.0.0/16"] };
    expect(effectiveRights(key, owner)).toEqual(owner);
  });

  test("R3: empty lists of a key are nothing and nobody, never everything and anybody", () => {
    const key: OwnRights = { role: "none", scopes: [], allowedIps: [] };
    expect(effectiveRights(key, root)).toEqual({ role: "none", scopes: [], allowedIps: [] });
  });

  test("R3: address lists with nothing in common are nobody, never anybody", () => {
    const owner: Rights = { ...root, allowedIps: ["192.0.2.0/24"] };
    expect(effectiveRights({ ...bare, allowedIps: ["10.0.0.0/8"] }, owner).allowedIps).toEqual([]);
    expect(effectiveRights(bare, { ...root, allowedIps: [] }).allowedIps).toEqual([]);
  });

  test("R3, R6: never exceed the owner's nor what the key says, by role, scope or address", () => {
    const seen = { role: 0, scope: 0, address: 0 };
    fc.assert(
      fc.property(own, rights, scope, address, (key, owner, wanted, from) => {
        const effective = effectiveRights(key, owner);
        expect(roleAtLeast(owner.role, effective.role)).toBe(true);
        if (key.role !== null) expect(roleAtLeast(key.role, effective.role)).toBe(true);
        if (effective.role !== "none") seen.role++;
        if (coversAll(effective.scopes, [wanted])) {
          seen.scope++;
          expect(coversAll(owner.scopes, [wanted])).toBe(true);
          if (key.scopes !== null) expect(coversAll(key.scopes, [wanted])).toBe(true);
        }
        if (mayFrom(effective.allowedIps, from)) {
          seen.address++;
          expect(mayFrom(owner.allowedIps, from)).toBe(true);
          expect(mayFrom(key.allowedIps, from)).toBe(true);
        }
      }),
      manyRuns,
    );
    // The generated cases must be about something: each right is held in at least a hundredth of them.
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(manyRuns.numRuns / 100);
  });

  test("R3, R6: take away no more than the owner or the key does", () => {
    fc.assert(
      fc.property(own, rights, scope, address, (key, owner, wanted, from) => {
        const effective = effectiveRights(key, owner);
        expect(effective.role).toBe(lowerRole(key.role ?? owner.role, owner.role));
        const keyHas = key.scopes === null ? !isKeyturnScope(wanted) : coversAll(key.scopes, [wanted]);
        expect(coversAll(effective.scopes, [wanted])).toBe(keyHas && coversAll(owner.scopes, [wanted]));
        const bothMay = mayFrom(owner.allowedIps, from) && mayFrom(key.allowedIps, from);
        expect(mayFrom(effective.allowedIps, from)).toBe(bothMay);
      }),
      manyRuns,
    );
  });

  test("R3, R6: are never judged to exceed the owner, nor the key itself", () => {
    fc.assert(
      fc.property(own, rights, (key, owner) => {
        const effective = effectiveRights(key, owner);
        const said = {
          role: key.role ?? owner.role,
          scopes: key.scopes ?? owner.scopes,
          allowedIps: key.allowedIps,
        };
        return exceeding(effective, owner).length === 0 && exceeding(effective, said).length === 0;
      }),
      manyRuns,
    );
  });

  test("R6: never inherit a scope of Keyturn's own, whatever the owner has", () => {
    fc.assert(
      fc.property(own, rights, scope, (key, owner, wanted) => {
        const inherited = effectiveRights({ ...key, scopes: null }, owner).scopes;
        return !inherited.some(isKeyturnScope) && !(isKeyturnScope(wanted) && coversAll(inherited, [wanted]));
      }),
      manyRuns,
    );
  });
});

describe("rights that are handed on", () => {
  const holder: Rights = { role: "editor", scopes: ["invoices:*"], allowedIps: ["10.0.0.0/8"] };

  test("exceed nothing when they are the holder's own or less", () => {
    expect(exceeding(holder, holder)).toEqual([]);
    expect(exceeding({ role: "none", scopes: [], allowedIps: [] }, holder)).toEqual([]);
    expect(exceeding({ ...holder, scopes: ["invoices:read"], allowedIps: ["10.1.0.0/16"] }, holder)).toEqual(
      [],
    );
    expect(exceeding({ ...holder, allowedIps: ["10.0.0.0/8"] }, { ...holder, allowedIps: null })).toEqual([]);
    expect(exceeding({ ...holder, allowedIps: null }, { ...holder, allowedIps: null })).toEqual([]);
  });

  test("are named field by field where they are more", () => {
    expect(exceeding({ ...holder, role: "admin" }, holder)).toEqual(["role"]);
    expect(exceeding({ ...holder, scopes: ["invoices:read", "users:read"] }, holder)).toEqual(["scopes"]);
    expect(exceeding({ ...holder, allowedIps: ["10.0.0.0/8", "192.0.2.1/32"] }, holder)).toEqual([
      "allowed_ips",
    ]);
    expect(exceeding({ ...holder, allowedIps: ["0.0.0.0/0"] }, holder)).toEqual(["allowed_ips"]);
    expect(exceeding({ role: "admin", scopes: ["*"], allowedIps: null }, holder)).toEqual([
      "role",
      "scopes",
      "allowed_ips",
    ]);
  });

  test("R3: no address list is more than any list, even than an empty one", () => {
    expect(exceeding({ ...holder, allowedIps: null }, holder)).toEqual(["allowed_ips"]);
    expect(exceeding({ ...holder, allowedIps: null }, { ...holder, allowedIps: [] })).toEqual([
      "allowed_ips",
    ]);
    expect(exceeding({ ...holder, allowedIps: ["10.0.0.1/32"] }, { ...holder, allowedIps: [] })).toEqual([
      "allowed_ips",
    ]);
    expect(exceeding({ ...holder, allowedIps: [] }, { ...holder, allowedIps: [] })).toEqual([]);
  });

  test("R6: everything never includes Keyturn's own scopes", () => {
    const all: Rights = { role: "admin", scopes: ["*"], allowedIps: null };
    expect(exceeding({ ...all, scopes: ["keyturn:keys.create"] }, all)).toEqual(["scopes"]);
    expect(exceeding({ ...all, scopes: ["*", "keyturn:*"] }, all)).toEqual(["scopes"]);
    expect(exceeding({ ...all, scopes: ["*", "keyturn:*"] }, { ...all, scopes: ["*", "keyturn:*"] })).toEqual(
      [],
    );
  });

  test("R3, R6: when nothing is said to exceed, nothing does, by role, scope or address", () => {
    let handedOn = 0;
    fc.assert(
      fc.property(rights, rights, scope, address, (wanted, held, some, from) => {
        if (exceeding(wanted, held).length > 0) return;
        handedOn++;
        expect(roleAtLeast(held.role, wanted.role)).toBe(true);
        if (coversAll(wanted.scopes, [some])) expect(coversAll(held.scopes, [some])).toBe(true);
        if (mayFrom(wanted.allowedIps, from)) expect(mayFrom(held.allowedIps, from)).toBe(true);
      }),
      manyRuns,
    );
    expect(handedOn).toBeGreaterThan(manyRuns.numRuns / 100);
  });
});
