import { Database } from "bun:sqlite";
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { GENESIS } from "../authority/audit/entry.ts";
import type { KnownHead } from "../authority/audit/verify-chain.ts";
import { AUTHORITY_MIGRATIONS, EVIDENCE_MIGRATIONS, schemaVersion } from "./migrate.ts";
import { AUTHORITY_FILE, EVIDENCE_FILE } from "./sqlite-storage.ts";

/**
 * Copies an installation into a new folder while it is in use: each file as it is at one moment, on a connection of its
 * own, durable when this returns. Returns the head of the log in the copy. Throws where the target is taken; a copy that
 * fails leaves nothing.
 */
export function backupFolder(folder: string, target: string): KnownHead {
  assertHolds(folder);
  if (existsSync(target) && readdirSync(target).length > 0) {
    throw new Error(`${target} is not empty. Nothing is overwritten: name a new folder.`);
  }
  const partial = `${resolve(target)}.partial`;
  mkdirSync(dirname(partial), { recursive: true });
  makeFolder(partial);
  try {
    // The log first: evidence that is newer than it speaks of keys that the log does not know, and of none too few.
    copyFile(join(folder, AUTHORITY_FILE), join(partial, AUTHORITY_FILE));
    copyFile(join(folder, EVIDENCE_FILE), join(partial, EVIDENCE_FILE));
    const head = changeCopy(join(partial, AUTHORITY_FILE), headOf);
    for (const name of [AUTHORITY_FILE, EVIDENCE_FILE, "."]) sync(join(partial, name));
    renameSync(partial, target);
    sync(dirname(partial));
    return head;
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    throw error;
  }
}

/**
 * Puts a backup where no installation is. The copy says of itself that it was restored: it serves nothing until a
 * witness's revocations are merged or somebody accepts the loss; and quiet periods start anew, because what was seen
 * since the backup is lost. Until the last file has its name there is no installation. `folder` must be locked.
 */
export function restoreFolder(backup: string, folder: string, at = new Date()): KnownHead {
  assertHolds(backup);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const inTheWay = readdirSync(folder).find(
    (name) => name.startsWith(AUTHORITY_FILE) || name.startsWith(EVIDENCE_FILE),
  );
  if (inTheWay !== undefined) {
    throw new Error(`${join(folder, inTheWay)} is in the way. Nothing is overwritten: move it away first.`);
  }
  const partial = join(folder, "restore.partial");
  makeFolder(partial);
  try {
    const authority = join(partial, AUTHORITY_FILE);
    const evidence = join(partial, EVIDENCE_FILE);
    copyFile(join(backup, AUTHORITY_FILE), authority);
    copyFile(join(backup, EVIDENCE_FILE), evidence);
    const head = changeCopy(authority, (file) => {
      assertReadable(file, AUTHORITY_MIGRATIONS);
      const fact = file.query<unknown, [string, string]>(
        "insert or replace into facts (name, value) values (?, ?)",
      );
      fact.run("restored_unaccepted", "yes");
      fact.run("restored_at", at.toISOString());
      return headOf(file);
    });
    changeCopy(evidence, (file) => {
      assertReadable(file, EVIDENCE_MIGRATIONS);
      file.run("update reporters set ended = 'unclean'");
    });
    for (const path of [evidence, authority]) sync(path);
    // A folder holds an installation from the moment it holds this file, so it comes last.
    for (const name of [EVIDENCE_FILE, AUTHORITY_FILE]) renameSync(join(partial, name), join(folder, name));
    sync(folder);
    return head;
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

function assertHolds(folder: string): void {
  for (const name of [AUTHORITY_FILE, EVIDENCE_FILE]) {
    if (!existsSync(join(folder, name)))
      throw new Error(`${folder} holds no installation: there is no ${name}.`);
  }
}

/** What an earlier attempt left half done is of no use to anybody. */
function makeFolder(partial: string): void {
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { mode: 0o700 });
}

/** `vacuum into` reads in one transaction: the copy is of one moment, whatever is written meanwhile. */
function copyFile(from: string, to: string): void {
  const file = new Database(from, { readonly: true });
  try {
    file.run("pragma busy_timeout = 5000");
    file.run("vacuum into ?", [to]);
  } finally {
    file.close();
  }
  chmodSync(to, 0o600);
}

/** Works on a copy that nobody else has open, in a journal that is gone when this returns. */
function changeCopy<T>(path: string, work: (file: Database) => T): T {
  const file = new Database(path);
  try {
    return file.transaction(() => work(file))();
  } finally {
    file.close();
  }
}

function assertReadable(file: Database, steps: readonly string[]): void {
  const version = schemaVersion(file);
  if (version > steps.length) {
    throw new Error(
      `The backup has schema version ${version}; this program knows ${steps.length}. Use a newer one.`,
    );
  }
  const problem = file.query<{ quick_check: string }, []>("pragma quick_check(1)").get()?.quick_check;
  if (problem !== "ok") throw new Error(`The backup is damaged: ${problem ?? "it can't be read"}.`);
}

function headOf(file: Database): KnownHead {
  const row = file
    .query<{ seq: number; chain_hash: string }, []>(
      "select seq, chain_hash from audit_entries order by seq desc limit 1",
    )
    .get();
  return row === null
    ? { seq: GENESIS.seq, chainHash: GENESIS.chainHash }
    : { seq: row.seq, chainHash: row.chain_hash };
}

/** A name or a content is durable when the file or folder that holds it was synced. */
function sync(path: string): void {
  const handle = openSync(path, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
