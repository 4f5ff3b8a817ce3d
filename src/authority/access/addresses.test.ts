import { describe, expect, test } from "bun:test";
import { BlockList, isIPv4, isIPv6 } from "node:net";
import fc from "fast-check";
import {
  addressWithin,
  blocksWithin,
  canonicalAddress,
  canonicalBlock,
  compileBlocks,
  intersectBlocks,
  networkOf,
} from "./addresses.ts";

const octet = fc.integer({ min: 0, max: 255 });
const v4 = fc.tuple(octet, octet, octet, octet).map((octets) => octets.join("."));

// Zero groups are common, so that runs of them are met, and so is the prefix of mapped addresses.
const group = fc.oneof(fc.constant(0), fc.constant(0), fc.integer({ min: 0, max: 0xffff }));
const groups = fc.oneof(
  { weight: 6, arbitrary: fc.array(group, { minLength: 8, maxLength: 8 }) },
  { weight: 1, arbitrary: fc.tuple(group, group).map(([a, b]) => [0, 0, 0, 0, 0, 0xffff, a, b]) },
  { weight: 1, arbitrary: fc.tuple(group, group).map(([a, b]) => [0, 0, 0, 0, 0, 0, a, b]) },
);
const v6 = groups.map((all) => all.map((each) => each.toString(16)).join(":"));

// Blocks and addresses of a few neighbourhoods, so that they often meet.
const nearV4 = fc
  .tuple(fc.constantFrom(10, 11), fc.constantFrom(0, 1, 128), fc.constantFrom(0, 255), fc.constantFrom(0, 1))
  .map((octets) => octets.join("."));
const nearV6 = fc
  .tuple(
    fc.constantFrom("2001:db8", "2001:db9", "0:0"),
    fc.constantFrom(0, 1),
    fc.constantFrom("0", "1", "8000"),
  )
  .map(([head, a, b]) => `${head}:${a}:0:${b}:0:0:${a}`);
const nearAddress = fc.oneof(nearV4, nearV6);
const nearBlock = fc.oneof(
  fc.tuple(nearV4, fc.integer({ min: 0, max: 32 })).map(([address, prefix]) => networkBlock(address, prefix)),
  fc
    .tuple(nearV6, fc.integer({ min: 0, max: 128 }))
    .map(([address, prefix]) => networkBlock(address, prefix)),
);
const nearBlocks = fc.array(nearBlock, { maxLength: 5 });
const garbage = fc.constantFrom(
  "",
  "x",
  "10.0.0.1/8",
  "10.0.0.0/33",
  "fe80::1%eth0",
  "010.0.0.1",
  "1.2.3",
  "/",
  "10.0.0.0/",
);

/** The block that an address lies in, by way of the refusal that proposes it. */
function networkBlock(address: string, prefix: number): string {
  const asked = canonicalBlock(`${address}/${prefix}`);
  return asked.ok ? asked.block : (/write (\S+) for the network/.exec(asked.message)?.[1] ?? "no proposal");
}

function blockOf(text: string): string {
  const checked = canonicalBlock(text);
  return checked.ok ? checked.block : checked.message;
}

/** Other ways to write the same address: upper case, leading zeros, zeros left out, a dotted tail. */
function aliasesOf(all: readonly number[]): readonly string[] {
  const hex = all.map((each) => each.toString(16));
  const tail = all
    .slice(6)
    .flatMap((each) => [each >> 8, each & 255])
    .join(".");
  const aliases = [
    hex.join(":"),
    hex.join(":").toUpperCase(),
    hex.map((each) => each.padStart(4, "0")).join(":"),
    [...hex.slice(0, 6), tail].join(":"),
  ];
  for (let from = 0; from < 8; from++) {
    for (let to = from + 1; to <= 8; to++) {
      if (all.slice(from, to).some((each) => each !== 0)) break;
      aliases.push(`${hex.slice(0, from).join(":")}::${hex.slice(to).join(":")}`);
      if (to <= 6) aliases.push(`${hex.slice(0, from).join(":")}::${[...hex.slice(to, 6), tail].join(":")}`);
    }
  }
  return aliases;
}

describe("an address", () => {
  test.each([
    ["203.0.113.7", "203.0.113.7"],
    ["0.0.0.0", "0.0.0.0"],
    ["255.255.255.255", "255.255.255.255"],
    ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
    ["2001:db8:0:1:0:0:0:1", "2001:db8:0:1::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["0:0:0:0:0:0:0:0", "::"],
    ["::1", "::1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["::FFFF:c000:201", "192.0.2.1"],
    ["0:0:0:0:0:ffff:192.0.2.1", "192.0.2.1"],
    ["::192.0.2.1", "::c000:201"],
    ["64:ff9b::192.0.2.1", "64:ff9b::c000:201"],
    ["0000:0000:0000:0000:0000:ffff:255.255.255.255", "255.255.255.255"],
  ])("%s is written %s", (text, canonical) => {
    expect(canonicalAddress(text)).toBe(canonical);
  });

  test.each([
    "",
    "1",
    "1.2",
    "1.2.3",
    "1.2.3.4.5",
    "256.0.0.1",
    "010.0.0.1",
    "1.2.3.04",
    "0x7f.0.0.1",
    "0x7f000001",
    "2130706433",
    "1.2.3.-4",
    "1.2.3.4 ",
    " 1.2.3.4",
    "1.2.3.4\n",
    "1.2.3.4:80",
    "1.2.3.4/32",
    "\u0661.2.3.4",
    "fe80::1%eth0",
    "fe80::1%1",
    "[::1]",
    "::1/128",
    ":",
    ":::",
    "::::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1::2:3:4:5:6:7:8",
    "1:2:3:4:5:6:7:",
    ":1:2:3:4:5:6:7",
    "00001::",
    "g::",
    "::ffff:1.2.3",
    "::ffff:1.2.3.256",
    "::ffff:010.2.3.4",
    "::ffff:0x1.2.3.4",
    "1.2.3.4::",
    "::1.2.3.4:5",
    "1:2:3:4:5:6:7:1.2.3.4",
    "localhost",
    "1".repeat(100_000),
    ":".repeat(100_000),
  ])("%j is not one", (text) => {
    expect(canonicalAddress(text)).toBeUndefined();
  });

  test("is whatever the platform reads as one, zone ids apart, and nothing else", () => {
    const piece = fc.constantFrom(
      "0",
      "1",
      "ffff",
      "00",
      "01",
      "255",
      "256",
      ":",
      "::",
      ".",
      "1.2.3.4",
      "g",
      "/",
      "%",
    );
    const text = fc.oneof(
      fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join("")),
      v4,
      v6,
      fc.string(),
    );
    fc.assert(
      fc.property(text, (some) => {
        const known = !some.includes("%") && (isIPv4(some) || isIPv6(some));
        expect({ some, read: canonicalAddress(some) !== undefined }).toEqual({ some, read: known });
      }),
      { numRuns: 5_000 },
    );
  });

  test("is written as the URL standard writes it", () => {
    fc.assert(
      fc.property(v6, (text) => {
        const canonical = canonicalAddress(text) ?? "";
        const written = canonical.includes(":") ? canonical : (canonicalAddress(`::ffff:${canonical}`) ?? "");
        if (canonical.includes(":")) expect(`[${written}]`).toBe(new URL(`http://[${text}]`).hostname);
        else
          expect(new URL(`http://[::ffff:${written}]`).hostname).toBe(new URL(`http://[${text}]`).hostname);
      }),
    );
  });

  test("written canonically stays as it is", () => {
    fc.assert(
      fc.property(fc.oneof(v4, v6), (text) => {
        const canonical = canonicalAddress(text);
        expect(canonical).toBeDefined();
        expect(canonicalAddress(canonical ?? "")).toBe(canonical);
      }),
    );
  });

  test("R31: has one text, one network and one place in a list, however it is written", () => {
    const list = compileBlocks(["0.0.0.0/1", "::/3", "2001:db8::/32"]);
    fc.assert(
      fc.property(groups, (all) => {
        const aliases = aliasesOf(all);
        expect(new Set(aliases.map(canonicalAddress)).size).toBe(1);
        expect(new Set(aliases.map(networkOf)).size).toBe(1);
        expect(new Set(aliases.map((alias) => list.has(alias))).size).toBe(1);
        expect(canonicalAddress(aliases[0] ?? "")).toBeDefined();
      }),
    );
  });

  test("R31: of IPv4 is the same one when it comes mapped into IPv6", () => {
    fc.assert(
      fc.property(v4, (text) => {
        expect(canonicalAddress(text)).toBe(text);
        expect(canonicalAddress(`::ffff:${text}`)).toBe(text);
        expect(networkOf(`::FFFF:${text}`)).toBe(text);
        expect(addressWithin(`::ffff:${text}`, [`${text}/32`])).toBe(true);
      }),
    );
  });
});

describe("a network", () => {
  test.each([
    ["203.0.113.7", "203.0.113.7"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:db8:1:2::", "2001:db8:1:2::/64"],
    ["::1", "::/64"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["not an address", "unknown"],
    ["fe80::1%eth0", "unknown"],
    ["", "unknown"],
  ])("of %j is %s", (address, network) => {
    expect(networkOf(address)).toBe(network);
  });

  test("R31: is the same for two IPv6 addresses exactly when their first 64 bits are", () => {
    const hex = (all: readonly number[]) => all.map((each) => each.toString(16)).join(":");
    fc.assert(
      fc.property(groups, fc.array(group, { minLength: 4, maxLength: 4 }), fc.nat(3), (all, host, at) => {
        fc.pre(all[5] !== 0xffff && host[1] !== 0xffff);
        const neighbour = [...all.slice(0, 4), ...host];
        const stranger = all.map((each, index) => (index === at ? each ^ 1 : each));
        expect(networkOf(hex(neighbour))).toBe(networkOf(hex(all)));
        expect(networkOf(hex(stranger))).not.toBe(networkOf(hex(all)));
      }),
    );
  });
});

describe("a block", () => {
  test.each([
    ["10.0.0.0/8", "10.0.0.0/8"],
    ["203.0.113.7", "203.0.113.7/32"],
    ["203.0.113.7/32", "203.0.113.7/32"],
    ["0.0.0.0/0", "0.0.0.0/0"],
    ["2001:DB8::/32", "2001:db8::/32"],
    ["2001:db8::1", "2001:db8::1/128"],
    ["::/0", "::/0"],
    ["::ffff:10.0.0.0/104", "10.0.0.0/8"],
    ["::ffff:0:0/96", "0.0.0.0/0"],
    ["::ffff:203.0.113.7", "203.0.113.7/32"],
    ["::ffff:203.0.113.7/128", "203.0.113.7/32"],
  ])("%s is written %s", (text, block) => {
    expect(canonicalBlock(text)).toEqual({ ok: true, block });
  });

  test.each([
    ["10.0.0.1/8", "write 10.0.0.0/8 for the network or 10.0.0.1/32 for the address"],
    ["10.0.0.1/0", "write 0.0.0.0/0 for the network"],
    ["203.0.113.7/31", "write 203.0.113.6/31 for the network"],
    ["2001:db8::1/32", "write 2001:db8::/32 for the network or 2001:db8::1/128 for the address"],
    ["2001:db8:0:ffff::/49", "write 2001:db8:0:8000::/49 for the network"],
    ["::ffff:10.0.0.1/104", "write 10.0.0.0/8 for the network or 10.0.0.1/32 for the address"],
    ["::ffff:0:0/95", "prefix of 96 to 128"],
    ["::ffff:10.0.0.0/0", "prefix of 96 to 128"],
    ["10.0.0.0/33", "from 0 to 32"],
    ["2001:db8::/129", "from 0 to 128"],
    ["10.0.0.0/", "from 0 to 32"],
    ["10.0.0.0/-1", "from 0 to 32"],
    ["10.0.0.0/08", "from 0 to 32"],
    ["10.0.0.0/8/8", "from 0 to 32"],
    ["10.0.0.0/8 ", "from 0 to 32"],
    ["10.0.0.0/255.0.0.0", "from 0 to 32"],
    ["10.0.0.0/\u0668", "from 0 to 32"],
    ["10/8", "not an IP address"],
    ["010.0.0.0/8", "not an IP address"],
    ["/8", "not an IP address"],
    ["", "not an IP address"],
    ["*", "not an IP address"],
    ["fe80::%eth0/64", "not an IP address"],
  ])("%j is refused with the way out", (text, way) => {
    expect(canonicalBlock(text).ok).toBe(false);
    expect(blockOf(text)).toContain(way);
  });

  test("written canonically stays as it is, and what a refusal proposes is one", () => {
    fc.assert(
      fc.property(fc.oneof(v4, v6), fc.integer({ min: 0, max: 128 }), (address, prefix) => {
        const block = networkBlock(address, prefix);
        if (block === "no proposal") return;
        expect(blockOf(block)).toBe(block);
        expect(addressWithin(address, [block])).toBe(true);
      }),
    );
  });
});

describe("an address list", () => {
  test("holds an address in one of its blocks and no other, to the last bit", () => {
    const list = compileBlocks(["10.0.0.0/9", "203.0.113.7/32", "2001:db8::/33"]);
    for (const inside of [
      "10.0.0.0",
      "10.127.255.255",
      "203.0.113.7",
      "2001:db8::",
      "2001:db8:7fff:ffff::",
    ]) {
      expect([inside, list.has(inside)]).toEqual([inside, true]);
    }
    for (const outside of [
      "9.255.255.255",
      "10.128.0.0",
      "203.0.113.6",
      "203.0.113.8",
      "2001:db8:8000::",
      "::",
    ]) {
      expect([outside, list.has(outside)]).toEqual([outside, false]);
    }
  });

  test("of every IPv6 address holds no IPv4 one, and the other way round", () => {
    expect(addressWithin("10.0.0.1", ["::/0"])).toBe(false);
    expect(addressWithin("::ffff:10.0.0.1", ["::/0"])).toBe(false);
    expect(addressWithin("::1", ["0.0.0.0/0"])).toBe(false);
  });

  test("holds what the platform's own list holds", () => {
    fc.assert(
      fc.property(nearBlock, nearAddress, (block, address) => {
        const [network = "", prefix = ""] = block.split("/");
        const family = network.includes(":") ? "ipv6" : "ipv4";
        const own = canonicalAddress(address) ?? "";
        const platform = new BlockList();
        platform.addSubnet(network, Number(prefix), family);
        const sameFamily = own.includes(":") === (family === "ipv6");
        expect(addressWithin(address, [block])).toBe(sameFamily && platform.check(own, family));
      }),
      { numRuns: 2_000 },
    );
  });

  test("that is empty, or can't be read, holds nobody", () => {
    expect(addressWithin("10.0.0.1", [])).toBe(false);
    fc.assert(
      fc.property(fc.array(garbage), nearAddress, (blocks, address) => {
        expect(compileBlocks(blocks).has(address)).toBe(false);
        expect(intersectBlocks(blocks, ["0.0.0.0/0", "::/0"])).toEqual([]);
      }),
    );
  });

  test("never holds what is not an address", () => {
    const list = compileBlocks(["0.0.0.0/0", "::/0"]);
    fc.assert(
      fc.property(
        fc.oneof(garbage, fc.string()),
        (text) => list.has(text) === (canonicalAddress(text) !== undefined),
      ),
    );
    for (const text of ["", "unknown", "10.0.0.1, 10.0.0.2", "10.0.0.1:443", "0.0.0.0/0"])
      expect(list.has(text)).toBe(false);
  });
});

describe("blocks within blocks", () => {
  test.each([
    [["10.1.0.0/16"], ["10.0.0.0/8"], true],
    [["10.0.0.0/8"], ["10.0.0.0/8"], true],
    [["10.0.0.0/8"], ["10.1.0.0/16"], false],
    [["10.1.0.0/16", "192.0.2.0/24"], ["10.0.0.0/8"], false],
    [["10.1.0.0/16", "192.0.2.0/24"], ["192.0.2.0/24", "10.0.0.0/8"], true],
    [["0.0.0.0/0"], ["::/0"], false],
    [[], [], true],
    [["10.0.0.1/32"], [], false],
    [["nonsense"], ["0.0.0.0/0", "::/0"], false],
    [["nonsense"], ["nonsense"], false],
    // Two halves make a whole in fact; refusing it is the documented, stricter answer.
    [["10.0.0.0/8"], ["10.0.0.0/9", "10.128.0.0/9"], false],
  ])("%j in %j: %p", (inner, outer, within) => {
    expect(blocksWithin(inner, outer)).toBe(within);
  });

  test("have no address outside the outer ones", () => {
    let held = 0;
    fc.assert(
      fc.property(nearBlock, nearBlocks, nearAddress, (inner, outer, address) => {
        if (!blocksWithin([inner], outer) || !addressWithin(address, [inner])) return;
        held++;
        expect(addressWithin(address, outer)).toBe(true);
      }),
      { numRuns: 5_000 },
    );
    // The generated cases must be about something.
    expect(held).toBeGreaterThan(20);
  });
});

describe("blocks in common", () => {
  test.each([
    [["10.0.0.0/8"], ["10.1.0.0/16", "192.0.2.0/24"], ["10.1.0.0/16"]],
    [
      ["10.0.0.0/8", "::/0"],
      ["0.0.0.0/0", "2001:db8::/32"],
      ["10.0.0.0/8", "2001:db8::/32"],
    ],
    [["10.0.0.0/8"], ["11.0.0.0/8"], []],
    [["10.0.0.0/8"], [], []],
    [["10.0.0.1"], ["::ffff:10.0.0.0/104"], ["10.0.0.1/32"]],
  ])("of %j and %j are %j", (a, b, common) => {
    expect(intersectBlocks(a, b)).toEqual(common);
    expect(intersectBlocks(b, a)).toEqual(common);
  });

  test("lie inside both lists, are canonical, sorted, and each once", () => {
    fc.assert(
      fc.property(nearBlocks, nearBlocks, (a, b) => {
        const common = intersectBlocks(a, b);
        expect(blocksWithin(common, a)).toBe(true);
        expect(blocksWithin(common, b)).toBe(true);
        expect(common).toEqual([...new Set(common.map(blockOf))].sort());
      }),
      { numRuns: 1_000 },
    );
  });

  test("hold an address if and only if both lists do", () => {
    let held = 0;
    fc.assert(
      fc.property(nearBlocks, nearBlocks, nearAddress, (a, b, address) => {
        const both = addressWithin(address, a) && addressWithin(address, b);
        if (both) held++;
        expect(addressWithin(address, intersectBlocks(a, b))).toBe(both);
      }),
      { numRuns: 3_000 },
    );
    // The generated cases must be about something.
    expect(held).toBeGreaterThan(30);
  });
});
