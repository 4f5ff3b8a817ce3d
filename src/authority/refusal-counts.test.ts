import { describe, expect, test } from "bun:test";
import { MINUTE, START } from "../../test/support/authority.ts";
import { createRefusalCounts } from "./refusal-counts.ts";

describe("refusals of one actor", () => {
  test("are first once per operation and minute; the rest is counted and taken once", () => {
    const counts = createRefusalCounts();
    expect([0, 1, MINUTE - 1].map((after) => counts.isFirst("key_a", "keys.create", START + after))).toEqual([
      true,
      false,
      false,
    ]);
    expect(counts.takeCount("key_a", "keys.create")).toBe(2);
    expect(counts.takeCount("key_a", "keys.create")).toBe(0);
  });

  test("the first of the next minute keeps what was counted in the one before", () => {
    const counts = createRefusalCounts();
    for (let i = 0; i < 4; i += 1) counts.isFirst("key_a", "keys.create", START);
    expect(counts.isFirst("key_a", "keys.create", START + MINUTE)).toBe(true);
    expect(counts.takeCount("key_a", "keys.create")).toBe(3);
  });

  test("another actor or another operation has a count of its own", () => {
    const counts = createRefusalCounts();
    expect(counts.isFirst("key_a", "keys.create", START)).toBe(true);
    expect(counts.isFirst("key_b", "keys.create", START)).toBe(true);
    expect(counts.isFirst("key_a", "keys.revoke", START)).toBe(true);
    expect(counts.isFirst("key_a", "keys.create", START)).toBe(false);
    expect(counts.takeCount("key_b", "keys.create")).toBe(0);
    expect(counts.takeCount("key_a", "keys.revoke")).toBe(0);
    expect(counts.takeCount("key_a", "keys.create")).toBe(1);
  });

  test("nobody refused, nothing counted", () => {
    expect(createRefusalCounts().takeCount("key_a", "keys.create")).toBe(0);
  });
});
