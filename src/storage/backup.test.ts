import { Database } from "bun:sqlite";
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { START } from "../../test/support/authority.ts";
import { appendEntry, newDigest, newKey, seed } from "../../test/support/storage.ts";
import { dropFolder, newFolder } from "../../test/support/traces.ts";
import { createChainCheck } from "../authority/audit/verify-chain.ts";
import { newId } from "../authority/ids.ts";
import type { Storage } from "../authority/storage.ts";
import { backupFolder, restoreFolder } from "./backup.ts";
import { AUTHORITY_FILE, EVIDENCE_FILE, openSqliteStorage } from "./sqlite-storage.ts";

const folders: string[] = [];
function fresh(): string {
  const folder = newFolder("backup");
  folders.push(folder);
  return folder;
}
afterAll(() => {
  for (const folder of folders) dropFolder(folder);
});

/** An installation with three entries, a key that was used, and a session that ended cleanly. */
async function installation(): Promise<{
  readonly folder: string;
  readonly digest: string;
  readonly storage: Storage;
}> {
  const folder = join(fresh(), "data");
  const storage = openSqliteStorage(folder);
  const { owner } = await seed(storage);
  const key = newKey(owner);
  const digest = newDigest();
  await storage.change(async (tx) => {
    await tx.keys.add(key, digest);
    for (let i = 0; i < 3; i += 1) await appendEntry(tx);
  });
  const reporter = newId("rep");
  await storage.evidence.startReporter(reporter, "test", START);
  await storage.evidence.apply({
    reporterId: reporter,
    batchSeq: 1,
    coversFrom: START,
    coversUntil: START + 10,
    callers: [],
    usage: [{ keyId: key.id, minute: START / 60_000, code: "valid", count: 5 }],
  });
  await storage.evidence.stopReporter(reporter);
  return { folder, digest, storage };
}

const permissions = (path: string) => (statSync(path).mode & 0o777).toString(8);

describe("a backup", () => {
  test("holds both files as they were, with the head that it names, and for the owner's eyes alone", async () => {
    const { folder, storage } = await installation();
    const target = join(fresh(), "monday");
    const head = backupFolder(folder, target);
    expect(head).toMatchObject({ seq: 3, chainHash: (await storage.read.audit.head()).chainHash });
    expect(readdirSync(target).sort()).toEqual([EVIDENCE_FILE, AUTHORITY_FILE].sort());
    expect(permissions(target)).toBe("700");
    for (const name of readdirSync(target)) expect(permissions(join(target, name))).toBe("600");
    await storage.close();
  });

  test("is of one moment while writes go on: every change is in it whole or not at all", async () => {
    const { folder, storage } = await installation();
    const { account, owner } = await seed(storage);
    const writer = `
      const { openSqliteStorage } = await import(${JSON.stringify(join(import.meta.dir, "sqlite-storage.ts"))});
      const { appendEntry, newDigest, newKey } = await import(${JSON.stringify(join(import.meta.dir, "../../test/support/storage.ts"))});
      const storage = openSqliteStorage(${JSON.stringify(folder)});
      const owner = ${JSON.stringify(owner)};
      console.log("writing");
      for (;;) await storage.change(async (tx) => {
        const { seq } = await appendEntry(tx);
        await tx.keys.add(newKey(owner, { name: "one-" + seq }), newDigest());
        await tx.keys.add(newKey(owner, { name: "two-" + seq }), newDigest());
      });`;
    await using child = Bun.spawn([process.execPath, "-e", writer], { stdout: "pipe", stderr: "ignore" });
    await child.stdout.getReader().read();
    const heads = [];
    for (let i = 0; i < 5; i += 1) {
      const target = join(fresh(), "copy");
      const head = backupFolder(folder, target);
      heads.push(head);
      const copy = openSqliteStorage(target);
      const check = createChainCheck([head]);
      for (const line of await copy.read.audit.lines(0, 1_000_000)) check.add(line);
      expect(check.end()).toMatchObject({ ok: true, entries: head.seq, comparedWith: 1 });
      const names = (
        await copy.read.keys.list(account.id, { now: START }, { limit: 1_000_000, after: null })
      ).map(([key]) => key.name);
      expect(names).toHaveLength((head.seq - 3) * 2);
      await copy.close();
      await Bun.sleep(10);
    }
    expect(heads.at(-1)?.seq).toBeGreaterThan(heads[0]?.seq ?? 0);
    await storage.close();
  });

  test("overwrites nothing, and one that fails leaves nothing", async () => {
    const { folder, storage } = await installation();
    await storage.close();
    const target = join(fresh(), "taken");
    mkdirSync(target);
    writeFileSync(join(target, "mine"), "");
    expect(() => backupFolder(folder, target)).toThrow(`${target} is not empty. Nothing is overwritten`);
    expect(readdirSync(target)).toEqual(["mine"]);
    expect(() => backupFolder(fresh(), join(fresh(), "x"))).toThrow("holds no installation");

    const elsewhere = fresh();
    writeFileSync(
      join(folder, EVIDENCE_FILE),
      "this is no database, and long enough to be taken for one ".repeat(20),
    );
    expect(() => backupFolder(folder, join(elsewhere, "copy"))).toThrow("not a database");
    expect(readdirSync(elsewhere)).toEqual([]);
  });

  test("goes into an empty folder, and over what an earlier attempt left half done", async () => {
    const { folder, storage } = await installation();
    const target = join(fresh(), "empty");
    mkdirSync(target);
    mkdirSync(`${target}.partial`);
    writeFileSync(join(`${target}.partial`, AUTHORITY_FILE), "half");
    expect(backupFolder(folder, target).seq).toBe(3);
    expect(existsSync(`${target}.partial`)).toBe(false);
    await storage.close();
  });
});

describe("what was restored", () => {
  async function restored() {
    const { folder, digest, storage } = await installation();
    const target = join(fresh(), "copy");
    const head = backupFolder(folder, target);
    await storage.close();
    return { target, digest, head };
  }

  test("R14: opens with the same head and keys, and says of itself that it was restored, and when", async () => {
    const { target, digest, head } = await restored();
    const folder = join(fresh(), "data");
    expect(restoreFolder(target, folder, new Date(START))).toEqual(head);
    expect(readdirSync(folder).sort()).toEqual([EVIDENCE_FILE, AUTHORITY_FILE].sort());
    const storage = openSqliteStorage(folder);
    expect(await storage.read.audit.head()).toMatchObject(head);
    expect(await storage.match(digest)).not.toBeNull();
    expect(await storage.read.facts.get("restored_unaccepted")).not.toBeNull();
    expect(await storage.read.facts.get("restored_at")).toBe(new Date(START).toISOString());
    await storage.close();
    // The backup itself is as it was, and good for another time.
    expect(restoreFolder(target, join(fresh(), "data"))).toEqual(head);
  });

  test("has its quiet periods start anew, even where the last session had ended cleanly", async () => {
    const { target } = await restored();
    const folder = join(fresh(), "data");
    restoreFolder(target, folder);
    const storage = openSqliteStorage(folder);
    expect(await storage.evidence.watched()).toEqual({
      watches: [],
      restartedAt: START + 10,
      watermark: null,
    });
    await storage.evidence.startReporter(newId("rep"), "test", START + 1_000);
    expect(await storage.evidence.watched()).toEqual({
      watches: [],
      restartedAt: START + 1_000,
      watermark: START + 1_000,
    });
    await storage.close();
  });

  test("never stands on or beside what is there: a database, or its journal", async () => {
    const { target } = await restored();
    for (const name of [AUTHORITY_FILE, EVIDENCE_FILE, `${AUTHORITY_FILE}-wal`, `${EVIDENCE_FILE}-shm`]) {
      const folder = fresh();
      writeFileSync(join(folder, name), "");
      expect(() => restoreFolder(target, folder)).toThrow("is in the way");
      expect(readdirSync(folder)).toEqual([name]);
    }
  });

  test("is no installation when the backup is damaged, half there or of a newer program", async () => {
    const { target } = await restored();
    const attempt = (message: string) => {
      const folder = fresh();
      expect(() => restoreFolder(target, folder)).toThrow(message);
      expect(readdirSync(folder)).toEqual([]);
    };
    const file = new Database(join(target, AUTHORITY_FILE));
    file.run("pragma user_version = 99");
    file.close();
    attempt("schema version 99");
    writeFileSync(join(target, AUTHORITY_FILE), "no database at all, in some hundred bytes; ".repeat(20));
    attempt("not a database");
    rmSync(join(target, EVIDENCE_FILE));
    attempt("holds no installation");
  });
});
