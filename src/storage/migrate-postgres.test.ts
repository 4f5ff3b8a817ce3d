import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { Client } from "pg";
import { z } from "zod";
import {
  asSuperuser,
  failureOf,
  NO_POSTGRES,
  newDatabase,
  type TestDatabase,
} from "../../test/support/postgres.ts";
import { appendEntry } from "../../test/support/storage.ts";
import { migratePostgres } from "./migrate-postgres.ts";
import { openPostgresStorage } from "./postgres-storage.ts";

async function rowsOf<T>(url: string, sql: string, row: z.ZodType<T>): Promise<readonly T[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return z.array(row).parse((await client.query<object>(sql)).rows);
  } finally {
    await client.end();
  }
}

describe.skipIf(NO_POSTGRES)("the schema on PostgreSQL", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await newDatabase("empty");
  });
  afterAll(() => database.drop());

  test("is made once by processes that start at the same moment", async () => {
    const program = `
      const { openPostgresStorage } = await import(${JSON.stringify(join(import.meta.dir, "postgres-storage.ts"))});
      await (await openPostgresStorage({ url: process.env.DATABASE })).close();`;
    const children = Array.from({ length: 3 }, () =>
      Bun.spawn([process.execPath, "-e", program], {
        env: { ...process.env, DATABASE: database.url },
        stderr: "pipe",
        stdout: "ignore",
      }),
    );
    const said = await Promise.all(children.map((child) => new Response(child.stderr).text()));
    expect(said).toEqual(["", "", ""]);
    expect(await Promise.all(children.map((child) => child.exited))).toEqual([0, 0, 0]);
  });

  test("compares every text byte by byte", async () => {
    const columns = await rowsOf(
      database.url,
      `select table_name || '.' || column_name as name, collation_name as collation from information_schema.columns
       where table_schema = 'public' and data_type = 'text' and table_name <> 'schema_versions'`,
      z.object({ name: z.string(), collation: z.string().nullable() }),
    );
    expect(columns.length).toBeGreaterThan(60);
    expect(columns.filter(({ collation }) => collation !== "C")).toEqual([]);
  });

  test("keeps the log's head where the log is when it comes to a log that is there already", async () => {
    const storage = await openPostgresStorage({ url: database.url });
    for (let i = 0; i < 3; i += 1) await storage.change((tx) => appendEntry(tx));
    const head = await storage.read.audit.head();
    await asSuperuser(
      database.url,
      "drop table audit_head",
      "update schema_versions set version = 0 where part = 'postgres'",
    );
    await migratePostgres({ url: database.url });
    expect(await storage.change((tx) => tx.audit.head())).toEqual(head);
    expect((await storage.change((tx) => appendEntry(tx))).seq).toBe(4);
    await storage.close();
  });

  test("of a database that a newer program has written is left alone", async () => {
    await asSuperuser(database.url, "update schema_versions set version = 99 where part = 'evidence'");
    expect(String(await failureOf(openPostgresStorage({ url: database.url })))).toMatch(
      /The database has schema version 99 \(evidence\); this program knows \d+\. Use a newer one\./,
    );
  });

  test("is refused in a database of another encoding", async () => {
    const url = new URL(database.url);
    // Several runs may share a server.
    const name = `${url.pathname.slice(1)}_latin`;
    await asSuperuser(
      database.url,
      `create database ${name} encoding 'LATIN1' locale 'C' template template0`,
    );
    try {
      url.pathname = `/${name}`;
      expect(String(await failureOf(openPostgresStorage({ url: url.href })))).toContain(
        "whose encoding is UTF8, not LATIN1",
      );
    } finally {
      await asSuperuser(database.url, `drop database ${name} with (force)`);
    }
  });
});
