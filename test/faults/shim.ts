import { realpathSync } from "node:fs";
import { join } from "node:path";
import type { Environment } from "../../src/config.ts";
import { compiled, NO_COMPILER } from "../support/compiled.ts";
import { IS_FULL_RUN } from "../support/counts.ts";

/** What stands between a process and the kernel: shim.c says what it can do. */
export interface Shim {
  /** The n-th sync of files whose path ends in `name` fails as on a broken disk; with `always` all after it too. */
  failing(fault: { readonly name: string; readonly nth: number; readonly always?: boolean }): Environment;
  /** What is done to the files that stand in a folder, which exists, is appended to the file `record`. */
  recording(record: string, folder: string): Environment;
}

/**
 * What a record is called: it holds pages of the table of digests, as a journal does, and by this ending the search for
 * secrets knows it for one.
 */
export const RECORD = "record-journal";

/** Compiles the shim. Null where that can't be done, and its tests are skipped; an error where nothing may be. */
export function compileShim(): Shim | null {
  if (process.platform !== "linux" || process.arch !== "x64") {
    if (IS_FULL_RUN)
      throw new Error("KEYTURN_TEST_REQUIRE_ALL=1 needs Linux on x86-64, for the failing disk");
    console.warn("The shim is for Linux on x86-64: the tests with a failing disk are skipped");
    return null;
  }
  if (NO_COMPILER) return null;
  const library = compiled(join(import.meta.dir, "shim.c"));
  return {
    failing: ({ name, nth, always = false }) => ({
      LD_PRELOAD: library,
      SHIM_FAIL_NAME: name,
      SHIM_FAIL_NTH: String(nth),
      ...(always ? { SHIM_FAIL_ALWAYS: "1" } : {}),
    }),
    recording: (record, folder) => ({
      LD_PRELOAD: library,
      SHIM_RECORD: record,
      SHIM_FOLDER: realpathSync(folder),
    }),
  };
}
