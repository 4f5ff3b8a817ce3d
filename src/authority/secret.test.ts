import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { z } from "zod";
import {
  digestOf,
  hintOf,
  inspectSecret,
  isBrand,
  isRegion,
  type KeyKind,
  mintSecret,
  type SecretFormat,
  secretPattern,
} from "./secret.ts";

const Vectors = z.object({
  vectors: z.array(
    z.object({
      title: z.string(),
      format: z.object({
        brand: z.string(),
        retired_brands: z.array(z.string()),
        region: z.string().nullable(),
      }),
      secret: z.string(),
      verdict: z.enum(["ours", "wrong_region", "malformed"]),
      digest_sha256_hex: z.string().length(64),
      hint: z.string(),
    }),
  ),
});

const vectorFile = new URL("../../testdata/secrets.json", import.meta.url);
const { vectors } = Vectors.parse(JSON.parse(readFileSync(vectorFile, "utf8")));

const plain: SecretFormat = { brand: "kt", retiredBrands: [], region: null };
const european: SecretFormat = { brand: "kt", retiredBrands: ["oldkt"], region: "eu" };

const letters = "abcdefghijklmnopqrstuvwxyz";
const brand = fc.stringMatching(/^[a-z][a-z0-9]{0,15}$/);
const region = fc.stringMatching(/^[a-z][a-z0-9-]{0,15}$/);
const format: fc.Arbitrary<SecretFormat> = fc.record({
  brand,
  retiredBrands: fc.array(brand, { maxLength: 3 }),
  region: fc.option(region),
});
const kind = fc.constantFrom<KeyKind>("user", "service");
const minted = fc.tuple(format, kind).map(([f, k]) => ({ format: f, text: mintSecret(f, k, randomBytes) }));

function bytesOf(value: number): (size: number) => Uint8Array {
  return (size) => new Uint8Array(size).fill(value);
}

function hexOf(base64: string): string {
  return Buffer.from(base64, "base64").toString("hex");
}

describe("the vectors in testdata/secrets.json", () => {
  test("hold every verdict", () => {
    expect(new Set(vectors.map((each) => each.verdict))).toEqual(
      new Set(["ours", "wrong_region", "malformed"]),
    );
    expect(vectors.length).toBeGreaterThanOrEqual(12);
  });

  test.each(vectors)("are judged, digested and hinted at alike: $title", (vector) => {
    const { brand, retired_brands: retiredBrands, region } = vector.format;
    expect(inspectSecret(vector.secret, { brand, retiredBrands, region })).toBe(vector.verdict);
    expect(hexOf(digestOf(vector.secret))).toBe(vector.digest_sha256_hex);
    expect(hintOf(vector.secret)).toBe(vector.hint);
  });
});

describe("a minted secret", () => {
  test("is ours, in the documented text, whatever the brand, the region and the kind", () => {
    fc.assert(
      fc.property(format, kind, (f, k) => {
        const text = mintSecret(f, k, randomBytes);
        const prefix = `${f.brand}${k === "user" ? "u" : "s"}_${f.region === null ? "" : `${f.region}_`}`;
        expect(text).toStartWith(prefix);
        expect(text.slice(prefix.length)).toMatch(/^[0-9A-Za-z]{38}$/);
        expect(inspectSecret(text, f)).toBe("ours");
      }),
    );
  });

  test("is still ours after its brand is retired and a region is set", () => {
    fc.assert(
      fc.property(format, kind, brand, region, (f, k, nextBrand, nextRegion) => {
        const text = mintSecret({ ...f, region: null }, k, randomBytes);
        const next = { brand: nextBrand, retiredBrands: [...f.retiredBrands, f.brand], region: nextRegion };
        expect(inspectSecret(text, next)).toBe("ours");
      }),
    );
  });

  test("is of the wrong region in every other region, and in none", () => {
    fc.assert(
      fc.property(brand, kind, region, fc.option(region), (b, k, made, asked) => {
        const text = mintSecret({ brand: b, retiredBrands: [], region: made }, k, randomBytes);
        const verdict = inspectSecret(text, { brand: b, retiredBrands: [], region: asked });
        expect(verdict).toBe(made === asked ? "ours" : "wrong_region");
      }),
    );
  });

  test("is malformed to an installation that never had its brand", () => {
    fc.assert(
      fc.property(minted, brand, ({ format: f, text }, other) => {
        fc.pre(other !== f.brand);
        expect(inspectSecret(text, { brand: other, retiredBrands: [], region: f.region })).toBe("malformed");
      }),
    );
  });

  test("R33: changing any single character changes the digest and fails the checksum or the match", () => {
    const other = fc.oneof(
      fc.constantFrom(..."0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", ...letters, "_", "-", " "),
      fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
    );
    fc.assert(
      fc.property(minted, other, ({ format: f, text }, character) => {
        for (let at = 0; at < text.length; at++) {
          if (text.startsWith(character, at)) continue;
          const changed = text.slice(0, at) + character + text.slice(at + 1);
          expect(inspectSecret(changed, f)).toBe("malformed");
          expect(digestOf(changed)).not.toBe(digestOf(text));
        }
      }),
    );
  });

  test("R33: is digested whole, up to 8192 bytes: any changed byte changes the digest", () => {
    fc.assert(
      fc.property(fc.integer({ min: 8, max: 8192 }), fc.nat(), (length, seed) => {
        const text = "a".repeat(length);
        const at = seed % length;
        expect(digestOf(`${text.slice(0, at)}b${text.slice(at + 1)}`)).not.toBe(digestOf(text));
        expect(digestOf(text.slice(0, -1))).not.toBe(digestOf(text));
      }),
    );
  });

  test("is malformed with a character dropped, doubled, or two neighbours swapped", () => {
    fc.assert(
      fc.property(minted, ({ format: f, text }) => {
        for (let at = 0; at < text.length; at++) {
          const before = text.slice(0, at);
          const after = text.slice(at + 1);
          expect(inspectSecret(before + after, f)).toBe("malformed");
          expect(inspectSecret(before + text.charAt(at) + text.charAt(at) + after, f)).toBe("malformed");
          const swapped = before + after.charAt(0) + text.charAt(at) + after.slice(1);
          if (swapped !== text) expect(inspectSecret(swapped, f)).toBe("malformed");
        }
      }),
      { numRuns: 50 },
    );
  });

  test("R32: is the same text twice when the source gives the same bytes; storage refuses it", () => {
    const first = mintSecret(european, "service", bytesOf(7));
    expect(mintSecret(european, "service", bytesOf(7))).toBe(first);
    expect(digestOf(first)).toBe(digestOf(mintSecret(european, "service", bytesOf(7))));
    expect(first).toStartWith(`kts_eu_${"7".repeat(32)}`);
    expect(mintSecret(european, "service", bytesOf(8))).not.toBe(first);
  });

  test("R32: ten thousand have ten thousand digests", () => {
    const digests = Array.from({ length: 10_000 }, () => digestOf(mintSecret(plain, "service", randomBytes)));
    expect(new Set(digests).size).toBe(10_000);
  });

  test("takes each character from exactly four byte values, and none from the eight highest", () => {
    const counts = new Map<string, number>();
    for (let byte = 0; byte < 248; byte++) {
      const character = mintSecret(plain, "user", bytesOf(byte)).charAt(4);
      counts.set(character, (counts.get(character) ?? 0) + 1);
    }
    expect(counts.size).toBe(62);
    expect(new Set(counts.values())).toEqual(new Set([4]));
    const skipped = (size: number) =>
      new Uint8Array(size)
        .fill(5)
        .fill(255, 0, size / 2)
        .fill(248, 0, 3);
    expect(mintSecret(plain, "user", skipped).slice(4, 36)).toBe("5".repeat(32));
  });

  test("is never made of a source that gives nothing usable", () => {
    for (const source of [bytesOf(255), bytesOf(248), () => new Uint8Array(0)]) {
      expect(() => mintSecret(plain, "user", source)).toThrow("random source");
    }
  });
});

describe("a text that is not a secret of ours", () => {
  test("is malformed, whatever it is", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: "binary" })), (text) => {
        expect(inspectSecret(text, european)).toBe("malformed");
      }),
    );
  });

  test("is malformed beyond 512 characters, and costs no more to refuse when it is a megabyte", () => {
    expect(inspectSecret("0".repeat(513), european)).toBe("malformed");
    const hostile = ["k".repeat(1e6), "_".repeat(1e6), `kts_${"a-".repeat(5e5)}_`, `kts_${"A".repeat(1e6)}`];
    const start = Bun.nanoseconds();
    for (let round = 0; round < 1_000; round++) {
      for (const text of hostile) expect(inspectSecret(text, european) === "malformed").toBe(true);
    }
    // 4,000 refusals measured at 2 ms in all; reading every character would take seconds.
    expect(Bun.nanoseconds() - start).toBeLessThan(1e9);
    for (const text of hostile) expect(hintOf(text).length).toBe(5);
  });
});

describe("a digest", () => {
  test("is the SHA-256 of the UTF-8 text in standard base64 (FIPS 180-4, example abc)", () => {
    expect(hexOf(digestOf("abc"))).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect(digestOf("abc")).toBe("ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    expect(hexOf(digestOf("é"))).toBe("4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c");
  });

  test("is 44 characters, whatever the text", () => {
    fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => digestOf(text).length === 44));
  });
});

describe("a hint", () => {
  test("is prefix and last four, and holds nothing of the body", () => {
    fc.assert(
      fc.property(minted, ({ format: f, text }) => {
        const bodyAt = text.length - 38;
        expect(hintOf(text)).toBe(`${text.slice(0, bodyAt)}…${text.slice(-4)}`);
        expect(hintOf(text)).not.toContain(text.slice(bodyAt, bodyAt + 32));
        expect(hintOf(text).startsWith(f.brand)).toBe(true);
      }),
    );
  });

  test("shows nothing of a short foreign text, and four characters of a long one", () => {
    expect(hintOf("")).toBe("…");
    expect(hintOf("x".repeat(23))).toBe("…");
    expect(hintOf(`${"x".repeat(20)}last`)).toBe("…last");
    expect(hintOf("password_with_underscores_in_it")).toBe("…n_it");
  });
});

describe("the scanners' pattern", () => {
  test("matches every minted secret whole, of the current and of retired brands, in any region", () => {
    fc.assert(
      fc.property(format, kind, fc.option(region), fc.nat(), (f, k, elsewhere, pick) => {
        const brands = [f.brand, ...f.retiredBrands];
        const text = mintSecret(
          { ...f, brand: brands[pick % brands.length] ?? f.brand, region: elsewhere },
          k,
          randomBytes,
        );
        expect(text).toMatch(new RegExp(`^(?:${secretPattern(f)})$`));
        expect(new RegExp(secretPattern(f)).exec(`token=${text};`)?.[0]).toBe(text);
      }),
    );
  });

  test("matches nothing that is not of the secret's length and alphabet", () => {
    const whole = new RegExp(`^(?:${secretPattern(european)})$`);
    for (const { secret, title } of vectors.filter((each) => each.title.includes("character too"))) {
      expect({ title, matches: whole.test(secret) }).toEqual({ title, matches: false });
    }
    expect(whole.test(`xxs_${"a".repeat(38)}`)).toBe(false);
  });

  test("is the documented text", () => {
    expect(secretPattern(plain)).toBe("kt[us]_(?:[a-z][a-z0-9-]{0,15}_)?[0-9A-Za-z]{38}");
    expect(secretPattern(european)).toBe("(?:kt|oldkt)[us]_(?:[a-z][a-z0-9-]{0,15}_)?[0-9A-Za-z]{38}");
  });
});

describe("brands and regions", () => {
  test.each(["k", "kt", "k2", "abcdefghijklmnop"])("%s may be either", (text) => {
    expect([isBrand(text), isRegion(text)]).toEqual([true, true]);
  });

  test("a region may have hyphens, a brand may not", () => {
    expect([isBrand("eu-west-1"), isRegion("eu-west-1")]).toEqual([false, true]);
  });

  test.each(["", "K", "kT", "2k", "-a", "k_t", "k t", "kt\n", "kté", "abcdefghijklmnopq"])(
    "%j is neither",
    (text) => {
      expect([isBrand(text), isRegion(text)]).toEqual([false, false]);
    },
  );
});
