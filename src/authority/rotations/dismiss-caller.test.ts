import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  DAY,
  MINUTE,
  QUICK,
  refusalOf,
  SECOND,
  startWorld,
  type World,
} from "../../../test/support/authority.ts";
import type { Issued } from "../keys/issue.ts";
import { OPERATIONS } from "../operations.ts";
import type { Rotated } from "./rotate-key.ts";

let world: World;
let old: Issued;
let rotated: Rotated;
beforeEach(async () => {
  world = await startWorld();
  old = await world.key((await world.owner({ scopes: ["a:b"] })).id);
  world.verify(old.secret, { name: "monthly" });
  await world.pass(3 * DAY);
  rotated = await world.rotate(old.key.id, { ...QUICK, completion: "manual" });
});
afterEach(() => world.close());

const dismiss = (caller: string, reason = "switched off") =>
  world.do(OPERATIONS.dismissCaller, { id: rotated.rotation.id, caller, reason });
const callers = async () =>
  (await world.view(rotated.rotation.id)).assessment.callers.map(({ name, status }) => [name, status]);
const completing = () => world.do(OPERATIONS.completeRotation, { id: rotated.rotation.id });

describe("rotations.dismiss", () => {
  test("a silent caller no longer blocks; name and reason stand in the rotation and in the entry", async () => {
    world.verify(rotated.secret, { name: "api" });
    expect((await refusalOf(completing())).extensions.callers).toEqual(["monthly"]);
    await dismiss("monthly");
    expect(await callers()).toEqual([["monthly", "dismissed"]]);
    expect((await world.view(rotated.rotation.id)).dismissals).toEqual([
      { caller: "n:monthly", reason: "switched off", at: world.clock.wall() },
    ]);
    expect(await world.lastEntry()).toMatchObject({
      operation: "rotations.dismiss",
      details: { caller: "monthly", reason: "switched off" },
      subjects: [{ kind: "rotation", id: rotated.rotation.id }],
    });
    expect((await completing()).forced).toBe(false);
  });

  test("is void once the caller is seen on the old key again, even before a flush", async () => {
    world.verify(rotated.secret, { name: "api" });
    await dismiss("monthly");
    world.clock.pass(1);
    world.verify(old.secret, { name: "monthly" });
    expect((await refusalOf(completing())).extensions.reasons).toMatchObject([
      { code: "still_on_old", callers: ["monthly"] },
    ]);
  });

  test("is refused for a caller that used the old key within the quiet period, to the millisecond", async () => {
    world.verify(old.secret, { name: "api" });
    await world.pass(MINUTE - 1);
    expect((await refusalOf(dismiss("api"))).code).toBe("caller_active");
    await world.pass(1);
    await dismiss("api");
    expect(await callers()).toEqual([
      ["api", "dismissed"],
      ["monthly", "silent"],
    ]);
  });

  test("is refused for a caller the old key does not know, and for the overflow", async () => {
    expect((await refusalOf(dismiss("nobody"))).code).toBe("not_found");
    for (let i = 0; i < 300; i += 1) world.verify(old.secret, { name: `caller-${i}` });
    await world.pass(MINUTE);
    const { assessment } = await world.view(rotated.rotation.id);
    expect(assessment.blocking.map(({ code }) => code)).toContain("too_many_callers");
    expect((await refusalOf(dismiss("(too many callers to tell apart)"))).code).toBe("not_found");
  });

  test("is refused when nobody is waited for any more", async () => {
    await world.do(OPERATIONS.completeRotation, { id: rotated.rotation.id, force: true });
    expect((await refusalOf(dismiss("monthly"))).code).toBe("rotation_state");
  });

  test("an unnamed caller stands as a salted hash in the entry", async () => {
    world.verify(old.secret, { address: "203.0.113.77", agent: "curl/8" });
    await world.pass(MINUTE);
    await dismiss("203.0.113.77 curl");
    const { details } = await world.lastEntry();
    expect(details.caller).toMatch(/^sha256:/);
    expect(JSON.stringify(await world.entries())).not.toContain("203.0.113.77");
  });

  test("a name that reads like an unnamed caller's address hides neither: the one in the way is meant", async () => {
    world.verify(old.secret, { address: "203.0.113.77", agent: "curl/8" });
    world.verify(old.secret, { name: "203.0.113.77 curl" });
    await world.pass(SECOND);
    world.verify(rotated.secret, { name: "203.0.113.77 curl" });
    await world.pass(MINUTE);
    await dismiss("203.0.113.77 curl");
    await dismiss("monthly");
    expect(await callers()).toEqual([
      ["203.0.113.77 curl", "moved"],
      ["monthly", "dismissed"],
      ["203.0.113.77 curl", "dismissed"],
    ]);
  });
});
