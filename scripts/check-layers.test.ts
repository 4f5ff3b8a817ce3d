// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the examples are source text.
import { describe, expect, test } from "bun:test";
import { checkFile } from "./check-layers.ts";

const rules = (file: string, text: string) => checkFile(file, text).map(({ rule }) => rule);

/** Each must be refused, with a rule that says this. */
const REFUSED: readonly (readonly [title: string, file: string, text: string, rule: RegExp])[] = [
  [
    "the core imports an adapter",
    "src/authority/gate.ts",
    `import { open } from "../storage/sqlite.ts";`,
    /core imports nothing/,
  ],
  [
    "the core imports an adapter's types",
    "src/authority/gate.ts",
    `import type { Db } from "../storage/sqlite.ts";`,
    /core imports nothing/,
  ],
  [
    "the core imports an adapter at run time",
    "src/authority/gate.ts",
    `const it = await import("../http/server.ts");`,
    /core imports nothing/,
  ],
  [
    "the core names an adapter's type inline",
    "src/authority/gate.ts",
    `type It = import("../http/server.ts").It;`,
    /core imports nothing/,
  ],
  [
    "the core re-exports from an adapter",
    "src/authority/gate.ts",
    `export { it } from "../http/server.ts";`,
    /core imports nothing/,
  ],
  [
    "the core imports the configuration",
    "src/authority/gate.ts",
    `import { config } from "../config.ts";`,
    /core imports nothing/,
  ],
  [
    "the core imports a package that is not on its list",
    "src/authority/gate.ts",
    `import { z } from "zod";`,
    /not zod/,
  ],
  [
    "the core imports a sub-path of a listed package",
    "src/authority/gate.ts",
    `import x from "typeid-js/private";`,
    /not typeid-js/,
  ],
  ["the core imports Bun", "src/authority/gate.ts", `import { file } from "bun";`, /not bun/],
  ["the core uses the global Bun", "src/authority/gate.ts", `const hash = Bun.hash("x");`, /Bun's own API/],
  [
    "an adapter imports another",
    "src/http/server.ts",
    `import { open } from "../storage/sqlite.ts";`,
    /another adapter: storage/,
  ],
  [
    "a nested file of an adapter imports another",
    "src/http/routes/keys.ts",
    `import { run } from "../../worker/run.ts";`,
    /another adapter: worker/,
  ],
  [
    "an adapter imports the host",
    "src/cli/serve.ts",
    `import { serve } from "../host/serve.ts";`,
    /not src\/host\/serve.ts/,
  ],
  ["the host imports main", "src/host/serve.ts", `import { main } from "../main.ts";`, /not src\/main.ts/],
  [
    "the host reaches into the tests",
    "src/host/serve.ts",
    `import { world } from "../../test/support/authority.ts";`,
    /not test\/support/,
  ],
  [
    "the host imports SQLite",
    "src/host/doctor.ts",
    `import { Database } from "bun:sqlite";`,
    /only storage imports bun:sqlite/,
  ],
  ["an adapter imports main", "src/worker/run.ts", `import { main } from "../main.ts";`, /not src\/main.ts/],
  [
    "the configuration imports an adapter",
    "src/config.ts",
    `import { open } from "./storage/sqlite.ts";`,
    /not src\/storage/,
  ],
  [
    "an adapter reaches into the tests",
    "src/http/server.ts",
    `import { keys } from "../../test/support/keys.ts";`,
    /not test\/support/,
  ],
  [
    "another than the CLI and the console uses the SDK",
    "src/http/server.ts",
    `import { Client } from "@keyturn/sdk";`,
    /use the SDK/,
  ],
  ["the SDK imports a package", "sdk/src/client.ts", `import { z } from "zod";`, /SDK imports nothing/],
  ["the SDK imports Node", "sdk/src/client.ts", `import fs from "node:fs";`, /SDK imports nothing/],
  [
    "the SDK imports the core",
    "sdk/src/client.ts",
    `import type { Key } from "../../src/authority/keys/key.ts";`,
    /SDK imports nothing/,
  ],
  [
    "another than storage imports kysely",
    "src/cli/backup.ts",
    `import { Kysely } from "kysely/helpers/sqlite";`,
    /only storage imports kysely/,
  ],
  [
    "another than storage imports SQLite",
    "src/worker/run.ts",
    `import { Database } from "bun:sqlite";`,
    /only storage imports bun:sqlite/,
  ],
  [
    "another than http imports hono",
    "src/cli/serve.ts",
    `import { Hono } from "hono";`,
    /only http imports hono/,
  ],
  ["a noun is asynchronous", "src/authority/keys/key.ts", `export async function read() {}`, /no async/],
  [
    "a noun has an asynchronous arrow",
    "src/authority/keys/key.ts",
    `export const read = async () => 1;`,
    /no async/,
  ],
  ["a noun reads the clock", "src/authority/keys/key.ts", `export const age = () => Date.now();`, /no clock/],
  [
    "a noun takes the date of now",
    "src/authority/keys/key.ts",
    `export const now = () => new Date();`,
    /no clock/,
  ],
  [
    "a noun throws dice",
    "src/authority/keys/key.ts",
    `export const dice = () => Math.random();`,
    /no chance/,
  ],
  ["a noun reads files", "src/authority/keys/key.ts", `import { readFileSync } from "node:fs";`, /no I\/O/],
  ["a file is named utils", "src/http/utils.ts", "", /named "utils"/],
  ["a file's name holds a banned word", "src/authority/keys/key-manager.ts", "", /named "manager"/],
  ["a file is named service", "src/http/key-service.ts", "", /named "service"/],
  ["a folder is named common", "src/http/common/body.ts", "", /named "common"/],
  ["a test is named after helpers", "sdk/src/helpers.test.ts", "", /named "helpers"/],
  ["a barrel", "src/authority/keys/index.ts", "", /no barrels/],
  ["everything is re-exported", "src/authority/keys/key.ts", `export * from "./state.ts";`, /no barrels/],
  ["a file of no layer", "src/misc/thing.ts", "", /belongs to the core or to an adapter/],
  ["a file beside main", "src/server.ts", "", /belongs to the core or to an adapter/],
  ["raw SQL", "src/storage/keys.ts", "sql.raw(text);", /sql\.raw/],
  ["a literal in SQL", "src/storage/keys.ts", "sql`select ${sql.lit(name)}`;", /sql\.lit/],
  [
    "SQL from a template with a value",
    "src/storage/keys.ts",
    "db.run(`delete from keys where id = '${id}'`);",
    /put together/,
  ],
  [
    "SQL from a sum with a value",
    "src/storage/keys.ts",
    `db.query("select * from keys where id = " + id);`,
    /put together/,
  ],
  [
    "SQL put together before it is run",
    "src/storage/keys.ts",
    "const text = `update keys set name = '${name}'`;",
    /put together/,
  ],
  [
    "a pragma with a value",
    "src/storage/keys.ts",
    "db.exec(`pragma user_version = ${version}`);",
    /put together/,
  ],
];

/** None may be refused. */
const ALLOWED: readonly (readonly [title: string, file: string, text: string])[] = [
  ["the core imports itself", "src/authority/keys/key.ts", `import type { Instant } from "../time.ts";`],
  [
    "the core imports Node and its list",
    "src/authority/ids.ts",
    `import "node:crypto";\nimport { typeid } from "typeid-js";`,
  ],
  ["the digest uses Bun", "src/authority/secret.ts", `export const digest = new Bun.CryptoHasher("sha256");`],
  ["a property named Bun", "src/authority/agent.ts", `export const names = { Bun: 1 }.Bun;`],
  [
    "an adapter imports the core and itself",
    "src/http/keys.ts",
    `import "../authority/keys/key.ts";\nimport "./body.ts";`,
  ],
  [
    "an adapter imports a package",
    "src/http/keys.ts",
    `import { z } from "zod";\nimport { Hono } from "hono/tiny";`,
  ],
  ["the CLI uses the SDK", "src/cli/keys.ts", `import { Client } from "@keyturn/sdk";`],
  [
    "main sees everything",
    "src/main.ts",
    `import "./http/server.ts";\nimport "./storage/sqlite.ts";\nimport "hono";`,
  ],
  [
    "the host sees every adapter",
    "src/host/serve.ts",
    `import "../http/server.ts";\nimport "../storage/sqlite.ts";\nimport "../cli/exit.ts";\nimport "../config.ts";`,
  ],
  ["main sees the host", "src/main.ts", `import "./host/serve.ts";`],
  ["the SDK imports itself", "sdk/src/client.ts", `import "./wire.gen.ts";`],
  [
    "a verb is asynchronous",
    "src/authority/keys/issue-key.ts",
    `import { operation } from "../operation.ts";\nexport const issueKey = operation(async () => {});`,
  ],
  [
    "a reader of the store is asynchronous",
    "src/authority/keys/verify-key.ts",
    `import type { Reader } from "../storage.ts";\nexport async function verifyKey(reader: Reader) {}`,
  ],
  [
    "a noun turns an instant into a date",
    "src/authority/keys/key.ts",
    "export const text = (at: number) => new Date(at).toISOString();",
  ],
  [
    "service accounts are a word of the domain",
    "src/authority/service-accounts/disable-service-account.ts",
    "",
  ],
  ["the SDK's entry", "sdk/src/index.ts", `export { Client } from "./client.ts";`],
  [
    "a test imports what it likes",
    "src/authority/keys/issue-key.test.ts",
    `import { open } from "../../storage/sqlite.ts";`,
  ],
  ["SQL with bound values", "src/storage/keys.ts", "sql`select * from keys where id = ${id}`;"],
  [
    "a constant that the planner must see",
    "src/storage/keys.ts",
    `query.where("kind", "=", sql.lit("user"));`,
  ],
  ["constant SQL over two lines", "src/storage/keys.ts", `db.query("select * from keys " + "where id = ?");`],
  ["a text that is no SQL", "src/storage/keys.ts", "throw new Error(`updated ${n} rows`);"],
  ["the migrations runner", "src/storage/migrate.ts", "db.exec(`pragma user_version = ${version}`);"],
];

describe("refused:", () => {
  test.each(REFUSED)("%s", (_, file, text, rule) => {
    const found = rules(file, text);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(rule);
  });
});

describe("allowed:", () => {
  test.each(ALLOWED)("%s", (_, file, text) => {
    expect(rules(file, text)).toEqual([]);
  });
});

test("a violation names its line", () => {
  const text = `import "../time.ts";\n\nimport { z } from "zod";\n`;
  expect(checkFile("src/authority/gate.ts", text).map(({ line }) => line)).toContain(3);
});
