import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findProgram } from "../support/gateways.ts";
import { until } from "../support/until.ts";

const DEMO = join(import.meta.dir, "../../examples/demo/main.ts");

/** Runs the demo without a terminal, its temporary files in a folder of its own. */
function runDemo(env: Readonly<Record<string, string>>) {
  const folder = mkdtempSync(join(tmpdir(), "keyturn-demo-test-"));
  const temporary = join(folder, "tmp");
  mkdirSync(temporary, { mode: 0o755 });
  const child = Bun.spawn([process.execPath, DEMO], {
    env: { ...process.env, ...env, TMPDIR: temporary },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const done = Promise.all([
    child.exited,
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return {
    child,
    temporary,
    /** Its exit code, its words, and what it left behind. */
    end: async () => {
      const [code, output, errors] = await done;
      const left = readdirSync(temporary);
      rmSync(folder, { recursive: true, force: true });
      return { code, output, errors, left };
    },
  };
}

const nginx = findProgram("nginx");

describe("npm run demo", () => {
  const ways: [string, Record<string, string>][] = [["without nginx", { KEYTURN_DEMO_DIRECT: "1" }]];
  if (nginx !== null) ways.push(["behind nginx", {}]);

  test.concurrent.each(ways)("%s: no request fails, and every turn of the story is told", async (_, env) => {
    const { code, output, errors, left } = await runDemo(env).end();
    expect({ code, errors, left }).toEqual({ code: 0, errors: "", left: [] });

    const turns = [
      "Alice rotates the key",
      "409 not_safe_to_complete: Still using the old key: nightly-report.",
      "nightly-report gets the new key",
      "A request with the old key: 401 suspended",
      "One command brings it back",
      "A request with the old key: 200",
      "A request with the old key: 401 suspended",
      "The rotation is closed",
      "A request with the old key: 401 revoked",
      "The audit trail of the rotation",
      "rotations.rollback  completed → adopting",
      "rotations.advance   completed → closed",
    ];
    let from = 0;
    for (const turn of turns) {
      const at = output.indexOf(turn, from);
      expect([turn, at >= 0]).toEqual([turn, true]);
      from = at + turn.length;
    }
    expect(output).toMatch(/web-shop 0\/s old [1-9]\d*\/s new/);
    const [, requests = ""] = output.trimEnd().match(/\n([\d,]+) requests, 0 failed$/) ?? [];
    expect(Number(requests.replaceAll(",", ""))).toBeGreaterThan(500);
  });

  test.concurrent.each(["SIGINT", "SIGTERM"] as const)(
    "%s ends it and leaves nothing behind",
    async (signal) => {
      const demo = runDemo({});
      const processes = await until("its processes run", async () => {
        const children = await childrenOf(demo.child.pid);
        // Keyturn and, where it is installed, nginx.
        return children.length === (nginx === null ? 1 : 2) && children;
      });
      demo.child.kill(signal);
      const { code, errors, left } = await demo.end();
      expect({ code, errors, left }).toEqual({ code: signal === "SIGINT" ? 130 : 143, errors: "", left: [] });
      for (const pid of processes) expect(() => process.kill(pid, 0)).toThrow("ESRCH");
    },
  );
});

async function childrenOf(pid: number): Promise<readonly number[]> {
  const listing = await new Response(Bun.spawn(["ps", "-A", "-o", "pid=,ppid="]).stdout).text();
  return listing
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter(([, parent]) => parent === pid)
    .map(([child = 0]) => child);
}
