import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Environment } from "../../src/config.ts";
import { compiled } from "./compiled.ts";
import { newFolder } from "./traces.ts";

/** The wall clock of one process, which alone sees it moved; its monotonic clock goes on as it was. */
export interface ShiftedClock {
  /** For the process's environment. */
  readonly env: Environment;
  /** How far ahead it is from now on, in milliseconds; behind where it is negative. */
  set(milliseconds: number): void;
}

export function newShiftedClock(): ShiftedClock {
  const file = join(newFolder("clock"), "ahead");
  writeFileSync(file, new Uint8Array(8));
  return {
    env: { LD_PRELOAD: compiled(join(import.meta.dir, "shifted-clock.c")), KEYTURN_TEST_CLOCK_FILE: file },
    set: (milliseconds) => {
      const bytes = new Uint8Array(new BigInt64Array([BigInt(milliseconds)]).buffer);
      // In place: the process has mapped this very file.
      writeFileSync(file, bytes, { flag: "r+" });
    },
  };
}
