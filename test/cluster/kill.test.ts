import { afterAll, describe, expect, test } from "bun:test";
import { type Cluster, startCluster } from "../support/cluster.ts";
import { times } from "../support/counts.ts";
import { NO_POSTGRES } from "../support/postgres.ts";
import { startPostgresServer } from "../support/postgres-server.ts";
import { randomFrom, SEED } from "../support/random.ts";
import { cleanUp } from "../support/traces.ts";
import { allReady, countsOf, type Load, lookAfter, newLoad, working } from "./load.ts";

afterAll(cleanUp);

const PROCESSES = 3;
/** Over one database after another, so that each round looks at a log of some thousand entries at most. */
const ROUNDS_PER_DATABASE = 25;

describe.skipIf(NO_POSTGRES)(
  "R14: no acknowledged change is lost, none half done, the chain is whole, nothing revoked comes back",
  () => {
    const rounds = times(100);
    test(`when one of ${PROCESSES} processes is killed under load, ${rounds} times, and the others go on`, async () => {
      const random = randomFrom(SEED);
      const loads: Load[] = [];
      try {
        for (let start = 0; start < rounds; start += ROUNDS_PER_DATABASE) {
          const cluster = await startCluster(PROCESSES, { env: { KEYTURN_FLUSH_INTERVAL: "1s" } });
          try {
            const load = newLoad(cluster, start, random);
            loads.push(load);
            for (let round = start; round < Math.min(rounds, start + ROUNDS_PER_DATABASE); round += 1) {
              const victim = Math.floor(random() * PROCESSES);
              await working(load, async () => {
                await Bun.sleep(50 + random() * 200);
                cluster.member(victim).process.signal("SIGKILL");
                await cluster.member(victim).process.exited;
                // The others go on, and take what the dead one held: locks, claims, the end of the log.
                await Bun.sleep(100);
                await cluster.again(victim);
              });
              await lookAfter(load);
            }
          } finally {
            await cluster.stop();
          }
        }
      } catch (error) {
        console.error(`KEYTURN_TEST_SEED=${SEED}`);
        throw error;
      }
      const { acknowledged, refused } = countsOf(loads);
      console.log(
        `${rounds} processes killed, ${acknowledged} changes acknowledged, ${refused.length} refused`,
      );
      // A load that is refused would prove nothing.
      expect(acknowledged).toBeGreaterThan(rounds * 10);
      expect(refused).toEqual([]);
    }, 900_000);

    const crashes = times(30);
    test(`when PostgreSQL is killed and started again under load, ${crashes} times, with no hand laid on any process`, async () => {
      const random = randomFrom(SEED);
      const server = await startPostgresServer({ durable: true });
      const trouble: Record<string, number> = {};
      let cluster: Cluster | null = null;
      try {
        cluster = await startCluster(PROCESSES, { databaseUrl: `${server.url}/postgres` });
        const pids = cluster.members().map(({ process }) => process.pid);
        const load = newLoad(cluster, 0, random);
        for (let round = 0; round < crashes; round += 1) {
          const clients = await working(load, async () => {
            await Bun.sleep(100 + random() * 300);
            await server.stop("crash");
            await Bun.sleep(random() * 500);
            await server.again();
            await allReady(load.cluster);
            await Bun.sleep(200);
          });
          for (const client of clients)
            for (const [code, count] of Object.entries(client.trouble()))
              trouble[code] = (trouble[code] ?? 0) + count;
          await lookAfter(load);
        }
        expect(cluster.members().map(({ process }) => process.pid)).toEqual(pids);
        const { acknowledged, refused } = countsOf([load]);
        console.log(
          `PostgreSQL killed ${crashes} times, ${acknowledged} changes acknowledged, ${refused.length} refused; ${JSON.stringify(trouble)}`,
        );
        expect(acknowledged).toBeGreaterThan(crashes * 10);
        expect(refused).toEqual([]);
        expect(trouble.storage_unavailable).toBeGreaterThan(crashes);
      } catch (error) {
        console.error(`KEYTURN_TEST_SEED=${SEED}`);
        throw error;
      } finally {
        await cluster?.stop();
        await server.close();
      }
    }, 900_000);
  },
);
