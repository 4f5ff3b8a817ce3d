import type { Authority } from "../authority/authority.ts";

/** How fresh an answer about a key is: it takes every entry up to `seq` into account. */
export interface Stamp {
  readonly seq: string;
  /** Seconds since a moment at which nothing was missing, rounded up to a tenth; null when the clocks can't tell. */
  readonly staleness: string | null;
}

/** Tells how fresh the verdicts of this process are. */
export interface Stamps {
  /** Of what is known at this moment. The same object until one of its texts would change. */
  current(): Stamp;
  /** Notes the beginning of work that ends later. */
  begin(): Beginning;
}

/** When some judging began, and what was known then. */
export interface Beginning {
  /**
   * Of what was judged since. What others have appended meanwhile may or may not be in it, so it is not claimed, but
   * for `atLeast`, which was waited for, once it is there. `mixed`: some of it was judged at once, by what was known at the beginning.
   */
  end(atLeast: number, mixed: boolean): Stamp;
}

export function createStamps({ clock, follower }: Pick<Authority, "clock" | "follower">): Stamps {
  let seq = -1;
  let tenths = -1;
  let last: Stamp = stampOf(0, 0);
  return {
    current: () => {
      const seqNow = follower.appliedSeq();
      const tenthsNow = tenthsOf(follower.stalenessMs());
      // Ten times a second at most; a fresh object for each answer would have to be written into its headers.
      if (seqNow !== seq || tenthsNow !== tenths) {
        seq = seqNow;
        tenths = tenthsNow;
        last = stampOf(seqNow, tenthsNow);
      }
      return last;
    },
    begin: () => {
      const known = follower.appliedSeq();
      const staleness = follower.stalenessMs();
      const since = clock.monotonic();
      return {
        end: (atLeast, mixed) => {
          const took = clock.monotonic() - since;
          const age = Math.max(follower.stalenessMs(), mixed ? staleness + took : took);
          const reached = follower.appliedSeq() >= atLeast ? atLeast : 0;
          return stampOf(Math.max(known, reached), tenthsOf(age));
        },
      };
    },
  };
}

function tenthsOf(milliseconds: number): number {
  return Math.ceil(milliseconds / 100);
}

function stampOf(seq: number, tenths: number): Stamp {
  return { seq: String(seq), staleness: Number.isFinite(tenths) ? (tenths / 10).toFixed(1) : null };
}

/** Writes a stamp into the headers of an answer, over the one before. */
export function setStamp(headers: Headers, { seq, staleness }: Stamp): void {
  headers.set("keyturn-seq", seq);
  if (staleness === null) headers.delete("keyturn-staleness-seconds");
  else headers.set("keyturn-staleness-seconds", staleness);
}

/** The same as plain headers, for problems. */
export function stampHeaders({ seq, staleness }: Stamp): Readonly<Record<string, string>> {
  return { "keyturn-seq": seq, ...(staleness === null ? {} : { "keyturn-staleness-seconds": staleness }) };
}
