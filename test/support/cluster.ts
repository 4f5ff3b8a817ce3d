import { Client as Database } from "pg";
import type { Environment } from "../../src/config.ts";
import type { Client } from "./client.ts";
import { newPlace, type Place, type Served, serveAt } from "./installation.ts";
import type { KeyturnProcess } from "./keyturn-process.ts";
import { keepRows, newDatabase } from "./postgres.ts";
import { until } from "./until.ts";
import { stretchWire, type Wire } from "./wire.ts";

/** One `keyturn serve` of several on a PostgreSQL, with a wire to it of its own. */
export interface Member {
  readonly name: string;
  readonly place: Place;
  readonly url: string;
  readonly wire: Wire;
  readonly process: KeyturnProcess;
  /** Asks it with the root key. */
  readonly call: Client;
}

export interface Cluster {
  /** The database, past all wires. */
  databaseUrl(): string;
  readonly rootKey: string;
  /** A key of the operator's account that may ask for verdicts and nothing else, and goes on when all else is stale. */
  readonly asker: string;
  members(): readonly Member[];
  member(index: number): Member;
  /** One that has ended is started again: the same name, place and wire. */
  again(index: number, env?: Environment): Promise<Member>;
  /** Leads all wires to another database, as a name that is changed does. */
  lead(url: string): void;
  /** Asks the database itself. */
  query<Row extends object>(sql: string, values?: readonly unknown[]): Promise<readonly Row[]>;
  /** Ends all that still run, whatever state they are in, and removes a database that was made for them. */
  stop(): Promise<void>;
}

export interface ClusterOptions {
  /** One that somebody else looks after; a fresh one unless said. */
  readonly databaseUrl?: string;
  readonly env?: Environment;
  /** On top of that, for one of them. */
  readonly envOf?: (index: number) => Environment;
}

/** Starts so many processes, one after another the first and then all others at once. */
export async function startCluster(size: number, options: ClusterOptions = {}): Promise<Cluster> {
  const made = options.databaseUrl === undefined ? await newDatabase() : null;
  let databaseUrl = options.databaseUrl ?? made?.url ?? "";
  const members: Member[] = [];
  const wires: Wire[] = [];
  let rootKeyFile: string | undefined;

  async function start(index: number, place: Place, wire: Wire, env: Environment = {}): Promise<Member> {
    const name = `process-${index}`;
    const served = await serveAt(place, {
      KEYTURN_DATABASE_URL: wire.url,
      KEYTURN_PROCESS_NAME: name,
      ...env,
    });
    const member = memberOf(name, place, wire, served);
    members[index] = member;
    return member;
  }

  async function add(index: number): Promise<Member> {
    const wire = await stretchWire(databaseUrl);
    wires.push(wire);
    const own = newPlace("cluster", { KEYTURN_LOG_LEVEL: "info", ...options.env, ...options.envOf?.(index) });
    rootKeyFile ??= own.rootKeyFile;
    const env = { ...own.env, KEYTURN_ROOT_KEY_FILE: rootKeyFile };
    return start(index, { ...own, rootKeyFile, env }, wire);
  }

  async function stop(): Promise<void> {
    await Promise.all(
      members.map(async ({ process }) => {
        // One that a signal holds can't end by another one.
        process.signal("SIGCONT");
        process.signal("SIGKILL");
        await process.exited;
      }),
    );
    for (const wire of wires) await wire.close();
    if (made === null) await keepRows(databaseUrl);
    await made?.drop();
  }

  try {
    const first = await add(0);
    // All of them, also when one fails: whoever is still on the way could not be ended.
    const others = await Promise.allSettled(Array.from({ length: size - 1 }, (_, other) => add(other + 1)));
    for (const other of others) if (other.status === "rejected") throw other.reason;
    const rootKey = await Bun.file(first.place.rootKeyFile).text();
    const asker = await newAsker(first.call);
    return {
      databaseUrl: () => databaseUrl,
      rootKey: rootKey.trim(),
      asker,
      members: () => members,
      member: (index) => {
        const member = members[index];
        if (member === undefined) throw new Error(`there is no process ${index}`);
        return member;
      },
      again: (index, env) => {
        const before = members[index];
        if (before === undefined) throw new Error(`there is no process ${index}`);
        return start(index, before.place, before.wire, env);
      },
      lead: (url) => {
        databaseUrl = url;
        for (const wire of wires) wire.lead(url);
      },
      // A connection of its own each time: tests take the database away.
      query: async <Row extends object>(sql: string, values: readonly unknown[] = []) => {
        const connection = new Database({ connectionString: databaseUrl });
        await connection.connect();
        try {
          return (await connection.query<Row>(sql, [...values])).rows;
        } finally {
          await connection.end();
        }
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function newAsker(call: Client): Promise<string> {
  const scopes = ["keyturn:keys.verify"];
  const owner = await call("POST", "/v1/service-accounts", { body: { name: "asker", scopes } });
  const body = { name: "asker", owner_id: owner.body.at("id"), scopes, freshness: "static" };
  return (await call("POST", "/v1/keys", { body })).body.text("secret");
}

/** What a process says of a key: the verdict, or the problem that came in place of one. */
export async function verdictAt(
  { call }: Pick<Member, "call">,
  asker: string,
  key: string,
  atLeast = 0,
): Promise<string> {
  const body = { key, ...(atLeast === 0 ? {} : { at_least: atLeast }) };
  const told = await call("POST", "/v1/keys/verify", { key: asker, body });
  return told.code ?? told.body.text("code");
}

/** Resolves when every process has told what it saw up to an instant. */
export async function allHaveTold(cluster: Cluster, at: number): Promise<void> {
  await until("every process has told what it saw until then", async () => {
    const behind = await cluster.query(
      "select id from reporters where ended is null and covers_until <= $1",
      [at],
    );
    return behind.length === 0;
  });
}

function memberOf(name: string, place: Place, wire: Wire, { process, url, call }: Served): Member {
  return { name, place, url, wire, process, call };
}
