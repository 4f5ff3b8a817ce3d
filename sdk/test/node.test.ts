import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Server, startServer } from "../../test/support/server.ts";

const ROOT = join(import.meta.dir, "../..");
let server: Server;
let folder: string;

beforeAll(async () => {
  server = await startServer();
  folder = mkdtempSync(join(tmpdir(), "keyturn-sdk-"));
});
afterAll(async () => {
  await server.clean();
  rmSync(folder, { recursive: true, force: true });
});

const PROGRAM = `
import { inspect } from "node:util";
import { createClient, KeyturnError } from "@keyturn/sdk";
const client = createClient({ url: process.env.KEYTURN_URL, key: process.env.KEYTURN_KEY });
const owner = await client.serviceAccounts.create({ name: "from-node" });
const { key, secret } = await client.keys.create({ name: "one", owner_id: owner.id });
const verdict = await client.keys.verify({ key: secret });
const refused = await client.keys.get("key_x").catch((error) => error);
const gone = await createClient({ url: process.env.NOBODY, key: "k", retries: 0 }).keys.self().catch((error) => error);
const names = [];
for await (const one of client.keys.all({ limit: 1 })) names.push(one.name);
const shown = inspect([client, refused, gone], { depth: 10, showHidden: true });
console.log(JSON.stringify({
  node: process.versions.node.split(".")[0],
  code: verdict.code,
  same: verdict.key.id === key.id,
  refused: [refused instanceof KeyturnError, refused.status, refused.code],
  gone: [gone.status, gone.code, gone.detail],
  names,
  leaks: shown.includes(process.env.KEYTURN_KEY) || shown.includes(secret),
}));
`;

test("what is published runs under Node, with nothing installed beside it", async () => {
  const installed = join(folder, "node_modules/@keyturn/sdk");
  mkdirSync(installed, { recursive: true });
  const tsc = [process.execPath, join(ROOT, "node_modules/typescript/bin/tsc")];
  const built = Bun.spawnSync([
    ...tsc,
    "-p",
    join(ROOT, "sdk/tsconfig.json"),
    "--outDir",
    join(installed, "dist"),
  ]);
  expect(built.stdout.toString()).toBe("");
  symlinkSync(join(ROOT, "sdk/package.json"), join(installed, "package.json"));
  writeFileSync(join(folder, "program.mjs"), PROGRAM);
  const taken = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  const nobody = `http://127.0.0.1:${taken.port}`;
  await taken.stop(true);
  const ran = Bun.spawnSync(["node", "--preserve-symlinks", "program.mjs"], {
    cwd: folder,
    env: {
      PATH: process.env.PATH ?? "",
      KEYTURN_URL: server.url,
      KEYTURN_KEY: server.rootKey,
      NOBODY: nobody,
    },
  });
  expect(ran.stderr.toString()).toBe("");
  const answer = JSON.parse(ran.stdout.toString());
  expect(Number(answer.node)).toBeGreaterThanOrEqual(20);
  expect(answer).toMatchObject({
    code: "valid",
    same: true,
    refused: [true, 404, "not_found"],
    gone: [0, "unreachable", `There is no connection to ${nobody}: ECONNREFUSED.`],
    names: ["root", "one"],
    leaks: false,
  });
});
