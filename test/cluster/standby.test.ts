import { afterAll, describe, expect, test } from "bun:test";
import { type Cluster, startCluster, verdictAt } from "../support/cluster.ts";
import { IS_FULL_RUN } from "../support/counts.ts";
import { newPlace, refusedAt } from "../support/installation.ts";
import { spawnKeyturn } from "../support/keyturn-process.ts";
import { NO_POSTGRES } from "../support/postgres.ts";
import { type PostgresServer, startPostgresServer } from "../support/postgres-server.ts";
import { randomFrom, SEED } from "../support/random.ts";
import { makeSynchronous, promote, startStandby, stopHearing, stopReplaying } from "../support/standby.ts";
import { newSample, type Sample } from "../support/through-fault.ts";
import { cleanUp } from "../support/traces.ts";
import { until } from "../support/until.ts";
import { allReady, countsOf, lookAfter, newLoad, working } from "./load.ts";
import { checkCluster } from "./stored.ts";

afterAll(cleanUp);

const PROCESSES = 3;
const CEILING_MS = 2_000;

/** A primary and its standby, with processes on the primary. */
async function withStandby(work: (parts: Parts) => Promise<void>): Promise<void> {
  const primary = await startPostgresServer({ durable: true });
  let standby: PostgresServer | null = null;
  let cluster: Cluster | null = null;
  try {
    standby = await startStandby(primary);
    cluster = await startCluster(PROCESSES, {
      databaseUrl: `${primary.url}/postgres`,
      env: { KEYTURN_BOUNDED_CEILING: `${CEILING_MS / 1_000}s`, KEYTURN_DATABASE_STATEMENT_TIMEOUT: "3s" },
    });
    await work({ primary, standby, cluster });
  } finally {
    await cluster?.stop();
    await standby?.close();
    await primary.close();
  }
}

interface Parts {
  readonly primary: PostgresServer;
  readonly standby: PostgresServer;
  readonly cluster: Cluster;
}

describe.skipIf(NO_POSTGRES)("R14: failover, as docs/postgresql.md describes the drill", () => {
  test("to a synchronous standby: no acknowledged change is lost, no hand is laid on any process, and a fresh start works", async () => {
    await withStandby(async ({ primary, standby, cluster }) => {
      await makeSynchronous(primary);
      const sample = await newSample(cluster, "revoked before the failover");
      const pids = cluster.members().map(({ process }) => process.pid);
      const load = newLoad(cluster, 0, randomFrom(SEED));
      const loadMs = IS_FULL_RUN ? 5_000 : 1_500;
      // 1. Under load, revoke some keys, and note the answers.
      await working(load, async () => {
        await Bun.sleep(loadMs);
        await revokeAll(cluster, sample);
        // 2. Kill the primary. 3. Promote the standby, and let the name lead to it.
        await primary.stop("crash");
        await promote(standby);
        cluster.lead(`${standby.url}/postgres`);
        // 4. Look at each process.
        await allReady(cluster);
        await Bun.sleep(loadMs);
      });
      await lookAfter(load);
      for (const member of cluster.members())
        expect(await verdictsAt(cluster, member, sample)).toEqual(ALL_REVOKED);
      const { acknowledged, refused } = countsOf([load]);
      console.log(`failover: ${acknowledged} changes acknowledged, ${refused.length} refused`);
      expect(refused).toEqual([]);
      expect(acknowledged).toBeGreaterThan(10);
      expect(cluster.members().map(({ process }) => process.pid)).toEqual(pids);

      const noted = await until("the new database is noted", async () => {
        const entries = await notes(cluster);
        return entries.length >= 2 && entries;
      });
      // Once for all processes.
      expect(noted).toHaveLength(2);
      await checkCluster(cluster);
      await expectAuditVerified(cluster);
      for (const index of cluster.members().keys()) {
        const { process } = cluster.member(index);
        expect(await process.stop()).toBe(0);
      }
      // With the witness that saw it all, and without any.
      await cluster.again(0);
      await cluster.again(1, { KEYTURN_WITNESS_FILE: "" });
      expect(await verdictsAt(cluster, cluster.member(1), sample)).toEqual(ALL_REVOKED);
    });
  }, 300_000);

  test("R12: a standby that is reached before it is promoted is not the database: nothing is judged by it, nor its lag taken for a loss, and the promotion ends that without a hand", async () => {
    await withStandby(async ({ primary, standby, cluster }) => {
      await makeSynchronous(primary);
      const sample = await newSample(cluster, "revoked where one process sees only the standby");
      const later = await newSample(cluster, "revoked by another process");
      const stays = await newSample(cluster, "not revoked");
      await until("the database is noted", async () => (await notes(cluster)).length === 1);
      await stopReplaying(primary, standby);
      // The name leads one process to the standby, while another goes on with the primary.
      const [first, second, third] = cluster.members();
      if (first === undefined || second === undefined || third === undefined)
        throw new Error("there are three");
      third.wire.lead(`${standby.url}/postgres`);
      for (const kind of KINDS) {
        const path = `/v1/keys/${sample.keys[kind].id}/revoke`;
        expect((await first.call("POST", path, { body: {} })).status).toBe(200);
      }
      await Bun.sleep(CEILING_MS);
      expect(await verdictsAt(cluster, third, sample)).toEqual(["stale", "stale", "valid"]);
      const ignorant = await refusedAt(newPlace("ignorant"), {
        KEYTURN_DATABASE_URL: `${standby.url}/postgres`,
        KEYTURN_DATABASE_START_TIMEOUT: "1s",
      });
      expect(ignorant.said).toContain("standby");

      // Then it leads all of them there, and they know more than it shows.
      for (const kind of KINDS) {
        const path = `/v1/keys/${later.keys[kind].id}/revoke`;
        expect((await second.call("POST", path, { body: {} })).status).toBe(200);
      }
      await primary.stop("crash");
      cluster.lead(`${standby.url}/postgres`);
      await Bun.sleep(CEILING_MS);
      for (const member of cluster.members()) {
        expect(await verdictsAt(cluster, member, stays)).toEqual(["stale", "stale", "valid"]);
        const ready = await member.call("GET", "/readyz", { key: null });
        expect(ready.text).toContain("database: it does not answer");
        expect(ready.text).not.toContain("history:");
      }
      // They have forgotten what was revoked, and the standby would say that it is good.
      for (const member of [first, second])
        for (const keys of [sample, later])
          expect(await verdictsAt(cluster, member, keys)).toEqual(["stale", "stale", "stale"]);

      await promote(standby);
      await allReady(cluster);
      for (const member of cluster.members()) {
        for (const keys of [sample, later])
          expect(await verdictsAt(cluster, member, keys)).toEqual(ALL_REVOKED);
        expect(await verdictsAt(cluster, member, stays)).toEqual(["valid", "valid", "valid"]);
      }
      await until("the new database is noted", async () => (await notes(cluster)).length === 2);
      await checkCluster(cluster);
    });
  }, 300_000);

  test("while the synchronous standby is away no change is told as made, and verification goes on", async () => {
    await withStandby(async ({ primary, standby, cluster }) => {
      await makeSynchronous(primary);
      const sample = await newSample(cluster, "revoked while the standby is away");
      await standby.stop("crash");
      const { call } = cluster.member(0);
      const path = `/v1/keys/${sample.keys.bounded.id}/revoke`;
      const told = await call("POST", path, { body: {} });
      // Another change may wait for the standby already: this one can't begin then.
      expect(told.status).toBe(503);
      expect(told.code).toMatch(/^(outcome_unknown|storage_unavailable)$/);
      for (const member of cluster.members())
        expect(await verdictAt(member, cluster.asker, sample.keys.strict.secret)).toBe("valid");
      await standby.again();
      const again = await until("it can be told as made", async () => {
        const answer = await call("POST", path, { body: {} });
        return answer.status !== 503 && answer;
      });
      expect(again.status).toBe(200);
      for (const member of cluster.members())
        await until(`${member.name} knows`, async () => {
          const code = await verdictAt(member, cluster.asker, sample.keys.bounded.secret);
          return code === "revoked";
        });
      await checkCluster(cluster);
    });
  }, 300_000);

  test("to a standby that lacks acknowledged entries: the processes that saw them accept no change and judge nothing but static keys, and no start succeeds", async () => {
    await withStandby(async ({ primary, standby, cluster }) => {
      const sample = await newSample(cluster, "revoked where the standby can't hear it");
      const stays = await newSample(cluster, "not revoked");
      await until("the database is noted", async () => (await notes(cluster)).length === 1);
      await until("the standby has what was made up to now", async () => {
        const [row] = await cluster.query<{ behind: string }>(
          "select coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), 1)::text as behind from pg_stat_replication",
        );
        return row?.behind === "0";
      });
      await stopHearing(primary, standby);
      await revokeAll(cluster, sample);
      for (const member of cluster.members()) {
        await until(`${member.name} has heard of it`, async () => {
          const codes = await verdictsAt(cluster, member, sample);
          return codes.every((code) => code === "revoked");
        });
      }
      await primary.stop("crash");
      await promote(standby);
      cluster.lead(`${standby.url}/postgres`);
      for (const member of cluster.members()) {
        const told = await until(`${member.name} has noticed`, async () => {
          const ready = await member.call("GET", "/readyz", { key: null });
          return ready.text.includes("history:") && ready;
        });
        expect(told.body.at("status")).toBe("degraded");
        expect(await verdictsAt(cluster, member, sample)).not.toContain("valid");
        expect(await verdictsAt(cluster, member, stays)).toEqual(["stale", "stale", "valid"]);
        const { id } = stays.keys.kept;
        const change = await member.call("POST", `/v1/keys/${id}/suspend`, { body: {} });
        expect([change.status, change.code]).toEqual([503, "verdict_stale"]);
      }
      // The entry that would make this database the one that counts was written by nobody.
      expect(await notes(cluster)).toHaveLength(1);
      const [first] = cluster.members();
      if (first === undefined) throw new Error("there are three");
      const url = { KEYTURN_DATABASE_URL: first.wire.url };
      const informed = await refusedAt(first.place, url);
      expect(informed.said).toContain("it is an older copy");
      const ignorant = await refusedAt(newPlace("ignorant", { KEYTURN_WITNESS_FILE: "" }), url);
      expect(ignorant.said).toContain("keyturn restore");
    });
  }, 300_000);
});

const KINDS = ["strict", "bounded", "static"] as const;
const ALL_REVOKED = KINDS.map(() => "revoked");

function notes(cluster: Cluster): Promise<readonly object[]> {
  return cluster.query("select seq from audit_entries where operation = 'database.note'");
}

async function revokeAll(cluster: Cluster, { keys }: Sample): Promise<void> {
  for (const [index, kind] of KINDS.entries()) {
    const told = await cluster
      .member(index % PROCESSES)
      .call("POST", `/v1/keys/${keys[kind].id}/revoke`, { body: {} });
    expect(told.status).toBe(200);
  }
}

async function verdictsAt(
  { asker }: Cluster,
  member: Parameters<typeof verdictAt>[0],
  { keys }: Sample,
): Promise<readonly string[]> {
  return Promise.all(KINDS.map((kind) => verdictAt(member, asker, keys[kind].secret)));
}

/** `keyturn audit verify` on the host, with the witness of each process. */
async function expectAuditVerified(cluster: Cluster): Promise<void> {
  for (const { place, wire } of cluster.members()) {
    const command = spawnKeyturn(["audit", "verify"], {
      env: { ...place.env, KEYTURN_DATABASE_URL: wire.url },
    });
    expect([await command.exited, command.errors()]).toEqual([0, expect.any(String)]);
  }
}
