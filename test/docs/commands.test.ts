import { describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { commandBlocks } from "../../scripts/check-docs.ts";
import { findProgram } from "../support/gateways.ts";
import { asSuperuser, NO_POSTGRES, newDatabase } from "../support/postgres.ts";
import { freePort } from "../support/server.ts";

const ROOT = join(import.meta.dir, "../..");
/** Starts its own server; the other pages find one running, with a root key at hand. */
const STARTS_ITSELF = "README.md";
/** The page about PostgreSQL finds one, in which its own statements were run, and an embedded installation to move. */
const ON_POSTGRES = "docs/postgresql.md";

/** Programs that a page's commands run, and that a newcomer's machine may not have. */
const NEEDS: Readonly<Record<string, readonly string[]>> = { "docs/gateways.md": ["nginx", "caddy"] };

const pages = Map.groupBy(
  commandBlocks().filter((block) => !block.skipped),
  (block) => block.file,
);

describe("every command in the README and the docs works as it stands", () => {
  for (const [file, blocks] of pages) {
    const lacksProgram = (NEEDS[file] ?? []).some((program) => findProgram(program) === null);
    const isMissing = lacksProgram || (file === ON_POSTGRES && NO_POSTGRES);
    test.skipIf(isMissing)(file, async () => {
      const port = await freePort();
      const folder = checkoutCopy();
      const host = file === ON_POSTGRES ? await preparedServer(file) : "";
      const lines = blocks.map((block) =>
        block.script
          .replaceAll(/(localhost|127\.0\.0\.1):8420/g, `$1:${port}`)
          .replaceAll("db.example.com", host),
      );
      const before = file === ON_POSTGRES ? SOMETHING_TO_MOVE : SERVER_AT_HAND;
      const begin = file === STARTS_ITSELF ? [] : before;
      const script = [
        "set -euo pipefail",
        'trap "kill 0" EXIT',
        'export PATH="$PWD/bin:$PATH"',
        ...begin,
        ...lines,
        "trap - EXIT",
        CLEAN_END,
      ];
      const shell = Bun.spawn(["setsid", "--wait", "bash", "-c", script.join("\n")], {
        cwd: folder,
        env: {
          ...process.env,
          KEYTURN_PORT: String(port),
          KEYTURN_URL: `http://127.0.0.1:${port}`,
          KEYTURN_LOG_LEVEL: "warn",
          // The password in the page's statements.
          PGPASSWORD: "choose-one",
        },
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
      });
      const [stdout, stderr, code] = await Promise.all([
        new Response(shell.stdout).text(),
        new Response(shell.stderr).text(),
        shell.exited,
      ]);
      rmSync(folder, { recursive: true, force: true });
      expect({ file, code, output: code === 0 ? "" : `${stdout}\n${stderr}` }).toEqual({
        file,
        code: 0,
        output: "",
      });
    });
  }
});

const SERVER_AT_HAND = [
  "KEYTURN_ROOT_KEY_FILE=root.key keyturn serve > server.log 2>&1 &",
  'until curl -sf "$KEYTURN_URL/healthz" > /dev/null; do sleep 0.1; done',
  "export KEYTURN_KEY_FILE=root.key KEYTURN_KEY=$(cat root.key)",
];

const SOMETHING_TO_MOVE = [
  // In the folder that the page names: beside an empty database, one in the usual place is refused.
  "export KEYTURN_DATA=embedded",
  ...SERVER_AT_HAND,
  "kill $!; wait",
  "unset KEYTURN_DATA KEYTURN_KEY KEYTURN_KEY_FILE; rm root.key",
];

/** Runs the statements of a page at a real PostgreSQL, and says where that is. */
async function preparedServer(file: string): Promise<string> {
  const { url } = await newDatabase("empty");
  const text = await Bun.file(join(ROOT, file)).text();
  for (const [, block = ""] of text.matchAll(/^```sql\n(.*?)^```$/gms))
    await asSuperuser(url, ...block.split("\n").filter((line) => line !== ""));
  return new URL(url).host;
}

/** Ends what the page left running, and waits for it: a server that can't stop cleanly is a failure as well. */
const CLEAN_END = 'children=$(jobs -p); if [ -n "$children" ]; then kill $children || true; wait || true; fi';

/** A folder in which a reader could stand: everything of the checkout, and nothing written to it. */
function checkoutCopy(): string {
  const folder = mkdtempSync(join(tmpdir(), "keyturn-docs-"));
  for (const name of readdirSync(ROOT)) {
    if (name === ".git" || name === "data" || name.endsWith(".key")) continue;
    symlinkSync(join(ROOT, name), join(folder, name));
  }
  return folder;
}
