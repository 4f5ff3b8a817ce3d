import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { OPERATIONS, READINGS } from "../../src/authority/operations.ts";
import { startWorld } from "../support/authority.ts";
import type { Client, Told } from "../support/client.ts";
import { times } from "../support/counts.ts";
import { newPlace, type Served, serveAt } from "../support/installation.ts";
import { spawnKeyturn } from "../support/keyturn-process.ts";
import { createScan, type Scan } from "../support/scan.ts";
import { CANARIES, cleanUp, newFolder, noteSecret, TRACES } from "../support/traces.ts";

afterAll(cleanUp);

/** R19 asks for 10,000 canary keys; those that the rest of the suite issued come on top. */
const KEYS = times(10_000);
const KEYS_OVER_HTTP = times(2_000);

const folder = newFolder("canary");
const secrets = new Set<string>();

function issued(secret: string): string {
  secrets.add(secret);
  noteSecret(secret);
  return secret;
}

describe("R19, R21: no secret stands anywhere but in the answer that told it", () => {
  let scan: Scan;

  beforeAll(async () => {
    await inProcess();
    await overHttp();
    for (const secret of canaries()) secrets.add(secret);
    scan = createScan(secrets);
    // With the traces of the whole suite, this test's own folders are among them.
    for (const searched of TRACES === undefined ? own : [TRACES]) scan.folder(searched);
    const megabytes = Math.round(scan.bytes() / 2 ** 20);
    console.log(
      `searched ${scan.files()} files, ${megabytes} MiB, for ${secrets.size} secrets and their digests`,
    );
  }, 600_000);

  test(`of ${KEYS} keys and more, none is in a database, its log, a backup, an export, a log file or the metrics`, () => {
    expect(secrets.size).toBeGreaterThan(KEYS);
    expect(scan.findings.filter((found) => found.kind === "secret")).toEqual([]);
  });

  test("nor is a full digest of one, outside the table of digests", () => {
    expect(scan.findings.filter((found) => found.kind !== "secret")).toEqual([]);
  });

  test("nor in what any process shows of its command line", () => {
    const found = createScan(secrets);
    found.text("argv", [...argv].join("\n"));
    expect(argv.size).toBeGreaterThan(3);
    expect(found.findings).toEqual([]);
  });

  test("nor in any refusal, whatever place the key was sent in", () => {
    const found = createScan(secrets);
    found.text(
      "refusals",
      refusals.map((told) => `${[...told.headers].join("\n")}\n${told.text}`).join("\n"),
    );
    expect(refusals.length).toBeGreaterThan(20);
    expect(found.findings).toEqual([]);
  });

  test("the search itself finds a secret, the part that matters of one, and each spelling of a digest", () => {
    const secret = "kts_0123456789ABCDEFGHIJKLMNOPQRSTUVabcdef";
    const digest = createHash("sha256").update(secret).digest();
    const planted: Record<string, string | Buffer> = {
      whole: `key=${secret}`,
      body: secret.slice(4),
      basic: Buffer.from(`api_key:${secret}`).toString("base64"),
      hex: digest.toString("hex"),
      HEX: digest.toString("hex").toUpperCase(),
      base64: digest.toString("base64"),
      base64url: digest.toString("base64url"),
      raw: Buffer.concat([Buffer.from("before"), digest, Buffer.from("after")]),
    };
    const place = newFolder("planted");
    mkdirSync(join(place, "deep"));
    for (const [name, text] of Object.entries(planted)) writeFileSync(join(place, "deep", name), text);
    const search = createScan([secret]);
    search.folder(place);
    const places = new Set(search.findings.map((found) => found.file.split("/").at(-1)));
    expect([...places].sort()).toEqual(Object.keys(planted).sort());
    // A file that is too large to be read at once hides none where two of its parts meet, and shows none twice.
    const inParts = createScan([secret], 13);
    inParts.folder(place);
    expect(inParts.findings.map(({ file, kind }) => [file, kind])).toEqual(
      search.findings.map(({ file, kind }) => [file, kind]),
    );
    expect(inParts.bytes()).toBe(search.bytes());
    const none = createScan([`${secret.slice(0, -1)}X`]);
    none.folder(place);
    expect(none.findings.filter((found) => found.kind === "digest")).toEqual([]);
    // What was planted must not be found by the next search.
    for (const name of Object.keys(planted)) writeFileSync(join(place, "deep", name), "");
  });

  test("the search opens databases: a digest in any other table is found, and in its own table is not", async () => {
    const world = await startWorld();
    const owner = await world.owner();
    const key = await world.key(owner.id);
    const digest = createHash("sha256").update(key.secret).digest("base64");
    const search = () => {
      const found = createScan([key.secret]);
      found.folder(world.folder);
      return found.findings.map(({ kind }) => kind);
    };
    expect(search()).toEqual([]);
    await world.do(OPERATIONS.updateKey, { id: key.key.id, own: {}, metadata: { planted: digest } });
    expect(search()).toContain("digest");
    await world.close();
    // It lies in a trace now; this secret is not among those that the last search looks for.
    secrets.delete(key.secret);
  });
});

const own: string[] = [folder];
const argv = new Set<string>();
const refusals: Told[] = [];

/** The secrets that all tests were given. */
function canaries(): readonly string[] {
  const path = TRACES === undefined ? null : join(TRACES, CANARIES);
  if (path === null || !existsSync(path)) return [];
  return readdirSync(path).flatMap((name) =>
    readFileSync(join(path, name), "utf8")
      .split("\n")
      .filter((line) => line !== ""),
  );
}

/** Many keys through the gate, with rotations, replaced secrets and uses; then a backup and an export. */
async function inProcess(): Promise<void> {
  const world = await startWorld();
  own.push(world.folder);
  issued(world.root.secret);
  const owner = await world.owner({ role: "editor", scopes: ["invoices:*"] });
  for (let n = 0; n < KEYS; n += 1) {
    const key = await world.key(owner.id, { metadata: { number: String(n) } });
    issued(key.secret);
    if (n % 10 === 1) issued((await world.do(OPERATIONS.replaceSecret, { id: key.key.id })).secret);
    if (n % 10 === 2) issued((await world.rotate(key.key.id)).secret);
    if (n % 10 === 3)
      world.verify(key.secret, { name: `caller-${n % 50}`, address: "203.0.113.7", agent: "curl/8.5.0" });
    if (n % 10 === 4) await world.do(OPERATIONS.revokeKey, { id: key.key.id, reason: "a canary" });
  }
  await world.authority.recorder.flush();
  const log = await world.ask(READINGS.readAudit, { filter: {}, before: null, limit: 100_000 });
  writeFileSync(join(folder, "export.jsonl"), log.map((line) => line.text).join("\n"));
  const list = await world.ask(READINGS.listKeys, { filter: {}, page: { limit: 100_000, after: null } });
  writeFileSync(join(folder, "keys.json"), JSON.stringify(list));
  writeFileSync(join(folder, "state.txt"), Bun.inspect(world.authority, { depth: 4 }));
  await world.authority.storage.close();
}

/** A real server at its most talkative, with keys where they don't belong, and the command line beside it. */
async function overHttp(): Promise<void> {
  const place = newPlace("canary-server", { KEYTURN_FLUSH_INTERVAL: "1s" });
  own.push(place.folder);
  const served = await serveAt(place);
  issued(served.rootKey);
  const { call } = served;
  const owner = (
    await call("POST", "/v1/service-accounts", { body: { name: "canaries", scopes: ["invoices:read"] } })
  ).body.text("id");
  for (let n = 0; n < KEYS_OVER_HTTP; n += 1) {
    const told = await call("POST", "/v1/keys", {
      body: { name: `canary ${n}`, owner_id: owner },
      headers: { "idempotency-key": `n-${n}` },
    });
    const secret = issued(told.body.text("secret"));
    const id = told.body.text("key", "id");
    if (n % 5 === 0)
      await call("POST", "/v1/keys/verify", {
        body: { key: secret, caller: { name: "web", ip: "203.0.113.9" } },
      });
    if (n % 5 === 1)
      issued((await call("POST", `/v1/keys/${id}/rotations`, { body: {} })).body.text("secret"));
    if (n % 5 === 2) issued((await call("POST", `/v1/keys/${id}/secret`)).body.text("secret"));
    if (n % 5 === 3) await misplace(call, secret, id);
  }
  await misplace(call, served.rootKey, "key_x");
  for (const path of [
    "/metrics",
    "/readyz",
    "/openapi.json",
    "/v1/audit?limit=200",
    "/v1/keys?limit=200",
    "/v1/rotations?limit=200",
  ]) {
    writeFileSync(join(folder, `${path.replace(/\W+/g, "-")}.txt`), (await call("GET", path)).text);
  }
  await commandLine(served, place.data, place.rootKeyFile);
  await served.process.stop();
  writeFileSync(join(folder, "stderr.log"), served.process.errors());
}

/** A key in every place where people have put one. */
async function misplace(call: Client, secret: string, id: string): Promise<void> {
  const json = { "content-type": "application/json" };
  const basic = `Basic ${Buffer.from(`api_key:${secret}`).toString("base64")}`;
  const attempts: readonly Parameters<Client>[] = [
    ["GET", `/v1/keys?key=${secret}`],
    ["GET", `/v1/keys/self?access_token=${secret}`],
    ["GET", `/v1/keys?cursor=${secret}`],
    ["GET", `/v1/keys/${secret}`],
    ["GET", `/v1/${secret}`],
    ["GET", `/${secret}?x=${secret}`],
    ["POST", `/v1/keys/verify?key=${secret}`, { body: { key: secret } }],
    ["GET", `/v1/forward-auth?scope=${secret}`],
    ["GET", "/v1/keys/self", { key: null, headers: { "x-api-key": secret } }],
    ["GET", "/v1/keys/self", { key: null, headers: { cookie: `key=${secret}` } }],
    ["GET", "/v1/keys/self", { key: null, headers: { authorization: `Token ${secret}` } }],
    ["GET", "/v1/keys/self", { key: null, headers: { authorization: `Bearer ${secret}, Bearer ${secret}` } }],
    ["GET", "/v1/keys/self", { key: null, headers: { authorization: `Bearer ${secret}${secret}` } }],
    ["GET", "/v1/keys/self", { key: null, headers: { authorization: `Bearer ${secret.repeat(20)}` } }],
    ["GET", "/v1/keys/none", { key: null, headers: { authorization: basic } }],
    ["GET", "/v1/keys/none", { headers: { referer: `https://app.example/?key=${secret}` } }],
    ["POST", "/v1/keys", { body: { name: 7, owner_id: secret } }],
    ["POST", "/v1/keys", { body: { [secret]: true } }],
    ["POST", "/v1/keys", { body: [secret] }],
    ["POST", "/v1/keys/verify", { body: { key: secret, scopes: [secret] } }],
    ["POST", "/v1/keys/verify", { body: { key: secret, caller: { ip: secret } } }],
    ["POST", "/v1/keys/verify", { body: { keys: [secret] } }],
    ["POST", "/v1/keys/verify", { headers: json }],
    ["POST", "/v1/setup", { body: { token: secret } }],
    ["GET", "/v1/keys/none", { headers: { "user-agent": `app/1.0 (${secret})`, "keyturn-caller": secret } }],
    ["GET", "/v1/keys/none", { headers: { "user-agent": secret } }],
    ["POST", "/v1/keys/verify", { body: { key: secret, caller: { name: secret, user_agent: secret } } }],
    ["POST", "/v1/keys/verify", { body: { key: secret, caller: { name: `web ${secret}` } } }],
    ["PATCH", `/v1/keys/${id}`, { body: { name: 7 }, headers: { "user-agent": secret } }],
    ["POST", `/v1/keys/${id}/suspend`, { body: {}, headers: { "user-agent": secret } }],
    ["POST", `/v1/keys/${id}/rotations`, { body: { overlap: secret } }],
    [
      "POST",
      "/v1/keys",
      { body: { name: "x", owner_id: "sa_x" }, headers: { "idempotency-key": `${secret} `.repeat(9) } },
    ],
  ];
  for (const attempt of attempts) {
    const told = await call(...attempt);
    // An answer to a good key may be good; a refusal must not tell the key back.
    if (told.status >= 400) refusals.push(told);
  }
}

/** Commands with keys, while every process is asked for its command line. */
async function commandLine(served: Served, data: string, keyFile: string): Promise<void> {
  const env = { KEYTURN_URL: served.url, KEYTURN_KEY_FILE: keyFile, KEYTURN_DATA: data };
  const commands: readonly (readonly string[])[] = [
    ["keys", "list"],
    ["audit", "list"],
    ["doctor"],
    ["backup", join(folder, "backup")],
    ["audit", "export", "--out", join(folder, "cli-export.jsonl")],
    ["run", "--", "sh", "-c", "sleep 0.2"],
  ];
  const processes = commands.map((command) => ({ command, process: spawnKeyturn(command, { env }) }));
  let running = true;
  const watching = (async () => {
    while (running) {
      for (const line of commandLines()) argv.add(line);
      await Bun.sleep(10);
    }
  })();
  const ended = await Promise.all(processes.map(({ process }) => process.exited));
  running = false;
  await watching;
  for (const { command, process } of processes) {
    writeFileSync(
      join(folder, `cli-${command.join("-").replace(/\W+/g, "-").slice(0, 40)}.txt`),
      `${process.output()}\n${process.errors()}`,
    );
  }
  expect(ended.slice(0, 4)).toEqual([0, 0, 0, 0]);
}

/** What the system shows to everybody of every process. */
function commandLines(): readonly string[] {
  if (existsSync("/proc/self/cmdline")) {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .flatMap((pid) => {
        try {
          return [readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ")];
        } catch {
          // It ended between the two looks.
          return [];
        }
      });
  }
  return Bun.spawnSync(["ps", "-axww", "-o", "args="]).stdout.toString().split("\n");
}
