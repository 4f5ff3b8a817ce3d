import { Database } from "bun:sqlite";
import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { CANARIES } from "./traces.ts";

/** What must not be found, or, of digests, not outside the one table that holds them: another one for set-up tokens. */
type Kind = "secret" | "digest" | "token digest";
const ALL_KINDS: readonly Kind[] = ["secret", "digest", "token digest"];

interface Needle {
  readonly kind: Kind;
  readonly bytes: string;
}

export interface Finding {
  readonly file: string;
  readonly kind: Kind;
  /** A little of what stands around it, the secret itself left out. */
  readonly before: string;
}

export interface Scan {
  /** Searches a folder and all below it, but for the canaries themselves and files that were asked to hold a key. */
  folder(path: string): void;
  text(name: string, text: string): void;
  readonly findings: readonly Finding[];
  readonly files: () => number;
  readonly bytes: () => number;
}

const WINDOW = 12;
const BITS = 1 << 24;
const BASE = 0x01000193;
/** A recording or a journal may be larger than what a process may have at once. */
const CHUNK_BYTES = 2 ** 26;

/**
 * A search for all secrets at once, in every form in which one could leak: as it is or in part from its body on, in a
 * Basic header, and as a digest in hexadecimal, base64 or raw bytes. One pass over the bytes, whatever their number.
 */
export function createScan(secrets: Iterable<string>, chunkBytes = CHUNK_BYTES): Scan {
  const needles = new Map<string, Needle[]>();
  const maybe = new Uint8Array(BITS / 8);
  let longest = WINDOW;
  for (const secret of new Set(secrets)) {
    for (const needle of needlesOf(secret)) {
      longest = Math.max(longest, needle.bytes.length);
      const head = needle.bytes.slice(0, WINDOW);
      needles.set(head, [...(needles.get(head) ?? []), needle]);
      const bit = hashOf(Buffer.from(head, "latin1")) & (BITS - 1);
      maybe[bit >> 3] = (maybe[bit >> 3] ?? 0) | (1 << (bit & 7));
    }
  }
  const drop = powerOf(BASE, WINDOW);
  const findings: Finding[] = [];
  let files = 0;
  let total = 0;

  /** Finds what starts in the first so many bytes. */
  function search(file: string, bytes: Buffer, kinds: readonly Kind[], starts = bytes.length): void {
    total += Math.min(bytes.length, starts);
    const end = Math.min(bytes.length, starts + WINDOW - 1);
    let hash = 0;
    for (let at = 0; at < end; at += 1) {
      hash = (Math.imul(hash, BASE) + (bytes[at] ?? 0)) | 0;
      if (at >= WINDOW) hash = (hash - Math.imul(bytes[at - WINDOW] ?? 0, drop)) | 0;
      const bit = hash & (BITS - 1);
      if (at < WINDOW - 1 || ((maybe[bit >> 3] ?? 0) & (1 << (bit & 7))) === 0) continue;
      const start = at - WINDOW + 1;
      for (const needle of needles.get(bytes.toString("latin1", start, start + WINDOW)) ?? []) {
        if (!kinds.includes(needle.kind)) continue;
        if (bytes.toString("latin1", start, start + needle.bytes.length) !== needle.bytes) continue;
        findings.push({
          file,
          kind: needle.kind,
          before: bytes.toString("latin1", Math.max(0, start - 60), start),
        });
      }
    }
  }

  function searchFile(path: string): void {
    files += 1;
    // The log of the authority's database holds pages of the table of digests as well.
    const isLog = /-(wal|journal)$/.test(path);
    const isEvidence = basename(path).startsWith("evidence");
    const isAuthority = isLog ? !isEvidence : isSqlite(path) && hasDigests(path);
    const kinds = isAuthority
      ? (["secret"] as const)
      : isEvidence
        ? (["secret", "digest"] as const)
        : ALL_KINDS;
    // Chunks overlap, so that each holds whole what starts in it.
    for (const chunk of chunksOf(path, chunkBytes, longest)) search(path, chunk, kinds, chunkBytes);
    if (isAuthority && !isLog) search(`${path} (its tables)`, Buffer.from(tablesOf(path)), ALL_KINDS);
  }

  function folder(path: string): void {
    for (const name of readdirSync(path)) {
      const inside = join(path, name);
      if (name === CANARIES || name.endsWith(".key") || name.endsWith("-shm")) continue;
      const found = statSync(inside, { throwIfNoEntry: false });
      if (found?.isDirectory()) folder(inside);
      else if (found?.isFile()) searchFile(inside);
    }
  }

  return {
    folder,
    text: (name, text) => search(name, Buffer.from(text), ALL_KINDS),
    findings,
    files: () => files,
    bytes: () => total,
  };
}

function needlesOf(secret: string): readonly Needle[] {
  const sum = createHash("sha256").update(secret, "utf8");
  const raw = sum.digest();
  const basic = Buffer.from(`api_key:${secret}`).toString("base64");
  const [hex, base64] = [raw.toString("hex"), raw.toString("base64").slice(0, 43)];
  const digests = [
    hex,
    hex.toUpperCase(),
    base64,
    base64.replaceAll("+", "-").replaceAll("/", "_"),
    raw.toString("latin1"),
  ];
  return [
    // From the body on: a log that cuts the prefix off tells no less.
    { kind: "secret", bytes: secret.slice(secret.lastIndexOf("_") + 1) },
    { kind: "secret", bytes: basic.slice(12, -4) },
    ...[...new Set(digests)].map(
      (bytes): Needle => ({ kind: secret.startsWith("setup_") ? "token digest" : "digest", bytes }),
    ),
  ];
}

function hashOf(bytes: Buffer): number {
  return bytes.reduce((hash, byte) => (Math.imul(hash, BASE) + byte) | 0, 0);
}

function powerOf(base: number, exponent: number): number {
  let result = 1;
  for (let n = 0; n < exponent; n += 1) result = Math.imul(result, base);
  return result;
}

/** The bytes of a file, so many after so many, each time with the first of those that follow. Valid until the next. */
function* chunksOf(path: string, chunkBytes: number, more: number): Generator<Buffer> {
  const file = openSync(path, "r");
  try {
    const { size } = fstatSync(file);
    const bytes = Buffer.allocUnsafe(Math.min(size, chunkBytes + more));
    for (let from = 0; from < size; from += chunkBytes) {
      let length = 0;
      for (let read = -1; read !== 0; length += read)
        read = readSync(file, bytes, length, bytes.length - length, from + length);
      yield bytes.subarray(0, length);
    }
  } finally {
    closeSync(file);
  }
}

function isSqlite(path: string): boolean {
  const [start] = chunksOf(path, 15, 0);
  return start?.toString("latin1") === "SQLite format 3";
}

function hasDigests(path: string): boolean {
  return withTables(path, (names) => names.includes("digests")) ?? true;
}

/** Every row of every table but that of digests, as text. Nothing where a test has broken the file on purpose. */
function tablesOf(path: string): string {
  const dump = withTables(path, (names, file) =>
    names
      .filter((name) => name !== "digests")
      .flatMap((name) => file.query(`select * from "${name}"`).values())
      .map((row) =>
        row
          .map((value) =>
            value instanceof Uint8Array ? Buffer.from(value).toString("latin1") : String(value),
          )
          .join("\n"),
      )
      .join("\n"),
  );
  return dump ?? "";
}

function withTables<T>(path: string, work: (names: readonly string[], file: Database) => T): T | null {
  let file: Database | null = null;
  try {
    file = new Database(path, { readonly: true });
    const names = file
      .query<{ name: string }, []>("select name from sqlite_schema where type = 'table'")
      .all();
    return work(
      names.map((row) => row.name),
      file,
    );
  } catch {
    return null;
  } finally {
    file?.close();
  }
}
