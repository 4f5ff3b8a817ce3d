import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Client, clientOf, type Told } from "../support/client.ts";
import { allHaveTold, type Cluster, startCluster, verdictAt } from "../support/cluster.ts";
import { times } from "../support/counts.ts";
import { issueAt, newPlace, usesAt } from "../support/installation.ts";
import { spawnKeyturn, urlOf } from "../support/keyturn-process.ts";
import { NO_POSTGRES, newDatabase } from "../support/postgres.ts";
import { cleanUp } from "../support/traces.ts";

afterAll(cleanUp);

const PROCESSES = 4;

describe.skipIf(NO_POSTGRES)("R15: of what four processes on one PostgreSQL are asked at once", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster(PROCESSES);
  });
  afterAll(() => cluster?.stop());

  /** Asks so many times at once, each process as often as the others. */
  function atOnce(count: number, ask: (call: Client, index: number) => Promise<Told>) {
    return Promise.all(
      Array.from({ length: count }, (_, index) => ask(cluster.member(index % PROCESSES).call, index)),
    );
  }

  test("50 rotations of one key make one successor", async () => {
    for (let round = 0; round < times(10); round += 1) {
      const key = await issueAt(cluster.member(0).call, `rotated ${round}`);
      const told = await atOnce(50, (call) => call("POST", `/v1/keys/${key.id}/rotations`, { body: {} }));
      expect(tally(told)).toEqual({ "201": 1, "409 rotation_open": 49 });
      const made = told.find(({ status }) => status === 201);
      const kept = await cluster.query<{ id: string; successor: string }>(
        "select id, successor_key_id as successor from rotations where old_key_id = $1",
        [key.id],
      );
      const answered = { id: made?.body.text("rotation", "id"), successor: made?.body.text("key", "id") };
      expect<readonly unknown[]>(kept).toEqual([answered]);
      expect(await lineageOf(key.id)).toBe(2);
    }
  }, 300_000);

  test("of 50 who end one rotation, some by completing and some by cancelling, one does", async () => {
    for (let round = 0; round < times(10); round += 1) {
      const key = await issueAt(cluster.member(1).call, `ended ${round}`);
      const open = await cluster.member(1).call("POST", `/v1/keys/${key.id}/rotations`, { body: {} });
      const rotation = open.body.text("rotation", "id");
      const told = await atOnce(50, (call, index) =>
        call("POST", `/v1/rotations/${rotation}/${index % 2 === 0 ? "complete" : "cancel"}`, {
          body: { force: true },
        }),
      );
      expect(tally(told)).toEqual({ "200": 1, "409 rotation_state": 49 });
      const winner = told.findIndex(({ status }) => status === 200) % 2 === 0 ? "complete" : "cancel";
      expect(await operationsOn(rotation)).toEqual(["keys.rotate", `rotations.${winner}`]);
    }
  }, 300_000);

  test("50 keys of one name and owner are one key", async () => {
    const { ownerId } = await issueAt(cluster.member(0).call, "the owner's first");
    const body = { name: "wanted by all", owner_id: ownerId };
    const told = await atOnce(50, (call) => call("POST", "/v1/keys", { body }));
    expect(tally(told)).toEqual({ "201": 1, "409 name_taken": 49 });
    const kept = await cluster.query("select id from keys where owner_id = $1 and name = $2", [
      ownerId,
      body.name,
    ]);
    expect(kept).toHaveLength(1);
  });

  test("of two revocations that together would take an account's last root keys, one is refused", async () => {
    const { call } = cluster.member(0);
    for (let round = 0; round < times(20); round += 1) {
      const account = await call("POST", "/v1/accounts", { body: { name: `of two roots ${round}` } });
      const first = { id: account.body.text("key", "id"), secret: account.body.text("secret") };
      const more = (name: string, scopes: readonly string[]) =>
        call("POST", "/v1/keys", {
          key: first.secret,
          body: { name, owner_id: account.body.text("key", "owner_id"), scopes },
        });
      const other = await more("other root", ["*", "keyturn:*"]);
      const brake = await more("brake", ["keyturn:keys.revoke"]);
      const roots = [first.id, other.body.text("key", "id")];
      const told = await atOnce(8, (ask, index) =>
        ask("POST", `/v1/keys/${roots[index % 2]}/revoke`, { key: brake.body.text("secret"), body: {} }),
      );
      // To revoke what is revoked already is done, again and again; the other one was refused each time.
      const [one, two] = [0, 1].map((which) => tally(told.filter((_, index) => index % 2 === which)));
      expect([one, two]).toContainEqual({ "409 last_root_key": 4 });
      expect([one, two]).toContainEqual({ "200": 4 });
      const living = await cluster.query<{ id: string }>(
        "select id from keys where id = any($1) and revoked_at is null",
        [roots],
      );
      expect(living).toHaveLength(1);
    }
  }, 300_000);

  test.each(["create", "rotate"] as const)(
    "a request to %s with one Idempotency-Key is done once, and one of the secrets that it was answered with is good",
    async (what) => {
      for (let round = 0; round < times(10); round += 1) {
        const key = await issueAt(cluster.member(0).call, `${what} ${round}`);
        const path = what === "create" ? "/v1/keys" : `/v1/keys/${key.id}/rotations`;
        const body = what === "create" ? { name: `made ${round}`, owner_id: key.ownerId } : {};
        const headers = { "idempotency-key": `${what}-${round}` };
        const told = await atOnce(40, (call) => call("POST", path, { body, headers }));
        const done = told.filter(({ status }) => status === 201);
        const others = tally(told.filter(({ status }) => status !== 201));
        expect(Object.keys(others)).toEqual(
          done.length === told.length ? [] : ["409 idempotency_in_progress"],
        );
        expect(new Set(done.map((one) => one.body.text("key", "id"))).size).toBe(1);
        const verdicts = await Promise.all(
          done.map((one) => verdictAt(cluster.member(2), cluster.asker, one.body.text("secret"))),
        );
        // A retry that began after the first was done gave the key a new secret: the earlier ones are dead.
        expect(verdicts.toSorted()).toEqual([...verdicts.slice(1).fill("revoked"), "valid"]);
        expect(await keysOf(key.ownerId)).toBe(2);
      }
    },
    120_000,
  );

  test("R16: the uses that are counted are the requests that were sent", async () => {
    const sent = times(4_000);
    const { id, secret } = await issueAt(cluster.member(0).call, "counted");
    const lanes = 40;
    await atOnce(lanes, async (call, lane) => {
      const ask = () =>
        call("POST", "/v1/keys/verify", { body: { key: secret, caller: { name: `caller ${lane}` } } });
      let told = await ask();
      for (let done = 1; done < sent / lanes; done += 1) told = await ask();
      return told;
    });
    await allHaveTold(cluster, Date.now());
    for (const { call } of cluster.members()) expect(await usesAt(call, id)).toEqual({ valid: sent });
  }, 300_000);

  const lineageOf = async (key: string) =>
    (
      await cluster.query(
        "select id from keys where lineage_id = (select lineage_id from keys where id = $1)",
        [key],
      )
    ).length;

  const keysOf = async (owner: string) =>
    (await cluster.query("select id from keys where owner_id = $1", [owner])).length;

  const operationsOn = async (subject: string) =>
    (
      await cluster.query<{ operation: string }>(
        "select operation from audit_entries join audit_subjects using (seq) where subject_id = $1 order by seq",
        [subject],
      )
    ).map(({ operation }) => operation);
});

test.skipIf(NO_POSTGRES)(
  "R15: of many who redeem the set-up token at several processes at once, one gets a key",
  async () => {
    const database = await newDatabase();
    const spawned = ["one", "other"].map((name) => {
      const { env, logFile } = newPlace("setup", { KEYTURN_ROOT_KEY_FILE: "", KEYTURN_PROCESS_NAME: name });
      return spawnKeyturn(["serve"], { env: { ...env, KEYTURN_DATABASE_URL: database.url }, logFile });
    });
    try {
      const calls = (await Promise.all(spawned.map(urlOf))).map((url) => clientOf(url));
      const printed = spawned.flatMap((process) => /setup_\w+/.exec(process.errors())?.[0] ?? []);
      expect(printed).toHaveLength(1);
      const told = await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          calls[index % 2]?.("POST", "/v1/setup", { body: { token: printed[0] } }),
        ),
      );
      const statuses = told.map((one) => one?.status);
      expect(statuses.toSorted()).toEqual([201, ...Array.from({ length: 19 }, () => 403)]);
    } finally {
      for (const process of spawned) {
        process.signal("SIGKILL");
        await process.exited;
      }
      await database.drop();
    }
  },
  300_000,
);

/** How often each answer was given. */
function tally(told: readonly Told[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { status, code } of told) {
    const answer = code === undefined ? String(status) : `${status} ${code}`;
    counts[answer] = (counts[answer] ?? 0) + 1;
  }
  return counts;
}
