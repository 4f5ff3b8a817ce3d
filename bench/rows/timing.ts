import { atMost, type Row } from "../row.ts";
import type { Timing } from "../timing.ts";

const guesses: Row = {
  name: "time of a refusal: near guesses against far ones (R18), |t| by Welch",
  budget: atMost(4.5, ""),
  measure: async (lab) => {
    const filled = await lab.store(1_000);
    const samples = lab.pick({ full: 1_000_000, quick: 100_000, tiny: 4_000 });
    const measured = await lab.ask<Timing>("timing.ts", filled, [String(samples)]);
    return {
      value: Math.abs(measured.t),
      figure: `near ${measured.nearNanoseconds.toFixed(0)} ns`,
      floor: `far ${measured.farNanoseconds.toFixed(0)} ns`,
      notes: [`${measured.samples.toLocaleString("en")} samples`],
    };
  },
};

export const TIMING_ROWS: readonly Row[] = [guesses];
