import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { spawnKeyturn } from "../support/keyturn-process.ts";
import { type Server, startServer } from "../support/server.ts";
import { keyFolder, noteSecret } from "../support/traces.ts";
import { until } from "../support/until.ts";

const IS_LINUX = process.platform === "linux";

let server: Server;
let folder: string;

beforeAll(async () => {
  server = await startServer();
  noteSecret(server.rootKey);
  folder = keyFolder();
  writeFileSync(join(folder, "root.key"), server.rootKey);
});
afterAll(async () => {
  await server.clean();
  rmSync(folder, { recursive: true, force: true });
});

const connected = () => ({ KEYTURN_URL: server.url, KEYTURN_KEY: server.rootKey });

describe("a secret on the command line", () => {
  test("is refused before anything repeats it, in every place and spelling", async () => {
    const secret = server.rootKey;
    for (const args of [
      ["verify", secret],
      ["keys", "get", secret],
      [`--key=${secret}`, "keys", "list"],
      ["keys", "list", "--key", secret],
      ["keys", "list", `--nonsense=${secret}`],
      [secret],
      ["run", "--", "echo", `Bearer ${secret}`],
      ["setup", "--token", "setup_01234567890123456789012345678901"],
    ]) {
      const run = spawnKeyturn(args, { env: connected() });
      expect(await run.exited).toBe(2);
      expect(run.errors()).toContain("must not stand on a command line");
      expect(run.errors() + run.output()).not.toContain(secret);
    }
  });
});

describe("the password of a database on the command line", () => {
  test("is refused before anything repeats it, wherever it stands in the URL, with the ways to give it", async () => {
    for (const url of [
      "postgres://keyturn:a-password@db.example.com/keyturn",
      "postgres://keyturn@db.example.com/keyturn?password=a-password",
      "postgres://keyturn:a-password@db.example.com:none/keyturn",
    ]) {
      const run = spawnKeyturn(["migrate-store", "--to", url], { env: {} });
      expect(await run.exited).toBe(2);
      expect(run.errors()).toContain("give it in PGPASSWORD or a pgpass file");
      expect(run.errors() + run.output()).not.toContain("a-password");
    }
  });
});

test.skipIf(!IS_LINUX)(
  "a program run with a key has it in its environment, and no process in its arguments",
  async () => {
    const run = spawnKeyturn(["run", "--", "sleep", "30"], { env: connected() });
    const children = await until("the program has started", () => {
      const text = readFileSync(`/proc/${run.pid}/task/${run.pid}/children`, "utf8").trim();
      return text !== "" && text.split(" ");
    });
    const child = children[0] ?? "";
    await until("the program is the one", () =>
      readFileSync(`/proc/${child}/cmdline`, "utf8").startsWith("sleep"),
    );
    const environment = readFileSync(`/proc/${child}/environ`, "utf8").split("\0");
    expect(environment).toContain(`API_KEY=${server.rootKey}`);
    expect(environment.filter((pair) => pair.startsWith("KEYTURN_KEY"))).toEqual([]);
    for (const pid of [child, String(run.pid)]) {
      expect(readFileSync(`/proc/${pid}/cmdline`, "utf8")).not.toContain(server.rootKey);
    }
    run.signal("SIGTERM");
    expect(await run.exited).toBe(143);
  },
);

test("an issued secret is told once on standard output, and nowhere on standard error", async () => {
  const owner = spawnKeyturn(["service-accounts", "create", "billing", "--json"], { env: connected() });
  expect(await owner.exited).toBe(0);
  const { id } = JSON.parse(owner.output());
  for (const json of [[], ["--json"]]) {
    const run = spawnKeyturn(["keys", "create", `key-${json.length}`, "--owner", id, ...json], {
      env: connected(),
    });
    expect(await run.exited).toBe(0);
    const secrets = run.output().match(/kts_[0-9A-Za-z]{38}/g) ?? [];
    expect(secrets).toHaveLength(1);
    noteSecret(secrets[0] ?? "");
    expect(run.errors()).not.toContain(secrets[0] ?? "");
    if (json.length === 0) expect(run.output()).toBe(`${secrets[0]}\n`);
    else expect(JSON.parse(run.output()).secret).toBe(secrets[0]);
  }
});
