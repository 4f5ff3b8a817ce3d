import { spawnSync } from "node:child_process";
import { basename, join } from "node:path";
import { findProgram } from "./gateways.ts";
import { newFolder } from "./traces.ts";

const COMPILER = process.platform === "linux" ? findProgram("cc") : null;

/** For `test.skipIf`: whether nothing can be compiled here to stand between a process and its system. */
export const NO_COMPILER = COMPILER === null;

/** Compiles a file of C for `LD_PRELOAD`. Returns the path of the library. */
export function compiled(source: string): string {
  const library = join(newFolder("compiled"), `${basename(source, ".c")}.so`);
  const flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", library];
  const made = spawnSync(COMPILER ?? "cc", [...flags, source, "-ldl", "-lpthread"], { encoding: "utf8" });
  if (made.status !== 0) throw new Error(`${source} does not compile:\n${made.stderr}`);
  return library;
}
