import type { Database } from "bun:sqlite";
import { closeSync, fsyncSync, openSync, readSync, statSync, writeSync } from "node:fs";

const CHUNK_BYTES = 1 << 20;

/**
 * Writes the journal of a file again, as it reads, and syncs it. Call it before anything else is written. After a sync
 * that failed Linux counts the pages as clean: until the power goes everybody reads what the disk never got, a later
 * sync has nothing to do and succeeds, and the changes made upon it are lost with it. Only what is written anew is
 * synced anew. Where the last process ended cleanly there is none, or an empty one. Throws for an error of the disk.
 */
export function rewriteJournal(file: Database, path: string): void {
  const journal = `${path}-wal`;
  const size = statSync(journal, { throwIfNoEntry: false })?.size ?? 0;
  if (size === 0) return;
  // Nobody else writes to it as long as this one may.
  file.run("begin immediate");
  try {
    const opened = openSync(journal, "r+");
    try {
      rewrite(opened);
      fsyncSync(opened);
    } finally {
      closeSync(opened);
    }
  } finally {
    file.run("rollback");
  }
}

function rewrite(opened: number): void {
  const chunk = Buffer.alloc(CHUNK_BYTES);
  for (let at = 0; ; ) {
    const size = readSync(opened, chunk, 0, chunk.length, at);
    if (size === 0) return;
    for (let written = 0; written < size; )
      written += writeSync(opened, chunk, written, size - written, at + written);
    at += size;
  }
}
