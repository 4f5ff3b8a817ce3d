import { closeSync, existsSync, fsyncSync, openSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Authority } from "../authority/authority.ts";
import { perform } from "../authority/operation.ts";
import { HOST, needsSetup, openSetup, recover, SETUP_TOKEN_SECONDS } from "../authority/setup/setup.ts";
import type { Config } from "../config.ts";
import { HostError } from "./open.ts";

/** How long processes that start at once are one start. A token that another one printed would be dead by then. */
const CLAIM_MS = 60_000;

/**
 * Where nobody holds a good root key: writes one to `KEYTURN_ROOT_KEY_FILE`, or prints a one-time set-up token. The
 * file is written and synced before the key exists, and never over another file. Of several processes that start at
 * once, one does so, and false says that another one did.
 */
export async function provideFirstKey(authority: Authority, config: Config, url: string): Promise<boolean> {
  if (!(await needsSetup(authority))) return true;
  const now = authority.time.now();
  if (!(await authority.storage.cluster.claim("first-key", authority.process.id, now, now + CLAIM_MS)))
    return false;
  // Whoever had the claim before may have made the key, and left.
  if (await needsSetup(authority)) await makeFirstKey(authority, config, url);
  return true;
}

async function makeFirstKey(authority: Authority, config: Config, url: string): Promise<void> {
  const path = config.rootKeyFile;
  if (path === null) {
    const token = await openSetup(authority);
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
