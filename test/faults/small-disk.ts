import { closeSync, cpSync, ftruncateSync, openSync, rmSync, writeSync } from "node:fs";
import { basename, join } from "node:path";
import { IS_FULL_RUN } from "../support/counts.ts";
import { newFolder } from "../support/traces.ts";

/**
 * A file system of its own, in memory, that can be filled up. Only programs that run `through` see it: it is mounted
 * for a process alone, and gone with it, however a test ends.
 */
export interface SmallDisk {
  /** The empty folder where it is mounted. */
  readonly folder: string;
  readonly through: readonly string[];
  /** Takes all room but so many bytes. */
  fill(but?: number): void;
  /** Gives the room back. */
  empty(): void;
  /** Copies its files to an ordinary folder. */
  copyTo(folder: string): void;
  unmount(): Promise<void>;
}

const SIZE_KB = 8 * 1024;
const BALLAST = "ballast";

/** Root needs no namespace of users; everybody else may mount in one, where the system allows it. */
const WAYS = [
  { unshare: ["--mount"], enter: ["--mount"] },
  { unshare: ["--map-root-user", "--mount"], enter: ["--user", "--preserve-credentials", "--mount"] },
];

/** Whether one can be mounted; where not, its tests are skipped, and nothing may be skipped in CI. */
export async function canMount(): Promise<boolean> {
  const disk = await mountAnyWay();
  await disk?.unmount();
  if (disk !== null) return true;
  const why =
    "nothing can be mounted here, neither as root nor in a namespace of one's own (unshare, nsenter)";
  if (IS_FULL_RUN) throw new Error(`${why}, and KEYTURN_TEST_REQUIRE_ALL=1 needs it`);
  console.warn(`${why}: the tests with a full disk are skipped`);
  return false;
}

export async function mountSmallDisk(): Promise<SmallDisk> {
  const disk = await mountAnyWay();
  if (disk === null) throw new Error("it could be mounted a moment ago");
  return disk;
}

async function mountAnyWay(): Promise<SmallDisk | null> {
  if (Bun.which("unshare") === null || Bun.which("nsenter") === null) return null;
  for (const way of WAYS) {
    const disk = await tryMount(way);
    if (disk !== null) return disk;
  }
  return null;
}

async function tryMount(way: (typeof WAYS)[number]): Promise<SmallDisk | null> {
  const folder = newFolder("small-disk");
  // The process that holds it waits for the end of its input, which comes with the end of this process at the latest.
  const script = `mount -t tmpfs -o size=${SIZE_KB}k,mode=700 small-disk "$0" && echo mounted && exec cat`;
  const holder = Bun.spawn(["unshare", ...way.unshare, "sh", "-c", script, folder], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "ignore",
  });
  const { value } = await holder.stdout.getReader().read();
  if (value === undefined || !new TextDecoder().decode(value).startsWith("mounted")) {
    holder.kill();
    await holder.exited;
    return null;
  }
  const seen = join(`/proc/${holder.pid}/root`, folder);
  return {
    folder,
    through: ["nsenter", "--target", String(holder.pid), ...way.enter, "--"],
    fill: (but = 0) => fill(join(seen, BALLAST), but),
    empty: () => rmSync(join(seen, BALLAST), { force: true }),
    copyTo: (target) =>
      cpSync(seen, target, { recursive: true, filter: (from) => basename(from) !== BALLAST }),
    unmount: async () => {
      holder.stdin.end();
      await holder.exited;
    },
  };
}

function fill(path: string, but: number): void {
  const file = openSync(path, "w");
  const page = Buffer.alloc(4096);
  let size = 0;
  try {
    for (;;) size += writeSync(file, page);
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error) || error.code !== "ENOSPC") throw error;
    ftruncateSync(file, Math.max(0, size - but));
  } finally {
    closeSync(file);
  }
}
