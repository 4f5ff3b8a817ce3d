import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import {
  createTestClock,
  DAY,
  HOUR,
  MINUTE,
  QUICK,
  SECOND,
  START,
  startWorld,
  type World,
} from "../../test/support/authority.ts";
import { until } from "../../test/support/until.ts";
import { OPERATIONS } from "../authority/operations.ts";
import type { RotationPlan } from "../authority/rotations/rotation.ts";
import { HOST } from "../authority/setup/setup.ts";
import { createLossWatch, dropAged, endBrownoutsAtStop, endLostBrownouts, workOnce } from "./worker.ts";

/** A rotation whose one caller has moved: adopted as soon as a quiet period was watched. */
async function moved(world: World, plan: RotationPlan = QUICK) {
  const owner = await world.owner({ scopes: ["invoices:read"] });
  const old = await world.key(owner.id);
  world.verify(old.secret, { name: "web" });
  await world.pass(SECOND);
  const rotated = await world.rotate(old.key.id, plan);
  await world.pass(SECOND);
  world.verify(rotated.secret, { name: "web" });
  await world.pass(SECOND);
  return { id: rotated.rotation.id, old, successor: rotated };
}

/** The steps that the log tells of a rotation, oldest first. */
async function stepsOf(world: World, id: string): Promise<readonly unknown[]> {
  const entries = await world.entries();
  return entries
    .filter(
      (entry) =>
        entry.operation === "rotations.advance" && entry.subjects.some((subject) => subject.id === id),
    )
    .map((entry) => entry.details.step);
}

describe("the worker takes what is due, by itself", () => {
  test("from the first use to the old key's end, each step once and in its time", async () => {
    const world = await startWorld();
    const { id, old, successor } = await moved(world);
    const took = async () => (await workOnce(world.authority)).steps.map(({ step }) => step);
    expect(await took()).toEqual(["start_adopting"]);
    expect(await took()).toEqual([]);
    await world.pass(QUICK.quietPeriodSeconds === undefined ? 0 : QUICK.quietPeriodSeconds * SECOND);
    expect(await took()).toEqual(["adopt", "complete"]);
    expect(world.verify(old.secret)).toBe("suspended");
    await world.pass(10 * MINUTE - 1);
    expect(await took()).toEqual([]);
    await world.pass(1);
    expect(await took()).toEqual(["close"]);
    expect([world.verify(old.secret), world.verify(successor.secret)]).toEqual(["revoked", "valid"]);
    const entries = (await world.entries()).filter((entry) => entry.operation === "rotations.advance");
    expect(entries.map((entry) => entry.actor)).toEqual(
      entries.map(() => ({ kind: "system", id: "worker", account_id: null })),
    );
    expect(entries.every((entry) => entry.account_id === world.account)).toBe(true);
    expect(await stepsOf(world, id)).toEqual(["start_adopting", "adopt", "complete", "close"]);
    await world.close();
  });

  test("nothing that is due costs nothing: a round without work leaves no entry", async () => {
    const world = await startWorld();
    await moved(world);
    await workOnce(world.authority);
    const { seq } = await world.authority.storage.read.audit.head();
    for (let round = 0; round < 5; round += 1) await workOnce(world.authority);
    expect((await world.authority.storage.read.audit.head()).seq).toBe(seq);
    await world.close();
  });

  test("overdue is told and nothing is revoked for it", async () => {
    const world = await startWorld();
    const owner = await world.owner();
    const old = await world.key(owner.id);
    const { rotation } = await world.rotate(old.key.id, { deadlineAt: START + DAY });
    await world.pass(2 * DAY);
    expect((await workOnce(world.authority)).steps).toEqual([
      { rotation: rotation.id, step: "raise_overdue" },
    ]);
    expect((await workOnce(world.authority)).steps).toEqual([]);
    expect(world.verify(old.secret)).toBe("valid");
    await world.close();
  });

  test("one rotation that can't go on does not hold up those that were started after it", async () => {
    let broken = "";
    const world = await startWorld({
      through: (storage) => ({
        ...storage,
        evidence: {
          ...storage.evidence,
          callersOf: (key) =>
            key === broken
              ? Promise.reject(new Error("this one is broken"))
              : storage.evidence.callersOf(key),
        },
      }),
    });
    const first = await moved(world);
    const second = await moved(world);
    broken = first.old.key.id;
    const round = await workOnce(world.authority);
    expect(round.steps).toEqual([{ rotation: second.id, step: "start_adopting" }]);
    expect(round.failures.map(String)).toEqual(["Error: this one is broken"]);
    await world.close();
  });

  test("more rotations than one page holds are all looked at", async () => {
    const world = await startWorld();
    const owner = await world.owner();
    for (let n = 0; n < 101; n += 1) {
      const old = await world.key(owner.id);
      world.verify((await world.rotate(old.key.id)).secret, { name: "web" });
    }
    await world.pass(SECOND);
    expect((await workOnce(world.authority)).steps.length).toBe(101);
    await world.close();
  });
});

describe("a stop between any two steps does no harm", () => {
  test("a clean one: the next process goes on where the last one stopped, and nothing is done twice", async () => {
    let world = await startWorld();
    const { id, old } = await moved(world);
    for (let round = 0; round < 12; round += 1) {
      await world.as({ kind: "system", id: "worker", accountId: null }, OPERATIONS.advanceRotation, { id });
      world = await world.restart();
      await world.pass(2 * MINUTE);
    }
    expect(await stepsOf(world, id)).toEqual(["start_adopting", "adopt", "complete", "close"]);
    expect(world.verify(old.secret)).toBe("revoked");
    expect(await world.checkChain()).toMatchObject({ ok: true });
    await world.close();
  });

  test("a crash: what was watched is watched anew, and the old key is suspended once and revoked once", async () => {
    let world = await startWorld();
    const { id, old } = await moved(world);
    for (let round = 0; round < 40; round += 1) {
      await world.as({ kind: "system", id: "worker", accountId: null }, OPERATIONS.advanceRotation, { id });
      // Every third round ends in a crash, at another step each time.
      if (round % 3 === 0) {
        world = await world.crash();
        await world.pass(SECOND);
        const view = await world.view(id);
        if (view.rotation.state === "adopting")
          expect(view.assessment.blocking.map(({ code }) => code)).toContain("watching");
      }
      await world.pass(50 * SECOND);
    }
    const steps = await stepsOf(world, id);
    for (const once of ["start_adopting", "complete", "close"])
      expect(steps.filter((step) => step === once)).toEqual([once]);
    expect(steps.at(-1)).toBe("close");
    expect(world.verify(old.secret)).toBe("revoked");
    await world.close();
  });

  test("two workers in two processes over one folder never do a thing twice", async () => {
    const world = await startWorld();
    const ids: string[] = [];
    for (let n = 0; n < 30; n += 1) ids.push((await moved(world, { ...QUICK, undoWindowSeconds: 1 })).id);
    await world.pass(2 * MINUTE);
    const script = join(import.meta.dir, "../../test/support/one-worker.ts");
    // Each works until nothing is left to do, at a clock that stands an hour later than this one.
    const workers = [1, 2].map(() =>
      Bun.spawn([process.execPath, script, world.folder, String(world.clock.wall() + HOUR)], {
        stdout: "pipe",
        stderr: "inherit",
      }),
    );
    const rounds = await Promise.all(
      workers.map(async (worker) => Number(await new Response(worker.stdout).text())),
    );
    expect(await Promise.all(workers.map((worker) => worker.exited))).toEqual([0, 0]);
    await world.follow();
    for (const id of ids)
      expect([id, await stepsOf(world, id)]).toEqual([id, ["start_adopting", "adopt", "complete"]]);
    expect(rounds.reduce((sum, steps) => sum + steps, 0)).toBe(3 * ids.length);
    expect(await world.checkChain()).toMatchObject({ ok: true });
    await world.close();
  });
});

describe("nothing happens by itself while the clock can't be trusted", () => {
  test("a clock that went back pauses the worker; it goes on when the clock has caught up", async () => {
    const world = await startWorld();
    const { id } = await moved(world);
    world.clock.jump(-HOUR);
    expect(await workOnce(world.authority)).toEqual({ steps: [], failures: [], paused: true });
    world.clock.pass(HOUR);
    expect((await workOnce(world.authority)).steps).toEqual([{ rotation: id, step: "start_adopting" }]);
    await world.close();
  });

  test("a jump ahead pauses it, so that no deadline comes early; it goes on when somebody vouches for the clock", async () => {
    const world = await startWorld();
    const { id, old } = await moved(world, { ...QUICK, deadlineAt: START + DAY, completion: "at_deadline" });
    world.clock.jump(30 * DAY);
    expect((await workOnce(world.authority)).paused).toBe(true);
    expect((await world.view(id)).rotation.state).toBe("issued");
    expect(world.verify(old.secret)).toBe("valid");
    await world.as(HOST, OPERATIONS.acceptClock, {});
    expect((await workOnce(world.authority)).paused).toBe(false);
    expect((await world.view(id)).rotation.state).not.toBe("issued");
    await world.close();
  });

  test("nothing ages out in that time either", async () => {
    const world = await startWorld();
    const { old } = await moved(world);
    world.clock.jump(800 * DAY);
    await dropAged(world.authority);
    expect((await world.authority.storage.evidence.callersOf(old.key.id)).length).toBe(1);
    await world.close();
  });

  test("a disk at fault pauses it", async () => {
    const world = await startWorld();
    await moved(world);
    world.authority.health.stopWriting("disk", new Error("the disk"));
    expect((await workOnce(world.authority)).paused).toBe(true);
    await world.close();
  });
});

describe("a brownout ends", () => {
  async function browned(
    limits: { stopAfterCallers?: number; stopAfterRefusals?: number; startsAt?: number } = {},
  ) {
    const world = await startWorld();
    const rotation = await moved(world);
    await workOnce(world.authority);
    await world.do(OPERATIONS.announceBrownout, { id: rotation.id, durationSeconds: 300, ...limits });
    return { world, ...rotation };
  }
  const brownoutOf = async (world: World, id: string) =>
    (await world.view(id as `rot_${string}`)).brownouts[0];

  test("by time: the old key works again at the instant, and the worker stores what was found", async () => {
    const { world, id, old } = await browned();
    expect(world.verify(old.secret, { name: "cron" })).toBe("brownout");
    world.clock.pass(300 * SECOND - 1);
    await world.follow();
    expect(world.verify(old.secret, { name: "cron" })).toBe("brownout");
    world.clock.pass(1);
    expect(world.verify(old.secret, { name: "cron" })).toBe("valid");
    await workOnce(world.authority);
    expect(await brownoutOf(world, id)).toMatchObject({
      stopReason: "ended",
      refusals: 2,
      callersHit: ["cron"],
    });
    await world.close();
  });

  test("by the worker of whichever process works, however the others have refused: it need have refused nobody itself", async () => {
    const { world, id, old } = await browned({ stopAfterRefusals: 2 });
    const other = await startWorld({ folder: world.folder, clock: world.clock, process: "other" });
    expect(await other.judged(old.secret, { name: "cron" })).toBe("brownout");
    await workOnce(world.authority);
    expect((await brownoutOf(world, id))?.stoppedAt).toBeNull();
    expect(await other.judged(old.secret, { name: "cron" })).toBe("brownout");
    expect(await other.judged(old.secret, { name: "cron" })).toBe("valid");
    await until("both refusals are told", async () => (await brownoutOf(world, id))?.refusals === 2);
    await workOnce(world.authority);
    expect(await brownoutOf(world, id)).toMatchObject({ stopReason: "refusals", refusals: 2 });
    await world.follow();
    expect(world.verify(old.secret)).toBe("valid");
    await other.leave();
    await world.close();
  });

  test("by its threshold of callers or of refusals, at once and not by flush", async () => {
    const byCallers = await browned({ stopAfterCallers: 2 });
    const codes = ["a", "b", "c"].map((name) => byCallers.world.verify(byCallers.old.secret, { name }));
    expect(codes).toEqual(["brownout", "brownout", "valid"]);
    await workOnce(byCallers.world.authority);
    expect(await brownoutOf(byCallers.world, byCallers.id)).toMatchObject({
      stopReason: "callers",
      refusals: 2,
      callersHit: ["a", "b"],
    });
    await byCallers.world.close();

    const byRefusals = await browned({ stopAfterRefusals: 3 });
    const more = Array.from({ length: 5 }, () =>
      byRefusals.world.verify(byRefusals.old.secret, { name: "a" }),
    );
    expect(more).toEqual(["brownout", "brownout", "brownout", "valid", "valid"]);
    await workOnce(byRefusals.world.authority);
    await workOnce(byRefusals.world.authority);
    expect(await brownoutOf(byRefusals.world, byRefusals.id)).toMatchObject({
      stopReason: "refusals",
      refusals: 3,
    });
    const ends = (await byRefusals.world.entries()).filter(
      (entry) => entry.operation === "rotations.end-brownout",
    );
    expect(ends.length).toBe(1);
    await byRefusals.world.close();
  });

  test("by an unclean stop, because its count is lost and its threshold could not hold", async () => {
    const { world, id, old } = await browned();
    expect(world.verify(old.secret, { name: "cron" })).toBe("brownout");
    const next = await world.crash();
    await endLostBrownouts(next.authority);
    expect(next.verify(old.secret, { name: "cron" })).toBe("valid");
    expect(await brownoutOf(next, id)).toMatchObject({ stopReason: "unclean_stop" });
    await next.close();
  });

  test("by an unclean stop while the installation is being moved: a start passes it over, and it ends once changes are accepted", async () => {
    const { world, id } = await browned();
    await world.as(HOST, OPERATIONS.closeStore, { why: "moving" });
    const next = await world.crash();
    await endLostBrownouts(next.authority);
    const endLost = createLossWatch(next.authority);
    await endLost();
    expect(await brownoutOf(next, id)).toMatchObject({ stopReason: null });
    await next.as(HOST, OPERATIONS.openStore, {});
    await endLost();
    expect(await brownoutOf(next, id)).toMatchObject({ stopReason: "unclean_stop" });
    await next.close();
  });

  test("by a clean stop, and what it found is kept", async () => {
    const { world, id, old } = await browned();
    expect(world.verify(old.secret, { name: "cron" })).toBe("brownout");
    await endBrownoutsAtStop(world.authority);
    const next = await world.restart();
    await endLostBrownouts(next.authority);
    expect(next.verify(old.secret, { name: "cron" })).toBe("valid");
    expect(await brownoutOf(next, id)).toMatchObject({
      stopReason: "stop",
      refusals: 1,
      callersHit: ["cron"],
    });
    await next.close();
  });

  test("but one that is still to come is left alone by either stop", async () => {
    const { world, id, old } = await browned({ startsAt: START + HOUR });
    await endBrownoutsAtStop(world.authority);
    const crashed = await world.crash();
    await endLostBrownouts(crashed.authority);
    crashed.clock.pass(START + HOUR - crashed.clock.wall());
    expect(crashed.verify(old.secret, { name: "cron" })).toBe("brownout");
    expect(await brownoutOf(crashed, id)).toMatchObject({ stopReason: null });
    await crashed.close();
  });
});

describe("a process that tells nothing is given up", () => {
  const settings = { flushSeconds: 60 };
  async function twoWorlds(ahead = 0) {
    const world = await startWorld({ process: "one", settings });
    const clock = ahead === 0 ? world.clock : createTestClock(world.clock.wall() + ahead);
    const other = await startWorld({ folder: world.folder, clock, process: "other", settings });
    const endLost = createLossWatch(world.authority);
    return {
      world,
      other,
      endLost,
      restartedAt: async () => (await world.authority.storage.evidence.watched()).restartedAt,
      /** As time goes by for this one, which looks all the while. */
      pass: async (ms: number) => {
        for (let left = ms; left > 0; left -= 20 * SECOND) {
          await world.pass(Math.min(left, 20 * SECOND));
          await endLost();
        }
      },
      end: async () => {
        await other.leave();
        await world.close();
      },
    };
  }

  test("after three of the longest flush intervals: none that lives, however far its flushes are apart", async () => {
    const { world, other, endLost, restartedAt, pass, end } = await twoWorlds();
    for (let minute = 0; minute < 3; minute += 1) {
      await pass(MINUTE);
      // Rounds of the worker, while the other one's flush is on its way.
      for (let round = 0; round < 3; round += 1) await pass(100);
      expect(await restartedAt()).toBeNull();
      await other.authority.recorder.flush();
    }
    // From the first round that has seen what the other told last.
    await endLost();
    await pass(3 * MINUTE);
    expect(await restartedAt()).toBeNull();
    await pass(1);
    expect(await restartedAt()).toBe(world.clock.wall());
    await end();
  });

  test("by no process whose clock is ahead or behind: what others tell counts, not when they say so", async () => {
    for (const ahead of [-10 * MINUTE, 10 * MINUTE]) {
      const { other, restartedAt, pass, end } = await twoWorlds(ahead);
      for (let minute = 0; minute < 10; minute += 1) {
        await pass(MINUTE);
        await other.pass(MINUTE);
      }
      expect(await restartedAt()).toBeNull();
      await end();
    }
  });

  test("not for a time in which nobody looked, as while the database is away: then none could tell", async () => {
    const { world, other, endLost, restartedAt, pass, end } = await twoWorlds();
    await pass(MINUTE);
    world.clock.pass(HOUR);
    await endLost();
    expect(await restartedAt()).toBeNull();
    await other.authority.recorder.flush();
    await pass(3 * MINUTE);
    expect(await restartedAt()).toBeNull();
    await end();
  });
});

describe("one round", () => {
  test("asks once what was watched, however many rotations are open", async () => {
    let asked = 0;
    const world = await startWorld({
      through: (storage) => ({
        ...storage,
        evidence: {
          ...storage.evidence,
          watched: () => {
            asked += 1;
            return storage.evidence.watched();
          },
        },
      }),
    });
    for (let i = 0; i < 3; i += 1) await world.rotate((await world.keyWith({ scopes: ["a:b"] })).key.id);
    asked = 0;
    await workOnce(world.authority);
    expect(asked).toBe(1);
    await world.close();
  });
});

describe("what has aged out is dropped", () => {
  function countOf(world: World, file: string, table: string): number {
    const db = new Database(join(world.folder, file), { readonly: true });
    const row = db.query<{ n: number }, []>(`select count(*) as n from ${table}`).get();
    db.close();
    return row?.n ?? 0;
  }

  test("minutes after two days, hours and callers after 400, retry records after one, and not before", async () => {
    const world = await startWorld();
    const owner = await world.owner();
    const key = await world.key(owner.id);
    await world.do(
      OPERATIONS.createServiceAccount,
      { name: "retried", own: { role: null, scopes: null, allowedIps: null } },
      { idempotencyKey: "once" },
    );
    world.verify(key.secret, { name: "web" });
    await world.authority.recorder.flush();
    const left = () => ({
      minutes: countOf(world, "evidence.db", "usage_minutes"),
      hours: countOf(world, "evidence.db", "usage_hours"),
      callers: countOf(world, "evidence.db", "callers"),
      counts: countOf(world, "evidence.db", "caller_counts"),
      records: countOf(world, "keyturn.db", "idempotency_records"),
    });
    const whole = { minutes: 1, hours: 1, callers: 1, counts: 1, records: 1 };
    await dropAged(world.authority);
    expect(left()).toEqual(whole);
    await world.pass(DAY + 1);
    await dropAged(world.authority);
    expect(left()).toEqual({ ...whole, records: 0 });
    await world.pass(DAY + MINUTE);
    await dropAged(world.authority);
    expect(left()).toEqual({ ...whole, records: 0, minutes: 0 });
    await world.pass(397 * DAY);
    await dropAged(world.authority);
    expect(left()).toMatchObject({ hours: 1, callers: 1 });
    await world.pass(2 * DAY);
    await dropAged(world.authority);
    expect(left()).toEqual({ minutes: 0, hours: 0, callers: 0, counts: 0, records: 0 });
    // That it was ever used is not forgotten: its secret must not become replaceable.
    expect((await world.authority.storage.evidence.useOf([key.key.id])).get(key.key.id)?.firstValidAt).toBe(
      START,
    );
    await world.close();
  });
});
