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

describe("another process of the same name", () => {
  /** A second process over the same store, as it starts. */
  async function startTwin(name = world.authority.process.name) {
    const twin = await startWorld({ folder: world.folder, clock: world.clock, process: name });
    let told = 0;
    const member = createMembership(twin.authority, () => {
      told += 1;
    });
    await member.join();
    return { twin, member, told: () => told };
  }
  const ids = async () => (await world.authority.storage.cluster.processes()).map(({ id }) => id).toSorted();

  test("R12: stands on the list beside this one, both know of it, and the log is told once", async () => {
    const { twin, member, told } = await startTwin();
    expect(await ids()).toEqual([twin.authority.process.id]);
    for (let second = 0; second < 3; second += 1) {
      world.clock.pass(1_000);
      await membership.report();
      await member.report();
      expect(await ids()).toEqual([world.authority.process.id, twin.authority.process.id].toSorted());
    }
    expect(told()).toBe(1);
    for (const { authority } of [world, twin])
      expect(authority.neighbours.disagreement()).toEqual({ hasNamesake: true, otherCeilings: [] });
    await member.leave();
    world.clock.pass(1_000);
    await membership.report();
    expect(world.authority.neighbours.disagreement().hasNamesake).toBe(false);
    await twin.leave();
  });

  test("that has died has its place taken at once, and is no cause for alarm", async () => {
    const { twin, member, told } = await startTwin();
    // The first one is dead by now: it reports no more.
    for (let second = 0; second < 3; second += 1) {
      world.clock.pass(1_000);
      await member.report();
    }
    expect(await ids()).toEqual([twin.authority.process.id]);
    expect(told()).toBe(0);
    await twin.leave();
  });

  test("R16: does not end the session of this one for ever, so that rotations can go on", async () => {
    const sessions = () => world.authority.storage.evidence.watched();
    const { twin } = await startTwin();
    for (let second = 0; second < 3; second += 1) {
      await world.pass(1_000);
      await twin.pass(0);
    }
    const { restartedAt } = await sessions();
    for (let second = 0; second < 5; second += 1) {
      await world.pass(1_000);
      await twin.pass(0);
    }
    expect(await sessions()).toMatchObject({ restartedAt, watermark: world.clock.wall() });
    await twin.leave();
  });
});
