import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Environment } from "../../src/config.ts";
import { type Client, clientOf } from "./client.ts";
import { Json } from "./http.ts";
import { type KeyturnProcess, type ProcessOptions, spawnKeyturn, urlOf } from "./keyturn-process.ts";
import { keyFolder, newFolder, noteSecret } from "./traces.ts";

/** Folders of one installation, over which servers come and go. */
export interface Place {
  readonly folder: string;
  readonly data: string;
  readonly witness: string;
  readonly rootKeyFile: string;
  readonly logFile: string;
  /** The settings of a server here: any free port, a root key in a file, a witness. */
  readonly env: Environment;
}

export function newPlace(name: string, env: Environment = {}): Place {
  const folder = newFolder(name);
  const data = join(folder, "data");
  const witness = join(folder, "witness.jsonl");
  const rootKeyFile = join(keyFolder(), "root.key");
  return {
    folder,
    data,
    witness,
    rootKeyFile,
    logFile: join(folder, "server.log"),
    env: {
      KEYTURN_DATA: data,
      KEYTURN_PORT: "0",
      KEYTURN_WITNESS_FILE: witness,
      KEYTURN_ROOT_KEY_FILE: rootKeyFile,
      KEYTURN_LOG_LEVEL: "debug",
      ...env,
    },
  };
}

export interface Served {
  readonly process: KeyturnProcess;
  readonly url: string;
  readonly rootKey: string;
  /** Asks with the root key. */
  readonly call: Client;
}

/** A server over the place, with its root key at hand. */
export async function serveAt(
  place: Place,
  env: Environment = {},
  limits: Pick<ProcessOptions, "largestFileKb" | "through"> = {},
): Promise<Served> {
  const process = spawnKeyturn(["serve"], {
    env: { ...place.env, ...env },
    logFile: place.logFile,
    ...limits,
  });
  const url = await urlOf(process);
  const rootKey = readFileSync(place.rootKeyFile, "utf8").trim();
  noteSecret(rootKey);
  return { process, url, rootKey, call: clientOf(url, rootKey) };
}

/** A server that must not come up: its exit code, and what it said. */
export async function refusedAt(
  place: Place,
  env: Environment = {},
): Promise<{ code: number | null; said: string }> {
  const process = spawnKeyturn(["serve"], { env: { ...place.env, ...env }, logFile: place.logFile });
  const url = await process.ready;
  if (url !== null) {
    process.signal("SIGKILL");
    throw new Error(`It serves at ${url}, and should have refused:\n${process.errors()}`);
  }
  return { code: await process.exited, said: process.errors() };
}

/** How often each verdict on a key was counted, over all hours. */
export async function usesAt(call: Client, keyId: string): Promise<Readonly<Record<string, number>>> {
  const { body } = await call("GET", `/v1/keys/${keyId}/usage`);
  const counts: Record<string, number> = {};
  for (const row of [body.at("data")].flat()) {
    const counted = new Json(row);
    counts[counted.text("code")] = (counts[counted.text("code")] ?? 0) + Number(counted.at("count"));
  }
  return counts;
}

/** A service account, and a key of its own that may do `scopes`. */
export async function issueAt(call: Client, name: string, scopes: readonly string[] = ["invoices:read"]) {
  const owner = await call("POST", "/v1/service-accounts", { body: { name: `owner of ${name}`, scopes } });
  const issued = await call("POST", "/v1/keys", { body: { name, owner_id: owner.body.text("id") } });
  return {
    ownerId: owner.body.text("id"),
    id: issued.body.text("key", "id"),
    secret: issued.body.text("secret"),
  };
}
