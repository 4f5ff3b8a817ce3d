import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { START } from "../../../test/support/authority.ts";
import { chain, chainHash, type EntryDraft, GENESIS, SYSTEM, sha256 } from "./entry.ts";

const draft: EntryDraft = {
  at: START,
  accountId: "acc_one",
  actor: { kind: "key", id: "key_root", accountId: "acc_one" },
  operation: "keys.suspend",
  outcome: "performed",
  subjects: [{ kind: "key", id: "key_old", before: { state: "active" }, after: { state: "suspended" } }],
  details: { reason: "leaked", in_use_by: ["billing"] },
};

describe("an audit entry", () => {
  test("is stored as its RFC 8785 canonical text: members sorted, no spaces", () => {
    expect(chain(draft, GENESIS).text).toBe(
      '{"account_id":"acc_one","actor":{"account_id":"acc_one","id":"key_root","kind":"key"},' +
        '"at":"2026-01-05T12:00:00.000Z","details":{"in_use_by":["billing"],"reason":"leaked"},' +
        '"operation":"keys.suspend","outcome":"performed","seq":1,"subjects":[{"after":{"state":"suspended"},' +
        '"before":{"state":"active"},"id":"key_old","kind":"key"}]}',
    );
  });

  test("is hashed by SHA-256 of its UTF-8 text, and chained by SHA-256 of three lines", () => {
    const hash = (text: string) => createHash("sha256").update(Buffer.from(text, "utf8")).digest("hex");
    const entry = chain(
      { ...draft, details: { reason: "größer 😀" } },
      { seq: 41, chainHash: "ab".repeat(32), at: 0 },
    );
    expect(entry.seq).toBe(42);
    expect(entry.entryHash).toBe(hash(entry.text));
    expect(entry.chainHash).toBe(hash(`${"ab".repeat(32)}\n42\n${entry.entryHash}\n`));
  });

  test("the first follows from the hash of nothing", () => {
    expect(GENESIS).toEqual({
      seq: 0,
      chainHash: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      at: 0,
    });
    expect(chain(draft, GENESIS).seq).toBe(1);
  });

  test("of the worker and of the host belongs to whichever account was touched", () => {
    const parsed = JSON.parse(chain({ ...draft, actor: SYSTEM }, GENESIS).text);
    expect(parsed.actor).toEqual({ kind: "system", id: "worker", account_id: null });
    expect(parsed.account_id).toBe("acc_one");
  });

  test("says the same whatever order its members were put together in", () => {
    const turned: EntryDraft = { ...draft, details: { in_use_by: ["billing"], reason: "leaked" } };
    expect(chain(turned, GENESIS).chainHash).toBe(chain(draft, GENESIS).chainHash);
  });

  test("another text, place or predecessor gives another chain hash", () => {
    const base = chain(draft, GENESIS);
    expect(chain({ ...draft, at: START + 1 }, GENESIS).chainHash).not.toBe(base.chainHash);
    expect(chainHash(GENESIS.chainHash, 2, base.entryHash)).not.toBe(base.chainHash);
    expect(chainHash(sha256("other"), 1, base.entryHash)).not.toBe(base.chainHash);
  });

  test("any text of a person survives in it as it was", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (reason) => {
        expect(JSON.parse(chain({ ...draft, details: { reason } }, GENESIS).text).details.reason).toBe(
          reason,
        );
      }),
    );
  });
});
