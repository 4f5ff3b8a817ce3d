import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { checkStored } from "../crash/stored-state.ts";
import { IS_FULL_RUN } from "../support/counts.ts";
import { storedUses } from "../support/evidence-file.ts";
import { issueAt, newPlace, type Served } from "../support/installation.ts";
import { cleanUp } from "../support/traces.ts";
import { type Change, changesOf, expectReadOnly } from "./changes.ts";
import { kill, killAll, serve } from "./servers.ts";
import { compileShim } from "./shim.ts";

const shim = compileShim();

/**
 * Which sync of the journal fails. After a clean stop the first change asks for two, the journal's head being the other,
 * and each further one for one more: so 1 to 11 are all the changes of changes.ts.
 */
function syncsFor(always: boolean): readonly number[] {
  if (IS_FULL_RUN) return [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
  return always ? [1, 6] : [2, 10];
}

afterEach(killAll);

afterAll(cleanUp);

describe.skipIf(shim === null)("R39: a sync of the journal that fails", () => {
  for (const always of [false, true]) {
    test(`${always ? "and goes on failing" : "once"}, at any kind of change: unknown is what is said, nothing more is written, verification goes on, and a retry tells the truth`, async () => {
      const place = newPlace("fsync-error");
      const hit = new Set<string>();
      for (const nth of syncsFor(always)) {
        const before = await serve(place);
        const good = await issueAt(before.call, `known ${nth}`);
        const unseen = await issueAt(before.call, `verified for the first time after the fault ${nth}`);
        const victim = await issueAt(before.call, `victim ${nth}`);
        await before.process.stop();
        const head = checkStored(place.data, place.witness).entries;

        const broken = await serve(place, shim?.failing({ name: "/keyturn.db-wal", nth, always }));
        const changes = changesOf({ ownerId: victim.ownerId, keyId: victim.id, name: `made ${nth}` });
        const made = await makeUntilFault(broken, changes);
        const unknown = changes[made];
        if (unknown === undefined) throw new Error(`sync ${nth} did not fail at a change`);
        hit.add(unknown.what);
        await expectReadOnly(broken.call, good, [good.secret, unseen.secret, unseen.secret]);
        expect(broken.process.errors()).toContain("writing stops");
        await kill(broken);

        // All that was acknowledged is there, and of what was not the one change, whole, or nothing.
        const after = await serve(place);
        const stored = checkStored(place.data, place.witness);
        const wasDone = unknown.isDone(stored);
        expect([unknown.what, stored.entries]).toEqual([unknown.what, head + made + (wasDone ? 1 : 0)]);
        const again = await unknown.send(after.call);
        // Without a name of its own, a change that was made is refused the second time, or changes nothing.
        if (!wasDone || unknown.creates)
          expect([unknown.what, again.code]).toEqual([unknown.what, undefined]);
        const settled = checkStored(place.data, place.witness);
        expect([unknown.what, unknown.isDone(settled)]).toEqual([unknown.what, true]);
        if (unknown.creates) expect(settled.keys.size).toBe(stored.keys.size + (wasDone ? 0 : 1));
        for (const change of changes.slice(made + 1)) {
          const told = await change.send(after.call);
          expect([change.what, told.code]).toEqual([change.what, undefined]);
        }
        await after.process.stop();
      }
      expect(hit.size).toBe(new Set(syncsFor(always).map((nth) => Math.max(nth, 2))).size);
    }, 600_000);
  }
});

/** How many were made before the one whose outcome is unknown. */
async function makeUntilFault({ call }: Served, changes: readonly Change[]): Promise<number> {
  for (const [made, change] of changes.entries()) {
    const told = await change.send(call);
    if (told.code === undefined) continue;
    expect([change.what, told.status, told.code]).toEqual([change.what, 503, "outcome_unknown"]);
    return made;
  }
  return changes.length;
}

test.skipIf(shim === null)(
  "R39: an evidence file that can't be synced holds up neither verification nor changes, and each use is stored once",
  async () => {
    const place = newPlace("evidence-sync");
    await (await serve(place)).process.stop();
    // The first is of the journal's head, when the session starts: without it nothing is served.
    const broken = await serve(place, shim?.failing({ name: "/evidence.db-wal", nth: 2, always: true }));
    const good = await issueAt(broken.call, "good");
    for (let n = 0; n < 20; n += 1) {
      const verdict = await broken.call("POST", "/v1/keys/verify", { body: { key: good.secret } });
      expect(verdict.body.at("code")).toBe("valid");
    }
    const renamed = await broken.call("PATCH", `/v1/keys/${good.id}`, { body: { name: "renamed" } });
    expect(renamed.code).toBeUndefined();
    // The stop folds the journal into the file, for which both would have to be synced.
    await broken.process.stop();
    expect(existsSync(join(place.data, "evidence.db-wal"))).toBe(true);
    const after = await serve(place);
    expect((await after.call("GET", `/v1/keys/${good.id}`)).body.at("name")).toBe("renamed");
    await after.process.stop();
    expect(storedUses(place.data, good.id)).toBe(20);
  },
);
