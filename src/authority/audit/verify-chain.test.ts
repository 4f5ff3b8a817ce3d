import { describe, expect, test } from "bun:test";
import { SECOND, START } from "../../../test/support/authority.ts";
import { chain, chainHash, type EntryDraft, GENESIS, type Head, sha256 } from "./entry.ts";
import { type ChainFinding, createChainCheck, type KnownHead, type LogLine } from "./verify-chain.ts";

const LENGTH = 30;
const EVERY = Array.from({ length: LENGTH }, (_, index) => index);

function draftOf(number: number): EntryDraft {
  return {
    at: START + number * SECOND,
    accountId: number % 3 === 0 ? "acc_two" : "acc_one",
    actor: { kind: "key", id: "key_root", accountId: "acc_one" },
    operation: "keys.create",
    outcome: number % 5 === 0 ? "refused" : "performed",
    subjects: [{ kind: "key", id: `key_${number}`, before: null, after: { name: `key ${number}` } }],
    details: {},
  };
}

function log(drafts: readonly EntryDraft[]): LogLine[] {
  let head: Head = GENESIS;
  return drafts.map((draft) => {
    const { seq, text, entryHash, chainHash } = chain(draft, head);
    head = { seq, chainHash, at: draft.at };
    return { seq, text, entryHash, chainHash };
  });
}

const WHOLE = log(EVERY.map((index) => draftOf(index + 1)));

function check(lines: readonly LogLine[], known: readonly KnownHead[] = []): ChainFinding {
  const following = createChainCheck(known);
  for (const line of lines) following.add(line);
  return following.end();
}
/** The place where it was found, or null when nothing was. */
function foundAt(lines: readonly LogLine[], known: readonly KnownHead[] = []): number | null {
  const finding = check(lines, known);
  return finding.ok ? null : finding.seq;
}
const line = (index: number): LogLine => {
  const found = WHOLE[index];
  if (found === undefined) throw new Error(`no line ${index}`);
  return found;
};
const headAt = (index: number): KnownHead => ({ seq: line(index).seq, chainHash: line(index).chainHash });
const LAST = headAt(LENGTH - 1);

describe("a whole log", () => {
  test("is found whole, with its length, its head and how many known heads it was compared with", () => {
    expect(check(WHOLE)).toEqual({ ok: true, entries: LENGTH, head: line(LENGTH - 1), comparedWith: 0 });
    expect(check(WHOLE, [headAt(3), LAST])).toMatchObject({ ok: true, comparedWith: 2 });
  });

  test("is whole when entries of other accounts are bare hashes", () => {
    const exported = WHOLE.map((one, index) => (index % 3 === 2 ? { ...one, text: null } : one));
    expect(check(exported, [LAST])).toMatchObject({ ok: true, entries: LENGTH, comparedWith: 1 });
  });

  test("an empty log is whole, unless an entry was witnessed", () => {
    expect(check([])).toMatchObject({ ok: true, entries: 0 });
    expect(foundAt([], [headAt(0)])).toBe(1);
  });
});

describe("a changed log is found out, at every position", () => {
  test("a deleted entry, where it is missing", () => {
    // The last one is a cut-off tail, which needs a known head.
    for (const index of EVERY.slice(0, -1)) expect(foundAt(WHOLE.toSpliced(index, 1))).toBe(index + 1);
    expect(foundAt(WHOLE.slice(0, -1), [LAST])).toBe(LENGTH);
  });

  test("a changed text, where it stands", () => {
    for (const index of EVERY) {
      const text = line(index).text?.replace("key ", "kez ") ?? "";
      expect(text).not.toBe(line(index).text as string);
      expect(foundAt(WHOLE.with(index, { ...line(index), text }))).toBe(index + 1);
    }
  });

  test("a changed text whose own hash was made to fit, where it stands", () => {
    for (const index of EVERY) {
      const text = line(index).text?.replace("key ", "kez ") ?? "";
      expect(foundAt(WHOLE.with(index, { ...line(index), text, entryHash: sha256(text) }))).toBe(index + 1);
    }
  });

  test("a changed entry hash of another account's bare line, where it stands", () => {
    for (const index of EVERY) {
      expect(foundAt(WHOLE.with(index, { ...line(index), text: null, entryHash: sha256("other") }))).toBe(
        index + 1,
      );
    }
  });

  test("a changed chain hash, where it stands", () => {
    for (const index of EVERY) {
      expect(foundAt(WHOLE.with(index, { ...line(index), chainHash: sha256("other") }))).toBe(index + 1);
    }
  });

  test("one recomputed entry: itself is whole, its successor no longer follows", () => {
    for (const index of EVERY.slice(0, -1)) {
      const text = line(index).text?.replace("key ", "kez ") ?? "";
      const entryHash = sha256(text);
      const before = index === 0 ? GENESIS.chainHash : line(index - 1).chainHash;
      const forged = { seq: index + 1, text, entryHash, chainHash: chainHash(before, index + 1, entryHash) };
      expect(foundAt(WHOLE.with(index, forged))).toBe(index + 2);
    }
  });

  test("two entries in the wrong order, where the first of them is missed, for every pair", () => {
    for (const first of EVERY) {
      for (const second of EVERY.slice(first + 1)) {
        const swapped = WHOLE.with(first, line(second)).with(second, line(first));
        expect(foundAt(swapped)).toBe(first + 1);
      }
    }
  });

  test("two entries that swapped their texts under each other's numbers, for every pair", () => {
    for (const first of EVERY) {
      for (const second of EVERY.slice(first + 1)) {
        const { text, entryHash } = line(first);
        const other = line(second);
        const swapped = WHOLE.with(first, {
          ...line(first),
          text: other.text,
          entryHash: other.entryHash,
        }).with(second, {
          ...other,
          text,
          entryHash,
        });
        expect(foundAt(swapped)).toBe(first + 1);
      }
    }
  });

  test("an entry that stands there twice, at the second", () => {
    for (const index of EVERY) expect(foundAt(WHOLE.toSpliced(index, 0, line(index)))).toBe(index + 1);
  });

  test("a cut-off head, at the first entry", () => {
    for (const index of EVERY.slice(1)) expect(foundAt(WHOLE.slice(index))).toBe(1);
  });

  test("a cut-off tail, at the first entry that is gone, against the newest known head", () => {
    for (const index of EVERY) expect(foundAt(WHOLE.slice(0, index), [headAt(2), LAST])).toBe(index + 1);
  });

  test("a cut-off tail without a known head is a valid chain, and the answer says that nothing was compared", () => {
    for (const index of EVERY) {
      expect(check(WHOLE.slice(0, index))).toMatchObject({ ok: true, entries: index, comparedWith: 0 });
    }
  });

  test("a cut-off head that was numbered and chained anew, against any known head", () => {
    for (const index of EVERY.slice(1, -1)) {
      const renumbered = log(EVERY.slice(index).map((one) => draftOf(one + 1)));
      expect(check(renumbered).ok).toBe(true);
      expect(foundAt(renumbered, [headAt(0)])).toBe(1);
    }
  });

  test("a tail recomputed from any entry on is valid by itself, and found at the first known head after the change", () => {
    for (const index of EVERY) {
      const forged = log(
        EVERY.map((one) =>
          one === index ? { ...draftOf(one + 1), operation: "keys.revoke" } : draftOf(one + 1),
        ),
      );
      expect(check(forged).ok).toBe(true);
      expect(foundAt(forged, [LAST])).toBe(LENGTH);
      expect(foundAt(forged, [headAt(index), LAST])).toBe(index + 1);
      if (index > 0) expect(foundAt(forged, [headAt(index - 1)])).toBeNull();
    }
  });
});

describe("an entry that contradicts itself is found although it is chained", () => {
  test("when its text names another place", () => {
    for (const index of EVERY) {
      const lines = WHOLE.slice(0, index);
      const before = index === 0 ? GENESIS.chainHash : line(index - 1).chainHash;
      const text = line(index).text?.replace(`"seq":${index + 1},`, `"seq":${index + 2},`) ?? "";
      const entryHash = sha256(text);
      lines.push({ seq: index + 1, text, entryHash, chainHash: chainHash(before, index + 1, entryHash) });
      expect(foundAt(lines)).toBe(index + 1);
    }
  });

  test("when it is dated before its predecessor; the same instant is none", () => {
    const dated = (at: number) => foundAt(log([draftOf(1), { ...draftOf(2), at }]));
    expect(dated(START + SECOND)).toBeNull();
    expect(dated(START + SECOND - 1)).toBe(2);
  });

  test("only the acceptance of a clock may lead back, and what follows is measured by it", () => {
    const accept: EntryDraft = { ...draftOf(2), operation: "clock.accept", at: START };
    expect(foundAt(log([draftOf(1), accept, { ...draftOf(3), at: START }]))).toBeNull();
    expect(foundAt(log([draftOf(1), accept, { ...draftOf(3), at: START - 1 }]))).toBe(3);
  });

  test("no text of a person can pass for the acceptance of a clock, or for a place", () => {
    const sly = (reason: string): EntryDraft => ({ ...draftOf(2), at: START, details: { reason } });
    expect(foundAt(log([draftOf(1), sly('"operation":"clock.accept"')]))).toBe(2);
    const lying: EntryDraft = { ...draftOf(2), details: { reason: '"outcome":"performed","seq":9' } };
    expect(foundAt(log([draftOf(1), lying]))).toBeNull();
  });
});

test("after the first finding nothing further is looked at", () => {
  const following = createChainCheck([]);
  expect(following.add(line(0))).toBe(true);
  expect(following.add(line(2))).toBe(false);
  expect(following.add(line(3))).toBe(false);
  expect(following.end()).toMatchObject({ ok: false, seq: 2 });
});
