import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  actorOf,
  DAY,
  type EntryText,
  HOUR,
  INHERITED,
  MINUTE,
  QUICK,
  refusalOf,
  START,
  startWorld,
  type World,
} from "../../test/support/authority.ts";
import { type Actor, SYSTEM } from "./audit/entry.ts";
import type { WitnessLine } from "./audit/witness.ts";
import { Refusal } from "./errors.ts";
import type { AccountId, KeyId, RotationId, ServiceAccountId } from "./ids.ts";
import type { Issued } from "./keys/issue.ts";
import { perform } from "./operation.ts";
import { OPERATIONS, READINGS } from "./operations.ts";
import { consult } from "./reading.ts";
import type { Storage } from "./storage.ts";

let world: World;
beforeEach(async () => {
  world = await startWorld();
});
afterEach(() => world.close());

interface Ids {
  readonly key: KeyId;
  readonly rotation: RotationId;
  readonly serviceAccount: ServiceAccountId;
  readonly account: AccountId;
}
type Attempt = (who: Actor & { kind: "key" }, ids: Ids) => Promise<unknown>;

/** Every operation that a key may be asked for, tried on the given ids. */
const ATTEMPTS: Readonly<Record<string, Attempt>> = {
  createAccount: (who) => world.as(who, OPERATIONS.createAccount, { name: "tenant x" }),
  suspendAccount: (who, { account }) => world.as(who, OPERATIONS.suspendAccount, { id: account }),
  reinstateAccount: (who, { account }) => world.as(who, OPERATIONS.reinstateAccount, { id: account }),
  createServiceAccount: (who) =>
    world.as(who, OPERATIONS.createServiceAccount, { name: "x", own: INHERITED }),
  updateServiceAccount: (who, { serviceAccount }) =>
    world.as(who, OPERATIONS.updateServiceAccount, { id: serviceAccount, own: {}, name: "y" }),
  disableServiceAccount: (who, { serviceAccount }) =>
    world.as(who, OPERATIONS.disableServiceAccount, { id: serviceAccount }),
  enableServiceAccount: (who, { serviceAccount }) =>
    world.as(who, OPERATIONS.enableServiceAccount, { id: serviceAccount }),
  deleteServiceAccount: (who, { serviceAccount }) =>
    world.as(who, OPERATIONS.deleteServiceAccount, { id: serviceAccount }),
  createKey: (who, { serviceAccount }) =>
    world.as(who, OPERATIONS.createKey, { name: "x", ownerId: serviceAccount, own: INHERITED }),
  updateKey: (who, { key }) => world.as(who, OPERATIONS.updateKey, { id: key, own: {}, name: "y" }),
  forgetProcess: (who) => world.as(who, OPERATIONS.forgetProcess, { name: "nobody" }),
  suspendKey: (who, { key }) => world.as(who, OPERATIONS.suspendKey, { id: key }),
  reinstateKey: (who, { key }) => world.as(who, OPERATIONS.reinstateKey, { id: key }),
  revokeKey: (who, { key }) => world.as(who, OPERATIONS.revokeKey, { id: key }),
  replaceSecret: (who, { key }) => world.as(who, OPERATIONS.replaceSecret, { id: key }),
  rotateKey: (who, { key }) => world.as(who, OPERATIONS.rotateKey, { keyId: key, plan: {} }),
  rotateSelf: (who) => world.as(who, OPERATIONS.rotateSelf, { plan: {} }),
  extendRotation: (who, { rotation }) => world.as(who, OPERATIONS.extendRotation, { id: rotation, by: {} }),
  completeRotation: (who, { rotation }) =>
    world.as(who, OPERATIONS.completeRotation, { id: rotation, force: true }),
  cancelRotation: (who, { rotation }) =>
    world.as(who, OPERATIONS.cancelRotation, { id: rotation, force: true }),
  rollbackRotation: (who, { rotation }) => world.as(who, OPERATIONS.rollbackRotation, { id: rotation }),
  dismissCaller: (who, { rotation }) =>
    world.as(who, OPERATIONS.dismissCaller, { id: rotation, caller: "api", reason: "gone" }),
  announceBrownout: (who, { rotation }) => world.as(who, OPERATIONS.announceBrownout, { id: rotation }),
};
/** Every question, asked of the given ids. */
const QUESTIONS: Readonly<Record<string, Attempt>> = {
  listAccounts: (who) => consult(world.authority, READINGS.listAccounts, who, { page: PAGE }),
  readServiceAccount: (who, { serviceAccount }) =>
    consult(world.authority, READINGS.readServiceAccount, who, { id: serviceAccount }),
  listServiceAccounts: (who) => consult(world.authority, READINGS.listServiceAccounts, who, { page: PAGE }),
  readKey: (who, { key }) => consult(world.authority, READINGS.readKey, who, { id: key }),
  listKeys: (who) => consult(world.authority, READINGS.listKeys, who, { filter: {}, page: PAGE }),
  listCallers: (who, { key }) => consult(world.authority, READINGS.listCallers, who, { id: key }),
  readUsage: (who, { key }) =>
    consult(world.authority, READINGS.readUsage, who, { id: key, unit: "hour", from: 0, until: START }),
  readRotation: (who, { rotation }) => consult(world.authority, READINGS.readRotation, who, { id: rotation }),
  listRotations: (who) => consult(world.authority, READINGS.listRotations, who, { filter: {}, page: PAGE }),
  readAudit: (who) =>
    consult(world.authority, READINGS.readAudit, who, { filter: {}, before: null, limit: 100 }),
  readCluster: (who) => consult(world.authority, READINGS.readCluster, who, {}),
};
const PAGE = { limit: 100, after: null };

/** An account with a key in an open rotation. */
async function somethingOf(asking: Actor & { kind: "key" }): Promise<Ids> {
  const owner = await world.as(asking, OPERATIONS.createServiceAccount, { name: "billing", own: INHERITED });
  const { key } = await world.as(asking, OPERATIONS.createKey, {
    name: "k",
    ownerId: owner.id,
    own: INHERITED,
  });
  const { rotation } = await world.as(asking, OPERATIONS.rotateKey, { keyId: key.id, plan: QUICK });
  return { key: key.id, rotation: rotation.id, serviceAccount: owner.id, account: asking.accountId };
}

describe("the gate asks for a right", () => {
  test("R7: every operation and every question names one, and all that keys may do are tried below", () => {
    const byKeys = Object.entries(OPERATIONS).filter(
      ([, { permission }]) => !["system", "host"].includes(permission),
    );
    expect(Object.keys(ATTEMPTS).sort()).toEqual(byKeys.map(([name]) => name).sort());
    const readings = Object.entries(READINGS).filter(([, { permission }]) => permission !== "any_key");
    expect(Object.keys(QUESTIONS).sort()).toEqual(readings.map(([name]) => name).sort());
    for (const { permission } of [...Object.values(OPERATIONS), ...Object.values(READINGS)]) {
      expect(permission).toMatch(/^(keyturn:[a-z-]+\.[a-z]+|any_key|system|host)$/);
    }
  });

  test("R8: each is refused to a key that has every scope but that one, and nothing but the refusal is left", async () => {
    const ids = await somethingOf(world.actor);
    const declared = { ...OPERATIONS, ...READINGS };
    const all = [...new Set(Object.values(declared).map((one) => one.permission))].filter((one) =>
      one.startsWith("keyturn:"),
    );
    for (const [name, attempt] of Object.entries({ ...ATTEMPTS, ...QUESTIONS })) {
      const { permission } = declared[name as keyof typeof declared];
      const scopes = ["*", ...all.filter((scope) => scope !== permission)];
      const almost = await world.keyWith({ role: "admin", scopes });
      const before = (await world.entries()).length;
      const refusal = await refusalOf(attempt(actorOf(almost.key), ids));
      expect([name, refusal.code, refusal.extensions.scope]).toEqual([
        name,
        "insufficient_scope",
        permission,
      ]);
      const left = (await world.entries()).slice(before);
      expect(left).toMatchObject([
        { outcome: "refused", subjects: [], details: { code: "insufficient_scope" } },
      ]);
    }
  });

  test("a key with exactly the scope may, and with a wildcard above it", async () => {
    for (const scope of ["keyturn:service-accounts.write", "keyturn:*"]) {
      const { key } = await world.keyWith({ scopes: [scope] });
      const made = await world.as(actorOf(key), OPERATIONS.createServiceAccount, {
        name: `by ${scope}`,
        own: INHERITED,
      });
      expect(made.accountId).toBe(world.account);
    }
  });

  test("no role and no * stands for a scope of Keyturn's own", async () => {
    const { key } = await world.keyWith({ role: "admin", scopes: ["*"] });
    const refusal = await refusalOf(
      world.as(actorOf(key), OPERATIONS.createServiceAccount, { name: "x", own: INHERITED }),
    );
    expect(refusal.code).toBe("insufficient_scope");
  });

  test("what is the worker's and the host's is nobody's else", async () => {
    const byRoot = [
      world.do(OPERATIONS.advanceRotation, { id: "rot_x" }),
      world.do(OPERATIONS.endBrownout, { id: "bro_x", reason: "ended" }),
      world.do(OPERATIONS.acceptClock, {}),
      world.do(OPERATIONS.acceptLoss, { lacksUse: false }),
      world.do(OPERATIONS.mergeWitness, { revocations: [] }),
      world.do(OPERATIONS.recover, {}),
      world.do(OPERATIONS.redeemSetupToken, { token: "x" }),
    ];
    for (const attempt of byRoot) expect((await refusalOf(attempt)).code).toBe("insufficient_scope");
    await expect(world.as(SYSTEM, OPERATIONS.acceptClock, {})).rejects.toThrow("without this right");
    await expect(world.as(SYSTEM, OPERATIONS.suspendKey, { id: "key_x" })).rejects.toThrow(
      "without this right",
    );
  });

  test("a key that is not good any more is nobody, whatever its scopes: for operations and for questions", async () => {
    const { key, owner } = await world.keyWith({ role: "admin", scopes: ["*", "keyturn:*"] }, { ttl: "1d" });
    const who = actorOf(key);
    const verdicts = async () => [
      (await refusalOf(world.as(who, OPERATIONS.createServiceAccount, { name: "x", own: INHERITED })))
        .extensions.verdict,
      (await refusalOf(consult(world.authority, READINGS.readSelf, who, {}))).extensions.verdict,
    ];
    await world.do(OPERATIONS.suspendKey, { id: key.id });
    expect(await verdicts()).toEqual(["suspended", "suspended"]);
    await world.do(OPERATIONS.reinstateKey, { id: key.id });
    await world.do(OPERATIONS.disableServiceAccount, { id: owner.id });
    expect(await verdicts()).toEqual(["owner_disabled", "owner_disabled"]);
    await world.do(OPERATIONS.enableServiceAccount, { id: owner.id });
    world.clock.pass(DAY);
    expect(await verdicts()).toEqual(["expired", "expired"]);
    await world.do(OPERATIONS.revokeKey, { id: key.id });
    expect(await verdicts()).toEqual(["revoked", "revoked"]);
  });

  test("R6: rights that the owner lost are lost to its keys at the gate as well, at once", async () => {
    const scopes = ["keyturn:keys.read", "keyturn:service-accounts.write"];
    const { key, owner } = await world.keyWith({ scopes });
    await world.do(OPERATIONS.updateServiceAccount, { id: owner.id, own: { scopes: ["keyturn:keys.read"] } });
    const refusal = await refusalOf(
      world.as(actorOf(key), OPERATIONS.createServiceAccount, { name: "x", own: INHERITED }),
    );
    expect(refusal.code).toBe("insufficient_scope");
  });
});

describe("R10: another account's ids", () => {
  test("are answered exactly like ids that do not exist, by every operation and every question, and nothing changes", async () => {
    const other = await world.do(OPERATIONS.createAccount, { name: "tenant" });
    const theirs = await somethingOf(actorOf(other.key));
    const nobodys: Ids = {
      key: "key_01h2xcejqtf2nbrexx3vqjhp41",
      rotation: "rot_01h2xcejqtf2nbrexx3vqjhp41",
      serviceAccount: "sa_01h2xcejqtf2nbrexx3vqjhp41",
      account: "acc_01h2xcejqtf2nbrexx3vqjhp41",
    };
    const say = ({ code, message, extensions, errors }: Refusal) => ({ code, message, extensions, errors });
    const withoutIds = [
      "createAccount",
      "createServiceAccount",
      "rotateSelf",
      "forgetProcess",
      "readCluster",
    ];
    const listing = ["listAccounts", "listServiceAccounts", "listKeys", "listRotations", "readAudit"];
    // Accounts are the operator's to suspend, so there no id is another account's.
    const operators = ["suspendAccount", "reinstateAccount"];
    let tried = 0;
    for (const [name, attempt] of Object.entries({ ...ATTEMPTS, ...QUESTIONS })) {
      if ([...withoutIds, ...listing, ...operators].includes(name)) continue;
      const foreign = await refusalOf(attempt(world.actor, theirs));
      const unknown = await refusalOf(attempt(world.actor, nobodys));
      expect([name, say(foreign)]).toEqual([name, say(unknown)]);
      expect([name, foreign.code]).toEqual([name, "not_found"]);
      tried += 1;
    }
    expect(tried).toBe(22);
    const seen = await consult(world.authority, READINGS.readRotation, actorOf(other.key), {
      id: theirs.rotation,
    });
    expect(seen.rotation.state).toBe("issued");
  });

  test("R4: lists and the log show the asking key's own account alone", async () => {
    const other = await world.do(OPERATIONS.createAccount, { name: "tenant" });
    const who = actorOf(other.key);
    await somethingOf(world.actor);
    const theirs = await somethingOf(who);
    const keys = await consult(world.authority, READINGS.listKeys, who, { filter: {}, page: PAGE });
    expect(keys.every(({ key }) => key.accountId === who.accountId)).toBe(true);
    expect(keys).toHaveLength(3);
    const owners = await consult(world.authority, READINGS.listServiceAccounts, who, { page: PAGE });
    expect(owners.map((owner) => owner.name)).toEqual(["root", "billing"]);
    const rotations = await consult(world.authority, READINGS.listRotations, who, { filter: {}, page: PAGE });
    expect(rotations.map(({ rotation }) => rotation.id)).toEqual([theirs.rotation]);
    const log = await consult(world.authority, READINGS.readAudit, who, {
      filter: {},
      before: null,
      limit: 100,
    });
    expect(log.map(({ text }) => JSON.parse(text).account_id)).toEqual([
      who.accountId,
      who.accountId,
      who.accountId,
    ]);
    const accounts = await consult(world.authority, READINGS.listAccounts, who, { page: PAGE });
    expect(accounts.map((account) => account.id)).toEqual([who.accountId]);
    expect(await world.ask(READINGS.listAccounts, { page: PAGE })).toHaveLength(2);
  });
});

describe("the log", () => {
  test("gets one entry per performed operation, without a gap, and follows as a chain", async () => {
    await somethingOf(world.actor);
    const entries = await world.entries();
    expect(entries.map(({ seq, operation }) => [seq, operation])).toEqual([
      [1, "setup.recover"],
      [2, "service-accounts.create"],
      [3, "keys.create"],
      [4, "keys.rotate"],
    ]);
    expect(await world.checkChain()).toMatchObject({ ok: true, entries: 4 });
  });

  test("says when, who, in which account and whether; the answer carries the entry's number", async () => {
    const { output, seq } = await world.performed(OPERATIONS.createServiceAccount, {
      name: "billing",
      own: INHERITED,
    });
    expect(await world.lastEntry()).toMatchObject({
      seq,
      at: "2026-01-05T12:00:00.000Z",
      account_id: world.account,
      actor: { kind: "key", id: world.root.key.id, account_id: world.account },
      operation: "service-accounts.create",
      outcome: "performed",
      subjects: [{ kind: "service_account", id: output.id, before: null, after: { name: "billing" } }],
      details: {},
    });
  });

  test("holds where a request came from as salted hashes alone, different each time", async () => {
    const origin = { address: "203.0.113.77", agent: "curl/8" };
    const details: EntryText["details"][] = [];
    for (const name of ["one", "two"]) {
      await world.do(OPERATIONS.createServiceAccount, { name, own: INHERITED }, { origin });
      details.push((await world.lastEntry()).details);
    }
    for (const { address, agent } of details) {
      expect(String(address)).toMatch(/^sha256:[0-9a-f]{64}$/);
      expect(String(agent)).toMatch(/^sha256:[0-9a-f]{64}$/);
    }
    expect(details[0]?.address).not.toBe(details[1]?.address);
    expect(JSON.stringify(await world.entries())).not.toContain("203.0.113.77");
  });

  test("R21: neither secret nor digest of anything issued stands in it", async () => {
    const { owner } = await world.keyWith({ role: "editor", scopes: ["invoices:*"] });
    const made = await world.key(owner.id);
    const again = await world.do(OPERATIONS.replaceSecret, { id: made.key.id });
    const rotated = await world.rotate(made.key.id);
    const text = JSON.stringify(await world.entries());
    for (const { secret } of [made, again, rotated, world.root]) {
      expect(text).not.toContain(secret);
      expect(text).not.toContain(secret.slice(8, 40));
      for (const encoding of ["base64", "base64url", "hex"] as const) {
        expect(text).not.toContain(new Bun.CryptoHasher("sha256").update(secret).digest(encoding));
      }
    }
  });

  test("never goes back in time, even when the wall clock does before an entry has been applied", async () => {
    let release = () => {};
    let held: Promise<void> = Promise.resolve();
    const slow = (storage: Storage): Storage => ({
      ...storage,
      change: async (work) => {
        const before = held;
        const result = await storage.change(work);
        await before;
        return result;
      },
    });
    const backwards = await startWorld({ through: slow });
    backwards.clock.pass(MINUTE);
    held = new Promise((resolve) => {
      release = resolve;
    });
    const first = backwards.do(OPERATIONS.createServiceAccount, { name: "first", own: INHERITED });
    held = Promise.resolve();
    while ((await backwards.authority.storage.read.audit.head()).seq < 2) await Bun.sleep(1);
    // Durable by now, but this process has yet to hear of it.
    backwards.clock.jump(-MINUTE);
    await backwards.do(OPERATIONS.createServiceAccount, { name: "second", own: INHERITED });
    const refused = backwards.do(OPERATIONS.suspendKey, { id: "key_nobody" });
    expect((await refusalOf(refused)).code).toBe("not_found");
    release();
    await first;
    const times = (await backwards.entries()).map(({ at }) => Date.parse(at) - START);
    expect(times).toEqual([0, MINUTE, MINUTE, MINUTE]);
    expect(await backwards.checkChain()).toMatchObject({ ok: true, entries: 4 });
    await backwards.close();
  });
});

describe("refusals of an authenticated actor", () => {
  const refuse = (who: Actor & { kind: "key" }) =>
    refusalOf(world.as(who, OPERATIONS.createServiceAccount, { name: "x", own: INHERITED }));

  test("the first per operation and minute is an entry of its own, the rest a count in the next", async () => {
    const { key } = await world.keyWith({ scopes: ["invoices:read"] });
    const who = actorOf(key);
    const before = (await world.entries()).length;
    for (let i = 0; i < 5; i += 1) await refuse(who);
    let left = (await world.entries()).slice(before);
    expect(left).toMatchObject([
      {
        account_id: world.account,
        actor: { kind: "key", id: key.id },
        operation: "service-accounts.create",
        outcome: "refused",
        subjects: [],
        details: { code: "insufficient_scope" },
      },
    ]);
    expect(left[0]?.details).not.toHaveProperty("refused_before");
    world.clock.pass(MINUTE);
    await refuse(who);
    left = (await world.entries()).slice(before);
    expect(left.map(({ details }) => details.refused_before)).toEqual([undefined, 4]);
  });

  test("are counted per actor and per operation", async () => {
    const one = actorOf((await world.keyWith({ scopes: ["invoices:read"] })).key);
    const two = actorOf((await world.keyWith({ scopes: ["invoices:read"] })).key);
    const before = (await world.entries()).length;
    await refuse(one);
    await refuse(two);
    await refusalOf(
      consult(world.authority, READINGS.readAudit, one, { filter: {}, before: null, limit: 1 }),
    );
    await refuse(one);
    const left = (await world.entries()).slice(before);
    expect(left.map(({ actor, operation }) => [actor.id, operation])).toEqual([
      [one.id, "service-accounts.create"],
      [two.id, "service-accounts.create"],
      [one.id, "audit.read"],
    ]);
  });

  test("stand as a count in the next performed entry of the same operation", async () => {
    const { key, owner } = await world.keyWith({ scopes: ["keyturn:keys.create", "a:read"] });
    const attempt = (scopes: string[]) =>
      world.as(actorOf(key), OPERATIONS.createKey, {
        name: "x",
        ownerId: owner.id,
        own: { ...INHERITED, scopes },
      });
    await world.do(OPERATIONS.updateServiceAccount, {
      id: owner.id,
      own: { scopes: ["keyturn:keys.create", "a:*"] },
    });
    for (let i = 0; i < 3; i += 1)
      expect((await refusalOf(attempt(["a:write"]))).code).toBe("rights_exceeded");
    await attempt(["a:read"]);
    expect(await world.lastEntry()).toMatchObject({ outcome: "performed", details: { refused_before: 2 } });
  });

  test("somebody who is nobody leaves no entry", async () => {
    const before = (await world.entries()).length;
    const refusal = await refusalOf(
      world.as({ kind: "key", id: "key_nobody", accountId: world.account }, OPERATIONS.createAccount, {
        name: "x",
      }),
    );
    expect(refusal.code).toBe("unauthenticated");
    expect(await world.entries()).toHaveLength(before);
  });
});

describe("a retry with the same Idempotency-Key", () => {
  const creating = (name: string, idempotencyKey = "retry-1") =>
    world.performed(OPERATIONS.createKey, { name, ownerId: owner, own: INHERITED }, { idempotencyKey });
  let owner: ServiceAccountId;
  beforeEach(async () => {
    owner = (await world.owner({ role: "editor", scopes: ["invoices:*"] })).id;
  });

  test("R15: gives the same key with a new working secret, and the earlier text is dead", async () => {
    const first = await creating("k");
    const again = await creating("k");
    expect(again.output.key.id).toBe(first.output.key.id);
    expect(again.output.secret).not.toBe(first.output.secret);
    expect(world.verify(first.output.secret)).toBe("revoked");
    expect(world.verify(again.output.secret)).toBe("valid");
    expect(await world.ask(READINGS.listKeys, { filter: { ownerId: owner }, page: PAGE })).toHaveLength(1);
    expect(await world.lastEntry()).toMatchObject({
      operation: "keys.create",
      details: { retried: true },
      subjects: [{ kind: "key", id: first.output.key.id, after: { secret_ordinal: 2 } }],
    });
  });

  test("works again and again, each text killing all before it", async () => {
    const secrets: string[] = [];
    for (let i = 0; i < 4; i += 1) secrets.push((await creating("k")).output.secret);
    expect(secrets.map((secret) => world.verify(secret))).toEqual(["revoked", "revoked", "revoked", "valid"]);
  });

  test("of a rotation gives the same rotation and one successor", async () => {
    const { key } = await world.key(owner);
    const rotating = () =>
      world.do(OPERATIONS.rotateKey, { keyId: key.id, plan: QUICK }, { idempotencyKey: "retry-1" });
    const first = await rotating();
    const again = await rotating();
    expect([again.rotation.id, again.key.id]).toEqual([first.rotation.id, first.key.id]);
    expect([first, again].map(({ secret }) => world.verify(secret))).toEqual(["revoked", "valid"]);
    expect(await world.ask(READINGS.listKeys, { filter: { ownerId: owner }, page: PAGE })).toHaveLength(2);
  });

  test("of an account gives the same account and its one root key", async () => {
    const creatingAccount = () =>
      world.do(OPERATIONS.createAccount, { name: "tenant" }, { idempotencyKey: "retry-1" });
    const first = await creatingAccount();
    const again = await creatingAccount();
    expect([again.account.id, again.key.id]).toEqual([first.account.id, first.key.id]);
    const codes = [first, again].map(({ secret }) =>
      world.authority.verifier.verify(secret, {}, {}, first.account.id),
    );
    expect(codes).toMatchObject([{ code: "revoked" }, { code: "valid" }]);
  });

  test("of something without a secret answers the same and leaves no further entry", async () => {
    const creatingOwner = () =>
      world.performed(
        OPERATIONS.createServiceAccount,
        { name: "twice", own: INHERITED },
        { idempotencyKey: "retry-1" },
      );
    const first = await creatingOwner();
    const again = await creatingOwner();
    expect(again).toEqual(first);
    expect((await world.lastEntry()).seq).toBe(first.seq);
  });

  test("is refused after the first use: the secret has arrived", async () => {
    const first = await creating("k");
    expect(world.verify(first.output.secret)).toBe("valid");
    expect((await refusalOf(creating("k"))).code).toBe("already_in_use");
    expect(world.verify(first.output.secret)).toBe("valid");
  });

  test("is refused for another body, and for another operation", async () => {
    const { output } = await creating("k");
    expect((await refusalOf(creating("other"))).code).toBe("idempotency_conflict");
    const rotating = world.do(
      OPERATIONS.rotateKey,
      { keyId: output.key.id, plan: {} },
      { idempotencyKey: "retry-1" },
    );
    expect((await refusalOf(rotating)).code).toBe("idempotency_conflict");
    expect(world.verify(output.secret)).toBe("valid");
  });

  test("is refused while the first is still being worked on, and then answers", async () => {
    const [first, second] = await Promise.allSettled([creating("k"), creating("k")]);
    expect(first.status).toBe("fulfilled");
    expect(second).toMatchObject({ status: "rejected", reason: { code: "idempotency_in_progress" } });
    expect((await creating("k")).output.key.name).toBe("k");
  });

  test("belongs to the actor that used it: another's same text is another request", async () => {
    const { key } = await world.keyWith({ role: "editor", scopes: ["*", "keyturn:*"] });
    await creating("k");
    const theirs = await world.as(
      actorOf(key),
      OPERATIONS.createKey,
      { name: "theirs", ownerId: owner, own: INHERITED },
      { idempotencyKey: "retry-1" },
    );
    expect(theirs.key.name).toBe("theirs");
  });

  test("is remembered for 24 hours, to the millisecond", async () => {
    await creating("k");
    world.clock.pass(24 * HOUR);
    expect((await refusalOf(creating("other"))).code).toBe("idempotency_conflict");
    world.clock.pass(1);
    expect((await creating("other")).output.key.name).toBe("other");
  });

  test("a retry does not lengthen that time", async () => {
    await creating("k");
    world.clock.pass(23 * HOUR);
    await creating("k");
    world.clock.pass(HOUR + 1);
    expect((await creating("other")).output.key.name).toBe("other");
  });

  test("a refused request is not remembered: the way is free once its cause is gone", async () => {
    await creating("k", "other-1");
    expect((await refusalOf(creating("k"))).code).toBe("name_taken");
    await world.do(OPERATIONS.revokeKey, { id: (await keyCalled("k")).key.id });
    expect((await creating("k")).output.key.name).toBe("k");
  });

  test("R5: asks for the issuer's rights again", async () => {
    const issuer = await world.keyWith({ role: "editor", scopes: ["invoices:*", "keyturn:keys.create"] });
    const make = () =>
      world.as(
        actorOf(issuer.key),
        OPERATIONS.createKey,
        { name: "x", ownerId: owner, own: INHERITED },
        { idempotencyKey: "retry-1" },
      );
    await make();
    const cut = { scopes: ["invoices:read", "keyturn:keys.create"] };
    await world.do(OPERATIONS.updateServiceAccount, { id: issuer.owner.id, own: cut });
    expect((await refusalOf(make())).code).toBe("rights_exceeded");
  });

  async function keyCalled(name: string): Promise<Pick<Issued, "key">> {
    const views = await world.ask(READINGS.listKeys, { filter: { ownerId: owner }, page: PAGE });
    const found = views.find(({ key }) => key.name === name && key.revokedAt === null);
    if (found === undefined) throw new Error(`no key called ${name}`);
    return found;
  }
});

describe("R39: a disk that fails", () => {
  const broken =
    (fault: { on: boolean }) =>
    (storage: Storage): Storage => ({
      ...storage,
      change: async (work) => {
        if (fault.on)
          throw new Refusal("outcome_unknown", "The database reported a fault.", { cause: new Error("EIO") });
        return storage.change(work);
      },
    });

  test("says that the outcome is unknown, accepts no further change, and goes on verifying", async () => {
    const fault = { on: false };
    const faulty = await startWorld({ through: broken(fault) });
    const { secret } = await faulty.keyWith({ scopes: ["a:b"] });
    fault.on = true;
    const attempt = () =>
      refusalOf(faulty.do(OPERATIONS.createServiceAccount, { name: "x", own: INHERITED }));
    expect((await attempt()).code).toBe("outcome_unknown");
    fault.on = false;
    expect((await attempt()).code).toBe("storage_unavailable");
    expect(faulty.verify(secret)).toBe("valid");
    await faulty.close();
  });

  test("R14: no answer before the witness was told; a witness that can't be written ends writing", async () => {
    const lines: WitnessLine[] = [];
    let full = false;
    const witness = {
      writeAll: (told: readonly WitnessLine[]) => {
        if (full) throw new Error("ENOSPC");
        lines.push(...told);
      },
    };
    const witnessed = await startWorld({ witness });
    const one = await witnessed.keyWith({ scopes: ["a:b"] });
    const { seq } = await witnessed.performed(OPERATIONS.revokeKey, { id: one.key.id });
    expect(lines).toMatchObject([{ seq, revoked: [{ kind: "key", id: one.key.id }] }]);
    expect(await witnessed.checkChain(lines)).toMatchObject({ ok: true, comparedWith: 1 });
    const two = await witnessed.keyWith({ scopes: ["a:b"] });
    full = true;
    expect((await refusalOf(witnessed.do(OPERATIONS.revokeKey, { id: two.key.id }))).code).toBe(
      "outcome_unknown",
    );
    expect(witnessed.verify(two.secret)).toBe("revoked");
    expect((await refusalOf(witnessed.do(OPERATIONS.revokeKey, { id: one.key.id }))).code).toBe(
      "storage_unavailable",
    );
    await witnessed.close();
  });
});

test("a bug inside an operation leaves nothing behind, and is no refusal", async () => {
  const before = (await world.entries()).length;
  const failing = {
    ...OPERATIONS.createServiceAccount,
    run: async (...given: Parameters<typeof OPERATIONS.createServiceAccount.run>) => {
      await OPERATIONS.createServiceAccount.run(...given);
      throw new Error("a bug");
    },
  };
  await expect(perform(world.authority, failing, world.actor, { name: "x", own: INHERITED })).rejects.toThrow(
    "a bug",
  );
  expect(await world.entries()).toHaveLength(before);
  const owners = await world.ask(READINGS.listServiceAccounts, { page: PAGE });
  expect(owners.map((owner) => owner.name)).toEqual(["root"]);
});
