import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { MINUTE, refusalOf, SECOND, startWorld, type World } from "../../../test/support/authority.ts";
import { OPERATIONS } from "../operations.ts";
import { gatherReports } from "./gather-reports.ts";

let world: World;
let other: World;
beforeEach(async () => {
  world = await startWorld({ process: "one", settings: { flushSeconds: 1 } });
  other = await startWorld({
    folder: world.folder,
    clock: world.clock,
    process: "other",
    settings: { flushSeconds: 1 },
  });
});
afterEach(async () => {
  await other.leave();
  await world.close();
});

/** What became of it, as long as nothing has: "waiting". */
function watched<T>(work: Promise<T>): () => T | "waiting" {
  let outcome: T | "waiting" = "waiting";
  void work.then((done) => {
    outcome = done;
  });
  return () => outcome;
}
/** Long enough for several rounds of asking; what is told afterwards rests on the worlds' own clock alone. */
const rounds = () => Bun.sleep(100);

describe("R16: before anything is judged by use", () => {
  test("every process tells what it saw up to now; nobody waits where all have", async () => {
    world.clock.pass(SECOND);
    await other.authority.recorder.flush();
    expect(await gatherReports(world.authority)).toBe(true);
    expect((await world.authority.storage.evidence.watched()).watermark).toBe(world.clock.wall());
  });

  test("another process is waited for until it has told", async () => {
    world.clock.pass(SECOND);
    const outcome = watched(gatherReports(world.authority));
    await rounds();
    expect(outcome()).toBe("waiting");
    await other.authority.recorder.flush();
    await rounds();
    expect(outcome()).toBe(true);
  });

  test("one that says nothing for two flush intervals is waited for no longer, to the millisecond", async () => {
    world.clock.pass(SECOND);
    const outcome = watched(gatherReports(world.authority));
    await rounds();
    world.clock.pass(2 * SECOND - 1);
    await rounds();
    expect(outcome()).toBe("waiting");
    world.clock.pass(1);
    await rounds();
    expect(outcome()).toBe(false);
  });

  test("one that was given up is not waited for", async () => {
    world.clock.pass(2 * MINUTE);
    await world.authority.recorder.flush();
    await world.authority.storage.evidence.endLostReporters(world.clock.wall() - MINUTE, world.clock.wall());
    expect(await gatherReports(world.authority)).toBe(true);
  });
});

describe("R15: a secret is replaced", () => {
  test("by no process while another has yet to tell whether the key was used", async () => {
    const { key, secret } = await world.keyWith({ scopes: ["a:b"] });
    expect(other.verify(secret)).toBe("valid");
    world.clock.pass(SECOND);
    const refused = refusalOf(world.do(OPERATIONS.replaceSecret, { id: key.id }));
    // Asked before the change and again inside it, each time for two flush intervals.
    for (let i = 0; i < 2; i += 1) {
      await rounds();
      world.clock.pass(2 * SECOND);
    }
    expect((await refused).code).toBe("storage_unavailable");
    await world.follow();
    expect(world.verify(secret)).toBe("valid");
  });

  test("not after its first use, whichever process saw it", async () => {
    const { key, secret } = await world.keyWith({ scopes: ["a:b"] });
    expect(other.verify(secret)).toBe("valid");
    world.clock.pass(SECOND);
    const refused = refusalOf(world.do(OPERATIONS.replaceSecret, { id: key.id }));
    await rounds();
    await other.authority.recorder.flush();
    expect((await refused).code).toBe("already_in_use");
  });
});
