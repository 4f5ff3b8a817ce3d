import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  actorOf,
  DAY,
  HOUR,
  MINUTE,
  QUICK,
  refusalOf,
  START,
  startWorld,
  type World,
} from "../../../test/support/authority.ts";
import type { Revocation } from "../audit/witness.ts";
import { OPERATIONS, READINGS } from "../operations.ts";
import { HOST, needsSetup, openSetup } from "./setup.ts";

let world: World;
beforeEach(async () => {
  world = await startWorld();
});
afterEach(() => world.close());

const { redeemSetupToken, recover, acceptClock, acceptLoss, mergeWitness } = OPERATIONS;
const redeem = (token: string) => world.as(HOST, redeemSetupToken, { token });
const verifyIn = (secret: string) => {
  const verdict = world.authority.verifier.verify(secret, {}, {}, null);
  return verdict instanceof Promise ? null : verdict.code;
};

describe("setup.redeem", () => {
  test("R34: the token gives a root key, once", async () => {
    const token = await openSetup(world.authority);
    const issued = await redeem(token);
    expect(issued.key).toMatchObject({
      own: { role: "admin", scopes: ["*", "keyturn:*"], allowedIps: null },
      expiresAt: null,
    });
    expect(verifyIn(issued.secret)).toBe("valid");
    expect(await world.lastEntry()).toMatchObject({
      operation: "setup.redeem",
      account_id: world.account,
      actor: { kind: "host", id: "host", account_id: null },
      subjects: [{ kind: "key", id: issued.key.id, before: null }],
    });
    expect((await refusalOf(redeem(token))).code).toBe("setup_token_invalid");
  });

  test("R34: it is good for 15 minutes of the time that decides: to the millisecond, and not longer when the clock is set back behind an entry", async () => {
    const late = await openSetup(world.authority);
    world.clock.pass(15 * MINUTE);
    expect((await refusalOf(redeem(late))).code).toBe("setup_token_invalid");
    const setBack = await openSetup(world.authority);
    world.clock.pass(15 * MINUTE);
    // Whatever is appended in its time holds the clock.
    await world.owner();
    world.clock.jump(-HOUR);
    expect((await refusalOf(redeem(setBack))).code).toBe("setup_token_invalid");
    const inTime = await openSetup(world.authority);
    world.clock.pass(HOUR + 15 * MINUTE - 1);
    await redeem(inTime);
  });

  test("R34: it is good in whichever process of the installation it is shown to", async () => {
    const other = await startWorld({ folder: world.folder, clock: world.clock, process: "other" });
    const token = await openSetup(world.authority);
    await other.as(HOST, redeemSetupToken, { token });
    expect((await refusalOf(redeem(token))).code).toBe("setup_token_invalid");
    await other.leave();
  });

  test("R34: a wrong token, an earlier one and none at all are refused; a wrong try does not burn the right one", async () => {
    expect((await refusalOf(redeem(""))).code).toBe("setup_token_invalid");
    const earlier = await openSetup(world.authority);
    const token = await openSetup(world.authority);
    for (const wrong of ["", "setup_", earlier, `${token}x`, token.slice(0, -1)]) {
      expect((await refusalOf(redeem(wrong))).code).toBe("setup_token_invalid");
    }
    await redeem(token);
  });

  test("R15: of many who try the same token at once, one gets a key", async () => {
    const token = await openSetup(world.authority);
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => redeem(token)));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });

  test("two tokens have nothing in common, and enough to say", async () => {
    const [one, two] = [await openSetup(world.authority), await openSetup(world.authority)];
    expect(one).not.toBe(two);
    expect(one).toMatch(/^setup_[0-9A-Za-z]{32}$/);
  });
});

describe("setup.recover", () => {
  test("issues a root key beside the living ones, audited as host; what keeps it runs before the commit", async () => {
    let kept: string | null = null;
    const issued = await world.as(HOST, recover, {
      keep: (secret) => {
        kept = secret;
        expect(verifyIn(secret)).toBe("unknown");
      },
    });
    expect(kept as string | null).toBe(issued.secret);
    expect([issued.secret, world.root.secret].map(verifyIn)).toEqual(["valid", "valid"]);
    expect(await world.lastEntry()).toMatchObject({ operation: "setup.recover", actor: { kind: "host" } });
  });

  test("when it can't be kept, no key was made and nothing is left", async () => {
    const before = (await world.entries()).length;
    const fails = world.as(HOST, recover, {
      keep: () => {
        throw new Error("ENOSPC");
      },
    });
    await expect(fails).rejects.toThrow("ENOSPC");
    expect(await world.entries()).toHaveLength(before);
  });

  test("finds another owner when the one called root was disabled, cut down or shut in", async () => {
    for (const spoil of [
      () => world.do(OPERATIONS.disableServiceAccount, { id: world.root.owner.id, force: true }),
      () =>
        world.as(fresh(), OPERATIONS.updateServiceAccount, {
          id: latest.owner.id,
          own: { scopes: ["a:b"] },
          force: true,
        }),
      () =>
        world.as(fresh(), OPERATIONS.updateServiceAccount, {
          id: latest.owner.id,
          own: { allowedIps: [] },
          force: true,
        }),
    ]) {
      await spoil();
      latest = await world.as(HOST, recover, {});
      expect(verifyIn(latest.secret)).toBe("valid");
    }
    expect(verifyIn(world.root.secret)).toBe("owner_disabled");
  });
  let latest: World["root"];
  const fresh = () => actorOf(latest.key);

  test("the first start makes the operator's account with it", async () => {
    const accounts = await world.ask(READINGS.listAccounts, { page: { limit: 9, after: null } });
    expect(accounts).toMatchObject([{ name: "operator", operator: true }]);
    expect((await world.entries())[0]?.subjects.map(({ kind }) => kind)).toEqual([
      "account",
      "service_account",
      "key",
    ]);
  });
});

test("set-up is needed when nobody holds a good root key of the operator's account", async () => {
  expect(await needsSetup(world.authority)).toBe(false);
  const last = world.root.key.id;
  const { key: tenantRoot } = await world.do(OPERATIONS.createAccount, { name: "tenant" });
  await world.do(OPERATIONS.suspendKey, { id: last, force: true });
  expect(await needsSetup(world.authority)).toBe(true);
  expect(tenantRoot.accountId).not.toBe(world.account);
  await redeem(await openSetup(world.authority));
  expect(await needsSetup(world.authority)).toBe(false);
});

describe("the clock", () => {
  test("clock.accept ends a false future: it is the one entry that may lead back", async () => {
    world.clock.jump(400 * DAY);
    await world.owner();
    expect((await world.lastEntry()).at).toBe(new Date(START + 400 * DAY).toISOString());
    world.clock.jump(-400 * DAY);
    expect(world.authority.time.trouble()).toBe("behind");
    expect(world.authority.time.now()).toBe(START + 400 * DAY);
    await world.as(HOST, acceptClock, {});
    expect(world.authority.time.trouble()).toBeNull();
    expect(world.authority.time.now()).toBe(START);
    expect(await world.lastEntry()).toMatchObject({
      operation: "clock.accept",
      at: "2026-01-05T12:00:00.000Z",
      subjects: [{ kind: "installation", id: "clock" }],
    });
    await world.owner();
    expect((await world.lastEntry()).at).toBe("2026-01-05T12:00:00.000Z");
    expect(await world.checkChain()).toMatchObject({ ok: true });
    world = await world.restart();
    expect(world.authority.time.now()).toBe(START);
  });

  test("R14: without it a clock that is set back revives no expired key, not even after a restart", async () => {
    const { secret } = await world.keyWith({ scopes: ["a:b"] }, { ttl: "1d" });
    await world.pass(2 * DAY);
    await world.owner();
    expect(world.verify(secret)).toBe("expired");
    world.clock.jump(-2 * DAY);
    expect(world.verify(secret)).toBe("expired");
    world = await world.restart();
    expect(world.verify(secret)).toBe("expired");
  });
});

describe("R14: restore", () => {
  /** What the witness would have been told since the backup. */
  const merge = (revocations: readonly Revocation[]) => world.as(HOST, mergeWitness, { revocations });

  test("makes the witness's revocations good: keys, owners and replaced secrets, and counts them", async () => {
    const revoked = await world.keyWith({ scopes: ["a:b"] });
    const orphaned = await world.keyWith({ scopes: ["a:b"] });
    const replaced = await world.keyWith({ scopes: ["a:b"] });
    const untouched = await world.keyWith({ scopes: ["a:b"] });
    await world.authority.storage.change((tx) => tx.facts.set("restored_unaccepted", "yes"));
    const merged = await merge([
      { kind: "key", id: revoked.key.id },
      { kind: "service_account", id: orphaned.owner.id },
      { kind: "secret", id: replaced.key.id, ordinal: 2 },
      { kind: "key", id: "key_never_restored" },
      { kind: "service_account", id: "sa_never_restored" },
    ]);
    expect(merged).toBe(3);
    expect([revoked, orphaned, replaced, untouched].map(({ secret }) => verifyIn(secret))).toEqual([
      "revoked",
      "revoked",
      "revoked",
      "valid",
    ]);
    expect(await world.authority.storage.read.facts.get("restored_unaccepted")).toBeNull();
    expect(await world.lastEntry()).toMatchObject({ operation: "restore.merge", actor: { kind: "host" } });
    expect((await world.lastEntry()).subjects.at(-1)).toMatchObject({
      kind: "installation",
      after: { revocations_merged: 3 },
    });
    expect(await merge([{ kind: "key", id: revoked.key.id }])).toBe(0);
  });

  test("a key of an open rotation takes the rotation along, as any revocation does", async () => {
    const owner = await world.owner({ scopes: ["a:b"] });
    const rotations = [];
    for (let i = 0; i < 3; i += 1)
      rotations.push(await world.rotate((await world.key(owner.id)).key.id, QUICK));
    const [oldRevoked, newRevoked, both] = rotations;
    if (oldRevoked === undefined || newRevoked === undefined || both === undefined)
      throw new Error("three rotations");
    await merge([
      { kind: "key", id: oldRevoked.rotation.oldKeyId },
      { kind: "key", id: newRevoked.key.id },
      { kind: "key", id: both.rotation.oldKeyId },
      { kind: "key", id: both.key.id },
    ]);
    const states = await Promise.all(
      rotations.map(async ({ rotation }) => (await world.view(rotation.id)).rotation.state),
    );
    expect(states).toEqual(["closed", "cancelled", "closed"]);
    expect([oldRevoked, newRevoked, both].map(({ secret }) => verifyIn(secret))).toEqual([
      "valid",
      "revoked",
      "revoked",
    ]);
    await world.rotate(oldRevoked.key.id);
    await world.rotate(newRevoked.rotation.oldKeyId);
  });

  test("a deleted owner's open rotations end as well", async () => {
    const { key, owner } = await world.keyWith({ scopes: ["a:b"] });
    const { rotation } = await world.rotate(key.id, QUICK);
    await merge([{ kind: "service_account", id: owner.id }]);
    expect((await world.view(rotation.id)).rotation.state).toBe("cancelled");
  });

  test("without a witness a person answers for the loss, and the log says so", async () => {
    await world.authority.storage.change(async (tx) => {
      await tx.facts.set("restored_unaccepted", "yes");
      await tx.facts.set("restored_at", "2026-01-05T12:00:00.000Z");
    });
    await world.as(HOST, acceptLoss, { lacksUse: false });
    expect(await world.authority.storage.read.facts.get("restored_unaccepted")).toBeNull();
    expect(await world.lastEntry()).toMatchObject({
      operation: "restore.accept-loss",
      subjects: [
        {
          id: "restore",
          before: { restored_at: "2026-01-05T12:00:00.000Z" },
          after: { loss_accepted: true },
        },
      ],
    });
  });
});
