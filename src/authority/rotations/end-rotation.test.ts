import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  DAY,
  MINUTE,
  QUICK,
  refusalOf,
  SECOND,
  START,
  startWorld,
  type World,
} from "../../../test/support/authority.ts";
import type { Issued } from "../keys/issue.ts";
import { OPERATIONS } from "../operations.ts";
import type { Rotated } from "./rotate-key.ts";
import { isOpen } from "./rotation.ts";

let world: World;
let old: Issued;
let rotated: Rotated;
beforeEach(async () => {
  world = await startWorld();
  old = await world.key((await world.owner({ role: "editor", scopes: ["invoices:*"] })).id, { name: "k" });
});
afterEach(() => world.close());

const {
  completeRotation,
  rollbackRotation,
  cancelRotation,
  extendRotation,
  revokeKey,
  suspendKey,
  reinstateKey,
} = OPERATIONS;
const rotationNow = async () => (await world.view(rotated.rotation.id)).rotation;
const useOld = (name = "api") => world.verify(old.secret, { name });
const useNew = (name = "api") => world.verify(rotated.secret, { name });
const id = () => rotated.rotation.id;

async function start(plan = QUICK): Promise<void> {
  rotated = await world.rotate(old.key.id, plan);
}
/** `api` was on the old key, is on the successor, and was off the old one for the quiet period. */
async function moveOver(): Promise<void> {
  useOld();
  await start({ ...QUICK, completion: "manual" });
  await world.pass(SECOND);
  useNew();
  await world.pass(MINUTE);
  useNew();
  await world.pass(SECOND);
}

describe("rotations.complete", () => {
  test("suspends the old key, not the successor, and opens the undo window; the entry tells of both", async () => {
    await moveOver();
    const completed = await world.do(completeRotation, { id: id() });
    const now = world.clock.wall();
    expect(completed).toMatchObject({
      state: "completed",
      completedAt: now,
      undoUntil: now + 600 * SECOND,
      forced: false,
    });
    expect([useOld(), useNew()]).toEqual(["suspended", "valid"]);
    expect((await world.stored(old.key.id)).suspensions).toEqual(["rotation"]);
    expect(await world.lastEntry()).toMatchObject({
      operation: "rotations.complete",
      details: {},
      subjects: [
        { kind: "rotation", id: id(), after: { state: "completed", forced: false } },
        {
          kind: "key",
          id: old.key.id,
          before: { state: "active" },
          after: { state: "suspended", suspensions: ["rotation"] },
        },
      ],
    });
  });

  test("is refused with the reasons while callers are in the way, naming them, and changes nothing", async () => {
    world.verify(old.secret, { name: "monthly" });
    await world.pass(DAY);
    useOld();
    useOld("lagging");
    await world.pass(SECOND);
    await start();
    useOld("lagging");
    useNew();
    const refusal = await refusalOf(world.do(completeRotation, { id: id() }));
    expect(refusal.code).toBe("not_safe_to_complete");
    expect(refusal.extensions.callers).toEqual(["lagging", "api", "monthly"]);
    expect(refusal.extensions.reasons).toMatchObject([
      { code: "still_on_old", callers: ["lagging"] },
      { code: "silent", callers: ["api", "monthly"] },
    ]);
    expect(await rotationNow()).toMatchObject({ state: "issued", completedAt: null });
    expect(useOld("lagging")).toBe("valid");
    expect(await world.lastEntry()).toMatchObject({
      outcome: "refused",
      details: { code: "not_safe_to_complete" },
    });
  });

  test("counts what is still in memory: a use a moment ago is in the way", async () => {
    await moveOver();
    useOld("late");
    const refusal = await refusalOf(world.do(completeRotation, { id: id() }));
    expect(refusal.extensions.callers).toEqual(["late"]);
  });

  test("a key nobody used needs the successor used, or force", async () => {
    await start();
    const refusal = await refusalOf(world.do(completeRotation, { id: id() }));
    expect(refusal.extensions.reasons).toMatchObject([{ code: "successor_unused" }]);
    useNew();
    expect((await world.do(completeRotation, { id: id() })).forced).toBe(false);
  });

  test("with force it is done, and the entry says against whom: names as names, addresses as hashes", async () => {
    await start();
    useOld("lagging");
    world.verify(old.secret, { address: "203.0.113.77", agent: "curl/8" });
    const completed = await world.do(completeRotation, { id: id(), force: true });
    expect(completed.forced).toBe(true);
    const { details } = await world.lastEntry();
    expect(details).toMatchObject({
      forced: true,
      against: [
        { code: "successor_unused", callers: [] },
        { code: "still_on_old", callers: ["lagging", expect.stringMatching(/^sha256:/)] },
      ],
    });
  });

  test("force that was not needed is not told as forced", async () => {
    await moveOver();
    expect((await world.do(completeRotation, { id: id(), force: true })).forced).toBe(false);
    expect((await world.lastEntry()).details).toEqual({});
  });

  test("keeps when the successor was first used, though the worker never came by", async () => {
    await moveOver();
    const firstUse = START + SECOND;
    expect((await world.do(completeRotation, { id: id() })).firstUsedAt).toBe(firstUse);
    expect(await world.do(rollbackRotation, { id: id() })).toMatchObject({
      state: "adopting",
      firstUsedAt: firstUse,
    });
  });

  test("a second time, and after the end, is refused by its state, whoever is in the way", async () => {
    await start();
    await world.do(completeRotation, { id: id(), force: true });
    useOld();
    expect((await refusalOf(world.do(completeRotation, { id: id(), force: true }))).code).toBe(
      "rotation_state",
    );
    await world.do(revokeKey, { id: old.key.id });
    expect((await refusalOf(world.do(completeRotation, { id: id() }))).code).toBe("rotation_state");
  });

  test("a successor that is itself refused is in the way", async () => {
    await moveOver();
    await world.do(suspendKey, { id: rotated.key.id });
    const refusal = await refusalOf(world.do(completeRotation, { id: id() }));
    expect(refusal.extensions.reasons).toMatchObject([{ code: "successor_not_active" }]);
  });
});

describe("rotations.rollback", () => {
  test("makes the old key good again, and the entry says so", async () => {
    await moveOver();
    await world.do(completeRotation, { id: id() });
    expect(useOld()).toBe("suspended");
    const back = await world.do(rollbackRotation, { id: id() });
    expect(back).toMatchObject({
      state: "adopting",
      completion: "manual",
      completedAt: null,
      undoUntil: null,
    });
    expect([useOld(), useNew()]).toEqual(["valid", "valid"]);
    expect(await world.lastEntry()).toMatchObject({
      operation: "rotations.rollback",
      subjects: [
        { kind: "rotation", before: { state: "completed" }, after: { state: "adopting" } },
        { kind: "key", id: old.key.id, before: { state: "suspended" }, after: { state: "active" } },
      ],
    });
  });

  test("is open to the end of the undo window, to the millisecond, though the worker has not come by", async () => {
    await moveOver();
    await world.do(completeRotation, { id: id() });
    await world.pass(600 * SECOND - 1);
    await world.do(rollbackRotation, { id: id() });
    await world.do(completeRotation, { id: id(), force: true });
    await world.pass(600 * SECOND);
    expect((await refusalOf(world.do(rollbackRotation, { id: id() }))).code).toBe("rotation_state");
    expect(useOld()).toBe("suspended");
  });

  test("is refused before completion and after the end", async () => {
    await start();
    expect((await refusalOf(world.do(rollbackRotation, { id: id() }))).code).toBe("rotation_state");
    await world.do(cancelRotation, { id: id() });
    expect((await refusalOf(world.do(rollbackRotation, { id: id() }))).code).toBe("rotation_state");
  });

  test("who used the old key in the undo window is in the evidence, and in the way of completing again", async () => {
    await moveOver();
    await world.do(completeRotation, { id: id() });
    expect(useOld("forgotten")).toBe("suspended");
    await world.do(rollbackRotation, { id: id() });
    const refusal = await refusalOf(world.do(completeRotation, { id: id() }));
    expect(refusal.extensions.callers).toEqual(["forgotten"]);
  });

  test("does not complete by itself again", async () => {
    await moveOver();
    await world.do(extendRotation, { id: id(), by: { completion: "when_adopted" } });
    expect(await world.work(id())).toEqual(["start_adopting", "adopt", "complete"]);
    await world.do(rollbackRotation, { id: id() });
    await world.pass(10 * DAY);
    expect(await world.work(id())).toEqual(["adopt", "raise_overdue"]);
    expect(useOld()).toBe("valid");
  });
});

describe("rotations.cancel", () => {
  test("revokes the successor that nobody used; the old key goes on alone", async () => {
    useOld();
    await start();
    const ended = await world.do(cancelRotation, { id: id() });
    expect(ended).toMatchObject({ state: "cancelled", endedAt: START, forced: false });
    expect(await rotationNow()).toEqual(ended);
    expect([useOld(), useNew()]).toEqual(["valid", "revoked"]);
    expect((await world.stored(old.key.id)).rotationId).toBeNull();
    expect((await world.stored(rotated.key.id)).rotationId).toBeNull();
    expect(await world.lastEntry()).toMatchObject({
      operation: "rotations.cancel",
      details: {},
      subjects: [
        {
          kind: "rotation",
          id: id(),
          before: { state: "issued" },
          after: { state: "cancelled", forced: false },
        },
        { kind: "key", id: old.key.id, after: { state: "active", rotation_id: null } },
        { kind: "key", id: rotated.key.id, after: { state: "revoked" } },
      ],
    });
  });

  test("names who uses the successor and is refused, still in memory or not; with force it is done and told", async () => {
    await start();
    useNew("moved");
    const refusal = await refusalOf(world.do(cancelRotation, { id: id() }));
    expect([refusal.code, refusal.extensions.callers]).toEqual(["successor_in_use", ["moved"]]);
    expect(useNew()).toBe("valid");
    expect((await world.do(cancelRotation, { id: id(), force: true })).forced).toBe(true);
    expect(useNew()).toBe("revoked");
    expect(await world.lastEntry()).toMatchObject({
      details: { forced: true },
      subjects: [{ kind: "rotation", before: { forced: false }, after: { forced: true } }, {}, {}],
    });
  });

  test("a refused use of the successor is no use", async () => {
    await start();
    expect(world.verify(rotated.secret, { name: "api" }, { scopes: ["users:read"] })).toBe(
      "insufficient_scope",
    );
    await world.do(cancelRotation, { id: id() });
  });

  test("a completed rotation says to roll back first, used or not", async () => {
    await start();
    await world.do(completeRotation, { id: id(), force: true });
    const refusal = await refusalOf(world.do(cancelRotation, { id: id(), force: true }));
    expect([refusal.code, refusal.message]).toEqual([
      "rotation_state",
      expect.stringContaining("roll it back"),
    ]);
  });
});

describe("rotations.extend", () => {
  test("goes later, clears overdue, and is an entry with both due instants", async () => {
    await start({ ...QUICK, deadlineAt: START + MINUTE });
    await world.pass(MINUTE);
    expect(await world.work(id())).toEqual(["raise_overdue"]);
    const extended = await world.do(extendRotation, { id: id(), by: { deadlineAt: START + DAY } });
    expect(extended).toMatchObject({ deadlineAt: START + DAY, overdueAt: null });
    expect(await rotationNow()).toEqual(extended);
    expect(await world.lastEntry()).toMatchObject({
      operation: "rotations.extend",
      subjects: [
        {
          before: { overdue: true, due_at: "2026-01-05T12:01:00.000Z" },
          after: { overdue: false, due_at: "2026-01-06T12:00:00.000Z" },
        },
      ],
    });
  });

  test("is refused sooner by field, and after the overlap by state", async () => {
    await start();
    const field = async (by: Parameters<typeof extendRotation.run>[1]["by"]) =>
      (await refusalOf(world.do(extendRotation, { id: id(), by }))).errors[0]?.field;
    expect(await field({ deadlineAt: START + DAY })).toBe("deadline");
    expect(await field({ overlapSeconds: 1 })).toBe("overlap");
    await world.do(completeRotation, { id: id(), force: true });
    expect((await refusalOf(world.do(extendRotation, { id: id(), by: {} }))).code).toBe("rotation_state");
  });
});

describe("revoking a key of an open rotation ends the rotation", () => {
  test("the old key: it is closed, and the successor goes on alone", async () => {
    await start();
    useNew();
    await world.do(revokeKey, { id: old.key.id });
    expect(await rotationNow()).toMatchObject({ state: "closed", endedAt: START });
    expect([useOld(), useNew()]).toEqual(["revoked", "valid"]);
    expect((await world.stored(rotated.key.id)).rotationId).toBeNull();
    await world.rotate(rotated.key.id);
  });

  test("the successor: it is cancelled, and the old key goes on alone", async () => {
    await start();
    await world.do(revokeKey, { id: rotated.key.id });
    expect(await rotationNow()).toMatchObject({ state: "cancelled", endedAt: START });
    expect([useOld(), useNew()]).toEqual(["valid", "revoked"]);
    await world.rotate(old.key.id);
  });

  test("the old key in the undo window: there is nothing to roll back to any more", async () => {
    await moveOver();
    await world.do(completeRotation, { id: id() });
    await world.do(revokeKey, { id: old.key.id });
    expect(await rotationNow()).toMatchObject({ state: "closed" });
    expect((await refusalOf(world.do(rollbackRotation, { id: id() }))).code).toBe("rotation_state");
    expect([useOld(), useNew()]).toEqual(["revoked", "valid"]);
  });

  test("the successor in the undo window: the old key's suspension becomes the operator's, and can be lifted", async () => {
    await moveOver();
    await world.do(completeRotation, { id: id() });
    await world.do(revokeKey, { id: rotated.key.id });
    expect(await rotationNow()).toMatchObject({ state: "cancelled" });
    expect(await world.stored(old.key.id)).toMatchObject({ suspensions: ["operator"], rotationId: null });
    expect([useOld(), useNew()]).toEqual(["suspended", "revoked"]);
    await world.pass(DAY);
    expect(await world.work(id())).toEqual([]);
    await world.do(reinstateKey, { id: old.key.id });
    expect(useOld()).toBe("valid");
  });

  test("deleting the owner ends it too, and both keys are revoked", async () => {
    await start();
    await world.do(OPERATIONS.deleteServiceAccount, { id: old.owner.id });
    expect(isOpen((await rotationNow()).state)).toBe(false);
    expect([useOld(), useNew()]).toEqual(["revoked", "revoked"]);
  });
});

describe("rotating the last root key", () => {
  const root = () => world.root.key.id;

  test("can be completed: the successor is a root key as well", async () => {
    rotated = await world.rotate(root());
    expect(world.verify(rotated.secret, { name: "ops" })).toBe("valid");
    await world.do(completeRotation, { id: id() });
    expect(world.verify(rotated.secret)).toBe("valid");
  });

  test("can be cancelled: the old root key is as good as before", async () => {
    rotated = await world.rotate(root());
    await world.do(cancelRotation, { id: id() });
    expect(world.verify(world.root.secret)).toBe("valid");
  });

  test("can't be forced through while the successor is refused, without the force that the refusal asks for", async () => {
    const second = await world.key(world.root.owner.id, { ttl: "30d", own: { scopes: ["keyturn:*"] } });
    await world.do(revokeKey, { id: world.root.key.id, force: true });
    const as = { kind: "key", id: second.key.id, accountId: world.account } as const;
    rotated = await world.as(as, OPERATIONS.rotateKey, { keyId: second.key.id, plan: QUICK });
    world.verify(rotated.secret);
    await world.as(as, OPERATIONS.updateKey, {
      id: rotated.key.id,
      own: {},
      expiresAt: new Date(START + DAY).toISOString(),
    });
    expect((await refusalOf(world.as(as, completeRotation, { id: id() }))).code).toBe("last_root_key");
    expect((await world.as(as, completeRotation, { id: id(), force: true })).state).toBe("completed");
    expect((await world.lastEntry()).details).toMatchObject({ forced: true });
  });

  test("can't be cancelled when the old key has ended by then, without force", async () => {
    const second = await world.key(world.root.owner.id, { ttl: "1d", own: { scopes: ["keyturn:*"] } });
    await world.do(revokeKey, { id: world.root.key.id, force: true });
    await world.pass(DAY - SECOND);
    const by = { kind: "key", id: second.key.id, accountId: world.account } as const;
    rotated = await world.as(by, OPERATIONS.rotateKey, { keyId: second.key.id, plan: QUICK });
    const as = { kind: "key", id: rotated.key.id, accountId: world.account } as const;
    await world.pass(SECOND);
    expect((await refusalOf(world.as(as, cancelRotation, { id: id() }))).code).toBe("last_root_key");
  });
});
