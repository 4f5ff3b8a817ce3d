/**
 * Whether the time of a refusal tells how near a guess was (R18). Two classes of texts that no key has, all with a good
 * checksum: near ones share 28 of 32 body characters with a stored secret, far ones share none. In random order, as many
 * of each; Welch's t over the times. Prints JSON.
 *
 *     KEYTURN_DATA=… bun bench/timing.ts <samples>
 *
 * The method is dudect's (https://eprint.iacr.org/2016/1123): the slowest samples, which are the system's doing, are
 * cut off at the same time for both classes. |t| below 4.5 is taken for "no difference seen".
 */

import { mintSecret, type SecretFormat } from "../src/authority/secret.ts";
import { secretOf } from "./fill.ts";
import { openStore } from "./open.ts";

const FORMAT: SecretFormat = { brand: "kt", retiredBrands: [], region: null };
const SHARED = 28;
const BODY_FROM = "kts_".length;
const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const KEPT = 0.95;

export interface Timing {
  readonly samples: number;
  readonly t: number;
  readonly nearNanoseconds: number;
  readonly farNanoseconds: number;
}

/** A text with a good checksum whose body begins with `begin` and goes on at random. */
function textWith(begin: string): string {
  const wanted = [...begin].map((character) => ALPHABET.indexOf(character));
  let given = 0;
  // The minting code itself makes the checksum: bytes below 62 become the character of that number.
  return mintSecret(FORMAT, "service", (size) => {
    const bytes = crypto.getRandomValues(new Uint8Array(size)).map((byte) => byte % 62);
    for (let index = 0; index < size && given < wanted.length; index += 1, given += 1)
      bytes[index] = wanted[given] ?? 0;
    return bytes;
  });
}

function welch(a: readonly number[], b: readonly number[]): number {
  const [one, other] = [momentsOf(a), momentsOf(b)];
  return (one.mean - other.mean) / Math.sqrt(one.variance / a.length + other.variance / b.length);
}

function momentsOf(values: readonly number[]): { readonly mean: number; readonly variance: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
  return { mean, variance };
}

async function measure(samples: number): Promise<Timing> {
  const { authority, close } = await openStore();
  const near: number[] = [];
  const far: number[] = [];
  const BLOCK = 2_000;
  while (near.length + far.length < samples) {
    const texts = Array.from({ length: BLOCK }, () => {
      const isNear = Math.random() < 0.5;
      const begin = isNear
        ? secretOf(Math.floor(Math.random() * 1_000)).slice(BODY_FROM, BODY_FROM + SHARED)
        : "";
      return { isNear, text: textWith(begin) };
    });
    // Copied one after another, so that how a text was made does not show in where it lies.
    const copies = texts.map(({ text }) => Buffer.from(text, "latin1"));
    const order = texts.map(({ isNear }) => isNear);
    for (const [index, copy] of copies.entries()) {
      const text = copy.toString("latin1");
      const isNear = order[index] ?? false;
      const startedAt = Bun.nanoseconds();
      const verdict = authority.verifier.verify(text, {}, {}, null);
      const took = Bun.nanoseconds() - startedAt;
      if (verdict instanceof Promise || verdict.code !== "unknown") throw new Error("a text was not unknown");
      (isNear ? near : far).push(took);
    }
  }
  await close();
  const limit = [...near, ...far].sort((a, b) => a - b)[Math.floor(KEPT * (near.length + far.length))] ?? 0;
  const [nearKept, farKept] = [near, far].map((times) => times.filter((time) => time <= limit)) as [
    number[],
    number[],
  ];
  return {
    samples: near.length + far.length,
    t: welch(nearKept, farKept),
    nearNanoseconds: momentsOf(nearKept).mean,
    farNanoseconds: momentsOf(farKept).mean,
  };
}

const [samples = "1000000"] = process.argv.slice(2);
console.log(JSON.stringify(await measure(Number(samples))));
