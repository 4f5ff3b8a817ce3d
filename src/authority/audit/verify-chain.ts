import { chainHash, GENESIS, sha256 } from "./entry.ts";

/** A line of a stored or exported log. An entry of another account is exported as its bare hash. */
export interface LogLine {
  readonly seq: number;
  readonly text: string | null;
  readonly entryHash: string;
  readonly chainHash: string;
}

/** A place in the chain that is known from elsewhere: `--head seq:hash`, or a line of the witness file. */
export interface KnownHead {
  readonly seq: number;
  readonly chainHash: string;
}

export type ChainFinding =
  | { readonly ok: true; readonly entries: number; readonly head: KnownHead; readonly comparedWith: number }
  | { readonly ok: false; readonly seq: number; readonly problem: string };

/**
 * Follows a log from its first entry and says where it was changed, cut, reordered or cut off. A cut-off tail is a
 * valid chain, so it is found only against `known` heads; without any the answer's `comparedWith` is 0.
 */
export function createChainCheck(known: readonly KnownHead[]) {
  const knownBySeq = new Map<number, string[]>();
  for (const head of known) knownBySeq.set(head.seq, [...(knownBySeq.get(head.seq) ?? []), head.chainHash]);
  let previous: KnownHead = { seq: GENESIS.seq, chainHash: GENESIS.chainHash };
  let latestAt = "";
  let compared = 0;
  let finding: ChainFinding | null = null;

  const fail = (seq: number, problem: string) => {
    finding ??= { ok: false, seq, problem };
  };

  return {
    /** Returns false once something was found; further lines are not looked at. */
    add(line: LogLine): boolean {
      if (finding !== null) return false;
      const expected = previous.seq + 1;
      if (line.seq > expected)
        fail(expected, `entry ${expected} is missing; the log goes on with ${line.seq}`);
      else if (line.seq < expected) fail(line.seq, `entry ${line.seq} stands where ${expected} is expected`);
      else if (line.text !== null && sha256(line.text) !== line.entryHash) {
        fail(line.seq, `the text of entry ${line.seq} was changed`);
      } else if (chainHash(previous.chainHash, line.seq, line.entryHash) !== line.chainHash) {
        fail(line.seq, `entry ${line.seq} does not follow from entry ${previous.seq}`);
      } else if (line.text !== null) checkContent(line.seq, line.text);
      for (const hash of knownBySeq.get(line.seq) ?? []) {
        compared += 1;
        if (hash !== line.chainHash) fail(line.seq, `entry ${line.seq} is not the one that was witnessed`);
      }
      previous = line;
      return finding === null;
    },

    end(): ChainFinding {
      if (finding !== null) return finding;
      for (const head of known) {
        if (head.seq > previous.seq) {
          return {
            ok: false,
            seq: previous.seq + 1,
            problem: `the log ends with entry ${previous.seq}, but entry ${head.seq} was witnessed: its tail was cut off`,
          };
        }
      }
      return { ok: true, entries: previous.seq, head: previous, comparedWith: compared };
    },
  };

  function checkContent(seq: number, text: string): void {
    const place = PLACE.exec(text)?.[1];
    if (Number(place) !== seq)
      fail(seq, `entry ${seq} says of itself that it is entry ${place ?? "unknown"}`);
    const at = AT.exec(text)?.[1] ?? "";
    // Only a person can end a false future; everything else moves forward.
    if (at < latestAt && !text.includes('"operation":"clock.accept"')) {
      fail(seq, `entry ${seq} is dated before its predecessor`);
    }
    latestAt = at;
  }
}

// RFC 8785 sorts members, so these two are found without parsing: "at" follows the actor, "seq" the outcome.
const PLACE = /"outcome":"(?:performed|refused)","seq":(\d+)/;
const AT = /"at":"([^"]+)","details"/;
