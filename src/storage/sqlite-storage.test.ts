import { Database } from "bun:sqlite";
import { afterAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { appendEntry, newDigest, newKey, seed } from "../../test/support/storage.ts";
import { dropFolder, newFolder } from "../../test/support/traces.ts";
import { until } from "../../test/support/until.ts";
import { GENESIS } from "../authority/audit/entry.ts";
import { Refusal } from "../authority/errors.ts";
import { ownedKeys } from "./key-store.ts";
import { prepare, soughtText } from "./prepared.ts";
import { kyselyOver } from "./sqlite.ts";
import {
  AUTHORITY_FILE,
  EVIDENCE_FILE,
  lockFolder,
  openSqliteStorage,
  shareFolder,
} from "./sqlite-storage.ts";
import type { AuthorityTables } from "./tables.ts";

const folders: string[] = [];
function fresh(): string {
  const folder = newFolder("sqlite");
  folders.push(folder);
  return folder;
}
afterAll(() => {
  for (const folder of folders) dropFolder(folder);
});

describe("the embedded store", () => {
  test("folds its journals back when it is closed, and is as it was when it is opened again", async () => {
    const folder = fresh();
    const storage = openSqliteStorage(folder);
    const { owner } = await seed(storage);
    const digest = newDigest();
    await storage.change((tx) => tx.keys.add(newKey(owner), digest));
    await storage.change((tx) => appendEntry(tx));
    const head = await storage.read.audit.head();
    await storage.close();
    expect(readdirSync(folder).sort()).toEqual([EVIDENCE_FILE, AUTHORITY_FILE].sort());
    const again = openSqliteStorage(folder);
    expect(await again.read.audit.head()).toEqual(head);
    expect((await again.match(digest))?.owner.id).toBe(owner.id);
    await again.close();
  });

  test("has a change in its journal before it answers, where another process finds it", async () => {
    const folder = fresh();
    const storage = openSqliteStorage(folder);
    await storage.change((tx) => appendEntry(tx));
    const other = new Database(join(folder, AUTHORITY_FILE), { readonly: true });
    expect(other.query("select count(*) as count from audit_entries").get()).toEqual({ count: 1 });
    expect(other.query("pragma journal_mode").get()).toEqual({ journal_mode: "wal" });
    other.close();
    await storage.close();
  });

  test("sees what another process has changed, and follows it", async () => {
    const folder = fresh();
    const one = openSqliteStorage(folder);
    const other = openSqliteStorage(folder);
    await other.change((tx) => appendEntry(tx));
    expect((await one.read.audit.head()).seq).toBe(1);
    await one.change((tx) => appendEntry(tx));
    const { entries } = await other.follow(GENESIS, 10);
    expect(entries.map((entry) => entry.seq)).toEqual([1, 2]);
    await one.close();
    await other.close();
  });

  test("R14, R39: refuses with outcome_unknown when the file is at fault, and lets other errors through as they are", async () => {
    const folder = fresh();
    const storage = openSqliteStorage(folder);
    const bug = new Error("a bug");
    expect(await storage.change(async () => Promise.reject(bug)).catch((error: unknown) => error)).toBe(bug);
    const full = Object.assign(new Error("database or disk is full"), { code: "SQLITE_FULL" });
    const refused = await storage.change(async () => Promise.reject(full)).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(Refusal);
    expect(refused).toMatchObject({ code: "outcome_unknown", cause: full });
    await storage.close();
  });

  test("R39: makes no change that waited for its turn while the one before it met a fault", async () => {
    const folder = fresh();
    const storage = openSqliteStorage(folder);
    const fault = Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR_FSYNC" });
    const settled = await Promise.allSettled([
      storage.change((tx) => appendEntry(tx)),
      storage.change(async () => Promise.reject(fault)),
      storage.change((tx) => appendEntry(tx)),
    ]);
    expect(settled.map((one) => (one.status === "rejected" ? one.reason.code : "made"))).toEqual([
      "made",
      "outcome_unknown",
      "storage_unavailable",
    ]);
    expect((await storage.read.audit.head()).seq).toBe(1);
    await storage.close();
  });

  test("closed for a move, takes no change but the one that opens it, also of a process that has not heard of it", async () => {
    const folder = fresh();
    const [one, other] = [openSqliteStorage(folder), openSqliteStorage(folder)];
    await one.change((tx) => tx.facts.set("closed", "moving"));
    for (const storage of [one, other])
      expect(await storage.change((tx) => appendEntry(tx)).catch((error: unknown) => error)).toMatchObject({
        code: "storage_unavailable",
      });
    expect((await one.read.audit.head()).seq).toBe(0);
    await other.change((tx) => tx.facts.set("closed", null));
    await one.change((tx) => appendEntry(tx));
    expect((await one.read.audit.head()).seq).toBe(1);
    for (const storage of [one, other]) await storage.close();
  });

  test("that can't be looked at is news to whoever hears it, and ends no process", async () => {
    const storage = openSqliteStorage(fresh());
    let news = 0;
    const end = storage.hear(() => {
      news += 1;
    });
    await Bun.sleep(100);
    expect(news).toBe(0);
    // As with a disk at fault, every look fails from here on.
    await storage.close();
    await until("it is told", () => news > 1);
    end();
  });

  test("serves one process at a time from a folder, and the next as soon as it is free", () => {
    const folder = fresh();
    const lock = lockFolder(folder);
    expect(() => lockFolder(folder)).toThrow("Another keyturn process is serving");
    lock.release();
    lockFolder(folder).release();
  });

  test("serves its workers beside the server, and no other server before the last of them has ended", () => {
    const folder = fresh();
    const lock = lockFolder(folder);
    expect(() => shareFolder(folder)).toThrow();
    lock.admitWorkers();
    const workers = [shareFolder(folder), shareFolder(folder)];
    expect(() => lockFolder(folder)).toThrow("Another keyturn process is serving");
    lock.release();
    for (const worker of workers) {
      expect(() => lockFolder(folder, 10)).toThrow("A worker process of a server that is gone");
      worker.release();
    }
    lockFolder(folder).release();
  });
});

describe("a prepared query", () => {
  test("binds each run's own values, and every value of an insert", async () => {
    const file = new Database(":memory:");
    const db = kyselyOver<{ t: { a: string; b: number | null; c: string } }>(file);
    file.run("create table t (a text, b integer, c text)");
    const insert = prepare(db, (row: { a: string; b: number | null; c: string }) =>
      db.insertInto("t").values(row),
    );
    await insert({ a: "one", b: null, c: "x" });
    await insert({ c: "'; drop table t; --", b: 2, a: "two" });
    const find = prepare(db, (at: { a: string; c: string }) =>
      db.selectFrom("t").selectAll().where("a", "=", at.a).where("c", "!=", at.c),
    );
    expect(await find({ a: "one", c: "y" })).toEqual([{ a: "one", b: null, c: "x" }]);
    expect(await find({ a: "two", c: "y" })).toEqual([{ a: "two", b: 2, c: "'; drop table t; --" }]);
    expect(await find({ c: "x", a: "one" })).toEqual([]);
    file.close();
  });

  test("finds a key by the indexes alone, whatever the store holds", async () => {
    const folder = fresh();
    const storage = openSqliteStorage(folder);
    const file = new Database(join(folder, AUTHORITY_FILE), { readonly: true });
    const db = kyselyOver<AuthorityTables>(file);
    const { sql } = ownedKeys(db)
      .innerJoin("digests", "digests.key_id", "keys.id")
      .where("digests.digest", "=", soughtText(""))
      .compile();
    const plan = file.query<{ detail: string }, [string]>(`explain query plan ${sql}`).all("");
    expect(plan.map((step) => step.detail)).toEqual([
      expect.stringContaining("SEARCH digests USING INDEX digests_by_digest (digest=?)"),
      expect.stringContaining("SEARCH keys USING INDEX"),
      expect.stringContaining("SEARCH owner USING INDEX"),
      expect.stringContaining("SEARCH accounts USING INDEX"),
    ]);
    file.close();
    await storage.close();
  });
});
