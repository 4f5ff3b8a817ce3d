import { afterAll, expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newPlace, serveAt } from "../support/installation.ts";
import { cleanUp } from "../support/traces.ts";
import { until } from "../support/until.ts";
import { crewEnv, successorOf, workersOf } from "../support/workers.ts";

afterAll(cleanUp);

test("a worker that the system can't start again for a while is started when it can, and the others go on", async () => {
  // Not among what is kept of a test: it is large, and nothing is written to it.
  const folder = mkdtempSync(join(tmpdir(), "keyturn-program-"));
  const program = join(folder, "bun");
  copyFileSync(process.execPath, program);
  const through = ["bash", "-c", `shift; exec "${program}" "$@"`, "bash"];
  const served = await serveAt(newPlace("respawn"), crewEnv(2), { through });
  try {
    const [, victim] = workersOf(served);
    if (victim === undefined) throw new Error("there is a second worker");
    renameSync(program, `${program}.away`);
    process.kill(victim.pid, "SIGKILL");
    await until("it can't be started", () => served.process.errors().includes("It could not be started"));
    for (let n = 0; n < 20; n += 1) expect((await served.call("GET", "/v1/keys/self")).status).toBe(200);
    renameSync(`${program}.away`, program);
    await successorOf(served, victim);
    expect(await served.process.stop()).toBe(0);
  } finally {
    served.process.signal("SIGKILL");
    await served.process.exited;
    rmSync(folder, { recursive: true, force: true });
  }
});
