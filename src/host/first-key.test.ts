import { afterAll, afterEach, beforeEach, describe, expect, spyOn, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cleanUp, keyFolder, newFolder, noteSecret } from "../../test/support/traces.ts";
import { digestOf } from "../authority/secret.ts";
import { readConfig } from "../config.ts";
import { provideFirstKey } from "./first-key.ts";
import { type OpenInstallation, openInstallation } from "./open.ts";

afterAll(cleanUp);

const PROCESSES = 4;
let opened: OpenInstallation[] = [];
let files: string[] = [];

/** Processes that start over one database at once, each on a machine of its own. */
beforeEach(async () => {
  const data = newFolder("first-key");
  files = Array.from({ length: PROCESSES }, () => join(keyFolder(), "root.key"));
  opened = [];
  for (let n = 0; n < PROCESSES; n += 1)
    opened.push(await openInstallation(readConfig({ KEYTURN_DATA: data, KEYTURN_PROCESS_NAME: `p${n}` })));
});

afterEach(async () => {
  for (const { close } of opened) await close();
});

const provide = (toFile: boolean) =>
  Promise.all(
    opened.map(({ authority }, index) =>
      provideFirstKey(
        authority,
        readConfig({ KEYTURN_ROOT_KEY_FILE: toFile ? files[index] : undefined }),
        "http://127.0.0.1",
      ),
    ),
  );

describe("of several processes that start at once without a root key", () => {
  test("R34: one writes it to its file, the others to none, and none fails", async () => {
    const provided = await provide(true);
    expect(provided.filter((mine) => mine)).toHaveLength(1);
    const written = files.filter((file) => existsSync(file));
    expect(written).toHaveLength(1);
    const secret = readFileSync(written[0] ?? "", "utf8").trim();
    noteSecret(secret);
    for (const { authority } of opened) {
      const operator = await authority.storage.read.accounts.operator();
      if (operator === null) throw new Error("there is an operator");
      const roots = await authority.storage.read.keys.roots(operator.id);
      expect(roots).toHaveLength(1);
      expect((await authority.storage.match(digestOf(secret)))?.key.id).toBe(roots[0]?.[0].id);
    }
    // Whoever comes later finds it there.
    expect(await provide(true)).toEqual(Array(PROCESSES).fill(true));
    expect(files.filter((file) => existsSync(file))).toEqual(written);
  });

  test("R34: one prints a set-up token, and no other one makes it worthless", async () => {
    const said: string[] = [];
    const terminal = spyOn(process.stderr, "write").mockImplementation((text) => {
      said.push(String(text));
      return true;
    });
    try {
      const provided = await provide(false);
      expect(provided.filter((mine) => mine)).toHaveLength(1);
    } finally {
      terminal.mockRestore();
    }
    const tokens = said.join("").match(/setup_[0-9A-Za-z]{32}/g) ?? [];
    expect(tokens).toHaveLength(1);
    const [token = ""] = tokens;
    noteSecret(token);
    const [first] = opened;
    const now = first?.authority.time.now() ?? 0;
    expect(await first?.authority.storage.cluster.takeSetup(digestOf(token), now)).toBe(true);
  });
});
