import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { startWorld, type World } from "../../../test/support/authority.ts";
import { until } from "../../../test/support/until.ts";
import { createMembership, type Membership } from "./membership.ts";

let world: World;
let membership: Membership;
beforeEach(async () => {
  world = await startWorld();
  membership = createMembership(world.authority);
  await membership.join();
  await membership.report();
});
afterEach(() => world.close());

const told = async () => {
  const all = await world.authority.storage.cluster.processes();
  return all.find(({ id }) => id === world.authority.process.id)?.appliedSeq;
};

describe("what a process tells of itself", () => {
  test("news that come right after others are told a moment later, not with the next round", async () => {
    world.clock.pass(1_000);
    await world.owner();
    await membership.report();
    expect(await told()).toBe(world.authority.follower.appliedSeq());
    await world.owner();
    void membership.report();
    await until("it is told", async () => (await told()) === world.authority.follower.appliedSeq());
  });

  test("nothing, once it has left: whoever waits for all would wait for a process that is gone", async () => {
    await world.owner();
    // On its way when the process leaves, as what is heard of late is.
    const late = membership.report();
    await membership.leave();
    await late;
    await membership.report();
    expect(await told()).toBeUndefined();
  });
});
