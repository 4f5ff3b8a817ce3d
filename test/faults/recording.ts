import { readFileSync } from "node:fs";

/** What a process asked of one folder of a disk; `file` numbers the files, of which several may have one name in turn. */
export type Asked =
  | { readonly kind: "write"; readonly file: number; readonly at: number; readonly data: Buffer }
  | { readonly kind: "truncate"; readonly file: number; readonly length: number }
  | { readonly kind: "sync" | "sync_failed"; readonly file: number }
  | { readonly kind: "create"; readonly file: number; readonly name: string }
  | { readonly kind: "unlink"; readonly name: string }
  | { readonly kind: "sync_folder" };

/** One call, and where its record ends: whatever a client noted at that length of the record came after it. */
export interface Recorded {
  readonly asked: Asked;
  readonly name: string;
  readonly end: number;
}

// `struct head` of shim.c, and its kinds in their order.
const HEAD_BYTES = 32;
const KINDS = [
  "none",
  "write",
  "truncate",
  "sync",
  "sync_failed",
  "create",
  "unlink",
  "sync_folder",
] as const;

/**
 * Reads what the shim has recorded. The shared memory beside a database is left out: it is written through a mapping,
 * and the first to open the database after a start makes it anew.
 */
export function readRecording(path: string): readonly Recorded[] {
  const bytes = readFileSync(path);
  const recorded: Recorded[] = [];
  const files = new Map<bigint, number>();
  let made = 0;
  for (let place = 0; place < bytes.length; ) {
    const kind = KINDS[bytes.readUInt32LE(place)];
    const nameLength = bytes.readUInt32LE(place + 4);
    const inode = bytes.readBigUInt64LE(place + 8);
    const at = Number(bytes.readBigInt64LE(place + 16));
    const length = Number(bytes.readBigUInt64LE(place + 24));
    const dataAt = place + HEAD_BYTES + nameLength;
    const name = bytes.toString("utf8", place + HEAD_BYTES, dataAt);
    const end = dataAt + length;
    // The number of a file that is gone is given to a new one.
    if (kind === "create" || (kind !== "unlink" && kind !== "sync_folder" && !files.has(inode))) {
      made += 1;
      files.set(inode, made);
    }
    const file = files.get(inode) ?? 0;
    place = end;
    if (name.endsWith("-shm")) continue;
    if (kind === "write") {
      recorded.push({ asked: { kind, file, at, data: bytes.subarray(dataAt, end) }, name, end });
    } else if (kind === "truncate") recorded.push({ asked: { kind, file, length: at }, name, end });
    else if (kind === "create") recorded.push({ asked: { kind, file, name }, name, end });
    else if (kind === "unlink") recorded.push({ asked: { kind, name }, name, end });
    else if (kind === "sync_folder") recorded.push({ asked: { kind }, name, end });
    else if (kind === "sync" || kind === "sync_failed") recorded.push({ asked: { kind, file }, name, end });
    else throw new Error(`${path}: there is no record at ${place}`);
  }
  return recorded;
}
