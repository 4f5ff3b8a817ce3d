import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  createTestClock,
  HOUR,
  MINUTE,
  refusalOf,
  SECOND,
  START,
  startWorld,
  type World,
} from "../../../test/support/authority.ts";
import { until } from "../../../test/support/until.ts";
import { type KeyId, newId } from "../ids.ts";
import { OPERATIONS } from "../operations.ts";
import { createReportAnswers, gatherReports } from "./gather-reports.ts";

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
const settled = (outcome: () => unknown) => until("it is settled", () => outcome() !== "waiting");
/** Long enough for several rounds of asking; what is told afterwards rests on the worlds' own clock alone. */
const rounds = () => Bun.sleep(100);

/** What a process does by itself when its flush interval has passed. */
const flush = ({ authority }: World) => authority.recorder.flush();
/** Flushes as time goes by, until the work is done that waits for it. */
async function telling<T>(of: World, work: Promise<T>): Promise<T> {
  const outcome = watched(
    work.then(
      () => null,
      () => null,
    ),
  );
  await until("it is settled", async () => {
    await flush(of);
    return outcome() !== "waiting";
  });
  return work;
}

describe("R16: before anything is judged by use", () => {
  test("this process tells what it saw up to now, and waits for nobody where it is alone", async () => {
    await other.leave();
    world.clock.pass(SECOND);
    expect(await gatherReports(world.authority)).toBe(true);
    expect((await world.authority.storage.evidence.watched()).watermark).toBe(world.clock.wall());
    other = await startWorld({ folder: world.folder, clock: world.clock, process: "other" });
  });

  test("another process is waited for until it has stored a flush that began later, whatever its clock says", async () => {
    const outcome = watched(gatherReports(world.authority));
    await rounds();
    await flush(other);
    await rounds();
    expect(outcome()).toBe("waiting");
    await flush(other);
    await settled(outcome);
    expect(outcome()).toBe(true);
  });

  test("the parts of a flush that began before are none of one that began later", async () => {
    const { evidence } = world.authority.storage;
    const reporterId = newId("rep");
    await evidence.startReporter(reporterId, "with much to tell", world.clock.wall());
    const outcome = watched(gatherReports(world.authority));
    await rounds();
    const batch = { reporterId, coversFrom: START, coversUntil: START, callers: [], usage: [] };
    for (const batchSeq of [1, 2, 3, 1_000_000, 1_000_001, 1_000_002]) {
      await evidence.apply({ ...batch, batchSeq });
      await flush(other);
      await flush(other);
      await rounds();
      expect([batchSeq, outcome()]).toEqual([batchSeq, "waiting"]);
    }
    await evidence.apply({ ...batch, batchSeq: 2_000_000 });
    await settled(outcome);
    expect(outcome()).toBe(true);
    await evidence.stopReporter(reporterId);
  });

  test("of a process that begins another session meanwhile, the first flush of that is waited for", async () => {
    const outcome = watched(gatherReports(world.authority));
    await rounds();
    other.clock.jump(HOUR);
    await flush(other);
    await rounds();
    expect(outcome()).toBe("waiting");
    await flush(other);
    await settled(outcome);
    expect(outcome()).toBe(true);
  });

  test("one that says nothing for 5 s is waited for no longer, to the millisecond", async () => {
    const outcome = watched(gatherReports(world.authority));
    await rounds();
    world.clock.pass(5 * SECOND - 1);
    await rounds();
    expect(outcome()).toBe("waiting");
    world.clock.pass(1);
    await settled(outcome);
    expect(outcome()).toBe(false);
  });

  test("one whose flushes are a minute apart tells when it looks whether anybody waits, once for each question", async () => {
    const { cluster } = other.authority.storage;
    let flushes = 0;
    const recorder = {
      ...other.authority.recorder,
      flush: () => {
        flushes += 1;
        return flush(other);
      },
    };
    const look = createReportAnswers({ recorder, storage: other.authority.storage });
    await look();
    expect([flushes, await cluster.reportsAsked()]).toEqual([0, null]);
    for (let question = 1; question <= 2; question += 1) {
      const outcome = watched(gatherReports(world.authority));
      await rounds();
      await look();
      await settled(outcome);
      await look();
      expect([outcome(), flushes]).toEqual([true, 2 * question]);
    }
  });

  test("one that was given up is not waited for", async () => {
    world.clock.pass(4 * MINUTE);
    await flush(world);
    const { recorder, storage } = world.authority;
    const others = (await storage.evidence.living()).filter(({ id }) => id !== recorder.session());
    await storage.evidence.endReporters(others, world.clock.wall());
    expect(await gatherReports(world.authority)).toBe(true);
  });
});

describe("R15: a secret is replaced", () => {
  const replace = (id: KeyId) => world.do(OPERATIONS.replaceSecret, { id });

  test("by no process while another has yet to tell whether the key was used", async () => {
    const { key, secret } = await world.keyWith({ scopes: ["a:b"] });
    expect(other.verify(secret)).toBe("valid");
    const refused = refusalOf(replace(key.id));
    const outcome = watched(refused);
    await until("it is refused", () => {
      world.clock.pass(SECOND);
      return outcome() !== "waiting";
    });
    expect((await refused).code).toBe("storage_unavailable");
    await world.follow();
    expect(world.verify(secret)).toBe("valid");
  });

  test("not after its first use, whichever process saw it", async () => {
    const { key, secret } = await world.keyWith({ scopes: ["a:b"] });
    expect(other.verify(secret)).toBe("valid");
    const refused = refusalOf(replace(key.id));
    expect((await telling(other, refused)).code).toBe("already_in_use");
  });

  test("not after a use that this process saw while the others were waited for", async () => {
    const { key, secret } = await world.keyWith({ scopes: ["a:b"] });
    const refused = refusalOf(replace(key.id));
    await rounds();
    expect(world.verify(secret)).toBe("valid");
    expect((await telling(other, refused)).code).toBe("already_in_use");
  });

  for (const ahead of [3 * SECOND, -3 * SECOND]) {
    describe(`where the other process' clock is ${Math.abs(ahead) / SECOND} s ${ahead > 0 ? "ahead" : "behind"}`, () => {
      beforeEach(async () => {
        await other.leave();
        const clock = createTestClock(START + ahead);
        other = await startWorld({ folder: world.folder, clock, process: "other" });
      });

      test("not after a use that it saw a moment ago, though it claims to have told up to later", async () => {
        const { key, secret } = await world.keyWith({ scopes: ["a:b"] });
        await other.follow();
        await flush(other);
        expect(other.verify(secret)).toBe("valid");
        const refused = refusalOf(replace(key.id));
        expect((await telling(other, refused)).code).toBe("already_in_use");
      });

      test("as soon as it has told, by a call and by an idempotent retry, and what it replaces is dead", async () => {
        const { key, secret } = await world.keyWith({ scopes: ["a:b"] });
        const replaced = await telling(other, replace(key.id));
        expect([world.verify(secret), world.verify(replaced.secret)]).toEqual(["revoked", "valid"]);
        const owner = await world.owner({ scopes: ["a:b"] });
        const input = {
          name: "made",
          ownerId: owner.id,
          own: { role: null, scopes: null, allowedIps: null },
        };
        const made = await world.do(OPERATIONS.createKey, input, { idempotencyKey: "again" });
        // Until the first answer can't be under way any more.
        world.clock.pass(2 * SECOND);
        const retried = world.do(OPERATIONS.createKey, input, { idempotencyKey: "again" });
        const again = await telling(other, retried);
        expect(again.key.id).toBe(made.key.id);
        await world.follow();
        expect([world.verify(made.secret), world.verify(again.secret)]).toEqual(["revoked", "valid"]);
      });
    });
  }

  test("without holding up other changes of the account while the others are waited for", async () => {
    const { key } = await world.keyWith({ scopes: ["a:b"] });
    const owner = await world.owner({ scopes: ["a:b"] });
    const input = { name: "made", ownerId: owner.id, own: { role: null, scopes: null, allowedIps: null } };
    await world.do(OPERATIONS.createKey, input, { idempotencyKey: "again" });
    world.clock.pass(2 * SECOND);
    const works = [
      replace(key.id),
      world.do(OPERATIONS.createKey, input, { idempotencyKey: "again" }),
    ] as const;
    const outcomes = works.map((work) => watched<unknown>(work));
    await rounds();
    await world.owner();
    expect(outcomes.map((outcome) => outcome())).toEqual(["waiting", "waiting"]);
    await telling(other, Promise.all(works));
  });
});
