import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  actorOf,
  DAY,
  INHERITED,
  refusalIn,
  refusalOf,
  START,
  startWorld,
  type World,
} from "../../../test/support/authority.ts";
import { OPERATIONS, READINGS } from "../operations.ts";
import { consult } from "../reading.ts";
import { checkName } from "./account.ts";

let world: World;
beforeEach(async () => {
  world = await startWorld();
});
afterEach(() => world.close());

const { createAccount, suspendAccount, reinstateAccount } = OPERATIONS;

describe("accounts.create", () => {
  test("makes a tenant with its own root key, in one entry with all three", async () => {
    const { account, key, secret } = await world.do(createAccount, { name: "tenant" });
    expect(account).toMatchObject({ name: "tenant", operator: false, suspendedAt: null, createdAt: START });
    expect(key).toMatchObject({
      accountId: account.id,
      own: { role: "admin", scopes: ["*", "keyturn:*"] },
      expiresAt: null,
    });
    expect(world.authority.verifier.verify(secret, {}, {}, account.id)).toMatchObject({ code: "valid" });
    await world.as(actorOf(key), OPERATIONS.createServiceAccount, { name: "theirs", own: INHERITED });
    const entry = (await world.entries()).find(({ operation }) => operation === "accounts.create");
    expect(entry).toMatchObject({
      subjects: [
        {
          kind: "account",
          id: account.id,
          before: null,
          after: { name: "tenant", operator: false, suspended: false },
        },
        { kind: "service_account", after: { name: "root" } },
        { kind: "key", id: key.id, after: { name: "root", scopes: ["*", "keyturn:*"] } },
      ],
    });
  });

  test("refuses a name that is taken or none", async () => {
    await world.do(createAccount, { name: "tenant" });
    expect((await refusalOf(world.do(createAccount, { name: " tenant" }))).code).toBe("name_taken");
    expect((await refusalOf(world.do(createAccount, { name: "\u0007" }))).errors[0]?.field).toBe("name");
  });

  test("R3: the new root key is no stronger and lives no longer than the asking key", async () => {
    const weak = await world.keyWith({ role: "admin", scopes: ["*", "keyturn:accounts.write"] });
    expect((await refusalOf(world.as(actorOf(weak.key), createAccount, { name: "x" }))).code).toBe(
      "rights_exceeded",
    );
    const near = await world.keyWith({
      role: "admin",
      scopes: ["*", "keyturn:*"],
      allowedIps: ["10.0.0.0/8"],
    });
    expect((await refusalOf(world.as(actorOf(near.key), createAccount, { name: "x" }))).code).toBe(
      "rights_exceeded",
    );
    const short = await world.keyWith({ role: "admin", scopes: ["*", "keyturn:*"] }, { ttl: "10d" });
    world.clock.pass(DAY);
    const { key } = await world.as(actorOf(short.key), createAccount, { name: "x" });
    expect(key.expiresAt).toBe(START + 11 * DAY);
  });

  test("R2: is the operator's alone, whatever scopes a tenant's root key has", async () => {
    const { key, account } = await world.do(createAccount, { name: "tenant" });
    for (const attempt of [
      () => world.as(actorOf(key), createAccount, { name: "other" }),
      () => world.as(actorOf(key), suspendAccount, { id: account.id }),
      () => world.as(actorOf(key), reinstateAccount, { id: account.id }),
      () => world.as(actorOf(key), suspendAccount, { id: world.account }),
    ]) {
      expect((await refusalOf(attempt())).code).toBe("operator_only");
    }
  });
});

describe("accounts.suspend and reinstate", () => {
  test("refuse all keys of the account at once, cached or not, and let them through again", async () => {
    const { account, key, secret } = await world.do(createAccount, { name: "tenant" });
    const owner = await world.as(actorOf(key), OPERATIONS.createServiceAccount, {
      name: "o",
      own: INHERITED,
    });
    const other = await world.as(actorOf(key), OPERATIONS.createKey, {
      name: "k",
      ownerId: owner.id,
      own: INHERITED,
    });
    const codes = () =>
      [secret, other.secret].map((one) => {
        const verdict = world.authority.verifier.verify(one, {}, {}, account.id);
        return verdict instanceof Promise ? null : verdict.code;
      });
    expect(codes()).toEqual(["valid", "valid"]);
    const suspended = await world.do(suspendAccount, { id: account.id });
    expect(suspended.suspendedAt).toBe(START);
    expect(codes()).toEqual(["owner_disabled", "owner_disabled"]);
    const refused = await refusalOf(consult(world.authority, READINGS.readSelf, actorOf(key), {}));
    expect(refused.extensions.verdict).toBe("owner_disabled");
    expect(world.verify(world.root.secret)).toBe("valid");
    expect(await world.lastEntry()).toMatchObject({
      operation: "accounts.suspend",
      subjects: [
        { kind: "account", id: account.id, before: { suspended: false }, after: { suspended: true } },
      ],
    });
    world.clock.pass(DAY);
    expect((await world.do(suspendAccount, { id: account.id })).suspendedAt).toBe(START);
    await world.do(reinstateAccount, { id: account.id });
    expect(codes()).toEqual(["valid", "valid"]);
    expect(await world.lastEntry()).toMatchObject({ operation: "accounts.reinstate" });
  });

  test("the operator's account can't be suspended: nobody could reinstate it", async () => {
    for (const operation of [suspendAccount, reinstateAccount]) {
      expect((await refusalOf(world.do(operation, { id: world.account }))).code).toBe("account_protected");
    }
  });

  test("an account that does not exist is not found", async () => {
    for (const operation of [suspendAccount, reinstateAccount]) {
      expect((await refusalOf(world.do(operation, { id: "acc_nobody" }))).code).toBe("not_found");
    }
  });
});

describe("a name", () => {
  const objection = (name: string) => refusalIn(() => checkName(name)).errors[0]?.message;

  test("is 1 to 120 characters, trimmed and in NFC", () => {
    expect(checkName("  Zoe\u0308  ")).toBe("Zo\u00eb");
    expect(checkName("x".repeat(120))).toHaveLength(120);
    expect(objection("x".repeat(121))).toContain("120");
    expect(objection("  ")).toContain("empty");
  });

  test("has no control, invisible or broken characters, and keeps all others", () => {
    for (const name of ["a\u0000", "a\nb", "a\u200eb", "a\u2028b", "a\u202eb"])
      expect(objection(name)).toContain("control");
    expect(objection("\ud800")).toContain("surrogate");
    for (const name of ["<script>", "'; drop table keys; --", "名前", "👩‍🚀".replace("\u200d", "")])
      expect(checkName(name)).toBe(name);
  });

  test("the field that is named in the refusal is the one that was asked about", () => {
    expect(refusalIn(() => checkName("", "title")).errors[0]?.field).toBe("title");
  });
});
