/** One seed for the run, printed when it fails; KEYTURN_TEST_SEED repeats one as far as the machine's timing lets it. */
export const SEED = Number(process.env.KEYTURN_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));

/** Mulberry32: small, and the same on every machine. */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
