import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@keyturn/sdk";
import { startApi } from "./api.ts";

const ROOT = join(import.meta.dir, "../..");
const START_LIMIT_MS = 15_000;
const END_LIMIT_MS = 5_000;

/** Everything that the demo runs, in a temporary folder and on free ports. */
export interface House {
  readonly keyturnUrl: string;
  /** Where the clients call: nginx in front of the API, or the API itself where nginx is not installed. */
  readonly apiUrl: string;
  readonly hasNginx: boolean;
  readonly rootKey: string;
  /** Once Keyturn knows a key for whoever stands in front of the API. */
  openDoors(gatewayKey: string): Promise<void>;
  /** What Keyturn has complained about. */
  complaints(): string;
  /** Ends the processes and removes the folder. */
  close(): Promise<void>;
  /** The same when there is no time left. */
  closeNow(): void;
}

export async function openHouse(): Promise<House> {
  const folder = mkdtempSync(join(tmpdir(), "keyturn-demo-"));
  const children: Bun.Subprocess[] = [];
  // KEYTURN_DEMO_DIRECT=1 leaves nginx out where it is installed.
  const isDirect = process.env.KEYTURN_DEMO_DIRECT === "1";
  const nginx = isDirect
    ? null
    : Bun.which("nginx", { PATH: `${process.env.PATH}:/usr/sbin:/usr/local/sbin` });
  const [keyturnPort, apiPort, nginxPort] = [await freePort(), await freePort(), await freePort()];
  const keyturnUrl = `http://127.0.0.1:${keyturnPort}`;
  const log = join(folder, "keyturn.log");
  let api: ReturnType<typeof startApi> | null = null;

  const closeNow = () => {
    // Not SIGKILL: nginx would leave its workers behind.
    for (const child of children) child.kill("SIGTERM");
    rmSync(folder, { recursive: true, force: true });
  };
  const close = async () => {
    await api?.stop(true);
    // Against the order in which they started, so that nobody in front misses who is behind.
    for (const child of children.toReversed()) await end(child);
    rmSync(folder, { recursive: true, force: true });
  };

  function start(
    command: readonly string[],
    output: string,
    env: Readonly<Record<string, string>>,
  ): Bun.Subprocess {
    const file = openSync(output, "a");
    const child = Bun.spawn([...command], { env, stdin: "ignore", stdout: file, stderr: file });
    closeSync(file);
    children.push(child);
    return child;
  }

  try {
    const keyFile = join(folder, "root.key");
    const server = start([process.execPath, join(ROOT, "src/main.ts"), "serve"], log, {
      ...withoutSettings(process.env),
      KEYTURN_PORT: String(keyturnPort),
      KEYTURN_DATA: join(folder, "data"),
      KEYTURN_ROOT_KEY_FILE: keyFile,
      KEYTURN_TRUSTED_PROXIES: "127.0.0.1",
      KEYTURN_LOG_LEVEL: "warn",
    });
    await answers(server, `${keyturnUrl}/readyz`, log);
    return {
      keyturnUrl,
      apiUrl: `http://127.0.0.1:${nginx === null ? apiPort : nginxPort}/invoices`,
      hasNginx: nginx !== null,
      rootKey: readFileSync(keyFile, "utf8").trim(),
      openDoors: async (gatewayKey) => {
        if (nginx === null) {
          api = startApi(apiPort, createClient({ url: keyturnUrl, key: gatewayKey }));
          return;
        }
        api = startApi(apiPort, null);
        const ports = { 8420: keyturnPort, 8480: nginxPort, 8490: apiPort };
        writeNginxFolder(folder, ports, gatewayKey);
        const output = join(folder, "nginx.log");
        const command = [nginx, "-p", folder, "-c", "nginx.conf", "-g", "daemon off;"];
        await answers(
          start(command, output, withoutSettings(process.env)),
          `http://127.0.0.1:${nginxPort}/healthz`,
          output,
        );
      },
      complaints: () => readFileSync(log, "utf8"),
      close,
      closeNow,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The configuration from examples/nginx as it stands, with the demo's ports in place of a reader's. */
function writeNginxFolder(folder: string, ports: Readonly<Record<string, number>>, gatewayKey: string): void {
  // Started by root, nginx hands its workers to another user, who must get through here.
  chmodSync(folder, 0o711);
  const text = readFileSync(join(ROOT, "examples/nginx/nginx.conf"), "utf8");
  writeFileSync(
    join(folder, "nginx.conf"),
    text.replace(/(?<=127\.0\.0\.1:)\d+/g, (port) => String(ports[port] ?? port)),
  );
  const line = `proxy_set_header Keyturn-Authorization "Bearer ${gatewayKey}";\n`;
  writeFileSync(join(folder, "gateway.key"), line, { mode: 0o600 });
}

/** The reader's own settings are for the reader's own server. */
function withoutSettings(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter(
      (entry): entry is [string, string] => entry[1] !== undefined && !entry[0].startsWith("KEYTURN_"),
    ),
  );
}

async function answers(child: Bun.Subprocess, url: string, log: string): Promise<void> {
  const deadline = performance.now() + START_LIMIT_MS;
  for (;;) {
    const good = await fetch(url).then(
      (response) => response.ok,
      () => false,
    );
    if (good) return;
    if (child.exitCode !== null || performance.now() > deadline) {
      throw new Error(`${url} does not answer:\n${readFileSync(log, "utf8")}`);
    }
    await Bun.sleep(50);
  }
}

async function end(child: Bun.Subprocess): Promise<void> {
  child.kill("SIGTERM");
  const limit = setTimeout(() => child.kill("SIGKILL"), END_LIMIT_MS);
  await child.exited;
  clearTimeout(limit);
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}
