import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { SECOND, startWorld, type World } from "../../../test/support/authority.ts";
import { type Line, newLine, over } from "../../../test/support/cut-off.ts";
import type { Freshness } from "../freshness.ts";
import { OPERATIONS } from "../operations.ts";
import { awaitAll, freshnessOfKey, type Propagation } from "./await-all.ts";
import { createMembership, type Membership } from "./membership.ts";

interface Process {
  readonly world: World;
  readonly line: Line;
  readonly membership: Membership;
}
let here: Process;
let there: Process;

async function join(name: string, beside?: World, boundedSeconds = 10): Promise<Process> {
  const line = newLine();
  const options = { through: over(line), process: name, settings: { boundedSeconds } };
  const world = await startWorld(
    beside === undefined ? options : { ...options, folder: beside.folder, clock: beside.clock },
  );
  const membership = createMembership(world.authority);
  await membership.join();
  return { world, line, membership };
}
beforeEach(async () => {
  here = await join("here");
  there = await join("there", here.world);
  await here.world.follow();
});
afterEach(async () => {
  for (const { line } of [here, there]) line.away = false;
  await there.world.leave();
  await here.world.close();
});

/** A change made here, and what became of waiting for it: "waiting" as long as nothing has. */
async function changed(affected: readonly Freshness[]): Promise<() => Propagation | "waiting"> {
  const { seq } = await here.world.performed(OPERATIONS.createServiceAccount, {
    name: `changed-${crypto.randomUUID()}`,
    own: { role: null, scopes: null, allowedIps: null },
  });
  let outcome: Propagation | "waiting" = "waiting";
  void awaitAll(here.world.authority, seq, affected).then((done) => {
    outcome = done;
  });
  await rounds();
  return () => outcome;
}
/** Long enough for several looks at the list; how long anybody is waited for rests on the worlds' own clock alone. */
const rounds = () => Bun.sleep(100);
async function pass(milliseconds: number): Promise<void> {
  here.world.clock.pass(milliseconds);
  await rounds();
}

/** What a serving process does four times a second. */
async function follow({ world, membership }: Process): Promise<void> {
  await world.follow();
  await membership.report();
}

describe("R12: waiting for all", () => {
  test("is over as soon as every process has said that it applied the change, whatever the keys are promised", async () => {
    for (const freshness of ["strict", "bounded", "static"] as const) {
      const outcome = await changed([freshness]);
      expect(outcome()).toBe("waiting");
      await pass(50);
      await follow(there);
      await rounds();
      expect(outcome()).toEqual({ everywhere: true, silent: [] });
      await pass(SECOND);
    }
  });

  test("having followed is not enough where nobody was told of it", async () => {
    const outcome = await changed(["static"]);
    await there.world.follow();
    await rounds();
    expect(outcome()).toBe("waiting");
    await pass(50);
    await there.membership.report();
    await rounds();
    expect(outcome()).toEqual({ everywhere: true, silent: [] });
  });

  for (const [freshness, ceiling] of [
    ["strict", 1_500],
    ["bounded", 10_000],
  ] as const) {
    test(`ends with the ceiling of ${freshness} keys, ${ceiling} ms after the change: whoever is silent can't judge them any more`, async () => {
      const { world } = there;
      const { secret } = await here.world.keyWith({ scopes: ["a:b"] }, { freshness });
      await world.follow();
      expect(await world.judged(secret)).toBe("valid");
      there.line.away = true;
      const outcome = await changed([freshness]);
      await pass(ceiling);
      expect(outcome()).toBe("waiting");
      await pass(1);
      expect(outcome()).toEqual({ everywhere: true, silent: ["there"] });
      expect(await world.judged(secret)).toBe("stale");
    });
  }

  test("of keys that are promised different things ends with the weakest of the promises", async () => {
    const outcome = await changed(["strict", "bounded"]);
    await pass(1_501);
    expect(outcome()).toBe("waiting");
    await pass(8_500);
    expect(outcome()).toMatchObject({ everywhere: true });
  });

  test("with a static key among them is never over by time alone: after 15 s it names whoever is silent", async () => {
    const outcome = await changed(["strict", "static"]);
    await pass(15_000);
    expect(outcome()).toBe("waiting");
    await pass(1);
    expect(outcome()).toEqual({ everywhere: false, silent: ["there"] });
  });

  test("waits for no process that has left, nor for the one that another took the place of", async () => {
    const gone = await join("gone", here.world);
    const before = await changed(["static"]);
    expect(before()).toBe("waiting");
    await gone.membership.leave();
    await pass(50);
    await follow(there);
    await rounds();
    expect(before()).toEqual({ everywhere: true, silent: [] });
    await gone.world.leave();

    const outcome = await changed(["static"]);
    // A start under the same name: it has read all there is.
    const again = await join("there", here.world);
    await again.world.follow();
    await again.membership.join();
    await rounds();
    expect(outcome()).toEqual({ everywhere: true, silent: [] });
    await again.world.leave();
  });
});

describe("R12: processes that do not go together", () => {
  test("of one name are both waited for, from the first report of the one whose place was taken", async () => {
    const twin = await join("there", here.world);
    await twin.world.follow();
    await pass(SECOND);
    await follow(there);
    await follow(twin);
    const outcome = await changed(["static"]);
    await pass(50);
    await follow(twin);
    await rounds();
    expect(outcome()).toBe("waiting");
    await follow(there);
    await rounds();
    expect(outcome()).toEqual({ everywhere: true, silent: [] });
    await twin.world.leave();
  });

  test("of different ceilings are waited for by that of the silent one, whoever answers", async () => {
    const lax = await join("lax", here.world, 45);
    const { secret } = await here.world.keyWith({ scopes: ["a:b"] }, { freshness: "bounded" });
    await lax.world.follow();
    expect(await lax.world.judged(secret)).toBe("valid");
    lax.line.away = true;
    const outcome = await changed(["bounded"]);
    await pass(10_001);
    await follow(there);
    await pass(34_998);
    await follow(there);
    expect(outcome()).toBe("waiting");
    expect(await here.world.judged(secret)).toBe("valid");
    await pass(2);
    expect(outcome()).toEqual({ everywhere: true, silent: ["lax"] });
    expect(await lax.world.judged(secret)).toBe("stale");
    lax.line.away = false;
    await lax.world.leave();
  });
});

describe("a list of processes that can't be read", () => {
  test("leaves those that were silent before it: the ceiling ends the wait", async () => {
    const outcome = await changed(["bounded"]);
    here.line.away = true;
    await pass(10_000);
    expect(outcome()).toBe("waiting");
    await pass(1);
    expect(outcome()).toEqual({ everywhere: true, silent: ["there"] });
  });

  test("from the start says nothing of anybody, nor of what they know: after 15 s nothing is promised", async () => {
    here.line.away = true;
    const outcome = await changed(["strict"]);
    await pass(15_000);
    expect(outcome()).toBe("waiting");
    await pass(1);
    expect(outcome()).toEqual({ everywhere: false, silent: ["here"] });
  });
});

describe("a process that is silent", () => {
  test("may not have heard that a key was made stricter: what it last knew of it counts", async () => {
    const { key } = await here.world.keyWith({ scopes: ["a:b"] }, { freshness: "static" });
    await follow(there);
    await pass(50);
    await follow(there);
    await here.world.do(OPERATIONS.updateKey, { id: key.id, own: {}, freshness: "strict" });
    const outcome = await changed(["strict"]);
    await pass(14_999);
    expect(outcome()).toBe("waiting");
    await pass(2);
    expect(outcome()).toEqual({ everywhere: false, silent: ["there"] });
  });
});

test("R12: one that finds the log not to go on has applied nothing of it, whatever numbers it tells, and no ceiling ends the wait", async () => {
  const outcome = await changed(["strict"]);
  const { process, storage } = there.world.authority;
  const { seq } = await storage.read.audit.head();
  const at = here.world.clock.wall() + 1;
  await storage.cluster.report(process.id, { appliedSeq: seq + 1, stalenessMs: null, flushedAt: null, at });
  await pass(15_000);
  expect(outcome()).toBe("waiting");
  await pass(1);
  expect(outcome()).toEqual({ everywhere: false, silent: ["there"] });
});

describe("this process on the list", () => {
  test("tells of news, though they come soon after others, and that it lives once a second", async () => {
    const applied = async () =>
      (await here.world.authority.storage.cluster.processes()).find(({ name }) => name === "there");
    await here.world.owner();
    await pass(50);
    await follow(there);
    const first = await applied();
    expect(first?.appliedSeq).toBe(there.world.authority.follower.appliedSeq());
    await here.world.owner();
    here.world.clock.pass(10);
    await follow(there);
    expect((await applied())?.appliedSeq).toBe(there.world.authority.follower.appliedSeq());
    const told = (await applied())?.at ?? 0;
    here.world.clock.pass(999);
    await there.membership.report();
    expect((await applied())?.at).toBe(told);
    here.world.clock.pass(1);
    await there.membership.report();
    expect((await applied())?.at).toBe(told + SECOND);
  });

  test("comes back on it when the list was emptied: it serves all the same", async () => {
    const { cluster } = here.world.authority.storage;
    await cluster.clear();
    here.world.clock.pass(SECOND);
    await follow(there);
    expect((await cluster.processes()).map(({ name }) => name)).toEqual(["there"]);
  });
});

test("what a key is promised is what it says, or strict where it has a scope of Keyturn's own", async () => {
  const plain = await here.world.keyWith({ scopes: ["a:b"] }, { freshness: "static" });
  expect(freshnessOfKey(plain.key, plain.owner)).toBe("static");
  const own = await here.world.keyWith({ scopes: ["keyturn:keys.read"] }, { freshness: "static" });
  expect(freshnessOfKey(own.key, own.owner)).toBe("strict");
});
