import { expect, test } from "bun:test";
import type { Subject } from "./entry.ts";
import { isRestore, revocationsIn, vouchedSeq, type WitnessLine, witnessedHeads } from "./witness.ts";

const subject = (kind: Subject["kind"], after: Subject["after"]): Subject => ({
  kind,
  id: "it",
  before: null,
  after,
});

test("R14: a revoked key, a deleted service account and a replaced secret are revocations", () => {
  expect(
    revocationsIn([
      subject("key", { state: "revoked" }),
      subject("service_account", { deleted: true }),
      subject("key", { hint: "kts_…abcd", secret_ordinal: 2 }),
    ]),
  ).toEqual([
    { kind: "key", id: "it" },
    { kind: "service_account", id: "it" },
    { kind: "secret", id: "it", ordinal: 2 },
  ]);
});

test("nothing else is a revocation", () => {
  const others: Subject[] = [
    subject("key", { state: "active" }),
    subject("key", { state: "suspended" }),
    subject("key", null),
    subject("key", { secret_ordinal: 1 }),
    subject("rotation", { state: "revoked" }),
    subject("service_account", { deleted: false, disabled: true }),
    subject("account", { deleted: true }),
  ];
  expect(revocationsIn(others)).toEqual([]);
});

test("R14: a log must go through all that was witnessed, but for a past that was restored away", () => {
  const line = (seq: number, chainHash: string, restored = false): WitnessLine => ({
    ...{ seq, chainHash, at: 0, revoked: [] },
    ...(restored ? { restored } : {}),
  });
  const heads = (lines: readonly WitnessLine[]) =>
    witnessedHeads(lines).map(({ seq, chainHash }) => `${seq}:${chainHash}`);
  expect(heads([])).toEqual([]);
  expect(heads([line(1, "a"), line(3, "b"), line(5, "c")])).toEqual(["1:a", "3:b", "5:c"]);
  expect(heads([line(1, "a"), line(3, "b"), line(5, "c"), line(3, "d", true)])).toEqual(["1:a", "3:d"]);
  expect(heads([line(1, "a"), line(3, "b"), line(4, "d", true), line(6, "e")])).toEqual([
    "1:a",
    "3:b",
    "4:d",
    "6:e",
  ]);
});

test("only a merged witness or an accepted loss is a restore", () => {
  const operations = ["restore.merge", "restore.accept-loss", "keys.revoke", "clock.accept", "setup.recover"];
  expect(operations.filter(isRestore)).toEqual(["restore.merge", "restore.accept-loss"]);
});

test("R14: all revocations stand in the file up to the newest head, and not up to a revocation or what was restored", () => {
  const head = (seq: number): WitnessLine => ({ seq, chainHash: `${seq}`, at: 0, revoked: [] });
  const revocation = (seq: number): WitnessLine => ({ ...head(seq), revoked: [{ kind: "key", id: "it" }] });
  const restored = (seq: number): WitnessLine => ({ ...head(seq), restored: true });
  expect(vouchedSeq([])).toBe(0);
  expect(vouchedSeq([revocation(3)])).toBe(0);
  expect(vouchedSeq([head(4), head(2), revocation(6)])).toBe(4);
  expect(vouchedSeq([head(2), head(7), restored(5), revocation(6)])).toBe(2);
  expect(vouchedSeq([head(2), head(7), restored(5), head(8)])).toBe(8);
});
