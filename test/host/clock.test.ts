import { describe, expect, test } from "bun:test";
import { createChainCheck } from "../../src/authority/audit/verify-chain.ts";
import { OPERATIONS } from "../../src/authority/operations.ts";
import { HOST } from "../../src/authority/setup/setup.ts";
import { DAY, HOUR, INHERITED, MINUTE, SECOND, startWorld, type World } from "../support/authority.ts";

describe("the time that decides is the later of the wall clock and the newest entry", () => {
  test("a clock that is set back revives nothing: what has expired stays expired, what ended stays ended", async () => {
    const world = await startWorld();
    const owner = await world.owner();
    const key = await world.key(owner.id, { ttl: "1h" });
    world.clock.pass(HOUR);
    await world.owner();
    expect(world.verify(key.secret)).toBe("expired");
    world.clock.jump(-DAY);
    expect(world.verify(key.secret)).toBe("expired");
    const again = await world.restart();
    expect(again.verify(key.secret)).toBe("expired");
    expect((await again.stored(key.key.id)).expiresAt).toBe(key.key.expiresAt);
    await again.close();
  });

  test("R17: expiry still refuses while deadlines stand still, to the millisecond", async () => {
    const world = await startWorld();
    const owner = await world.owner();
    const key = await world.key(owner.id, { ttl: "2h" });
    // The clock jumps to a millisecond before the end: the worker stands still, and the key's own end does not.
    world.clock.jump(2 * HOUR - 1);
    expect(world.authority.time.trouble()).toBe("jumped");
    expect(world.verify(key.secret)).toBe("valid");
    world.clock.pass(1);
    expect(world.verify(key.secret)).toBe("expired");
    await world.close();
  });

  test("no entry is dated before the one before, however the clock is set", async () => {
    const world = await startWorld();
    for (const by of [-DAY, HOUR, -3 * HOUR, 5 * MINUTE]) {
      world.clock.jump(by);
      await world.owner();
    }
    const dates = (await world.entries()).map((entry) => entry.at);
    expect(dates).toEqual(dates.toSorted());
    expect(await world.checkChain()).toMatchObject({ ok: true });
    await world.close();
  });
});

describe("accepting the clock ends a false future", () => {
  /** A clock that ran a year ahead for one entry, and was put right. */
  async function fromTheFuture(): Promise<World> {
    const world = await startWorld();
    world.clock.jump(365 * DAY);
    await world.owner();
    world.clock.jump(-365 * DAY);
    expect(world.authority.time.trouble()).toBe("behind");
    return world;
  }

  test("its entry is dated back, deadlines go on, and the chain is whole", async () => {
    const world = await fromTheFuture();
    await world.as(HOST, OPERATIONS.acceptClock, {});
    expect(world.authority.time.trouble()).toBeNull();
    expect(world.authority.time.now()).toBe(world.clock.wall());
    const [future, accepted] = (await world.entries()).slice(-2);
    expect((accepted?.at ?? "") < (future?.at ?? "")).toBe(true);
    expect(accepted).toMatchObject({
      operation: "clock.accept",
      actor: { kind: "host" },
      subjects: [{ kind: "installation", id: "clock" }],
    });
    await world.pass(SECOND);
    await world.owner();
    expect(await world.checkChain()).toMatchObject({ ok: true });
    const again = await world.restart();
    expect(again.authority.time.trouble()).toBeNull();
    await again.close();
  });

  test("it is the one entry that may lead back: any other is found", async () => {
    const world = await fromTheFuture();
    await world.as(HOST, OPERATIONS.acceptClock, {});
    const lines = await world.authority.storage.read.audit.lines(0, 100);
    const check = createChainCheck([]);
    for (const line of lines)
      check.add({ ...line, text: line.text?.replace("clock.accept", "keys.create") ?? null });
    expect(check.end()).toMatchObject({ ok: false, seq: lines.length });
    await world.close();
  });

  test("done by another process, it holds: a change made here before it was noticed does not bring the future back", async () => {
    const world = await fromTheFuture();
    const other = await startWorld({ folder: world.folder, clock: world.clock });
    await other.as(HOST, OPERATIONS.acceptClock, {});
    // Nobody has followed the log yet; the next change does it first.
    await world.owner();
    expect((await world.lastEntry()).at).toBe(new Date(world.clock.wall()).toISOString());
    expect(world.authority.time.trouble()).toBeNull();
    expect(await world.checkChain()).toMatchObject({ ok: true });
    await other.authority.storage.close();
    await world.close();
  });
});

describe("what another process over the same folder changes is noticed", () => {
  /** A command on the host beside the server: it verifies nothing, so it reports no use. */
  async function beside(world: World): Promise<World> {
    return startWorld({ folder: world.folder, clock: world.clock, process: "beside" });
  }

  test("a root key that was recovered on the host is good here", async () => {
    const world = await startWorld();
    const other = await beside(world);
    await world.follow();
    expect(world.verify(other.root.secret)).toBe("valid");
    const { seq } = await other.authority.storage.read.audit.head();
    expect(world.authority.follower.appliedSeq()).toBe(seq);
    await other.authority.storage.close();
    await world.close();
  });

  test("R12: a revocation, a suspension and a disabled owner made there bite here once followed, although the key was remembered", async () => {
    const world = await startWorld();
    const owner = await world.owner();
    const disabled = await world.owner();
    const keys = [
      await world.key(owner.id),
      await world.key(owner.id),
      await world.key(disabled.id),
      await world.key(owner.id),
    ];
    for (const key of keys) expect(world.verify(key.secret)).toBe("valid");
    const other = await beside(world);
    const [revoked, suspended] = keys;
    await other.as(world.actor, OPERATIONS.revokeKey, { id: revoked?.key.id ?? "key_" });
    await other.as(world.actor, OPERATIONS.suspendKey, { id: suspended?.key.id ?? "key_" });
    await other.as(world.actor, OPERATIONS.disableServiceAccount, { id: disabled.id });
    await world.follow();
    expect(keys.map((key) => world.verify(key.secret))).toEqual([
      "revoked",
      "suspended",
      "owner_disabled",
      "valid",
    ]);
    await other.authority.storage.close();
    await world.close();
  });

  test("entries of both go into one chain, without a gap", async () => {
    const world = await startWorld();
    const other = await beside(world);
    for (let n = 0; n < 5; n += 1) {
      await world.do(OPERATIONS.createServiceAccount, { name: `here-${n}`, own: INHERITED });
      await other.do(OPERATIONS.createServiceAccount, { name: `there-${n}`, own: INHERITED });
    }
    expect(await world.checkChain()).toMatchObject({ ok: true, entries: 12 });
    expect(world.authority.follower.appliedSeq()).toBeGreaterThanOrEqual(11);
    await other.authority.storage.close();
    await world.close();
  });
});
