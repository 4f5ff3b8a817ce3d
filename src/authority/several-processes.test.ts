import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { actorOf, INHERITED, MINUTE, startWorld, type World } from "../../test/support/authority.ts";
import { times } from "../../test/support/counts.ts";
import { noted } from "../../test/support/traces.ts";
import { createMembership } from "./cluster/membership.ts";
import { Refusal } from "./errors.ts";
import type { Issued } from "./keys/issue.ts";
import { perform } from "./operation.ts";
import { OPERATIONS, READINGS } from "./operations.ts";

let one: World;
let other: World;
let flushing: ReturnType<typeof setInterval>;
beforeEach(async () => {
  one = await startWorld({ process: "one" });
  other = await startWorld({ folder: one.folder, clock: one.clock, process: "other" });
  // As every process does: whoever judges by use waits for what the others have seen.
  flushing = setInterval(() => {
    for (const { authority } of [one, other]) void authority.recorder.flush();
  }, 10);
});
afterEach(async () => {
  clearInterval(flushing);
  await other.leave();
  await one.close();
});

/** What came of it, or the code of the refusal. */
async function outcomeOf<T>(work: Promise<T>): Promise<T | string> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof Refusal) return error.code;
    throw error;
  }
}

describe("R15: two processes that are asked for the same thing at once", () => {
  test("rotate a key once: one successor, and everybody else is told", async () => {
    const { key } = await one.keyWith({ scopes: ["a:b"] });
    for (let round = 0; round < times(20); round += 1) {
      const old = round === 0 ? key : (await one.keyWith({ scopes: ["a:b"] })).key;
      const attempts = Array.from({ length: 20 }, (_, i) =>
        outcomeOf(
          (i % 2 === 0 ? one : other).as(one.actor, OPERATIONS.rotateKey, { keyId: old.id, plan: {} }),
        ),
      );
      const outcomes = await Promise.all(attempts);
      const made = outcomes.filter((outcome) => typeof outcome !== "string");
      expect(made).toHaveLength(1);
      expect(new Set(outcomes.filter((outcome) => typeof outcome === "string"))).toEqual(
        new Set(["rotation_open"]),
      );
      const lineage = await one.authority.storage.read.keys.ofLineage(one.account, old.lineageId);
      expect(lineage).toHaveLength(2);
      const filter = { keyId: old.id };
      const rotations = await one.ask(READINGS.listRotations, { filter, page: { limit: 9, after: null } });
      expect(rotations).toHaveLength(1);
    }
    expect(await one.checkChain()).toMatchObject({ ok: true });
  });

  test("make one key for one Idempotency-Key, whenever they are asked; of all answers the newest holds the one good secret", async () => {
    const owner = await one.owner({ scopes: ["a:b"] });
    let keys = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat({ max: 60 }), { minLength: 2, maxLength: 5 }), async (starts) => {
        keys += 1;
        const name = `key-${keys}`;
        const input = { name, ownerId: owner.id, own: INHERITED };
        const works = starts.map(async (start, index) => {
          for (let i = 0; i < start; i += 1) await Promise.resolve();
          const { authority } = index % 2 === 0 ? one : other;
          return outcomeOf(
            perform(authority, OPERATIONS.createKey, one.actor, input, { idempotencyKey: name }).then(noted),
          );
        });
        const outcomes = await Promise.all(works);
        const made = outcomes.flatMap((outcome) => (typeof outcome === "string" ? [] : [outcome]));
        const refused = outcomes.filter((outcome) => typeof outcome === "string");
        expect(new Set(refused)).toEqual(new Set(refused.length === 0 ? [] : ["idempotency_in_progress"]));
        expect(new Set(made.map(({ output }) => output.key.id)).size).toBe(1);
        const byAge = made.toSorted((earlier, later) => earlier.seq - later.seq);
        expect(await codesOf(byAge.map(({ output }) => output))).toEqual([
          ...byAge.slice(1).map(() => "revoked"),
          "valid",
        ]);
      }),
      { numRuns: times(200) },
    );
  });

  test("answer one of all that come in before there is a key; the others are told that it is under way", async () => {
    const owner = await one.owner({ scopes: ["a:b"] });
    for (let round = 0; round < times(50); round += 1) {
      const input = { name: `k-${round}`, ownerId: owner.id, own: INHERITED };
      const options = { idempotencyKey: `retry-${round}` };
      const works = [one, other].map((world) =>
        outcomeOf(world.as(one.actor, OPERATIONS.createKey, input, options)),
      );
      const outcomes = await Promise.all(works);
      const made = outcomes.filter((outcome) => typeof outcome !== "string");
      expect(outcomes.filter((outcome) => outcome === "idempotency_in_progress")).toHaveLength(1);
      expect(await codesOf(made)).toEqual(["valid"]);
    }
  });

  test("a retry after the answer is answered by either: the same key, whose earlier text is dead", async () => {
    const owner = await one.owner({ scopes: ["a:b"] });
    const input = { name: "k", ownerId: owner.id, own: INHERITED };
    const options = { idempotencyKey: "retry" };
    const first = await one.as(one.actor, OPERATIONS.createKey, input, options);
    await createMembership(one.authority).join();
    // The answer may still be under way: whoever asks the other one now must not kill the secret in it.
    expect(await outcomeOf(other.as(one.actor, OPERATIONS.createKey, input, options))).toBe(
      "idempotency_in_progress",
    );
    await one.pass(1_000);
    await other.pass(0);
    const again = await other.as(one.actor, OPERATIONS.createKey, input, options);
    expect(again.key.id).toBe(first.key.id);
    await one.follow();
    expect([await one.judged(first.secret), await one.judged(again.secret)]).toEqual(["revoked", "valid"]);
  });

  test("a retry is answered a second later though the newest entry is dated ahead and time stands still", async () => {
    const owner = await one.owner({ scopes: ["a:b"] });
    const input = { name: "k", ownerId: owner.id, own: INHERITED };
    const options = { idempotencyKey: "retry" };
    for (const world of [one, other]) await createMembership(world.authority).join();
    one.clock.jump(2 * MINUTE);
    await one.as(one.actor, OPERATIONS.createKey, input, options);
    one.clock.jump(-2 * MINUTE);
    await other.follow();
    const again = () => outcomeOf(other.as(one.actor, OPERATIONS.createKey, input, options));
    expect(await again()).toBe("idempotency_in_progress");
    one.clock.pass(999);
    expect(await again()).toBe("idempotency_in_progress");
    one.clock.pass(1);
    expect(await again()).toMatchObject({ key: { name: "k" } });
  });

  test("a retry that waited while the other answered another one leaves the secret in that answer alone", async () => {
    const owner = await one.owner({ scopes: ["a:b"] });
    const input = { name: "k", ownerId: owner.id, own: INHERITED };
    const options = { idempotencyKey: "retry" };
    await one.as(one.actor, OPERATIONS.createKey, input, options);
    for (const world of [one, other]) await createMembership(world.authority).join();
    await one.pass(1_100);
    await other.pass(0);
    // From here on each waits for what the other has seen, which nobody tells before he is let.
    clearInterval(flushing);
    const waiting = outcomeOf(one.as(one.actor, OPERATIONS.createKey, input, options));
    await Bun.sleep(50);
    flushing = setInterval(() => void one.authority.recorder.flush(), 10);
    const again = await other.as(one.actor, OPERATIONS.createKey, input, options);
    clearInterval(flushing);
    flushing = setInterval(() => void other.authority.recorder.flush(), 10);
    expect(await waiting).toBe("idempotency_in_progress");
    expect(await codesOf([again])).toEqual(["valid"]);
  });

  test("what one has done, the other does not do again: a revoked key is no actor there, whatever it remembers", async () => {
    const { key } = await one.keyWith({ scopes: ["keyturn:keys.read"] });
    const asker = actorOf(key);
    await one.do(OPERATIONS.revokeKey, { id: key.id });
    expect(await outcomeOf(other.as(asker, OPERATIONS.rotateSelf, { plan: {} }))).toBe("unauthenticated");
  });
});

/** What each secret is worth now, in a process that has followed the log. */
async function codesOf(issued: readonly Issued[]): Promise<readonly string[]> {
  await one.follow();
  return Promise.all(issued.map(({ secret }) => one.judged(secret)));
}
