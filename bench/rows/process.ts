import type { Hot, Memory } from "../in-process.ts";
import { atMost, median, micros, type Row, spread } from "../row.ts";

const LARGE = { full: 1_000_000, quick: 100_000, tiny: 2_000 };

const hotKey: Row = {
  name: "verify in process, a thousand remembered keys: time against one SHA-256 of the key",
  budget: atMost(3, "x"),
  measure: async (lab) => {
    const filled = await lab.store(1_000);
    const span = lab.pick({ full: 4_000, quick: 1_500, tiny: 200 });
    const { digest, verify, ratios } = await lab.ask<Hot>("in-process.ts", filled, ["hot", String(span)]);
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
    const filled = await lab.store(keys);
    const measured = await lab.ask<Memory>("in-process.ts", filled, ["memory", String(keys)]);
    return {
      value: measured.ownMegabytes,
      figure: `${measured.ownMegabytes.toFixed(0)} MB, ${measured.ownMegabytes.toFixed(0)} bytes a key`,
      floor: "-",
      notes: [
        `measured with ${keys.toLocaleString("en")} keys; with the mapped pages of the database ${measured.rssMegabytes.toFixed(0)} MB`,
        `the first verification of a key took ${micros(measured.firstVerify)}`,
      ],
    };
  },
};

export const PROCESS_ROWS: readonly Row[] = [hotKey, memory];
