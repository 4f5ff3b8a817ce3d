import { type Bytes, contentOf, copyOf, cut, newBytes, put } from "./bytes.ts";
import type { Asked } from "./recording.ts";

/** What may be left, of all that was written and not synced, when the power goes. */
export const LEFTOVERS = ["nothing", "everything", "some writes", "some sectors", "a torn end"] as const;
export type Leftover = (typeof LEFTOVERS)[number];

/** The files of a folder, by name. */
export type Image = ReadonlyMap<string, Buffer>;

/**
 * A folder of a disk with a cache before it, by the letter of POSIX: only a sync makes durable what was written, only a
 * sync of the folder makes names durable, and until then anything may have got to the disk. Names get there in their
 * order, as they do through a journal. A sync that fails is Linux's: the pages count as clean afterwards, so the cache
 * goes on showing what no later sync will write.
 */
export interface Disk {
  apply(asked: Asked): void;
  /** What programs see. */
  seen(): Image;
  /** What a power cut at this moment may leave. */
  afterPowerCut(leftover: Leftover, random: () => number): Image;
}

const SECTOR = 512;
const PAGE = 4096;

interface Write {
  readonly at: number;
  readonly data: Buffer;
}

/** A change of the length, or a write. */
type Pending = Write | { readonly length: number };

interface File {
  readonly cache: Bytes;
  readonly disk: Bytes;
  /** Since the last sync, in order. */
  pending: Pending[];
  /** Pages of which the cache shows what a failed sync has not written. */
  readonly unwritten: Set<number>;
}

export function createDisk(): Disk {
  const files = new Map<number, File>();
  const names = new Map<string, File>();
  const durableNames = new Map<string, File>();
  let pendingNames: { readonly name: string; readonly file: File | null }[] = [];

  const fileOf = (number: number): File => {
    const file = files.get(number) ?? newFile();
    files.set(number, file);
    return file;
  };
  const nameIt = (name: string, file: File | null) => {
    setName(names, name, file);
    pendingNames.push({ name, file });
  };

  return {
    apply: (asked) => {
      if (asked.kind === "write") write(fileOf(asked.file), asked);
      else if (asked.kind === "truncate") truncate(fileOf(asked.file), asked.length);
      else if (asked.kind === "sync") sync(fileOf(asked.file));
      else if (asked.kind === "sync_failed") failToSync(fileOf(asked.file));
      else if (asked.kind === "create") nameIt(asked.name, fileOf(asked.file));
      else if (asked.kind === "unlink") nameIt(asked.name, null);
      else {
        for (const { name, file } of pendingNames) setName(durableNames, name, file);
        pendingNames = [];
      }
    },
    seen: () => new Map([...names].map(([name, file]) => [name, contentOf(file.cache)])),
    afterPowerCut: (leftover, random) => {
      const left = new Map(durableNames);
      const share = leftover === "nothing" ? 0 : leftover === "everything" ? 1 : random();
      for (const { name, file } of pendingNames.slice(0, Math.round(share * pendingNames.length)))
        setName(left, name, file);
      return new Map([...left].map(([name, file]) => [name, remainsOf(file, leftover, random)]));
    },
  };
}

function newFile(): File {
  return { cache: newBytes(), disk: newBytes(), pending: [], unwritten: new Set() };
}

function setName(names: Map<string, File>, name: string, file: File | null): void {
  if (file === null) names.delete(name);
  else names.set(name, file);
}

function write(file: File, { at, data }: Write): void {
  put(file.cache, at, data);
  let from = at;
  let until = at + data.length;
  // Whole pages go to the disk: what an earlier sync had failed to write goes along with what is written beside it.
  for (let page = Math.floor(from / PAGE); page * PAGE < at + data.length; page += 1) {
    if (!file.unwritten.delete(page)) continue;
    from = Math.min(from, page * PAGE);
    until = Math.max(until, Math.min((page + 1) * PAGE, file.cache.length));
  }
  const isWhole = from === at && until === at + data.length;
  file.pending.push({
    at: from,
    data: isWhole ? data : Buffer.from(contentOf(file.cache).subarray(from, until)),
  });
}

function truncate(file: File, length: number): void {
  cut(file.cache, length);
  file.pending.push({ length });
}

function sync(file: File): void {
  for (const one of file.pending) applyTo(file.disk, one);
  // The length is no page: it is right where pages are missing, which read as zeros.
  cut(file.disk, file.cache.length);
  file.pending = [];
}

function failToSync(file: File): void {
  for (const one of file.pending) {
    if ("length" in one) continue;
    for (let page = Math.floor(one.at / PAGE); page * PAGE < one.at + one.data.length; page += 1)
      file.unwritten.add(page);
  }
  file.pending = [];
}

function applyTo(bytes: Bytes, one: Pending): void {
  if ("length" in one) cut(bytes, one.length);
  else put(bytes, one.at, one.data);
}

function remainsOf({ disk, pending }: File, leftover: Leftover, random: () => number): Buffer {
  const left = copyOf(disk);
  const share = random();
  const torn = Math.floor(random() * (pending.length + 1));
  pending.forEach((one, place) => {
    if (leftover === "everything") applyTo(left, one);
    else if (leftover === "some writes" && random() < share) applyTo(left, one);
    else if (leftover === "some sectors") {
      for (const part of sectorsOf(one)) if (random() < share) applyTo(left, part);
    } else if (leftover === "a torn end" && place <= torn) {
      const isLast = place === torn && !("length" in one);
      applyTo(left, isLast ? { ...one, data: one.data.subarray(0, random() * one.data.length) } : one);
    }
  });
  return Buffer.from(contentOf(left));
}

/** The parts of a write that lie in different sectors, each of which gets to the disk or doesn't. */
function sectorsOf(one: Pending): readonly Pending[] {
  if ("length" in one) return [one];
  const parts: Write[] = [];
  for (let at = one.at; at < one.at + one.data.length; ) {
    const end = Math.min((Math.floor(at / SECTOR) + 1) * SECTOR, one.at + one.data.length);
    parts.push({ at, data: one.data.subarray(at - one.at, end - one.at) });
    at = end;
  }
  return parts;
}
