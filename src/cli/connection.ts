import { readFileSync } from "node:fs";
import { type Client, createClient, KeyturnError } from "@keyturn/sdk";
import { misuse } from "./exit.ts";
import { oneLine } from "./terminal.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export interface ConnectionOptions {
  readonly url?: string | undefined;
  readonly keyFile?: string | undefined;
}

const DEFAULT_URL = "http://127.0.0.1:8420";
/** How the command line is known to Keyturn as a user of its key. One name, because machines in CI come and go. */
const OWN_NAME = "keyturn-cli";

/** The one line that a file holds. `what` names it in the failure. */
export function readLine(path: string, what: string): string {
  try {
    return oneLine(readFileSync(path, "utf8"), what);
  } catch (error) {
    if (error instanceof Error && "code" in error)
      throw misuse(`${what}: ${path} can't be read (${error.code}).`);
    throw error;
  }
}

/**
 * The key that the command line works with: `--key-file`, else `KEYTURN_KEY`, else the file that `KEYTURN_KEY_FILE`
 * names. There is no option for the key itself: command lines stand in the process list and in histories.
 */
export function ownKey(options: ConnectionOptions, environment: Environment): string | undefined {
  if (options.keyFile !== undefined) return readLine(options.keyFile, "key (--key-file)");
  const given = environment.KEYTURN_KEY;
  if (given !== undefined && given !== "") return oneLine(given, "key (KEYTURN_KEY)");
  const file = environment.KEYTURN_KEY_FILE;
  return file === undefined || file === "" ? undefined : readLine(file, "key (KEYTURN_KEY_FILE)");
}

export function urlOf(options: ConnectionOptions, environment: Environment): string {
  return options.url ?? (environment.KEYTURN_URL || DEFAULT_URL);
}

/** A client without a key, for what is open to everybody. */
export function connectOpenly(options: ConnectionOptions, environment: Environment): Client {
  return client(urlOf(options, environment), undefined);
}

/** A client with the key. Throws a usage failure where there is none. */
export function connect(options: ConnectionOptions, environment: Environment): Client {
  const key = ownKey(options, environment);
  if (key === undefined) {
    throw misuse("There is no key to ask with. Set KEYTURN_KEY or KEYTURN_KEY_FILE, or give --key-file.");
  }
  return client(urlOf(options, environment), key);
}

function client(url: string, key: string | undefined): Client {
  try {
    return createClient({ url, key, caller: OWN_NAME });
  } catch (error) {
    // The URL or the key, and the message says which.
    if (error instanceof TypeError) throw misuse(error.message);
    throw error;
  }
}

/** Whether a call ended because nobody could be reached. */
export function isUnreachable(error: unknown): boolean {
  return error instanceof KeyturnError && (error.code === "unreachable" || error.code === "timeout");
}
