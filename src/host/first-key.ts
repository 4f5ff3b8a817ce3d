import { closeSync, existsSync, fsyncSync, openSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Authority } from "../authority/authority.ts";
import { perform } from "../authority/operation.ts";
import { HOST, needsSetup, openSetup, recover, SETUP_TOKEN_SECONDS } from "../authority/setup/setup.ts";
import type { Config } from "../config.ts";
import { HostError } from "./open.ts";

/**
 * Where nobody holds a good root key: writes one to `KEYTURN_ROOT_KEY_FILE`, or prints a one-time set-up token. The
 * file is written and synced before the key exists, and never over another file.
 */
export async function provideFirstKey(authority: Authority, config: Config, url: string): Promise<void> {
  if (!(await needsSetup(authority))) return;
  const path = config.rootKeyFile;
  if (path === null) {
    const token = openSetup(authority);
    // Straight to the terminal, past the log: a log is kept.
    process.stderr.write(
      [
        "",
        `  No root key yet. Redeem this set-up token within ${SETUP_TOKEN_SECONDS / 60} minutes, once:`,
        "",
        `    ${token}`,
        "",
        `    keyturn setup --url ${url}`,
        "",
        "",
      ].join("\n"),
    );
    return;
  }
  if (existsSync(path)) {
    throw new HostError(
      `KEYTURN_ROOT_KEY_FILE: ${path} exists, but no good root key does. Nothing is overwritten: move the file away, then start again.`,
    );
  }
  await perform(authority, recover, HOST, { keep: (secret) => writeNewFile(path, `${secret}\n`) });
}

/** Throws where the file exists. Durable when it returns, the entry in its folder included. */
function writeNewFile(path: string, text: string): void {
  const file = openSync(path, "wx", 0o600);
  try {
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  const folder = openSync(dirname(path), "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
