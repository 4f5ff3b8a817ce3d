import type { Changes, Hot, Memory } from "../in-process.ts";
import type { Lab } from "../lab.ts";
import { atLeast, atMost, median, micros, type Row, rate, spread } from "../row.ts";

const LARGE = { full: 1_000_000, quick: 100_000, tiny: 2_000 };

const hotKey: Row = {
  name: "verify in process, a thousand remembered keys: time against one SHA-256 of the key",
  budget: atMost(3, "x"),
  measure: async (lab) => {
    const { folder } = await lab.store(1_000);
    const span = lab.pick({ full: 4_000, quick: 1_500, tiny: 200 });
    const { digest, verify, ratios } = await lab.ask<Hot>("in-process.ts", ["hot", folder, String(span)]);
    return {
      value: median(ratios),
      figure: `${verify.toFixed(0)} ns`,
      floor: `${digest.toFixed(0)} ns`,
      notes: [`the ratio was ${spread(ratios)}`],
    };
  },
};

const memory: Row = {
  name: "memory for a million remembered keys",
  budget: atMost(450, " MB"),
  measure: async (lab) => {
    const keys = lab.pick({ ...LARGE, tiny: 12_000 });
    const { folder } = await lab.store(keys);
    const measured = await lab.ask<Memory>("in-process.ts", ["memory", folder, String(keys)]);
    return {
      value: measured.ownMegabytes,
      figure: `${measured.ownMegabytes.toFixed(0)} MB`,
      floor: "-",
      notes: [
        `measured with ${keys.toLocaleString("en")} keys; with the mapped pages of the database ${measured.rssMegabytes.toFixed(0)} MB`,
        `the first verification of a key took ${micros(measured.firstVerify)}`,
      ],
    };
  },
};

const start: Row = {
  name: "start with a large store until ready",
  budget: atMost(2, " s"),
  measure: async (lab) => {
    const large = await lab.store(lab.pick(LARGE));
    const small = await lab.store(200);
    const time = async (of: typeof large) => {
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
      value: median(times.large),
      figure: `${median(times.large).toFixed(2)} s with ${large.keys.toLocaleString("en")} keys`,
      floor: `${median(times.small).toFixed(2)} s with 200`,
      notes: [`from starting the process to the first 200 of /readyz; ${spread(times.large)}`],
    };
  },
};

const changes = new WeakMap<Lab, Promise<Changes>>();

/** Measured once for both rows. */
function changesOf(lab: Lab): Promise<Changes> {
  const had = changes.get(lab) ?? measureChanges(lab);
  changes.set(lab, had);
  return had;
}

async function measureChanges(lab: Lab): Promise<Changes> {
  const { folder } = await lab.store(10_000);
  return lab.ask<Changes>("in-process.ts", [
    "changes",
    folder,
    lab.emptyFolder(),
    String(lab.pick({ full: 1_500, quick: 500, tiny: 25 })),
  ]);
}

const changeRow = (which: "issue" | "rotate"): Row => ({
  name: `${which} a key through the gate, one by one, durable: against one prepared transaction writing the same rows`,
  budget: atLeast(0.5, "x"),
  measure: async (lab) => {
    const { [which]: measured } = await changesOf(lab);
    return {
      value: median(measured.ratios),
      figure: rate(measured.gate),
      floor: rate(measured.floor),
      notes: [`the ratio was ${spread(measured.ratios)}`],
    };
  },
});

export const PROCESS_ROWS: readonly Row[] = [hotKey, memory, start, changeRow("issue"), changeRow("rotate")];
