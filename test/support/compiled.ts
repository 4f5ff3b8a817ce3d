import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { findProgram } from "./gateways.ts";
import { newFolder } from "./traces.ts";

const COMPILER = process.platform === "linux" ? findProgram("cc") : null;

/** For `test.skipIf`: whether nothing can be compiled here to stand between a process and its system. */
export const NO_COMPILER = COMPILER === null;

/** Compiles `<name>.c` of this folder, for `LD_PRELOAD`. Resolves to the path of the library. */
export function compiled(name: string): string {
  const library = join(newFolder("compiled"), `${name}.so`);
  const source = join(import.meta.dir, `${name}.c`);
  const flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", library];
  const made = spawnSync(COMPILER ?? "cc", [...flags, source, "-ldl"], { encoding: "utf8" });
  if (made.status !== 0) throw new Error(`${name}.c does not compile:\n${made.stderr}`);
  return library;
}
