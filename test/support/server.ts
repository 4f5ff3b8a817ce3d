import { readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { Environment } from "../../src/config.ts";
import { dropFolder, keyFolder, newFolder, noteSecret } from "./traces.ts";
import { until } from "./until.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");

/** A real Keyturn in a process of its own, on the loopback. */
export interface Server {
  readonly url: string;
  readonly port: number;
  readonly rootKey: string;
  /** Ends it and resolves when it is gone, with its exit code (null when the signal ended it). */
  end(signal: "SIGTERM" | "SIGKILL"): Promise<number | null>;
  /** Another process over the same folder and on the same port, after `end`. */
  again(): Promise<Server>;
  /** Ends it if it still runs, and removes its folders. */
  clean(): Promise<void>;
}

interface Place {
  readonly folder: string;
  readonly keyFolder: string;
  readonly env: Environment;
}

/** Starts a server over a fresh folder, with a root key, and the settings given on top of its own. */
export function startServer(env: Environment = {}): Promise<Server> {
  return run({ folder: newFolder("server"), keyFolder: keyFolder(), env }, 0);
}

async function run(place: Place, port: number): Promise<Server> {
  const keyFile = join(place.keyFolder, "root.key");
  const child = Bun.spawn([process.execPath, MAIN, "serve"], {
    env: {
      ...withoutSettings(process.env),
      KEYTURN_DATA: join(place.folder, "data"),
      KEYTURN_PORT: String(port),
      KEYTURN_ROOT_KEY_FILE: keyFile,
      KEYTURN_LOG_LEVEL: "debug",
      ...place.env,
    },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  const kept = Bun.file(join(place.folder, `log-${child.pid}`)).writer();
  let log = "";
  const reading = (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of child.stderr) {
      kept.write(chunk);
      log += decoder.decode(chunk, { stream: true });
    }
    await kept.end();
  })();
  const ready = await until("the server is ready", () => {
    if (child.exitCode !== null) throw new Error(`the server did not start:\n${log}`);
    return log.match(/"url":"(http:[^"]+)".*"msg":"ready"/)?.[1];
  });
  const end = async (signal: "SIGTERM" | "SIGKILL") => {
    child.kill(signal);
    await child.exited;
    await reading;
    return child.exitCode;
  };
  const rootKey = readFileSync(keyFile, "utf8").trim();
  noteSecret(rootKey);
  return {
    url: ready,
    port: Number(new URL(ready).port),
    rootKey,
    end,
    again: () => run(place, Number(new URL(ready).port)),
    clean: async () => {
      await end("SIGTERM");
      rmSync(place.keyFolder, { recursive: true, force: true });
      dropFolder(place.folder);
    },
  };
}

/** What the developer's own server is told by the environment is not for this one. */
function withoutSettings(env: Environment): Environment {
  const own = ([name]: [string, unknown]) => !name.startsWith("KEYTURN_") || name.startsWith("KEYTURN_TEST_");
  return Object.fromEntries(Object.entries(env).filter(own));
}

/** A port that nobody listens on at this moment. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}
