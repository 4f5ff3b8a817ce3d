import { Database } from "bun:sqlite";
import { afterAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { dropFolder, newFolder } from "../../test/support/traces.ts";
import { AUTHORITY_MIGRATIONS, EVIDENCE_MIGRATIONS, migrate, schemaVersion } from "./migrate.ts";
import { AUTHORITY_FILE, EVIDENCE_FILE, openSqliteStorage } from "./sqlite-storage.ts";

const folders: string[] = [];
function fresh(): string {
  const folder = newFolder("migrate");
  folders.push(folder);
  return folder;
}
afterAll(() => {
  for (const folder of folders) dropFolder(folder);
});

describe("the schema", () => {
  test("is made in a fresh folder, both files, each at the newest version", async () => {
    const folder = join(fresh(), "deep", "data");
    await openSqliteStorage(folder).close();
    for (const [name, steps] of [
      [AUTHORITY_FILE, AUTHORITY_MIGRATIONS],
      [EVIDENCE_FILE, EVIDENCE_MIGRATIONS],
    ] as const) {
      const file = new Database(join(folder, name), { readonly: true });
      expect(schemaVersion(file)).toBe(steps.length);
      expect(file.query("select name from sqlite_schema where type = 'table'").all().length).toBeGreaterThan(
        5,
      );
      file.close();
    }
  });

  test("of a file that a newer program has written is left alone", () => {
    const folder = fresh();
    const file = new Database(join(folder, AUTHORITY_FILE), { create: true });
    file.run("pragma user_version = 99");
    file.close();
    expect(() => openSqliteStorage(folder)).toThrow(
      `The database has schema version 99; this program knows ${AUTHORITY_MIGRATIONS.length}. Use a newer one.`,
    );
    expect(readdirSync(folder)).not.toContain(EVIDENCE_FILE);
  });

  test("takes each step once and whole: a step that fails leaves the version where it was", () => {
    const file = new Database(":memory:");
    const steps = ["create table a (x)", "create table b (x); insert into nowhere values (1)"];
    expect(() => migrate(file, steps)).toThrow("nowhere");
    expect(schemaVersion(file)).toBe(1);
    expect(file.query("select name from sqlite_schema").all()).toEqual([{ name: "a" }]);
    migrate(file, ["create table a (x)", "create table b (x)"]);
    migrate(file, ["create table a (x)", "create table b (x)"]);
    expect(schemaVersion(file)).toBe(2);
  });

  test("is made once by processes that start at the same moment", async () => {
    const folder = fresh();
    const program = `
      const { openSqliteStorage } = await import(${JSON.stringify(join(import.meta.dir, "sqlite-storage.ts"))});
      while (Date.now() < Number(process.argv[1])) {}
      await openSqliteStorage(${JSON.stringify(folder)}).close();`;
    const at = String(Date.now() + 1_500);
    const children = Array.from({ length: 4 }, () =>
      Bun.spawn([process.execPath, "-e", program, at], { stderr: "pipe", stdout: "ignore" }),
    );
    const said = await Promise.all(children.map((child) => new Response(child.stderr).text()));
    expect(said).toEqual(["", "", "", ""]);
    expect(await Promise.all(children.map((child) => child.exited))).toEqual([0, 0, 0, 0]);
  });
});
