import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { Client } from "pg";
import type { Told } from "../support/client.ts";
import { type Cluster, startCluster, verdictAt } from "../support/cluster.ts";
import { NO_COMPILER } from "../support/compiled.ts";
import { type FullDisk, newFullDisk } from "../support/full-disk.ts";
import { issueAt } from "../support/installation.ts";
import { NO_POSTGRES } from "../support/postgres.ts";
import { type PostgresServer, startPostgresServer } from "../support/postgres-server.ts";
import { newSample, type Sample } from "../support/through-fault.ts";
import { cleanUp } from "../support/traces.ts";
import { until } from "../support/until.ts";
import { checkCluster } from "./stored.ts";

afterAll(cleanUp);

const BOUNDED_MS = 2_000;
const ENV = { KEYTURN_BOUNDED_CEILING: "2s", KEYTURN_DATABASE_STATEMENT_TIMEOUT: "1s" };
const ALL_VALID = ["valid", "valid", "valid"];

describe.skipIf(NO_POSTGRES)("a database", () => {
  let disk: FullDisk | null;
  let server: PostgresServer;
  let cluster: Cluster;
  let sample: Sample;
  let renames = 0;
  let keptAs: string;
  beforeEach(async () => {
    disk = NO_COMPILER ? null : newFullDisk();
    server = await startPostgresServer({ durable: true, env: disk?.env ?? {} });
    cluster = await startCluster(2, { databaseUrl: `${server.url}/postgres`, env: ENV });
    sample = await newSample(cluster, "known to all");
    keptAs = "kept";
  });
  afterEach(async () => {
    disk?.fill(false);
    await cluster?.stop();
    await server?.close();
    disk?.clean();
  });

  /** A change that harms nothing: whoever asks whether changes are taken may be told yes at once. */
  async function rename(): Promise<Told> {
    renames += 1;
    const name = `kept ${renames}`;
    const told = await cluster.member(0).call("PATCH", `/v1/keys/${sample.keys.kept.id}`, { body: { name } });
    if (told.status === 200) keptAs = name;
    return told;
  }

  const verdicts = (member = cluster.member(1)) =>
    Promise.all(
      [sample.keys.strict, sample.keys.bounded, sample.keys.static].map(({ secret }) =>
        verdictAt(member, cluster.asker, secret),
      ),
    );

  /** Says that nothing was changed, and when to try again. */
  function expectUnavailable(told: Told): void {
    expect([told.status, told.code]).toEqual([503, "storage_unavailable"]);
    expect(Number(told.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(told.headers.get("content-type")).toContain("application/problem+json");
  }

  /** Does something while another connection holds what these statements lock. */
  async function whileLocked(statement: string, work: () => Promise<void>): Promise<void> {
    const other = new Client({ connectionString: cluster.databaseUrl() });
    await other.connect();
    try {
      await other.query("begin");
      await other.query(statement);
      await work();
    } finally {
      await other.end();
    }
  }

  /** What must hold once the fault is over: by itself, and nothing that was refused was made. */
  async function expectWell(): Promise<void> {
    await until("it judges again", async () => {
      const codes = await verdicts();
      return codes.every((code) => code === "valid");
    });
    expect(await verdictAt(cluster.member(1), cluster.asker, sample.keys.kept.secret)).toBe("valid");
    const { body } = await cluster.member(1).call("GET", `/v1/keys/${sample.keys.kept.id}`);
    expect(body.at("name")).toBe(keptAs);
    const told = await until("it takes changes again", async () => {
      const answer = await rename();
      return answer.status !== 503 && answer;
    });
    expect(told.status).toBe(200);
    await checkCluster(cluster);
  }

  test("in which changes wait for a lock: they get a clear 503, reads and verification go on beyond every ceiling", async () => {
    await whileLocked("select * from audit_head for update", async () => {
      const until = performance.now() + BOUNDED_MS + 1_500;
      while (performance.now() < until) {
        expectUnavailable(await rename());
        expect(await verdicts()).toEqual(ALL_VALID);
        const read = await cluster.member(0).call("GET", `/v1/keys/${sample.keys.kept.id}`);
        expect(read.status).toBe(200);
      }
    });
    await expectWell();
  }, 300_000);

  test("in which the log can't be read in time: changes get a clear 503, verification goes by the freshness rules", async () => {
    await whileLocked("lock table audit_entries in access exclusive mode", async () => {
      // Who asks with a key that has rights is told that nobody can say whether it is still good.
      await until("nobody knows any more", async () => (await verdicts()).join() === "stale,stale,valid");
      const told = await rename();
      expect([told.status, told.code]).toEqual([503, "verdict_stale"]);
      await until("nobody else knows, either", async () => {
        const told = await verdicts(cluster.member(0));
        return told.join() === "stale,stale,valid";
      });
    });
    await expectWell();
  }, 300_000);

  test("that may only be read: changes get a clear 503, reads and verification go on beyond every ceiling", async () => {
    const settings = (value: string) => [
      `alter system set default_transaction_read_only = '${value}'`,
      "select pg_reload_conf()",
    ];
    for (const statement of settings("on")) await cluster.query(statement);
    await until("it is so", async () => (await rename()).status === 503);
    const end = performance.now() + BOUNDED_MS + 1_500;
    while (performance.now() < end) {
      expectUnavailable(await rename());
      expect(await verdicts()).toEqual(ALL_VALID);
      await Bun.sleep(100);
    }
    for (const statement of settings("off")) await cluster.query(statement);
    await expectWell();
  }, 300_000);

  test.skipIf(NO_COMPILER)(
    "R39: that is full: each change gets a clear 503, verification goes by the freshness rules, and nothing acknowledged is lost",
    async () => {
      const { call } = cluster.member(0);
      const { ownerId } = await issueAt(call, "the owner's first");
      const made: string[] = [];
      const answers: Record<string, number> = {};
      let tried = 0;
      const create = async (): Promise<Told> => {
        tried += 1;
        const name = `key ${tried}`;
        const told = await call("POST", "/v1/keys", { body: { name, owner_id: ownerId } });
        if (told.status === 201) made.push(name);
        else expect(told.status).toBe(503);
        const answer = told.code ?? "made";
        answers[answer] = (answers[answer] ?? 0) + 1;
        return told;
      };
      for (let count = 0; count < 20; count += 1) expect((await create()).status).toBe(201);
      disk?.fill(true);
      const end = performance.now() + BOUNDED_MS + 3_000;
      // There is some room left in what stands already.
      while (performance.now() < end) {
        await create();
        const [strict, bounded, fixed] = await verdicts();
        expect(["valid", "stale"]).toContain(strict ?? "");
        expect(["valid", "stale"]).toContain(bounded ?? "");
        expect(fixed).toBe("valid");
      }
      expect(made.length).toBeLessThan(tried);
      disk?.fill(false);
      // Without room for its journal PostgreSQL ends, and somebody must start it again.
      await server.stop("crash");
      await server.again();
      await expectWell();
      console.log(`a full disk: ${JSON.stringify(answers)}`);
      const kept = await cluster.query<{ name: string }>("select name from keys where name = any($1)", [
        made,
      ]);
      expect(kept.map(({ name }) => name).toSorted()).toEqual(made.toSorted());
    },
    300_000,
  );
});
