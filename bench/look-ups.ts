/**
 * Verification in process over a store of any size: of keys that are remembered, and of keys drawn uniformly at random of
 * which none is, by turns with a bare prepared query for the row of a random digest. Prints JSON.
 *
 *     KEYTURN_DATA=… bun bench/look-ups.ts <keys in the store> <rounds>
 *     KEYTURN_DATABASE_URL=… bun bench/look-ups.ts <keys in the store> <rounds>
 */
import type { Database } from "bun:sqlite";
import { join } from "node:path";
import { Client } from "pg";
import type { Authority } from "../src/authority/authority.ts";
import { digestOf } from "../src/authority/secret.ts";
import { openFile } from "../src/storage/sqlite.ts";
import { AUTHORITY_FILE } from "../src/storage/sqlite-storage.ts";
import { secretOf } from "./fill.ts";
import { DATABASE_URL, FOLDER, openStore } from "./open.ts";
import { median } from "./row.ts";

export interface LookUps {
  /** Microseconds for each, one after another; medians of the rounds. */
  readonly query: number;
  readonly hot: number;
  readonly random: number;
  readonly hotRatios: readonly number[];
  readonly randomRatios: readonly number[];
  /** Microseconds for each while 32 are under way. */
  readonly together: { readonly query: number; readonly random: number };
}

const BLOCK = 320;
const AT_ONCE = 32;
const HOT_KEYS = 200;
/** Rounds that belong to the compilers, and to the system, which maps a large file bit by bit as it is read. */
const WARM_UP = 10;

const BARE = "select key_id, replaced_at from digests where digest = $1 and algorithm = 'sha256'";

interface Bare {
  ask(digest: string): unknown;
  close(): void | Promise<void>;
}

async function openBare(): Promise<Bare> {
  if (DATABASE_URL === undefined) {
    const file: Database = openFile(join(FOLDER, AUTHORITY_FILE), "full", true);
    const query = file.query<unknown, [string]>(BARE);
    return {
      ask: (digest) => query.get(digest),
      close: () => {
        query.finalize();
        file.close();
      },
    };
  }
  const clients = await Promise.all(
    // As many as the product has for look-ups.
    Array.from({ length: 5 }, async () => {
      const client = new Client({ connectionString: DATABASE_URL, pipeline: true });
      await client.connect();
      return client;
    }),
  );
  let turn = 0;
  return {
    ask: async (digest) => {
      turn += 1;
      const { rows } = (await clients[turn % clients.length]?.query({
        name: "bare",
        text: BARE,
        values: [digest],
      })) ?? { rows: [] };
      return rows[0];
    },
    close: async () => void (await Promise.all(clients.map((client) => client.end()))),
  };
}

const caller = { name: "bench" };

async function mustBeValid(authority: Authority, secret: string): Promise<void> {
  const verdict = authority.verifier.verify(secret, {}, caller, null);
  const { code } = verdict instanceof Promise ? await verdict : verdict;
  if (code !== "valid") throw new Error(`a good key was ${code}`);
}

type Work = (number: number) => Promise<void>;

/** Microseconds for each of a block. */
async function time(atOnce: number, work: Work): Promise<number> {
  const startedAt = performance.now();
  for (let number = 0; number < BLOCK; number += atOnce) {
    if (atOnce === 1) await work(number);
    else await Promise.all(Array.from({ length: atOnce }, (_, offset) => work(number + offset)));
  }
  return ((performance.now() - startedAt) * 1_000) / BLOCK;
}

async function measure(keys: number, rounds: number): Promise<LookUps> {
  const hot = await openStore();
  // A memory of one key: each draw is asked of the store, however few there are to draw from.
  const forgetful = await openStore(1);
  const bare = await openBare();
  const draw = () => Array.from({ length: BLOCK }, () => secretOf(Math.floor(Math.random() * keys)));
  const remembered = Array.from({ length: Math.min(HOT_KEYS, keys) }, (_, number) => secretOf(number));
  const figures = {
    query: [] as number[],
    hot: [] as number[],
    random: [] as number[],
    queries: [] as number[],
    randoms: [] as number[],
  };
  for (let round = 0; round < rounds + WARM_UP; round += 1) {
    // Nothing else follows the log in here, and what is remembered must not be too old to be judged by.
    await hot.authority.follower.renew();
    await forgetful.authority.follower.renew();
    const digests = draw().map(digestOf);
    const ask: Work = async (number) => {
      const row = bare.ask(digests[number] ?? "");
      if ((row instanceof Promise ? await row : row) == null) throw new Error("a digest was not found");
    };
    const hotOne: Work = (number) => mustBeValid(hot.authority, remembered[number % remembered.length] ?? "");
    const randomOne = (): Work => {
      const secrets = draw();
      return (number) => mustBeValid(forgetful.authority, secrets[number] ?? "");
    };
    const one = {
      query: await time(1, ask),
      random: await time(1, randomOne()),
      hot: await time(1, hotOne),
      queries: await time(AT_ONCE, ask),
      randoms: await time(AT_ONCE, randomOne()),
    };
    if (round < WARM_UP) continue;
    figures.query.push(one.query);
    figures.hot.push(one.hot);
    figures.random.push(one.random);
    figures.queries.push(one.queries);
    figures.randoms.push(one.randoms);
  }
  await bare.close();
  await hot.close();
  await forgetful.close();
  const against = (side: readonly number[]) =>
    side.map((value, round) => value / (figures.query[round] ?? Number.NaN));
  return {
    query: median(figures.query),
    hot: median(figures.hot),
    random: median(figures.random),
    hotRatios: against(figures.hot),
    randomRatios: against(figures.random),
    together: { query: median(figures.queries), random: median(figures.randoms) },
  };
}

const [keys = "", rounds = ""] = process.argv.slice(2);
console.log(JSON.stringify(await measure(Number(keys), Number(rounds))));
