/**
 * Keeps `npm ci` working from this lockfile on every machine.
 *
 * A package may name builds of itself for a dozen platforms as optional dependencies. A registry that holds only some
 * of them makes npm leave the others out of package-lock.json, and `npm ci` then refuses the file as out of date. So
 * each must have an entry; `--fix` writes the missing ones (without an integrity hash, which npm adds where it can
 * fetch the package). Nor may the file say where packages come from: that is each machine's own setting.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

interface Entry {
  version?: string;
  resolved?: string;
  link?: boolean;
  optional?: boolean;
  os?: string[];
  cpu?: string[];
  dev?: boolean;
  optionalDependencies?: Record<string, string>;
}
interface Lockfile {
  packages: Record<string, Entry>;
}
interface Missing {
  readonly dependent: string;
  readonly name: string;
  readonly version: string;
}

const OPERATING_SYSTEMS: Record<string, string> = {
  windows: "win32",
  ...sameName(
    "aix",
    "android",
    "darwin",
    "freebsd",
    "linux",
    "netbsd",
    "openbsd",
    "openharmony",
    "sunos",
    "win32",
  ),
};
const PROCESSORS: Record<string, string> = {
  aarch64: "arm64",
  ...sameName("arm", "arm64", "ia32", "loong64", "ppc64", "riscv64", "s390x", "x64"),
};

function sameName(...names: string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, name]));
}

/** Whether a package at `dependent` finds `name`, looking in its own node_modules and then in those above it. */
function isResolvable(lockfile: Lockfile, dependent: string, name: string): boolean {
  for (
    let folder = dependent;
    ;
    folder = folder.slice(0, Math.max(0, folder.lastIndexOf("/node_modules/")))
  ) {
    if (lockfile.packages[folder === "" ? `node_modules/${name}` : `${folder}/node_modules/${name}`])
      return true;
    if (folder === "") return false;
  }
}

/** Every optional dependency that some package names and the lockfile leaves out. */
export function missingEntries(lockfile: Lockfile): Missing[] {
  return Object.entries(lockfile.packages).flatMap(([dependent, entry]) =>
    Object.entries(entry.optionalDependencies ?? {})
      .filter(([name]) => !isResolvable(lockfile, dependent, name))
      .map(([name, version]) => ({ dependent, name, version })),
  );
}

/** The paths of entries that name the place they were fetched from; links within the repository are no such place. */
export function placedEntries(lockfile: Lockfile): string[] {
  return Object.entries(lockfile.packages)
    .filter(([, entry]) => entry.resolved !== undefined && !entry.link)
    .map(([path]) => path);
}

/** The lockfile with the entries it lacked, in npm's order. Throws when a name does not tell its platform. */
export function completed(lockfile: Lockfile): Lockfile {
  const packages = { ...lockfile.packages };
  for (const { dependent, name, version } of missingEntries(lockfile)) {
    if (!/^\d+\.\d+\.\d+/.test(version)) throw new Error(`${name}: no exact version, but ${version}`);
    const words = basename(name).split("-");
    const os = words.map((word) => OPERATING_SYSTEMS[word]).find((word) => word !== undefined);
    const cpu = words.map((word) => PROCESSORS[word]).find((word) => word !== undefined);
    if (os === undefined || cpu === undefined)
      throw new Error(`${name}: the name does not tell its platform`);
    const dev = lockfile.packages[dependent]?.dev;
    packages[`node_modules/${name}`] = { version, cpu: [cpu], ...(dev && { dev }), optional: true, os: [os] };
  }
  const inOrder = Object.entries(packages).sort(([a], [b]) => a.localeCompare(b, "en"));
  return { ...lockfile, packages: Object.fromEntries(inOrder) };
}

if (import.meta.main) {
  const path = join(import.meta.dir, "..", "package-lock.json");
  const lockfile = JSON.parse(readFileSync(path, "utf8")) as Lockfile;
  const placed = placedEntries(lockfile);
  for (const entry of placed) console.error(`package-lock.json: ${entry} says where it was fetched from`);
  const missing = missingEntries(lockfile);
  if (process.argv.includes("--fix") && missing.length > 0) {
    writeFileSync(path, `${JSON.stringify(completed(lockfile), null, 2)}\n`);
    console.error(`package-lock.json: ${missing.length} entries added`);
    missing.length = 0;
  }
  for (const { dependent, name } of missing) {
    console.error(
      `package-lock.json: no entry for ${name}, wanted by ${dependent} (scripts/check-lockfile.ts --fix)`,
    );
  }
  process.exitCode = placed.length + missing.length > 0 ? 1 : 0;
}
