import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { type PostgresServer, startPostgresServer } from "./postgres-server.ts";
import { until } from "./until.ts";

const NAME = "keyturn_standby";

/**
 * A second server that follows the first, as `pg_basebackup -R` would make it: a copy of the folder, taken between the
 * two calls that the manual asks for ("Making a Base Backup Using the Low Level API"), which 15 gave other names.
 */
export async function startStandby(primary: PostgresServer): Promise<PostgresServer> {
  const copy = mkdtempSync(join(tmpdir(), "keyturn-copy-"));
  const folder = join(copy, "data");
  try {
    await onServer(primary.url, async (client) => {
      const { rows: versions } = await client.query<{ isOld: boolean }>(
        `select current_setting('server_version_num')::int < 150000 as "isOld"`,
      );
      const [start, stop] = versions[0]?.isOld
        ? ["pg_start_backup('standby', true, false)", "pg_stop_backup(false)"]
        : ["pg_backup_start('standby', true)", "pg_backup_stop()"];
      await client.query(`select ${start}`);
      const copied = spawnSync("cp", ["-a", primary.folder, folder], { encoding: "utf8" });
      if (copied.status !== 0) throw new Error(`the folder could not be copied:\n${copied.stderr}`);
      const { rows } = await client.query<{ label: string }>(`select labelfile as label from ${stop}`);
      for (const left of ["pg_wal", "postmaster.pid", "postmaster.opts"])
        rmSync(join(folder, left), { recursive: true, force: true });
      mkdirSync(join(folder, "pg_wal"), { mode: 0o700 });
      writeFileSync(join(folder, "backup_label"), rows[0]?.label ?? "");
      writeFileSync(join(folder, "standby.signal"), "");
    });
    const { uid, gid } = statSync(folder);
    spawnSync("chown", ["-R", `${uid}:${gid}`, folder]);
    const { hostname, port, username, password } = new URL(primary.url);
    const from = `host=${hostname} port=${port} user=${username} password=${password} application_name=${NAME}`;
    return await startPostgresServer({
      durable: true,
      settings: { primary_conninfo: from },
      copyOf: { folder, url: primary.url },
    });
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

/** From here on the primary confirms no commit that its standby does not have. Resolves when that holds. */
export async function makeSynchronous(primary: PostgresServer): Promise<void> {
  await onServer(primary.url, async (client) => {
    await client.query(`alter system set synchronous_standby_names = '${NAME}'`);
    await client.query("select pg_reload_conf()");
    await until("the standby is a synchronous one", async () => {
      const { rows } = await client.query<{ state: string }>(
        "select sync_state as state from pg_stat_replication",
      );
      return rows.some(({ state }) => state === "sync");
    });
  });
}

/** The standby hears no more of what the primary commits. Resolves when that holds. */
export async function stopHearing(primary: PostgresServer, standby: PostgresServer): Promise<void> {
  await onServer(standby.url, async (client) => {
    await client.query("alter system set primary_conninfo = ''");
    await client.query("select pg_reload_conf()");
  });
  await onServer(primary.url, (client) =>
    until("the primary has no standby", async () => {
      const { rows } = await client.query("select 1 from pg_stat_replication");
      return rows.length === 0;
    }),
  );
}

/** What the standby hears from here on it keeps, and shows to nobody before it is promoted. Resolves when that holds. */
export async function stopReplaying(primary: PostgresServer, standby: PostgresServer): Promise<void> {
  await onServer(primary.url, (client) =>
    until("the standby shows what was made up to now", async () => {
      const { rows } = await client.query<{ has: boolean }>(
        "select replay_lsn >= pg_current_wal_lsn() as has from pg_stat_replication",
      );
      return rows.some(({ has }) => has);
    }),
  );
  await onServer(standby.url, async (client) => {
    await client.query("select pg_wal_replay_pause()");
    await until("it shows no more", async () => {
      const { rows } = await client.query<{ state: string }>(
        "select pg_get_wal_replay_pause_state() as state",
      );
      return rows[0]?.state === "paused";
    });
  });
}

/** Makes it the primary, for good. Resolves when it takes changes. */
export async function promote(standby: PostgresServer): Promise<void> {
  await onServer(standby.url, async (client) => {
    // Not waited for in the statement: its snapshot could be in the way of what is still to be replayed.
    await client.query("select pg_promote(false)");
    await until("it is the primary", async () => {
      const { rows } = await client.query<{ is_done: boolean }>("select not pg_is_in_recovery() as is_done");
      return rows[0]?.is_done;
    });
  });
}

async function onServer<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: `${url}/postgres` });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
