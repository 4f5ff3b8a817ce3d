import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  DAY,
  HOUR,
  MINUTE,
  QUICK,
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
import type { Rotated } from "./rotate-key.ts";
import { COMPLETIONS, type RotationPlan } from "./rotation.ts";

let world: World;
let old: Issued;
let rotated: Rotated;
beforeEach(async () => {
  world = await startWorld();
  old = await world.key((await world.owner({ role: "editor", scopes: ["invoices:*"] })).id, {
    name: "k",
    ttl: "never",
  });
});
afterEach(() => world.close());

const useOld = (caller: CallerSighting = { name: "api" }) => world.verify(old.secret, caller);
const useNew = (caller: CallerSighting = { name: "api" }) => world.verify(rotated.secret, caller);
const start = async (plan: RotationPlan = QUICK) => {
  rotated = await world.rotate(old.key.id, plan);
};
/** A caller that the old key knows from before: `api`. */
const startKnown = async (plan: RotationPlan = QUICK) => {
  useOld();
  await world.pass(SECOND);
  await start(plan);
};
const work = () => world.work(rotated.rotation.id);
const view = () => world.view(rotated.rotation.id);
const state = async () => (await view()).rotation.state;
const statuses = async () => (await view()).assessment.callers.map(({ name, status }) => [name, status]);
const entriesOf = async (operation: string) =>
  (await world.entries()).filter((entry) => entry.operation === operation);

describe("the worker's steps", () => {
  test("take a rotation from its start to its end, one entry each, and the old key only with the last caller gone", async () => {
    await startKnown();
    expect(await work()).toEqual([]);
    await world.pass(SECOND);
    useNew();
    useOld();
    expect(await work()).toEqual(["start_adopting"]);
    expect((await view()).rotation.firstUsedAt).toBe(world.clock.wall());
    await world.pass(MINUTE - 1);
    useNew();
    expect(await work()).toEqual([]);
    expect(useOld({ name: "other" })).toBe("valid");
    await world.pass(1);
    expect(await work()).toEqual([]);
    useNew({ name: "other" });
    await world.pass(MINUTE);
    expect(await work()).toEqual(["adopt", "complete"]);
    expect(await state()).toBe("completed");
    expect([useOld(), useNew()]).toEqual(["suspended", "valid"]);
    await world.pass(600 * SECOND - 1);
    expect(await work()).toEqual([]);
    await world.pass(1);
    expect(await work()).toEqual(["close"]);
    expect([useOld(), useNew()]).toEqual(["revoked", "valid"]);
    expect((await world.stored(rotated.key.id)).rotationId).toBeNull();
    expect(await work()).toEqual([]);
    const steps = await entriesOf("rotations.advance");
    expect(steps.map(({ details }) => details)).toEqual([
      { step: "start_adopting" },
      { step: "adopt" },
      { step: "complete" },
      { step: "close" },
    ]);
    for (const entry of steps) {
      expect(entry).toMatchObject({
        account_id: world.account,
        actor: { kind: "system", id: "worker" },
        outcome: "performed",
      });
    }
  });

  test("a key that nobody was seen on is never adopted by itself: that nobody was seen is no evidence", async () => {
    await start();
    useNew();
    await world.pass(MINUTE);
    expect(await work()).toEqual(["start_adopting"]);
    await world.pass(5 * DAY);
    expect(await work()).toEqual([]);
    expect((await view()).assessment.reasons.map(({ code }) => code)).toEqual(["no_evidence"]);
  });

  test("with nothing due there is no entry, and an unknown rotation is nothing", async () => {
    await start();
    const { seq } = await world.lastEntry();
    expect(await work()).toEqual([]);
    expect(await world.as(SYSTEM, OPERATIONS.advanceRotation, { id: "rot_nobody" })).toBeNull();
    expect((await world.lastEntry()).seq).toBe(seq);
  });

  test("two workers at once take each step once", async () => {
    await startKnown();
    useNew();
    await world.authority.recorder.flush();
    const attempts = await Promise.all(
      Array.from({ length: 8 }, () =>
        world.as(SYSTEM, OPERATIONS.advanceRotation, { id: rotated.rotation.id }),
      ),
    );
    expect(attempts.filter((step) => step === "start_adopting")).toHaveLength(1);
    expect(await entriesOf("rotations.advance")).toHaveLength(
      attempts.filter((step) => step !== null).length,
    );
  });

  test("a use of the old key a moment ago, still in memory, keeps the worker from completing", async () => {
    await startKnown();
    useNew();
    await world.pass(MINUTE);
    await world.authority.recorder.flush();
    const step = () => world.as(SYSTEM, OPERATIONS.advanceRotation, { id: rotated.rotation.id });
    expect([await step(), await step()]).toEqual(["start_adopting", "adopt"]);
    expect(useOld({ name: "late" })).toBe("valid");
    expect(await step()).toBe("unadopt");
    expect(useOld({ name: "late" })).toBe("valid");
  });

  test("adopted goes back when a caller turns up on the old key, and comes again when it is gone", async () => {
    await startKnown({ ...QUICK, completion: "manual" });
    useNew();
    await world.pass(MINUTE);
    expect(await work()).toEqual(["start_adopting", "adopt"]);
    useOld();
    expect(await work()).toEqual(["unadopt"]);
    expect((await view()).rotation.adoptedAt).toBeNull();
    await world.pass(MINUTE);
    expect(await work()).toEqual(["adopt"]);
  });

  test("nothing is adopted while the successor is refused", async () => {
    await startKnown();
    useNew();
    await world.do(OPERATIONS.suspendKey, { id: rotated.key.id });
    await world.pass(DAY);
    expect(await work()).toEqual(["start_adopting"]);
    await world.do(OPERATIONS.reinstateKey, { id: rotated.key.id });
    expect(await work()).toEqual(["adopt", "complete"]);
  });

  test("at_deadline completes at its due instant with callers in the way, and says so as forced", async () => {
    await start({ ...QUICK, completion: "at_deadline", deadlineAt: START + HOUR });
    useNew();
    await world.pass(HOUR - 1);
    useOld({ name: "lagging" });
    expect(await work()).toEqual(["start_adopting"]);
    await world.pass(1);
    expect(await work()).toEqual(["raise_overdue", "complete"]);
    expect(useOld()).toBe("suspended");
    expect((await view()).rotation.forced).toBe(true);
    expect((await world.lastEntry()).details).toEqual({
      step: "complete",
      forced: true,
      against: [{ code: "still_on_old", callers: ["lagging"] }],
    });
  });

  test("an overlap is due counted from the first use, however late the worker looked", async () => {
    await start({ ...QUICK, overlapSeconds: 3_600 });
    await world.pass(10 * DAY);
    useNew();
    useOld();
    const firstUse = world.clock.wall();
    await world.pass(HOUR - SECOND);
    useOld();
    expect(await work()).toEqual(["start_adopting"]);
    await world.pass(SECOND - 1);
    expect(await work()).toEqual([]);
    await world.pass(1);
    expect(await work()).toEqual(["raise_overdue"]);
    expect((await view()).rotation).toMatchObject({ firstUsedAt: firstUse, overdueAt: firstUse + HOUR });
  });
});

describe("the R2 replay: the successor is issued and never picked up, and the deadline passes", () => {
  for (const completion of COMPLETIONS) {
    test(`${completion}: the old key still works, overdue is raised once, and the rotation says who is still on it`, async () => {
      useOld();
      await world.pass(SECOND);
      await start({ completion });
      for (let day = 1; day <= 60; day += 1) {
        useOld();
        useOld({ name: "batch" });
        useOld({ address: "10.0.0.1", agent: "curl/8" });
        await world.pass(DAY);
        const steps = await work();
        expect([day, steps]).toEqual([day, day === 30 ? ["raise_overdue"] : []]);
        expect(useOld()).toBe("valid");
      }
      const { rotation, assessment } = await view();
      expect(rotation).toMatchObject({
        state: "issued",
        overdueAt: START + SECOND + 30 * DAY,
        firstUsedAt: null,
      });
      expect(await statuses()).toEqual([
        ["api", "still_on_old"],
        ["batch", "still_on_old"],
        ["10.0.0.1 curl", "still_on_old"],
      ]);
      expect(assessment.safeToComplete).toBe(false);
      const advanced = await entriesOf("rotations.advance");
      expect(advanced.map(({ details }) => details.step)).toEqual(["raise_overdue"]);
      expect(
        (await refusalOf(world.do(OPERATIONS.completeRotation, { id: rotation.id }))).extensions.reasons,
      ).toMatchObject([
        { code: "successor_unused" },
        { code: "still_on_old", callers: ["api", "batch", "10.0.0.1 curl"] },
      ]);
      // A month late the successor is picked up after all, and the rotation comes to its end.
      useNew();
      expect(await work()).toContain("start_adopting");
      expect([useOld(), useNew()]).toEqual([completion === "at_deadline" ? "suspended" : "valid", "valid"]);
    });
  }

  test("when_adopted: picked up long after the deadline, it still waits for the last caller", async () => {
    await startKnown();
    await world.pass(40 * DAY);
    useOld();
    expect(await work()).toEqual(["raise_overdue"]);
    useNew();
    expect(await work()).toEqual(["start_adopting"]);
    await world.pass(MINUTE);
    expect(await work()).toEqual(["adopt", "complete"]);
  });

  test("at_deadline: picked up after the deadline, it completes then, as it was asked to by name", async () => {
    await start({ ...QUICK, completion: "at_deadline", deadlineAt: START + HOUR });
    useOld();
    await world.pass(2 * HOUR);
    expect(await work()).toEqual(["raise_overdue"]);
    expect(useOld()).toBe("valid");
    useNew();
    expect(await work()).toEqual(["start_adopting", "complete"]);
  });

  test("an old key that ends first raises overdue before its end", async () => {
    const short = await world.key(old.owner.id, { ttl: "10d" });
    rotated = await world.rotate(short.key.id, {});
    await world.pass(9 * DAY - 1);
    expect(await work()).toEqual([]);
    await world.pass(1);
    expect(await work()).toEqual(["raise_overdue"]);
    expect(world.verify(short.secret)).toBe("valid");
  });
});

describe("whom the evidence waits for", () => {
  test("a deploy during the rotation: callers keep their names, change address and agent, and count as moved", async () => {
    const callers = ["api", "batch", "cron"];
    for (const name of callers) useOld({ name, address: "10.0.0.1", agent: `${name}/1.0` });
    await world.pass(SECOND);
    await start();
    for (const [i, name] of callers.entries()) useNew({ name, address: `10.9.9.${i}`, agent: `${name}/2.0` });
    expect(await statuses()).toEqual(callers.map((name) => [name, "silent"]));
    await world.pass(MINUTE);
    expect(await statuses()).toEqual(callers.map((name) => [name, "moved"]));
    const { assessment } = await view();
    expect(assessment).toMatchObject({ newCallers: [], blocking: [], safeToComplete: true });
    expect(await work()).toEqual(["start_adopting", "adopt", "complete"]);
  });

  test("callers without names behind one address block until 7 quiet days, to the millisecond", async () => {
    const nat = { address: "198.51.100.1", agent: "curl/8" };
    await start({});
    useOld(nat);
    useNew(nat);
    for (let day = 0; day < 6; day += 1) {
      await world.pass(DAY);
      expect(await statuses()).toEqual([["198.51.100.1 curl", "still_on_old"]]);
    }
    expect(await work()).toEqual(["start_adopting"]);
    await world.pass(DAY - 1);
    expect((await view()).assessment.blocking.map(({ code }) => code)).toEqual(["still_on_old"]);
    await world.pass(1);
    expect((await view()).assessment.blocking).toEqual([]);
    expect(await work()).toEqual(["adopt", "raise_overdue", "complete"]);
  });

  test("a monthly caller stays silent, and blocks however long it takes, until it is dismissed by name", async () => {
    useOld({ name: "monthly" });
    await world.pass(20 * DAY);
    await start(QUICK);
    useNew();
    for (let week = 0; week < 12; week += 1) {
      await world.pass(7 * DAY);
      useNew();
      await work();
      expect(await statuses()).toEqual([["monthly", "silent"]]);
      expect(await state()).toBe("adopting");
    }
    expect(
      (await refusalOf(world.do(OPERATIONS.completeRotation, { id: rotated.rotation.id }))).extensions
        .callers,
    ).toEqual(["monthly"]);
    await world.do(OPERATIONS.dismissCaller, {
      id: rotated.rotation.id,
      caller: "monthly",
      reason: "no longer used",
    });
    expect(await work()).toEqual(["adopt", "complete"]);
  });

  test("a monthly caller that comes with the successor counts as moved by itself", async () => {
    useOld({ name: "monthly" });
    await world.pass(20 * DAY);
    await start(QUICK);
    await world.pass(10 * DAY);
    useNew({ name: "monthly" });
    expect(await statuses()).toEqual([["monthly", "moved"]]);
    expect(await work()).toEqual(["start_adopting", "adopt", "complete"]);
  });
});

describe("another process tells of a use of the old key while the evidence is read", () => {
  test("R16: and nothing is adopted or completed: no time counts as watched in which its callers are not known", async () => {
    let meanwhile: (() => Promise<void>) | null = null;
    await world.close();
    world = await startWorld({
      process: "one",
      through: (storage) => ({
        ...storage,
        evidence: {
          ...storage.evidence,
          callersOf: async (key) => {
            const callers = await storage.evidence.callersOf(key);
            await meanwhile?.();
            return callers;
          },
        },
      }),
    });
    const other = await startWorld({ folder: world.folder, clock: world.clock, process: "other" });
    old = await world.keyWith({ scopes: ["invoices:*"] });
    const step = () => world.as(SYSTEM, OPERATIONS.advanceRotation, { id: rotated.rotation.id });
    await startKnown();
    useNew();
    await world.authority.recorder.flush();
    expect(await step()).toBe("start_adopting");

    await world.pass(MINUTE);
    expect(other.verify(old.secret, { name: "late" })).toBe("valid");
    meanwhile = () => other.authority.recorder.flush();
    expect(await step()).toBeNull();
    meanwhile = null;
    expect(await statuses()).toEqual([
      ["api", "moved"],
      ["late", "still_on_old"],
    ]);

    // The same where it was adopted, and is to be completed.
    await other.follow();
    expect(other.verify(rotated.secret, { name: "late" })).toBe("valid");
    await world.pass(MINUTE);
    await other.authority.recorder.flush();
    expect(await step()).toBe("adopt");
    expect(other.verify(old.secret, { name: "later" })).toBe("valid");
    meanwhile = () => other.authority.recorder.flush();
    expect(await step()).toBe("unadopt");
    await other.leave();
  });
});

describe("a process killed in the middle of gathering evidence", () => {
  test("quiet starts anew, and nothing is invented: what was only in memory is gone, what was stored is there", async () => {
    await startKnown({ ...QUICK, completion: "manual" });
    useNew();
    await world.pass(MINUTE - SECOND);
    useOld({ name: "only in memory" });
    useNew({ name: "only in memory" });
    world = await world.crash();
    expect(await statuses()).toEqual([["api", "silent"]]);
    expect((await view()).assessment.blocking.map(({ code }) => code)).toEqual(["silent", "watching"]);
    // Before the kill 59 s had been watched; another second must not make them a minute.
    await world.pass(SECOND);
    expect(await statuses()).toEqual([["api", "silent"]]);
    await world.pass(MINUTE - SECOND - 1);
    expect((await view()).assessment.blocking.map(({ code }) => code)).toEqual(["silent", "watching"]);
    await world.pass(1);
    expect((await view()).assessment).toMatchObject({
      blocking: [],
      callers: [{ name: "api", status: "moved" }],
    });
  });

  test("an adopted rotation goes back, and is not completed on evidence that the stop has torn", async () => {
    await startKnown({ ...QUICK, completion: "manual" });
    useNew();
    await world.pass(MINUTE);
    expect(await work()).toEqual(["start_adopting", "adopt"]);
    world = await world.crash();
    expect(await work()).toEqual(["unadopt"]);
    expect((await refusalOf(world.do(OPERATIONS.completeRotation, { id: rotated.rotation.id }))).code).toBe(
      "not_safe_to_complete",
    );
  });

  test("a clean stop keeps what was watched before it, and counts no time between", async () => {
    await startKnown({ ...QUICK, completion: "manual" });
    useNew();
    await world.pass(MINUTE - 2 * SECOND);
    await world.authority.recorder.stop();
    world.clock.pass(10 * DAY);
    await world.authority.recorder.start();
    expect(await statuses()).toEqual([["api", "silent"]]);
    await world.pass(SECOND - 1);
    expect(await statuses()).toEqual([["api", "silent"]]);
    await world.pass(1);
    expect(await statuses()).toEqual([["api", "moved"]]);
  });

  test("a stop between two steps loses no step and takes none twice", async () => {
    await startKnown();
    useNew();
    await world.pass(MINUTE);
    const step = () => world.as(SYSTEM, OPERATIONS.advanceRotation, { id: rotated.rotation.id });
    expect([await step(), await step()]).toEqual(["start_adopting", "adopt"]);
    world = await world.restart();
    expect(await work()).toEqual(["complete"]);
    world = await world.restart();
    await world.pass(600 * SECOND);
    expect(await work()).toEqual(["close"]);
    world = await world.restart();
    expect(await work()).toEqual([]);
    expect(await entriesOf("rotations.advance")).toHaveLength(4);
  });
});
