import { afterAll, beforeAll, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import packageFile from "../../package.json" with { type: "json" };
import { keyFolder, noteSecret } from "../support/traces.ts";

const ROOT = join(import.meta.dir, "../..");
let folder: string;
let executable: string;

beforeAll(() => {
  folder = keyFolder();
  executable = join(folder, "keyturn");
  const [, , command = "", ...args] = packageFile.scripts.build.split(" ");
  const built = Bun.spawnSync(
    [
      process.execPath,
      command,
      ...args.map((arg) => arg.replace(/^--outfile=.*/, `--outfile=${executable}`)),
    ],
    {
      cwd: ROOT,
    },
  );
  if (built.exitCode !== 0) throw new Error(`The build failed:\n${built.stderr.toString()}`);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function run(args: readonly string[], env: Record<string, string>, input = "") {
  const ran = Bun.spawnSync([executable, ...args], { cwd: folder, env, stdin: Buffer.from(input) });
  return { code: ran.exitCode, output: ran.stdout.toString(), errors: ran.stderr.toString() };
}

test("the one executable serves, redeems its set-up token, issues a key and verifies it, with nothing beside it", async () => {
  // No PATH: neither Bun nor Node is found, and the working folder is empty.
  const server = spawn(executable, ["serve"], {
    cwd: folder,
    env: { KEYTURN_PORT: "0" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const ended = new Promise<number | null>((resolve) => server.once("close", resolve));
  try {
    const said = await new Promise<string>((resolve, reject) => {
      let text = "";
      server.stderr.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
        if (text.includes('"msg":"ready"')) resolve(text);
      });
      void ended.then(() => reject(new Error(text)));
    });
    const url = /"url":"([^"]+)"/.exec(said)?.[1] ?? "";
    const token = /setup_[0-9A-Za-z]+/.exec(said)?.[0] ?? "";
    const setup = run(["setup"], { KEYTURN_URL: url }, token);
    expect(setup.errors).toContain("admin");
    const env = { KEYTURN_URL: url, KEYTURN_KEY: setup.output };
    const owner = run(["service-accounts", "create", "billing", "--json"], env);
    const issued = run(["keys", "create", "ci", "--owner", JSON.parse(owner.output).id], env);
    for (const secret of [setup.output, issued.output]) noteSecret(secret.trim());
    expect(run(["verify"], env, issued.output)).toMatchObject({ code: 0, errors: "" });
    expect(run(["verify"], env, setup.output.replace("_", "_x")).code).toBe(5);
    // What the server shows to people comes out of the executable too.
    expect((await fetch(`${url}/docs`)).status).toBe(200);
    expect(await (await fetch(`${url}/docs/reference.js`)).text()).toContain("scalar");
    expect(await (await fetch(`${url}/docs/errors`)).text()).toContain("not_safe_to_complete");
    expect(run(["doctor", "--json"], {}).code).toBe(0);
    expect(run(["--version"], {}).output.trim()).toBe(packageFile.version);
  } finally {
    server.kill("SIGTERM");
    expect(await ended).toBe(0);
  }
});
