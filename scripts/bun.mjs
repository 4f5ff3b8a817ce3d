/**
 * Runs the pinned Bun with the arguments given, installing the dependencies first where they are missing or not those
 * of package-lock.json. It is what every npm script goes through, so that a machine with Node 20 and npm needs nothing
 * else. Plain JavaScript on Node's own modules, because nothing is installed yet when it starts.
 */
import { spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const modules = join(root, "node_modules");
const lock = join(root, ".install-lock");
const INSTALL_LIMIT_MS = 15 * 60_000;

/**
 * Whether node_modules holds what package-lock.json asks for. npm writes its own record of the installed tree last, so
 * an interrupted installation has none. Contents are compared, not times: a checkout touches files it doesn't change.
 */
function isInstalled() {
  const record = join(modules, ".package-lock.json");
  if (!existsSync(record)) return false;
  const wanted = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
  const installed = JSON.parse(readFileSync(record, "utf8")).packages;
  return Object.entries(wanted).every(([path, entry]) => {
    // Optional ones are builds for other platforms, left out on purpose; the root is not installed.
    if (path === "" || entry.optional || !path.startsWith("node_modules/")) return true;
    return installed[path] !== undefined && installed[path].version === entry.version;
  });
}

/** The pid in a lock directory, or undefined when there is none. */
function holderOf(directory) {
  try {
    return Number(readFileSync(join(directory, "pid"), "utf8"));
  } catch {
    return undefined;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

/** Takes the lock, or says no. The directory appears with its pid in one step: a rename onto a full one fails. */
function takeLock() {
  const mine = `${lock}.${process.pid}`;
  mkdirSync(mine, { recursive: true });
  writeFileSync(join(mine, "pid"), String(process.pid));
  try {
    renameSync(mine, lock);
    return true;
  } catch {
    rmSync(mine, { recursive: true, force: true });
    return false;
  }
}

/** Puts aside a lock whose holder has died. Whoever's rename comes second finds a living holder and puts it back. */
function dropDeadLock() {
  const holder = holderOf(lock);
  if (holder === undefined || isAlive(holder)) return;
  const aside = `${lock}.${process.pid}.dead`;
  try {
    renameSync(lock, aside);
    if (holderOf(aside) !== holder) renameSync(aside, lock);
  } catch {
    // Another start was faster; the loop looks again.
  }
  rmSync(aside, { recursive: true, force: true });
}

/** Runs `npm ci`, its output on stderr: stdout belongs to the program that runs afterwards. */
function install() {
  process.stderr.write("keyturn: installing dependencies (npm ci)\n");
  // Development packages too, whatever NODE_ENV says: the checks and tests are among the scripts that come here.
  const npm = ["ci", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error"];
  const env = { ...process.env, npm_config_dry_run: "", npm_config_json: "" };
  const cli = process.env.npm_execpath;
  const result =
    cli?.endsWith(".js") && cli.includes("npm-cli")
      ? spawnSync(process.execPath, [cli, ...npm], { cwd: root, env, stdio: ["ignore", 2, 2] })
      : spawnSync("npm", npm, {
          cwd: root,
          env,
          stdio: ["ignore", 2, 2],
          shell: process.platform === "win32",
        });
  if (result.status !== 0) {
    process.stderr.write(`keyturn: npm ci failed${result.error ? `: ${result.error.message}` : ""}\n`);
    process.exit(1);
  }
}

async function ensureInstalled() {
  const deadline = Date.now() + INSTALL_LIMIT_MS;
  // Looked at again under the lock, because the one that was waited for may have installed everything.
  while (existsSync(lock) || !isInstalled()) {
    if (takeLock()) {
      const release = () => rmSync(lock, { recursive: true, force: true });
      process.on("exit", release);
      if (!isInstalled()) install();
      release();
      process.off("exit", release);
      return;
    }
    dropDeadLock();
    if (Date.now() > deadline) {
      process.stderr.write(`keyturn: another installation holds ${lock}; remove it if none is running\n`);
      process.exit(1);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/**
 * The Bun binary. The npm package `bun` is a shell stub until its postinstall script swaps the platform's binary in;
 * where scripts may not run, the binary still lies in the platform's own package.
 */
function findBun() {
  const vendor = join(modules, "@oven");
  const platforms = existsSync(vendor) ? readdirSync(vendor) : [];
  const candidates = [
    join(modules, "bun", "bin", "bun.exe"),
    ...platforms.flatMap((name) => ["bun", "bun.exe"].map((file) => join(vendor, name, "bin", file))),
  ].filter((path) => existsSync(path) && statSync(path).size > 1_000_000);
  // With one candidate there is nothing to choose; with several (glibc and musl), take the first that starts.
  if (candidates.length < 2) return candidates[0];
  return candidates.find((path) => spawnSync(path, ["--version"], { stdio: "ignore" }).status === 0);
}

await ensureInstalled();
const bun = findBun();
if (bun === undefined) {
  process.stderr.write(`keyturn: the package bun holds no binary for ${process.platform} ${process.arch}\n`);
  process.exit(1);
}

// --no-orphans: Bun ends when this process does, even by a signal that can't be caught.
const child = spawn(bun, ["--no-orphans", ...process.argv.slice(2)], { stdio: "inherit" });

// A terminal sends Ctrl-C to the whole foreground group, Bun included; passed on as well it would arrive twice and read
// as impatience. Without a terminal nobody else tells the child.
const hasTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2"]) {
  process.on(signal, () => {
    if (signal !== "SIGINT" || !hasTerminal) child.kill(signal);
  });
}

// npm passes a signal on to the shell between it and here, and the shell dies of it without passing it on. So when npm
// started this, the loss of the parent is the signal. (Started by hand it is not: `nohup` is meant to outlive a shell.)
if (process.env.npm_lifecycle_event !== undefined) {
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    child.kill("SIGTERM");
  }, 250).unref();
}

child.on("error", (error) => {
  process.stderr.write(`keyturn: ${bun}: ${error.message}\n`);
  process.exit(1);
});
child.on("exit", (code, signal) => {
  process.exit(signal === null ? code : 128 + constants.signals[signal]);
});
