import type { EngineName, Filled } from "../fill.ts";
import type { Lab } from "../lab.ts";
import type { LookUps } from "../look-ups.ts";
import { atMost, type Figure, median, micros, NO_POSTGRES, type Row, spread } from "../row.ts";

export const ENGINES: readonly EngineName[] = ["SQLite", "PostgreSQL"];
const SIZES = [1_000, 100_000, 1_000_000, 5_000_000];
const LARGEST = { full: Number.POSITIVE_INFINITY, quick: 100_000, tiny: 1_000 };
const LARGE = { full: 1_000_000, quick: 100_000, tiny: 2_000 };

const many = (count: number) => count.toLocaleString("en");

const measured = new WeakMap<Filled, Promise<LookUps>>();

/** Measured once for both rows. */
function lookUps(lab: Lab, filled: Filled): Promise<LookUps> {
  const rounds = String(lab.pick({ full: 25, quick: 10, tiny: 2 }));
  const had = measured.get(filled) ?? lab.ask<LookUps>("look-ups.ts", filled, [String(filled.keys), rounds]);
  measured.set(filled, had);
  return had;
}

function lookUpRow(
  engine: EngineName,
  keys: number,
  what: string,
  figureOf: (measured: LookUps) => Figure,
): Row {
  return {
    name: `verify in process on ${engine}, ${many(keys)} stored keys, ${what}: time against a bare query`,
    budget: null,
    measure: async (lab) => {
      const skipped = { value: null, figure: "left out at this scale", floor: "-" };
      if (keys > lab.pick(LARGEST)) return skipped;
      const filled = await lab.store(keys, engine);
      return filled === null ? NO_POSTGRES : figureOf(await lookUps(lab, filled));
    },
  };
}

const LOOK_UP_ROWS = ENGINES.flatMap((engine) =>
  SIZES.flatMap((keys) => [
    lookUpRow(engine, keys, "hot", ({ hot, query, hotRatios }) => ({
      value: median(hotRatios),
      figure: micros(hot),
      floor: micros(query),
      notes: [`the ratio was ${spread(hotRatios)}`],
    })),
    lookUpRow(engine, keys, "uniformly random, none remembered", (one) => ({
      value: median(one.randomRatios),
      figure: micros(one.random),
      floor: micros(one.query),
      notes: [
        `the ratio was ${spread(one.randomRatios)}; with 32 under way ${micros(one.together.random)} against ${micros(one.together.query)}`,
      ],
    })),
  ]),
);

function startRow(engine: EngineName, sizes: Readonly<Record<Lab["scale"], number>>, budgeted: boolean): Row {
  return {
    name: `start on ${engine} with ${many(sizes.full)} stored keys until ready`,
    budget: budgeted ? atMost(2, " s") : null,
    measure: async (lab) => {
      const [large, small] = [await lab.store(lab.pick(sizes), engine), await lab.store(200, engine)];
      if (large === null || small === null) return NO_POSTGRES;
      const time = async (of: Filled) => {
        const startedAt = performance.now();
        const server = await lab.keyturn(of);
        const seconds = (performance.now() - startedAt) / 1000;
        await server.stop();
        return seconds;
      };
      const times = { large: [] as number[], small: [] as number[] };
      for (let round = 0; round < lab.pick({ full: 5, quick: 3, tiny: 1 }); round += 1) {
        times.small.push(await time(small));
        times.large.push(await time(large));
      }
      return {
        value: budgeted ? median(times.large) : median(times.large) / median(times.small),
        figure: `${median(times.large).toFixed(2)} s with ${many(large.keys)} keys`,
        floor: `${median(times.small).toFixed(2)} s with 200`,
        notes: [`from starting the process to the first 200 of /readyz; ${spread(times.large)}`],
      };
    },
  };
}

export const STORE_ROWS: readonly Row[] = [
  ...LOOK_UP_ROWS,
  startRow("SQLite", LARGE, true),
  ...ENGINES.flatMap((engine) => [
    ...(engine === "SQLite" ? [] : [startRow(engine, LARGE, false)]),
    startRow(engine, { ...LARGE, full: 5_000_000 }, false),
  ]),
];
