import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  HOUR,
  MINUTE,
  refusalOf,
  SECOND,
  START,
  startWorld,
  type World,
} from "../../../test/support/authority.ts";
import { SYSTEM } from "../audit/entry.ts";
import type { CallerSighting } from "../callers/caller.ts";
import type { Issued } from "../keys/issue.ts";
import { OPERATIONS } from "../operations.ts";
import type { AnnounceBrownout } from "./announce-brownout.ts";
import type { Rotated } from "./rotate-key.ts";

let world: World;
let old: Issued;
let rotated: Rotated;
beforeEach(async () => {
  world = await startWorld();
  await begin();
});
afterEach(() => world.close());

async function begin(): Promise<void> {
  old = await world.key((await world.owner({ scopes: ["a:b"] })).id);
  rotated = await world.rotate(old.key.id);
}
const useOld = (caller: CallerSighting = { name: "api" }) => world.verify(old.secret, caller);
const useNew = () => world.verify(rotated.secret, { name: "api" });
const announce = (asked: Partial<AnnounceBrownout> = {}) =>
  world.do(OPERATIONS.announceBrownout, { id: rotated.rotation.id, ...asked });
const brownouts = async () => (await world.view(rotated.rotation.id)).brownouts;
const end = async () => {
  for (const { id } of await brownouts()) {
    const reason = world.authority.brownouts.tallyOf(id)?.spent ?? "ended";
    await world.as(SYSTEM, OPERATIONS.endBrownout, { id, reason });
  }
};

describe("rotations.brownout", () => {
  test("is refused before the first valid use of the successor, in memory or stored", async () => {
    expect((await refusalOf(announce())).code).toBe("rotation_state");
    world.verify(rotated.secret, {}, { scopes: ["c:d"] });
    expect((await refusalOf(announce())).code).toBe("rotation_state");
    expect(useOld()).toBe("valid");
    useNew();
    await announce();
    expect(useOld()).toBe("brownout");
  });

  test("refuses the old key for its time, not the successor, and lets it through again by itself", async () => {
    useNew();
    useOld();
    await announce({ startsAt: START + MINUTE, durationSeconds: 60, stopAfterRefusals: 1_000 });
    expect(await world.lastEntry()).toMatchObject({
      operation: "rotations.brownout",
      subjects: [
        {
          kind: "brownout",
          before: null,
          after: {
            rotation_id: rotated.rotation.id,
            starts_at: "2026-01-05T12:01:00.000Z",
            ends_at: "2026-01-05T12:02:00.000Z",
          },
        },
        { kind: "key", id: old.key.id },
      ],
    });
    const codes = () => [useOld(), useNew()];
    expect(codes()).toEqual(["valid", "valid"]);
    world.clock.pass(MINUTE - 1);
    await world.follow();
    expect(codes()).toEqual(["valid", "valid"]);
    world.clock.pass(1);
    expect(codes()).toEqual(["brownout", "valid"]);
    world.clock.pass(MINUTE - 1);
    await world.follow();
    expect(codes()).toEqual(["brownout", "valid"]);
    world.clock.pass(1);
    expect(codes()).toEqual(["valid", "valid"]);
  });

  test("is over at the very refusal that reaches its number, without waiting for a flush or for the worker", async () => {
    useNew();
    await announce({ stopAfterRefusals: 5 });
    const codes = Array.from({ length: 8 }, () => useOld());
    expect(codes).toEqual([...Array(5).fill("brownout"), ...Array(3).fill("valid")]);
  });

  test("is over at the very caller that reaches its number, and names whom it hit", async () => {
    useNew();
    await announce({ stopAfterCallers: 3 });
    const hit = ["one", "one", "two", "two", "three", "one", "four"].map((name) => useOld({ name }));
    expect(hit).toEqual([...Array(5).fill("brownout"), "valid", "valid"]);
    expect(await brownouts()).toMatchObject([
      { refusals: 5, callersHit: ["one", "two", "three"], stoppedAt: null },
    ]);
    await end();
    expect(await brownouts()).toMatchObject([
      { refusals: 5, callersHit: ["one", "two", "three"], stoppedAt: START, stopReason: "callers" },
    ]);
    expect(await world.lastEntry()).toMatchObject({
      operation: "rotations.end-brownout",
      account_id: world.account,
      actor: { kind: "system" },
      subjects: [
        { kind: "brownout", after: { stop_reason: "callers", refusals: 5, callers_hit: 3 } },
        { kind: "key" },
      ],
    });
    expect(useOld()).toBe("valid");
  });

  test("ending one that is over already changes nothing and leaves no entry", async () => {
    useNew();
    await announce({ stopAfterRefusals: 1 });
    useOld();
    const [spent] = await brownouts();
    if (spent === undefined) throw new Error("no brownout");
    await world.as(SYSTEM, OPERATIONS.endBrownout, { id: spent.id, reason: "refusals" });
    const { seq } = await world.lastEntry();
    await world.as(SYSTEM, OPERATIONS.endBrownout, { id: spent.id, reason: "ended" });
    await world.as(SYSTEM, OPERATIONS.endBrownout, { id: "bro_nobody", reason: "ended" });
    expect((await world.lastEntry()).seq).toBe(seq);
    expect(await brownouts()).toMatchObject([{ stopReason: "refusals" }]);
  });

  test("one at a time: another waits until it is over, to the millisecond", async () => {
    useNew();
    await announce({ startsAt: START + MINUTE, durationSeconds: 60 });
    for (const after of [0, MINUTE, MINUTE - 1]) {
      world.clock.pass(after);
      expect((await refusalOf(announce())).code).toBe("rotation_state");
    }
    world.clock.pass(1);
    await announce();
    expect(useOld()).toBe("brownout");
  });

  test("a window that makes no sense is refused by field", async () => {
    useNew();
    const field = async (asked: Partial<AnnounceBrownout>) =>
      (await refusalOf(announce(asked))).errors[0]?.field;
    expect(await field({ durationSeconds: 3_601 })).toBe("duration");
    expect(await field({ startsAt: START - 1 })).toBe("starts_at");
  });

  test("whoever was hit is in the evidence, with the verdict it got", async () => {
    useNew();
    await announce();
    useOld({ name: "forgotten" });
    const { assessment } = await world.view(rotated.rotation.id);
    expect(assessment.callers).toMatchObject([{ name: "forgotten", status: "still_on_old", blocking: true }]);
  });

  test("what is kept of addresses holds for whom it hit as well", async () => {
    for (const [callerAddress, label] of [
      ["prefix", "203.0.113.0/24 curl"],
      ["none", " curl"],
    ] as const) {
      await world.close();
      world = await startWorld({ settings: { callerAddress } });
      await begin();
      useNew();
      await announce({ stopAfterCallers: 1 });
      expect(useOld({ address: "203.0.113.77", agent: "curl/8" })).toBe("brownout");
      await end();
      expect((await brownouts())[0]?.callersHit).toEqual([label]);
    }
  });

  test("completing and rolling back in its time leaves the old key good, with what it found", async () => {
    useNew();
    await announce({ durationSeconds: 3_600 });
    expect(useOld({ name: "forgotten" })).toBe("brownout");
    world.clock.pass(SECOND);
    await world.do(OPERATIONS.completeRotation, { id: rotated.rotation.id, force: true });
    expect(useOld()).toBe("suspended");
    await world.do(OPERATIONS.rollbackRotation, { id: rotated.rotation.id });
    expect(useOld()).toBe("valid");
    expect(await brownouts()).toMatchObject([
      { stoppedAt: START + SECOND, stopReason: "rotation", refusals: 1, callersHit: ["forgotten"] },
    ]);
  });

  test("cancelling the rotation ends it: the old key is good", async () => {
    useNew();
    await announce({ durationSeconds: 3_600, stopAfterCallers: 9 });
    expect(useOld()).toBe("brownout");
    await world.do(OPERATIONS.cancelRotation, { id: rotated.rotation.id, force: true });
    expect(useOld()).toBe("valid");
    expect(await brownouts()).toMatchObject([{ stopReason: "rotation", refusals: 1 }]);
    expect((await refusalOf(announce())).code).toBe("rotation_state");
  });

  test("holds across a restart until its time is over", async () => {
    useNew();
    await announce({ durationSeconds: 3_600 });
    world = await world.restart();
    expect(useOld()).toBe("brownout");
    world.clock.pass(HOUR);
    await world.follow();
    expect(useOld()).toBe("valid");
  });
});
