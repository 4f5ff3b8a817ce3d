import { expect, test } from "bun:test";
import type { Subject } from "./entry.ts";
import { revocationsIn } from "./witness.ts";

const subject = (kind: Subject["kind"], after: Subject["after"]): Subject => ({ kind, id: "it", before: null, after });

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
