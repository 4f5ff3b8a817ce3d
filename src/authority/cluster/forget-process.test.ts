import { afterEach, beforeEach, expect, test } from "bun:test";
import { MINUTE, refusalOf, SECOND, startWorld, type World } from "../../../test/support/authority.ts";
import { OPERATIONS } from "../operations.ts";
import { awaitAll } from "./await-all.ts";
import { createMembership, type Membership } from "./membership.ts";

let here: World;
let there: World;
let lives: Membership;

beforeEach(async () => {
  here = await startWorld({ process: "here" });
  there = await startWorld({ process: "there", folder: here.folder, clock: here.clock });
  lives = createMembership(there.authority);
  await createMembership(here.authority).join();
  await there.follow();
  await lives.join();
});
afterEach(async () => {
  await there.leave();
  await here.close();
});

const forget = (name: string) => here.do(OPERATIONS.forgetProcess, { name });
const names = async () =>
  (await here.authority.storage.cluster.processes()).map(({ name }) => name).toSorted();

test("a process that was not heard of for more than a minute leaves the list, and the log says how far it was", async () => {
  const applied = there.authority.follower.appliedSeq();
  await here.pass(MINUTE + 1);
  await forget("there");
  expect(await names()).toEqual(["here"]);
  expect(await here.lastEntry()).toMatchObject({
    operation: "cluster.forget",
    outcome: "performed",
    account_id: here.account,
    subjects: [
      {
        kind: "installation",
        id: "cluster",
        before: { process: "there", applied_seq: applied },
        after: null,
      },
    ],
  });
});

test("whoever waits for all waits for it no more, even where static keys let nothing else end it", async () => {
  await here.pass(MINUTE + 1);
  const { seq } = await here.performed(OPERATIONS.createServiceAccount, {
    name: "changed",
    own: { role: null, scopes: null, allowedIps: null },
  });
  const waiting = awaitAll(here.authority, seq, ["static"]);
  expect(await Promise.race([waiting, Bun.sleep(100).then(() => "waiting")])).toBe("waiting");
  await forget("there");
  expect(await waiting).toEqual({ everywhere: true, silent: [] });
});

test("one that was heard of in the last minute stays, to the millisecond, and so does one whose clock runs ahead", async () => {
  for (const ms of [0, MINUTE]) {
    await here.pass(ms);
    expect((await refusalOf(forget("there"))).code).toBe("process_alive");
  }
  expect(await names()).toEqual(["here", "there"]);
  expect(await here.lastEntry()).toMatchObject({
    operation: "cluster.forget",
    outcome: "refused",
    details: { code: "process_alive" },
  });
  await lives.report();
  here.clock.jump(-SECOND);
  expect((await refusalOf(forget("there"))).code).toBe("process_alive");
});

test("the process that answers lives, however long ago it last told so", async () => {
  await here.pass(2 * MINUTE);
  expect((await refusalOf(forget("here"))).code).toBe("process_alive");
  expect(await names()).toEqual(["here", "there"]);
});

test("of two with one name the dead one goes, and the living one stays", async () => {
  await here.pass(MINUTE + 1);
  const twin = await startWorld({ process: "there", folder: here.folder, clock: here.clock });
  const member = createMembership(twin.authority);
  await member.join();
  // The first one is back beside it, and dies.
  await lives.report();
  await here.pass(MINUTE + 1);
  await member.report();
  await forget("there");
  const left = (await here.authority.storage.cluster.processes()).filter(({ name }) => name === "there");
  expect(left.map(({ id }) => id)).toEqual([twin.authority.process.id]);
  expect((await refusalOf(forget("there"))).code).toBe("process_alive");
  await twin.leave();
});

test("a name that is not on the list is not found, in another case neither", async () => {
  await here.pass(2 * MINUTE);
  for (const name of ["nobody", "There", "the", ""])
    expect((await refusalOf(forget(name))).code).toBe("not_found");
  expect(await names()).toEqual(["here", "there"]);
});

test("a process that lives after all is back with its next report, and is waited for", async () => {
  await here.pass(2 * MINUTE);
  await forget("there");
  await there.follow();
  await lives.report();
  expect(await names()).toEqual(["here", "there"]);
});

test("a process that starts under the name while the old one is being forgotten stays on the list", async () => {
  await here.pass(2 * MINUTE);
  const again = await startWorld({ process: "there", folder: here.folder, clock: here.clock });
  const asked = await startWorld({
    process: "asked",
    folder: here.folder,
    clock: here.clock,
    through: (storage) => ({
      ...storage,
      cluster: {
        ...storage.cluster,
        leave: async (id) => {
          await createMembership(again.authority).join();
          await storage.cluster.leave(id);
        },
      },
    }),
  });
  await asked.do(OPERATIONS.forgetProcess, { name: "there" });
  expect((await here.authority.storage.cluster.processes()).map(({ id }) => id)).toContain(
    again.authority.process.id,
  );
  await asked.leave();
  await again.leave();
});

test("nothing is forgotten by a change that is refused before it begins", async () => {
  await here.pass(2 * MINUTE);
  here.authority.health.stopWriting("disk", new Error("the disk"));
  expect((await refusalOf(forget("there"))).code).toBe("storage_unavailable");
  expect(await names()).toEqual(["here", "there"]);
});
