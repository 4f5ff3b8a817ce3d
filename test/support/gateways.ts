import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { IS_FULL_RUN } from "./counts.ts";
import { freePort } from "./server.ts";
import { newFolder, TRACES } from "./traces.ts";
import { until } from "./until.ts";

const EXAMPLES = join(import.meta.dir, "../../examples");

/** A real proxy with the configuration from examples/, in a process of its own. */
export interface Gateway {
  readonly name: "nginx" | "caddy";
  readonly url: string;
  readonly port: number;
  stop(): Promise<void>;
}

interface Ends {
  /** Ports of Keyturn and of the API behind the gateway. */
  readonly keyturn: number;
  readonly api: number;
  /** The gateway's own key, or none. */
  readonly key: string | null;
  /** What to change in the configuration, for tests of what a mistake does. */
  readonly edit?: (text: string) => string;
}

/**
 * Where a program is, or null on a machine without it; whoever needs it skips its tests then. In CI nothing may be
 * skipped, so this throws there.
 */
export function findProgram(name: string): string | null {
  // Debian keeps nginx where only root's PATH leads.
  const found = Bun.which(name, { PATH: `${process.env.PATH}:/usr/sbin:/usr/local/sbin` });
  if (found === null && IS_FULL_RUN)
    throw new Error(`${name} is not installed, and KEYTURN_TEST_REQUIRE_ALL=1 needs it`);
  if (found === null) console.warn(`${name} is not installed: the tests that need it are skipped`);
  return found;
}

/** examples/nginx/nginx.conf, with other ports. */
export function startNginx(program: string, ends: Ends): Promise<Gateway> {
  return start("nginx", "nginx/nginx.conf", 8480, ends, (folder, config) => {
    const line = ends.key === null ? "" : `proxy_set_header Keyturn-Authorization "Bearer ${ends.key}";\n`;
    writeFileSync(join(folder, "gateway.key"), line, { mode: 0o600 });
    return { command: [program, "-p", folder, "-c", config, "-g", "daemon off;"], env: {} };
  });
}

/** examples/caddy/Caddyfile, with other ports. */
export function startCaddy(program: string, ends: Ends): Promise<Gateway> {
  return start("caddy", "caddy/Caddyfile", 8481, ends, (folder, config) => ({
    command: [program, "run", "--config", config, "--adapter", "caddyfile"],
    env: { KEYTURN_KEY: ends.key ?? "", HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
  }));
}

async function start(
  name: Gateway["name"],
  example: string,
  listens: number,
  ends: Ends,
  prepare: (folder: string, config: string) => { command: string[]; env: Record<string, string> },
): Promise<Gateway> {
  const folder = mkdtempSync(join(tmpdir(), `keyturn-${name}-`));
  // Started by root, nginx hands its workers to another user, who must get to the folder for large bodies.
  chmodSync(folder, 0o711);
  const port = await freePort();
  const config = join(folder, "gateway.conf");
  const text = readFileSync(join(EXAMPLES, example), "utf8");
  const edited = ends.edit?.(text) ?? text;
  if (ends.edit !== undefined && edited === text) throw new Error(`${example}: the edit changed nothing`);
  writeFileSync(config, withPorts(edited, { [listens]: port, 8420: ends.keyturn, 8490: ends.api }));
  const { command, env } = prepare(folder, config);
  const output = join(folder, "output");
  const child = Bun.spawn(command, {
    env: { ...process.env, ...env },
    stdin: "ignore",
    stdout: Bun.file(output),
    stderr: Bun.file(`${output}.err`),
  });
  const stop = async () => {
    child.kill("SIGTERM");
    await child.exited;
    keepLogs(name, folder);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await until(`${name} listens`, async () => {
      if (child.exitCode !== null)
        throw new Error(`${name} did not start:\n${await Bun.file(`${output}.err`).text()}`);
      return accepts(port);
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return { name, url: `http://127.0.0.1:${port}`, port, stop };
}

/** What it wrote is for the canary scan; its configuration holds a key on purpose. */
function keepLogs(name: Gateway["name"], folder: string): void {
  if (TRACES === undefined) return;
  const kept = newFolder(name);
  for (const log of ["access.log", "error.log", "output", "output.err"]) {
    if (existsSync(join(folder, log))) copyFileSync(join(folder, log), join(kept, log));
  }
}

/** The example's ports are those a reader would use; a test takes whatever is free. */
function withPorts(text: string, ports: Readonly<Record<number, number>>): string {
  return text
    .split("\n")
    .map((line) => {
      if (line.trimStart().startsWith("#")) return line;
      return line.replace(/(?<=:)(8420|8480|8481|8490)\b/g, (port) => String(ports[Number(port)] ?? port));
    })
    .join("\n");
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** What the API behind the gateway saw of one request. */
export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** A small API that answers each request with what it saw of it, and remembers it. */
export function startApi() {
  const seen: Seen[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) => {
      const { pathname, search } = new URL(request.url);
      const one = {
        method: request.method,
        url: pathname + search,
        headers: Object.fromEntries(request.headers),
        body: await request.text(),
      };
      seen.push(one);
      return Response.json(one);
    },
  });
  return { port: server.port ?? 0, seen, stop: () => server.stop(true) };
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/**
 * Sends header lines as they are written here: repeated, contradicting, as no client library would. `from` is the
 * loopback address that it comes from.
 */
export function sendRaw(
  port: number,
  line: string,
  headers: readonly string[],
  from = "127.0.0.1",
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect({ port, host: "127.0.0.1", localAddress: from });
    socket.once("connect", () => {
      const closing = headers.some((header) => /^connection:/i.test(header)) ? [] : ["Connection: close"];
      socket.write(
        [`${line} HTTP/1.1`, `Host: 127.0.0.1:${port}`, ...closing, ...headers, "", ""].join("\r\n"),
      );
    });
    socket.on("data", (chunk) => {
      text += chunk.toString();
      const answer = parse(text);
      if (answer === null) return;
      socket.destroy();
      resolve(answer);
    });
    socket.once("error", reject);
    socket.once("close", () => reject(new Error(`the connection ended early: ${text}`)));
  });
}

/** The answer, once the length that it announces has arrived. */
function parse(text: string): RawAnswer | null {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return null;
  const [first = "", ...lines] = text.slice(0, end).split("\r\n");
  const headers = new Map(
    lines.map((line): [string, string] => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  const body = text.slice(end + 4);
  const length = headers.get("content-length");
  if (length === undefined ? !body.endsWith("0\r\n\r\n") : Buffer.byteLength(body) < Number(length))
    return null;
  return { status: Number(first.split(" ")[1]), headers, body };
}
