import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { COMPLETIONS, type Completion } from "../../src/authority/rotations/rotation.ts";
import { type Api, apiOf } from "../support/api.ts";
import { type Server, startServer } from "../support/server.ts";
import { until } from "../support/until.ts";

// Cloudflare R2, 21 March 2025: the successor was deployed to the wrong place, and the old key was deleted on time.
describe("B1: a rotation whose successor nobody picked up never takes the old key away", () => {
  let keyturn: Server;
  let root: Api;
  let owners = 0;

  beforeAll(async () => {
    keyturn = await startServer();
    root = apiOf(keyturn.url, keyturn.rootKey);
  });
  afterAll(() => keyturn.clean());

  /** A key that two callers use, and its rotation with a deadline two seconds away. */
  async function neglected(completion: Completion) {
    const owner = await root.owner({ name: `storage-${++owners}`, scopes: ["objects:write"] });
    const old = await root.key({ name: "gateway", owner_id: owner });
    for (const caller of ["frontend", "batch"]) await root.verify(old.secret, caller);
    const plan = { completion, deadline: "2s", overlap: "1s", quiet_period: "1s", undo_window: "1h" };
    const { rotation, secret } = await root.rotate(old.key.id, plan);
    return { id: rotation.id, old, successor: secret };
  }

  test("B1: past its deadline it is overdue and names who is still on the old key, which stays good, in every mode", async () => {
    const rotations = await Promise.all(COMPLETIONS.map((completion) => neglected(completion)));
    // Beside them one that may complete at its deadline, because its successor is in use: the worker is not asleep.
    const control = await neglected("at_deadline");
    expect(await root.verify(control.successor, "somebody else")).toBe("valid");

    for (const { id, old } of rotations) {
      expect(await root.verify(old.secret, "frontend")).toBe("valid");
      await until("the worker tells that it is overdue", async () =>
        (await root.audit(id)).some((entry) => entry.details.step === "raise_overdue"),
      );
    }
    await until(
      "the rotation beside them is completed",
      async () => (await root.rotation(control.id)).state === "completed",
    );

    for (const { id, old } of rotations) {
      const rotation = await root.rotation(id);
      expect(rotation).toMatchObject({
        state: "issued",
        overdue: true,
        completed_at: null,
        safe_to_complete: false,
      });
      expect(Date.parse(rotation.due_at)).toBeLessThan(Date.now());
      expect(rotation.callers.map(({ name, status }) => [name, status])).toEqual(
        expect.arrayContaining([
          ["frontend", "still_on_old"],
          ["batch", "silent"],
        ]),
      );
      expect(rotation.reasons.map((reason) => reason.code)).toEqual([
        "successor_unused",
        "still_on_old",
        "silent",
      ]);

      for (const caller of ["frontend", "batch"]) expect(await root.verify(old.secret, caller)).toBe("valid");
      expect((await root.readKey(old.key.id)).state).toBe("active");
      const entries = await root.audit(id);
      expect(entries.map(({ operation, details }) => [operation, details.step ?? null])).toEqual([
        ["keys.rotate", null],
        ["rotations.advance", "raise_overdue"],
      ]);
    }
  });

  test("B1: being overdue makes completing by hand no easier, and a late pick-up still leads to the end", async () => {
    const { id, old, successor } = await neglected("when_adopted");
    await until("the rotation is overdue", async () => (await root.rotation(id)).overdue);
    expect(await root.verify(old.secret, "frontend")).toBe("valid");
    const refused = await root.refused(id, "complete");
    expect(refused).toMatchObject({ status: 409, code: "not_safe_to_complete" });
    expect(refused.callers.toSorted()).toEqual(["batch", "frontend"]);

    for (const caller of ["frontend", "batch"]) expect(await root.verify(successor, caller)).toBe("valid");
    await until("the worker has completed it", async () => (await root.rotation(id)).state === "completed");
    expect(await root.verify(old.secret, "frontend")).toBe("suspended");
    expect(await root.verify(successor, "frontend")).toBe("valid");
  });

  test("B1: a successor that was deployed to the wrong place moves nobody, and whoever insists is told who is left", async () => {
    for (const completion of ["when_adopted", "manual"] as const) {
      const { id, old, successor } = await neglected(completion);
      expect(await root.verify(successor, "frontend-staging")).toBe("valid");
      await until("the rotation is overdue", async () => (await root.rotation(id)).overdue);
      for (const caller of ["frontend", "batch"]) expect(await root.verify(old.secret, caller)).toBe("valid");

      expect(await root.rotation(id)).toMatchObject({ state: "adopting", new_callers: ["frontend-staging"] });
      const refused = await root.refused(id, "complete");
      expect(refused).toMatchObject({ status: 409, code: "not_safe_to_complete" });
      expect(refused.callers.toSorted()).toEqual(["batch", "frontend"]);
      expect((await root.readKey(old.key.id)).state).toBe("active");
    }
  });
});
