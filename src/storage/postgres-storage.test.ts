import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Client, escapeIdentifier } from "pg";
import { refusalOf, START } from "../../test/support/authority.ts";
import {
  asSuperuser,
  failureOf,
  NO_POSTGRES,
  newDatabase,
  openThrowawayPostgres,
  type TestDatabase,
} from "../../test/support/postgres.ts";
import { addKeys, appendEntry, newDigest, newKey, newRotation, seed } from "../../test/support/storage.ts";
import { until } from "../../test/support/until.ts";
import { stretchWire, type Wire } from "../../test/support/wire.ts";
import { createChainCheck } from "../authority/audit/verify-chain.ts";
import { newId } from "../authority/ids.ts";
import type { Storage } from "../authority/storage.ts";
import { openPostgresStorage } from "./postgres-storage.ts";

/** Resolves when it is told to. */
function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

describe.skipIf(NO_POSTGRES)("several processes on one database", () => {
  let database: TestDatabase;
  let one: Storage;
  let other: Storage;
  beforeAll(async () => {
    database = await newDatabase();
    one = await openPostgresStorage({ url: database.url });
    other = await openPostgresStorage({ url: database.url });
  });
  afterAll(async () => {
    await one.close();
    await other.close();
    await database.drop();
  });

  test("change one account one after another, each seeing what came before, and keep one chain", async () => {
    const { account, owner } = await seed(one);
    const { seq: start } = await one.read.audit.head();
    let running = 0;
    await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        (index % 2 === 0 ? one : other).change(async (tx) => {
          running += 1;
          expect(running).toBe(1);
          const { length } = await tx.keys.list(account.id, { now: START }, { limit: 100, after: null });
          await addKeys(tx, newKey(owner, { name: `key-${length}` }));
          await appendEntry(tx);
          running -= 1;
        }, account.id),
      ),
    );
    const keys = await one.read.keys.list(account.id, { now: START }, { limit: 100, after: null });
    expect(new Set(keys.map(([key]) => key.name)).size).toBe(40);
    const lines = await other.read.audit.lines(0, 1_000);
    expect(lines.at(-1)?.seq).toBe(start + 40);
    const check = createChainCheck([]);
    for (const line of lines) check.add(line);
    expect(check.end()).toMatchObject({ ok: true });
  });

  test("change different accounts side by side, and the whole installation alone", async () => {
    const { account: first } = await seed(one);
    const { account: second } = await seed(one);
    const held = gate();
    const inside = gate();
    const done: string[] = [];
    const slow = one
      .change(async () => {
        inside.open();
        await held.opened;
      }, first.id)
      .then(() => done.push("first"));
    await inside.opened;
    await other.change((tx) => appendEntry(tx), second.id);
    done.push("second");
    const all = other.change((tx) => appendEntry(tx), null).then(() => done.push("all"));
    const after = one.change((tx) => appendEntry(tx), first.id).then(() => done.push("first again"));
    held.open();
    await Promise.all([slow, all, after]);
    expect(done.slice(0, 2)).toEqual(["second", "first"]);
    expect(done.slice(2).sort()).toEqual(["all", "first again"]);
  });

  test("never let many changes of one account keep those of another waiting for a connection", async () => {
    const { account: busy } = await seed(one);
    const { account: idle } = await seed(one);
    const held = gate();
    const waiting = Array.from({ length: 30 }, () => one.change(() => held.opened, busy.id));
    await one.change((tx) => appendEntry(tx), idle.id);
    held.open();
    await Promise.all(waiting);
  });

  test("append to the log from many accounts at once without a gap", async () => {
    const accounts = await Promise.all(Array.from({ length: 8 }, () => seed(one)));
    const { seq: start } = await one.read.audit.head();
    await Promise.all(
      accounts.flatMap(({ account }) =>
        [one, other, one, other].map((storage) =>
          storage.change((tx) => appendEntry(tx, { accountId: account.id }), account.id),
        ),
      ),
    );
    const lines = await one.read.audit.lines(start, 1_000);
    expect(lines.map((line) => line.seq)).toEqual(Array.from({ length: 32 }, (_, i) => start + 1 + i));
    const check = createChainCheck([]);
    for (const line of await one.read.audit.lines(0, 1_000)) check.add(line);
    expect(check.end()).toMatchObject({ ok: true });
  });

  test("add up what they report of the same callers, in whatever order the rows come", async () => {
    const key = newId("key");
    const reporters = [newId("rep"), newId("rep")] as const;
    for (const [index, storage] of [one, other].entries())
      await storage.evidence.startReporter(reporters[index] ?? newId("rep"), `test-${index}`, START + index);
    const names = Array.from({ length: 20 }, (_, i) => `c${i}`);
    const report = (storage: Storage, reporterId: (typeof reporters)[0], order: readonly string[]) =>
      storage.evidence.apply({
        reporterId,
        batchSeq: 1,
        coversFrom: START,
        coversUntil: START + 1,
        callers: order.map((name) => ({
          ...{ keyId: key, caller: `n:${name}` as const, name, address: null, agent: null },
          ...{ firstSeenAt: START, lastSeenAt: START, firstValidAt: null, lastValidAt: null },
          counts: { valid: 1 },
        })),
        usage: [],
      });
    await Promise.all([report(one, reporters[0], names), report(other, reporters[1], [...names].reverse())]);
    const callers = await one.evidence.callersOf(key);
    expect(callers.map(({ counts }) => counts.valid)).toEqual(names.map(() => 2));
  });

  test("hear of each other's entries, and of none that was undone", async () => {
    let news = 0;
    const end = one.hear(() => {
      news += 1;
    });
    await until("it listens", () => news === 1);
    await other
      .change(async (tx) => {
        await appendEntry(tx);
        throw new Error("undone");
      })
      .catch(() => undefined);
    await other.change((tx) => appendEntry(tx));
    await until("it heard", () => news === 2);
    await one.change((tx) => appendEntry(tx));
    await until("it heard of its own", () => news === 3);
    end();
  });

  test("are the same database to each other, and another one than a copy", async () => {
    const elsewhere = await openThrowawayPostgres();
    expect(await one.identity()).toBe(await other.identity());
    expect(await elsewhere.identity()).not.toBe(await one.identity());
    await elsewhere.close();
  });
});

describe.skipIf(NO_POSTGRES)("what is stored", () => {
  let storage: Storage;
  beforeAll(async () => {
    storage = await openThrowawayPostgres();
  });
  afterAll(() => storage.close());

  test("is ordered byte by byte, whatever the database's language", async () => {
    const { account } = await seed(storage);
    const names = ["a", "B", "ä", "_", "Z", "z"];
    const key = newId("key");
    const reporter = newId("rep");
    await storage.evidence.startReporter(reporter, "test", START);
    await storage.evidence.apply({
      ...{ reporterId: reporter, batchSeq: 1, coversFrom: START, coversUntil: START + 1, usage: [] },
      callers: names.map((name) => ({
        ...{ keyId: key, caller: `n:${name}` as const, name, address: null, agent: null },
        ...{ firstSeenAt: START, lastSeenAt: START, firstValidAt: null, lastValidAt: null, counts: {} },
      })),
    });
    const told = (await storage.evidence.callersOf(key)).map((caller) => caller.name);
    expect(told).toEqual(["B", "Z", "_", "a", "z", "ä"]);
    expect((await storage.read.accounts.list({ limit: 10, after: null }, null)).length).toBeGreaterThan(0);
    expect(account.id).toStartWith("acc_");
  });

  test("has no NUL and no half of a character, and nobody's report fails for one", async () => {
    const { owner } = await seed(storage);
    const key = newKey(owner, { name: "a\0b" });
    await storage.change((tx) => addKeys(tx, key));
    expect((await storage.read.keys.byId(key.accountId, key.id))?.name).toBe("a\u{fffd}b");
    const reporter = newId("rep");
    await storage.evidence.startReporter(reporter, "test", START);
    await storage.evidence.apply({
      ...{ reporterId: reporter, batchSeq: 1, coversFrom: START, coversUntil: START + 1, usage: [] },
      callers: [
        {
          ...{ keyId: key.id, caller: "n:\0\ud800", name: "\0\ud800", address: null, agent: "\0" },
          ...{ firstSeenAt: START, lastSeenAt: START, firstValidAt: null, lastValidAt: null, counts: {} },
        },
      ],
    });
    expect((await storage.evidence.callersOf(key.id)).map((caller) => caller.name)).toEqual([
      "\u{fffd}\u{fffd}",
    ]);
    expect(await storage.read.accounts.byName("\0")).toBeNull();
    const hidden = { hash: "sha256:00", salt: "00", text: 'a\0"{\\}\ud800' };
    const draft = {
      ...{ at: START, accountId: null, operation: "test.do", outcome: "performed" as const, details: {} },
      ...{ actor: { kind: "host", id: "test", accountId: null } as const, subjects: [] },
    };
    await storage.change(async (tx) => {
      const head = await tx.audit.head();
      const entry = { seq: head.seq + 1, text: "{}", entryHash: "", chainHash: "" };
      await tx.audit.append(draft, entry, [hidden]);
    });
  });
});

describe.skipIf(NO_POSTGRES)("a look-up", () => {
  test("takes one round trip for a key in no rotation, and two for one that is in one", async () => {
    const database = await newDatabase();
    const wire = await stretchWire(database.url);
    const storage = await openPostgresStorage({ url: wire.url });
    const { owner } = await seed(storage);
    const [plain, rotating] = [newDigest(), newDigest()];
    const old = newKey(owner, { rotationId: newId("rot") });
    const successor = newKey(owner);
    await storage.change(async (tx) => {
      await tx.keys.add(newKey(owner), plain);
      await tx.keys.add(old, rotating);
      await addKeys(tx, successor);
      await tx.rotations.add(newRotation(old, successor, { id: old.rotationId ?? newId("rot") }));
    });
    for (const digest of [plain, newDigest()]) {
      wire.roundTrips();
      await storage.match(digest);
      expect(wire.roundTrips()).toBe(1);
    }
    await storage.match(rotating);
    // The rotation and its brownout are asked for side by side.
    expect(wire.roundTrips()).toBe(3);
    await storage.close();
    await wire.close();
    await database.drop();
  });
});

describe.skipIf(NO_POSTGRES)("R14: a database that was put back to an older state", () => {
  test("gives no key away by what it knew then: a look-up says that the log ends before what was applied", async () => {
    const storage = await openThrowawayPostgres();
    const { owner } = await seed(storage);
    const digest = newDigest();
    await storage.change(async (tx) => {
      await tx.keys.add(newKey(owner), digest);
      await appendEntry(tx);
    });
    const { seq } = await storage.read.audit.head();
    expect(await storage.match(digest, seq)).not.toBeNull();
    expect((await refusalOf(Promise.resolve(storage.match(digest, seq + 1)))).code).toBe(
      "storage_unavailable",
    );
    // Nor does it say of a key that it never was.
    const unknown = newDigest();
    expect(await storage.match(unknown, seq)).toBeNull();
    expect((await refusalOf(Promise.resolve(storage.match(unknown, seq + 1)))).code).toBe(
      "storage_unavailable",
    );
    await storage.close();
  });

  test("is another one to whoever looks, even where a dump went into the same database", async () => {
    const database = await newDatabase();
    const storage = await openPostgresStorage({ url: database.url });
    const before = await storage.identity();
    await asSuperuser(
      database.url,
      "create table put_back (like audit_entries including all)",
      "drop table audit_entries cascade",
      "alter table put_back rename to audit_entries",
    );
    expect(await storage.identity()).not.toBe(before);
    await storage.close();
    await database.drop();
  });
});

describe.skipIf(NO_POSTGRES)("R14: a database that fails", () => {
  let database: TestDatabase;
  let wire: Wire;
  let storage: Storage;
  /** The same, but for what is waited for on purpose. */
  let hasty: Storage;
  beforeAll(async () => {
    database = await newDatabase();
    wire = await stretchWire(database.url);
    storage = await openPostgresStorage({ url: wire.url });
    hasty = await openPostgresStorage({
      ...{ url: wire.url, statementTimeoutSeconds: 0.4, connectTimeoutSeconds: 0.4 },
    });
  });
  afterAll(async () => {
    wire.mend();
    await storage.close();
    await hasty.close();
    await wire.close();
    await database.drop();
  });

  /** What every way in answers. */
  async function everythingIsRefused(storage: Storage): Promise<void> {
    const ways: readonly (() => Promise<unknown>)[] = [
      () => storage.change((tx) => appendEntry(tx)),
      () => storage.read.accounts.operator(),
      async () => storage.match(newDigest()),
      () => storage.digestsOf(newId("key")),
      () => storage.follow({ seq: 0, chainHash: "" }, 10),
      () => storage.evidence.callersOf(newId("key")),
      () => storage.evidence.startReporter(newId("rep"), "test", START),
    ];
    for (const way of ways) {
      const refusal = await refusalOf(way());
      expect(refusal.code).toBe("storage_unavailable");
      expect(refusal.cause).toBeInstanceOf(Error);
      expect(refusal.message).not.toContain(new URL(database.url).password);
    }
  }

  test("refuses everything while it can't be reached, and nothing once it can", async () => {
    wire.cut();
    await everythingIsRefused(storage);
    wire.mend();
    await storage.change((tx) => appendEntry(tx));
    expect(await storage.read.accounts.operator()).toBeNull();
    expect(await storage.match(newDigest())).toBeNull();
  });

  test("refuses everything while it answers nothing, and nothing once it does", async () => {
    wire.silence();
    await everythingIsRefused(hasty);
    wire.mend();
    const works = async () => {
      await hasty.change((tx) => appendEntry(tx));
      return hasty.match(newDigest());
    };
    expect(await until("it works again", () => works().catch(() => undefined))).toBeNull();
  });

  test("before the commit has surely changed nothing", async () => {
    const { seq } = await storage.read.audit.head();
    const refusal = await refusalOf(
      storage.change(async (tx) => {
        await appendEntry(tx);
        wire.cut();
        await appendEntry(tx);
      }),
    );
    expect(refusal.code).toBe("storage_unavailable");
    wire.mend();
    expect((await storage.read.audit.head()).seq).toBe(seq);
  });

  test.each(["there", "back"] as const)(
    "during the commit (cut on the way %s) says that the outcome is unknown",
    async (where) => {
      const { seq } = await storage.read.audit.head();
      wire.cutCommit(where);
      const refusal = await refusalOf(storage.change((tx) => appendEntry(tx)));
      expect(refusal.code).toBe("outcome_unknown");
      await until("the connection is gone", async () => {
        const { seq: now } = await storage.read.audit.head();
        return now === (where === "there" ? seq : seq + 1);
      });
      await storage.change((tx) => appendEntry(tx));
    },
  );

  test("in which somebody else holds what a change needs refuses it after a while, and lets the next one through", async () => {
    const other = await openPostgresStorage({ url: database.url });
    const { account } = await seed(other);
    const held = gate();
    const inside = gate();
    const slow = other.change(async () => {
      inside.open();
      await held.opened;
    }, account.id);
    await inside.opened;
    expect((await refusalOf(hasty.change((tx) => appendEntry(tx), account.id))).code).toBe(
      "storage_unavailable",
    );
    expect((await refusalOf(hasty.change((tx) => appendEntry(tx), null))).code).toBe("storage_unavailable");
    held.open();
    await slow;
    await storage.change((tx) => appendEntry(tx), account.id);
    await other.close();
  });

  test.each([
    "53100",
    "53200",
    "53300",
    "57P01",
    "58030",
    "25006",
    "40001",
    "40P01",
    "55P03",
    "57014",
    "08006",
  ])("with %s refuses the change, and takes the next one", async (code) => {
    await asSuperuser(
      database.url,
      `create or replace function fail() returns trigger language plpgsql as $$
           begin raise exception 'fault' using errcode = '${code}'; end $$`,
      "create or replace trigger fail before insert on audit_entries execute function fail()",
    );
    expect((await refusalOf(storage.change((tx) => appendEntry(tx)))).code).toBe("storage_unavailable");
    await asSuperuser(database.url, "drop trigger fail on audit_entries");
    await storage.change((tx) => appendEntry(tx));
  });

  test("that may only be read refuses changes and answers reads", async () => {
    const name = new URL(database.url).pathname.slice(1);
    await asSuperuser(database.url, `alter database ${name} set default_transaction_read_only = on`);
    const reader = await openPostgresStorage({ url: database.url });
    expect((await refusalOf(reader.change((tx) => appendEntry(tx)))).code).toBe("storage_unavailable");
    expect((await reader.read.audit.head()).seq).toBeGreaterThan(0);
    await asSuperuser(
      database.url,
      "begin read write",
      `alter database ${name} set default_transaction_read_only = off`,
      "commit",
    );
    await reader.change((tx) => appendEntry(tx));
    await reader.close();
  });

  test("lets bugs through as they are, and a change that goes on after one is not made", async () => {
    const { owner } = await seed(storage);
    const digest = newDigest();
    await storage.change((tx) => tx.keys.add(newKey(owner), digest));
    const twice = storage.change((tx) => tx.keys.add(newKey(owner), digest));
    expect(await failureOf(twice)).toMatchObject({ code: "23505" });
    const swallowed = storage.change(async (tx) => {
      await tx.keys.add(newKey(owner), digest).catch(() => undefined);
    });
    expect(String(await failureOf(swallowed))).toContain("Bug: a change went on");
    const bug = new Error("a bug");
    expect(await failureOf(storage.change(async () => Promise.reject(bug)))).toBe(bug);
  });

  test("of a newer schema than when its statements were prepared is read and changed all the same", async () => {
    const { owner } = await seed(storage);
    const key = newKey(owner);
    await storage.change((tx) => addKeys(tx, key));
    const read = () => storage.read.keys.byId(key.accountId, key.id);
    await Promise.all([read(), read(), read(), storage.change((tx) => tx.keys.byId(key.accountId, key.id))]);
    await asSuperuser(database.url, "alter table keys add column added text");
    expect(await read()).toEqual(key);
    // A change that has begun is not begun again by itself.
    const change = () => storage.change((tx) => tx.keys.byId(key.accountId, key.id));
    expect((await refusalOf(change())).code).toBe("storage_unavailable");
    expect(await change()).toEqual(key);
  });

  test("and comes back with all its connections gone is read and changed at the first attempt", async () => {
    await Promise.all([1, 2, 3].map(() => storage.read.accounts.operator()));
    await storage.change((tx) => appendEntry(tx));
    await asSuperuser(
      database.url,
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'keyturn' and datname = current_database()",
    );
    expect(await storage.read.accounts.operator()).toBeNull();
    await storage.change((tx) => appendEntry(tx));
  });
});

describe.skipIf(NO_POSTGRES)("a server that answers before a change is on its disk", () => {
  test("is asked to wait for it all the same: what was acknowledged is flushed", async () => {
    const database = await newDatabase();
    await asSuperuser(
      database.url,
      `alter database ${escapeIdentifier(new URL(database.url).pathname.slice(1))} set synchronous_commit = off`,
      "alter system set wal_writer_delay = '10s'",
      "select pg_reload_conf()",
    );
    const storage = await openPostgresStorage({ url: database.url });
    const { owner } = await seed(storage);
    let flushed = 0;
    for (let n = 0; n < 20; n += 1) {
      await storage.change((tx) => addKeys(tx, newKey(owner)), n % 2 === 0 ? owner.accountId : null);
      const { rows } = await ask(
        database.url,
        "select pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn() as all",
      );
      if (rows[0]?.all === true) flushed += 1;
    }
    // What the server writes on its own account, for itself or another test, nobody waits for.
    expect(flushed).toBeGreaterThanOrEqual(15);
    await asSuperuser(database.url, "alter system reset wal_writer_delay", "select pg_reload_conf()");
    await storage.close();
    await database.drop();
  });
});

async function ask(url: string, question: string) {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await client.query<{ all: boolean }>(question);
  } finally {
    await client.end();
  }
}
