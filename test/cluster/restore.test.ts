import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Cluster, type Member, startCluster, verdictAt } from "../support/cluster.ts";
import { IS_FULL_RUN } from "../support/counts.ts";
import { refusedAt } from "../support/installation.ts";
import { spawnKeyturn } from "../support/keyturn-process.ts";
import { asSuperuser, NO_POSTGRES } from "../support/postgres.ts";
import { type PostgresServer, postgresPrograms, startPostgresServer } from "../support/postgres-server.ts";
import { newSample, REVOKED, type Sample } from "../support/through-fault.ts";
import { cleanUp, newFolder } from "../support/traces.ts";
import { until } from "../support/until.ts";
import { checkCluster } from "./stored.ts";

afterAll(cleanUp);

/** How a database is saved, and put back later. */
interface Way {
  readonly save: (server: PostgresServer, database: string) => Promise<() => Promise<void>>;
  /** Whether the database that was put back can be told from the one before without a witness. */
  readonly isTold: boolean;
}

const PG_DUMP = join(postgresPrograms()?.folder ?? "", "pg_dump");
const HAS_DUMP = existsSync(PG_DUMP);
if (!HAS_DUMP && !NO_POSTGRES) {
  const what = `there is no ${PG_DUMP}`;
  if (IS_FULL_RUN) throw new Error(`${what}, and KEYTURN_TEST_REQUIRE_ALL=1 needs it`);
  console.warn(`${what}: the tests with a dump are skipped`);
}

const COPY: Way = {
  isTold: true,
  save: async ({ url }, database) => {
    const admin = `${url}/postgres`;
    await asSuperuser(admin, ...ended(database), `create database ${database}_saved template ${database}`);
    return () =>
      asSuperuser(
        admin,
        `drop database ${database} with (force)`,
        `alter database ${database}_saved rename to ${database}`,
      );
  },
};

/** With what the database that is there is made room by. */
const dump = (makeRoom: (server: PostgresServer, database: string) => Promise<void>): Way => ({
  isTold: true,
  save: async (server, database) => {
    const file = join(newFolder("dump"), "dump.sql");
    const url = `${server.url}/${database}`;
    run("pg_dump", ["--file", file, url]);
    return async () => {
      await makeRoom(server, database);
      run("psql", ["--quiet", "--set", "ON_ERROR_STOP=1", "--file", file, url]);
      rmSync(file);
    };
  },
});

const WAYS: Readonly<Record<string, Way>> = {
  "a copy of the database": COPY,
  ...(HAS_DUMP
    ? {
        "a dump": dump(({ url }, database) =>
          asSuperuser(
            `${url}/postgres`,
            `drop database ${database} with (force)`,
            `create database ${database}`,
          ),
        ),
        "a dump into the same database": dump(({ url }, database) =>
          asSuperuser(`${url}/${database}`, "drop schema public cascade", "create schema public"),
        ),
      }
    : {}),
  "a copy of the files": {
    // The same server on the same timeline, as far as it knows itself: only a witness knows better.
    isTold: false,
    save: async (server) => {
      const saved = `${server.folder}-saved`;
      await server.stop("clean");
      cp(server.folder, saved);
      await server.again();
      return async () => {
        await server.stop("clean");
        rmSync(server.folder, { recursive: true });
        renameSync(saved, server.folder);
        await server.again();
      };
    },
  },
};

function run(program: string, args: readonly string[]): void {
  const done = spawnSync(join(postgresPrograms()?.folder ?? "", program), [...args], { encoding: "utf8" });
  if (done.status !== 0) throw new Error(`${program} failed:\n${done.stderr}`);
}

/** With the owner and the rights that PostgreSQL insists on. */
function cp(from: string, to: string): void {
  const done = spawnSync("cp", ["-a", from, to], { encoding: "utf8" });
  if (done.status !== 0) throw new Error(`the folder could not be copied:\n${done.stderr}`);
}

const ended = (database: string) => [
  `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${database}' and pid <> pg_backend_pid()`,
];

describe.skipIf(NO_POSTGRES)("R14: a backup that is older than a revocation, put back", () => {
  let server: PostgresServer;
  let made = 0;
  beforeAll(async () => {
    server = await startPostgresServer();
  });
  afterAll(() => server?.close());

  /**
   * Two processes that ended after they had revoked what the backup, which is there again now, has as good. Or `after` the
   * backup only one of them served.
   */
  async function putBack(
    way: Way,
    work: (cluster: Cluster, sample: Sample) => Promise<void>,
    after: readonly number[] = [0, 1],
  ): Promise<void> {
    made += 1;
    const database = `restored_${made}`;
    await asSuperuser(`${server.url}/postgres`, `create database ${database}`);
    const cluster = await startCluster(2, { databaseUrl: `${server.url}/${database}` });
    try {
      const sample = await newSample(cluster, "revoked after the backup");
      await until("which database this is has been noted", async () => {
        const noted = await cluster.query("select seq from audit_entries where operation = 'database.note'");
        return noted.length > 0;
      });
      await stopAll(cluster);
      const restore = await way.save(server, database);
      for (const index of after) await cluster.again(index);
      for (const kind of REVOKED) {
        const path = `/v1/keys/${sample.keys[kind].id}/revoke?wait=all`;
        expect((await cluster.member(after[0] ?? 0).call("POST", path, { body: {} })).status).toBe(200);
      }
      for (const index of after) expect(await cluster.member(index).process.stop()).toBe(0);
      await restore();
      await work(cluster, sample);
    } finally {
      await cluster.stop();
    }
  }

  describe.each(Object.entries(WAYS))("%s", (_, way) => {
    test("is not served to whoever has a witness file, and with it the keys stay dead", async () => {
      await putBack(way, async (cluster, sample) => {
        for (const { place, wire } of cluster.members()) {
          const { code, said } = await refusedAt(place, { KEYTURN_DATABASE_URL: wire.url });
          expect([code, said]).toEqual([1, expect.stringContaining("keyturn restore")]);
        }
        // Each host has a witness of its own, and what each has seen of the past that is gone must be accepted.
        for (const index of [0, 1]) {
          const { place } = cluster.member(index);
          await restoreWith(cluster.member(index), ["--witness", place.witness]);
          const member = await cluster.again(index);
          expect(await verdictsAt(cluster, member, sample)).toEqual([
            "revoked",
            "revoked",
            "revoked",
            "valid",
          ]);
        }
        await checkCluster(cluster);
      });
    }, 300_000);

    if (!way.isTold) return;
    test("is not served without one, before somebody answers for what is lost", async () => {
      await putBack(way, async (cluster, sample) => {
        const none = { KEYTURN_WITNESS_FILE: "" };
        const { place, wire } = cluster.member(0);
        const { code, said } = await refusedAt(place, { KEYTURN_DATABASE_URL: wire.url, ...none });
        expect([code, said]).toEqual([1, expect.stringContaining("--accept-loss")]);
        await restoreWith(cluster.member(0), ["--accept-loss"], none);
        for (const index of [0, 1]) {
          const member = await cluster.again(index, none);
          expect(await verdictsAt(cluster, member, sample)).toEqual(["valid", "valid", "valid", "valid"]);
        }
        const told = await cluster.member(0).call("GET", "/v1/audit?operation=restore.accept-loss");
        expect(told.body.at("data")).toHaveLength(1);
      });
    }, 300_000);
  });

  test("is not served to whoever has a witness file that saw none of them either, and the file of another host makes them good", async () => {
    await putBack(
      COPY,
      async (cluster, sample) => {
        const [lagging, other] = [cluster.member(0), cluster.member(1)];
        const { code, said } = await refusedAt(lagging.place, { KEYTURN_DATABASE_URL: lagging.wire.url });
        expect([code, said]).toEqual([1, expect.stringContaining("keyturn restore")]);
        await restoreWith(lagging, ["--witness", other.place.witness]);
        const member = await cluster.again(0);
        expect(await verdictsAt(cluster, member, sample)).toEqual(["revoked", "revoked", "revoked", "valid"]);
        // The other one's own file has seen what is gone now.
        await restoreWith(other, ["--witness", other.place.witness]);
        await checkCluster(cluster);
      },
      [1],
    );
  }, 300_000);
});

async function stopAll(cluster: Cluster): Promise<void> {
  for (const { process } of cluster.members()) expect(await process.stop()).toBe(0);
}

async function restoreWith({ place, wire }: Member, args: readonly string[], env = {}): Promise<void> {
  const command = spawnKeyturn(["restore", ...args], {
    env: { ...place.env, KEYTURN_DATABASE_URL: wire.url, ...env },
  });
  expect([await command.exited, command.errors()]).toEqual([0, expect.any(String)]);
}

function verdictsAt({ asker }: Cluster, member: Member, { keys }: Sample): Promise<readonly string[]> {
  const all = [keys.strict, keys.bounded, keys.static, keys.kept];
  return Promise.all(all.map(({ secret }) => verdictAt(member, asker, secret)));
}
