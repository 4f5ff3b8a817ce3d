/**
 * What is measured inside one process, without HTTP. Prints JSON.
 *
 *     KEYTURN_DATA=… bun bench/in-process.ts hot <milliseconds>
 *     KEYTURN_DATA=… bun bench/in-process.ts memory <keys>
 */
import { readFileSync } from "node:fs";
import { digestOf } from "../src/authority/secret.ts";
import { secretOf } from "./fill.ts";
import { openStore } from "./open.ts";
import { median } from "./row.ts";

export interface Hot {
  /** Nanoseconds for each, medians of the rounds. */
  readonly digest: number;
  readonly verify: number;
  readonly ratios: readonly number[];
}

const HOT_KEYS = 1_000;
const LOOPS = 20_000;

/** A thousand keys in turn, all of them remembered, by turns with one SHA-256 of each. */
async function hot(milliseconds: number): Promise<Hot> {
  const { authority, close } = await openStore();
  await authority.recorder.start();
  const { verifier } = authority;
  const secrets = Array.from({ length: HOT_KEYS }, (_, number) => secretOf(number));
  const caller = { name: "bench" };
  const time = (work: (secret: string) => void): number => {
    const startedAt = Bun.nanoseconds();
    for (let loop = 0; loop < LOOPS; loop += 1) work(secrets[loop % HOT_KEYS] ?? "");
    return (Bun.nanoseconds() - startedAt) / LOOPS;
  };
  let refused = 0;
  let characters = 0;
  const verifyOne = (secret: string): void => {
    const verdict = verifier.verify(secret, {}, caller, null);
    if (verdict instanceof Promise || verdict.code !== "valid") refused += 1;
  };
  const digestOne = (secret: string): void => {
    characters += digestOf(secret).length;
  };
  for (let round = 0; round < 20; round += 1) {
    time(verifyOne);
    time(digestOne);
  }
  const digests: number[] = [];
  const verifies: number[] = [];
  for (const end = performance.now() + milliseconds; performance.now() < end; ) {
    digests.push(time(digestOne));
    verifies.push(time(verifyOne));
    // As in service, where what was counted is stored each second.
    if (digests.length % 100 === 0) await authority.recorder.flush();
  }
  if (refused > 0 || characters === 0) throw new Error(`${refused} good keys were refused`);
  await authority.recorder.stop();
  await close();
  return {
    digest: median(digests),
    verify: median(verifies),
    ratios: verifies.map((verify, round) => verify / (digests[round] ?? Number.NaN)),
  };
}

export interface Memory {
  readonly keys: number;
  /** What the process alone holds: without the mapped pages of the database, which are the system's cache. */
  readonly ownMegabytes: number;
  readonly rssMegabytes: number;
  readonly heapMegabytes: number;
  /** Microseconds to verify a key for the first time: look-up, judgement, and the place in the memory. */
  readonly firstVerify: number;
}

/** Linux tells apart what a process holds itself from mapped files (proc(5), RssAnon); elsewhere null. */
function anonymousBytes(): number | null {
  try {
    const kilobytes = readFileSync("/proc/self/status", "latin1").match(/^RssAnon:\s+(\d+) kB$/m)?.[1];
    return kilobytes === undefined ? null : Number(kilobytes) * 1024;
  } catch {
    return null;
  }
}

const FLUSH_EACH = 5_000;

async function memory(keys: number): Promise<Memory> {
  const { authority, close } = await openStore(keys + 10);
  await authority.recorder.start();
  const measure = async () => {
    Bun.gc(true);
    // What was let go of goes back to the system in the background.
    await Bun.sleep(3_000);
    Bun.gc(true);
    await Bun.sleep(500);
    const { rss, heapUsed } = process.memoryUsage();
    return { own: anonymousBytes() ?? rss, rss, heapUsed };
  };
  const caller = { name: "bench" };
  const first = 10_000;
  const verifyAll = async (from: number, to: number): Promise<number> => {
    let spent = 0;
    for (let start = from; start < to; start += FLUSH_EACH) {
      const secrets = Array.from({ length: Math.min(FLUSH_EACH, to - start) }, (_, offset) =>
        secretOf(start + offset),
      );
      const startedAt = performance.now();
      for (const secret of secrets) {
        const verdict = await authority.verifier.verify(secret, {}, caller, null);
        if (verdict.code !== "valid") throw new Error("a good key was refused");
      }
      spent += performance.now() - startedAt;
      await authority.recorder.flush();
    }
    return spent;
  };
  // Compilers, statements and the database's own pages first: they don't grow with the keys.
  await verifyAll(0, first);
  const before = await measure();
  const spent = await verifyAll(first, keys);
  const after = await measure();
  if (authority.verifier.size() < keys) throw new Error("not all keys are remembered");
  await authority.recorder.stop();
  await close();
  const scale = 1_000_000 / (keys - first) / 1e6;
  return {
    keys,
    ownMegabytes: (after.own - before.own) * scale,
    rssMegabytes: (after.rss - before.rss) * scale,
    heapMegabytes: (after.heapUsed - before.heapUsed) * scale,
    firstVerify: (spent * 1000) / (keys - first),
  };
}

const [what = "", amount = ""] = process.argv.slice(2);
console.log(JSON.stringify(await (what === "hot" ? hot(Number(amount)) : memory(Number(amount)))));
