import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compiled } from "./compiled.ts";

/** A disk that is full for one program, which runs with these variables, whenever a test says so. */
export interface FullDisk {
  readonly env: Readonly<Record<string, string>>;
  fill(isFull: boolean): void;
  clean(): void;
}

export function newFullDisk(): FullDisk {
  // Where another user, as whom a database may have to run, can read it.
  const folder = mkdtempSync(join(tmpdir(), "keyturn-disk-"));
  chmodSync(folder, 0o755);
  const file = join(folder, "full");
  const library = join(folder, "full-disk.so");
  copyFileSync(compiled(join(import.meta.dir, "full-disk.c")), library);
  writeFileSync(file, new Uint8Array(1));
  for (const path of [file, library]) chmodSync(path, 0o755);
  return {
    env: { LD_PRELOAD: library, KEYTURN_TEST_DISK_FILE: file },
    // In place: the program has mapped this very file.
    fill: (isFull) => writeFileSync(file, new Uint8Array([isFull ? 1 : 0]), { flag: "r+" }),
    clean: () => rmSync(folder, { recursive: true, force: true }),
  };
}
