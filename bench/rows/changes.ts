import type { Changes, Compared, Span } from "../changes.ts";
import type { EngineName, Filled } from "../fill.ts";
import type { Lab } from "../lab.ts";
import { copyDatabase } from "../replay.ts";
import { atLeast, type Figure, median, micros, NO_POSTGRES, type Row, rate, spread } from "../row.ts";
import { ENGINES } from "./stores.ts";

const KEYS = { full: 10_000, quick: 10_000, tiny: 200 };

const measured = new WeakMap<Lab, Map<string, Promise<Changes | null>>>();

/** Measured once for issuing and for rotating. */
function changesOf(lab: Lab, engine: EngineName, atOnce: number): Promise<Changes | null> {
  const name = `${engine} ${atOnce}`;
  const ofLab = measured.get(lab) ?? new Map<string, Promise<Changes | null>>();
  measured.set(lab, ofLab);
  const had = ofLab.get(name) ?? measureChanges(lab, engine, atOnce);
  ofLab.set(name, had);
  return had;
}

async function measureChanges(lab: Lab, engine: EngineName, atOnce: number): Promise<Changes | null> {
  const filled = await lab.ownStore(lab.pick(KEYS), engine);
  if (filled === null) return null;
  const operations = String(lab.pick({ full: 1_500, quick: 500, tiny: 25 }));
  return lab.ask<Changes>("changes.ts", filled, ["turns", operations, String(atOnce), lab.emptyFolder()]);
}

function told({ gate, floor, ratios }: Compared): Figure {
  return {
    value: median(ratios),
    figure: rate(gate),
    floor: rate(floor),
    notes: [`the ratio was ${spread(ratios)}`],
  };
}

function changeRow(engine: EngineName, which: keyof Changes, atOnce: number, how: string): Row {
  return {
    name: `${which} a key through the gate on ${engine}, ${how}, durable: against one prepared transaction writing the same rows`,
    budget: engine === "SQLite" && atOnce === 1 ? atLeast(0.5, "x") : null,
    measure: async (lab) => {
      const changes = await changesOf(lab, engine, atOnce);
      return changes === null ? NO_POSTGRES : told(changes[which]);
    },
  };
}

const PROCESSES = 4;
const AT_ONCE = 8;
/** By then each process has opened the store, made its account and issued its first keys. */
const READY_MS = 6_000;

const several: Row = {
  name: `issue a key through the gate on PostgreSQL, ${PROCESSES} processes with an account each, durable: against transactions writing the same rows`,
  budget: null,
  measure: async (lab) => {
    const filled = await lab.ownStore(lab.pick(KEYS), "PostgreSQL");
    if (filled === null) return NO_POSTGRES;
    const twin = await copyDatabase(urlOf(filled));
    // It does nothing but follow the log; what that costs it is what each change costs each process.
    const bystander = await lab.keyturn(filled);
    const milliseconds = lab.pick({ full: 4_000, quick: 2_000, tiny: 400 });
    const startAt = Date.now() + READY_MS;
    const running = Promise.all(
      Array.from({ length: PROCESSES }, () =>
        lab.ask<Span>("changes.ts", filled, [
          "span",
          String(startAt),
          String(milliseconds),
          String(AT_ONCE),
          twin,
        ]),
      ),
    );
    await Bun.sleep(startAt - Date.now());
    const before = bystander.cpu();
    await Bun.sleep(milliseconds);
    const after = bystander.cpu();
    const all = await running;
    await bystander.stop();
    const sum = (of: keyof Span) => all.reduce((total, one) => total + one[of], 0);
    const [gate, floor] = [sum("gate"), sum("floor")];
    const each =
      before === null || after === null ? null : (after - before) / ((gate * milliseconds) / 1_000);
    return {
      value: gate / floor,
      figure: rate(gate),
      floor: rate(floor),
      notes: [
        `${AT_ONCE} under way in each process; the floor takes no lock on the head of the log`,
        `another process that only follows them took ${micros(each)} of CPU for each change, at rest included`,
      ],
    };
  },
};

function urlOf({ place }: Filled): string {
  if (!("KEYTURN_DATABASE_URL" in place)) throw new Error("a store of PostgreSQL has a URL");
  return place.KEYTURN_DATABASE_URL;
}

export const CHANGE_ROWS: readonly Row[] = [
  ...ENGINES.flatMap((engine) => [
    changeRow(engine, "issue", 1, "one by one"),
    changeRow(engine, "rotate", 1, "one by one"),
    changeRow(engine, "issue", 32, "32 under way"),
    changeRow(engine, "rotate", 32, "32 under way"),
  ]),
  several,
];
