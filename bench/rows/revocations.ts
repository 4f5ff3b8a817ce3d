import type { Database } from "bun:sqlite";
import { join } from "node:path";
import { Pool } from "pg";
import { openFile } from "../../src/storage/sqlite.ts";
import { AUTHORITY_FILE } from "../../src/storage/sqlite-storage.ts";
import { type EngineName, type Filled, secretOf } from "../fill.ts";
import { type Lab, type Server, verifyRequest } from "../lab.ts";
import { type Line, openLine } from "../line.ts";
import { atMost, type Figure, NO_POSTGRES, type Row, rate } from "../row.ts";
import { ENGINES } from "./stores.ts";

const PROCESSES = 4;
/** So many connections to one port that none of the processes behind it is missed. */
const LINES_TO_A_SHARED_PORT = 32;
const AT_ONCE = 32;

interface Spread {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

interface Propagation extends Spread {
  readonly count: number;
  readonly perSecond: number;
}

interface Revoked {
  readonly keys: number;
  /** Milliseconds from the acknowledgement until the last process refuses. */
  readonly propagation: Propagation;
  readonly perSecond: number;
  readonly bare: number;
  /** Milliseconds from the request, and from its answer, until every process refuses. */
  readonly bulk: readonly {
    readonly what: string;
    readonly acknowledged: number;
    readonly refused: number;
  }[];
  readonly bareBulk: number;
}

function post(root: string, path: string, body: unknown = {}, method = "POST"): string {
  const text = JSON.stringify(body);
  const payload = method === "DELETE" ? "" : text;
  return `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${root}\r\nContent-Type: application/json\r\nContent-Length: ${payload.length}\r\n\r\n${payload}`;
}

const numbers = (count: number) => Array.from({ length: count }, (_, number) => number);

/**
 * Lends connections for one part of the measuring: idle ones are closed by the server. `watching` has one for each
 * process, or so many to a shared port that each process has one; `changing` are for changes, many at once.
 */
async function withLines<T>(
  { ports }: Server,
  work: (watching: readonly Line[], changing: readonly Line[]) => Promise<T>,
): Promise<T> {
  const portOf = (at: number) => ports[at % ports.length] ?? 0;
  const open = (count: number) => Promise.all(numbers(count).map((at) => openLine(portOf(at))));
  const watching = await open(ports.length > 1 ? ports.length : LINES_TO_A_SHARED_PORT);
  const changing = await open(AT_ONCE);
  try {
    return await work(watching, changing);
  } finally {
    for (const line of [...watching, ...changing]) line.end();
  }
}

const STALE = '{"valid":false,"code":"stale"';
const LONGEST_WAIT_MS = 30_000;

/**
 * When this process first answered so to a key. `stale` is no answer in either direction: it knows that it doesn't know,
 * and says so on a machine that is too busy to look at the log within a second.
 */
async function answeredAt(
  line: Line,
  root: string,
  number: () => number,
  wanted: "valid" | "refused",
): Promise<number> {
  const begin = `{"valid":${wanted === "valid"}`;
  for (const end = performance.now() + LONGEST_WAIT_MS; performance.now() < end; ) {
    const answer = await line.ask(verifyRequest({ root, body: { key: secretOf(number()) } }));
    if (answer.status !== 200 && answer.status !== 503)
      throw new Error(`a verification was answered ${answer.status}`);
    if (answer.body.startsWith(begin) && !answer.body.startsWith(STALE)) return answer.at;
  }
  throw new Error(`a process did not answer that a key is ${wanted} within ${LONGEST_WAIT_MS / 1_000} s`);
}

async function lastToRefuse(lines: readonly Line[], root: string, number: () => number): Promise<number> {
  return Math.max(...(await Promise.all(lines.map((line) => answeredAt(line, root, number, "refused")))));
}

function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

async function mustBe(wanted: number, answer: Promise<{ status: number; body: string; at: number }>) {
  const { status, body, at } = await answer;
  if (status !== wanted) throw new Error(`a change was answered ${status}: ${body}`);
  return at;
}

const measured = new WeakMap<Lab, Map<EngineName, Promise<Revoked | null>>>();

/** Measured once for all rows. */
function revoked(lab: Lab, engine: EngineName): Promise<Revoked | null> {
  const ofLab = measured.get(lab) ?? new Map<EngineName, Promise<Revoked | null>>();
  measured.set(lab, ofLab);
  const had = ofLab.get(engine) ?? measure(lab, engine);
  ofLab.set(engine, had);
  return had;
}

async function measure(lab: Lab, engine: EngineName): Promise<Revoked | null> {
  const bulkKeys = lab.pick({ full: 100_000, quick: 20_000, tiny: 500 });
  const count = lab.pick({ full: 2_000, quick: 300, tiny: 10 });
  // Three service accounts: one to be disabled and deleted, one for single revocations, and one to be in use meanwhile.
  const filled = await lab.ownStore(3 * bulkKeys, engine, bulkKeys);
  if (filled === null) return null;
  const servers = await lab.processes(filled, PROCESSES);
  const propagation = await withLines(servers, (watching, changing) =>
    propagate(lab, filled, servers, watching, changing, count),
  );
  const perSecond = await withLines(servers, (_, changing) => revokeMany(filled, changing, count));
  const bulk = await withLines(servers, (watching, [line]) => revokeAll(filled, watching, line, bulkKeys));
  await servers.stop();
  const bare = await writeBare(filled, filled.owners[2] ?? "", filled.ids.slice(0, count));
  return { keys: bulkKeys, propagation, perSecond, bulk, ...bare };
}

function revokeOne({ root, ids }: Filled, number: number, line: Line | undefined): Promise<number> {
  if (line === undefined) throw new Error("no connection for a change");
  return mustBe(200, line.ask(post(root, `/v1/keys/${ids[number]}/revoke`)));
}

/** Revokes the keys from `count` to twice that as fast as they go, or as many as there is time for. */
async function revokeMany(filled: Filled, changing: readonly Line[], count: number): Promise<number> {
  const startedAt = performance.now();
  let next = count;
  await Promise.all(
    changing.map(async (line) => {
      while (next < 2 * count && performance.now() - startedAt < LONGEST_SPAN_MS / 2) {
        next += 1;
        await revokeOne(filled, next - 1, line);
      }
    }),
  );
  return ((next - count) * 1_000) / (performance.now() - startedAt);
}

/** Disables the second service account, enables it and deletes it, and waits for every process each time. */
async function revokeAll(
  { root, owners }: Filled,
  watching: readonly Line[],
  line: Line | undefined,
  keys: number,
): Promise<Revoked["bulk"]> {
  if (line === undefined) throw new Error("no connection for a change");
  const path = `/v1/service-accounts/${owners[1]}`;
  const anyKey = () => keys + Math.floor(Math.random() * keys);
  const step = async (what: string, wanted: number, request: string) => {
    // Remembered as good by every process, so that each must be told.
    for (let warm = 0; warm < 100; warm += 1)
      await Promise.all(watching.map((one) => answeredAt(one, root, anyKey, "valid")));
    const asked = performance.now();
    const acknowledged = await mustBe(wanted, line.ask(request));
    const refused = await lastToRefuse(watching, root, anyKey);
    return { what, acknowledged: acknowledged - asked, refused: refused - asked };
  };
  const disabled = await step("disable", 200, post(root, `${path}/disable`));
  await mustBe(200, line.ask(post(root, `${path}/enable`)));
  return [disabled, await step("delete", 204, post(root, path, {}, "DELETE"))];
}

/** Revokes at a steady rate while keys are verified, and looks at each process from each acknowledgement on. */
async function propagate(
  lab: Lab,
  filled: Filled,
  servers: Server,
  watching: readonly Line[],
  changing: readonly Line[],
  count: number,
): Promise<Propagation> {
  const { root, keys } = filled;
  let done = false;
  const verifying = (async () => {
    while (!done) {
      await lab.load(servers, {
        requests: numbers(KEYS_IN_USE).map((number) =>
          verifyRequest({
            root,
            body: { key: secretOf(keys - 1 - number), caller: { name: `caller-${number}` } },
          }),
        ),
        seconds: lab.pick({ full: 5, quick: 3, tiny: 0.5 }),
        rate: VERIFICATIONS_PER_SECOND,
      });
    }
  })();
  const startedAt = performance.now();
  const times: number[] = [];
  let next = 0;
  // Paced, but no more than a few under way: a machine that can't do so many gets no queue that grows.
  const lane = async (line: Line) => {
    while (next < count && performance.now() - startedAt < LONGEST_SPAN_MS) {
      const number = next;
      next += 1;
      const due = startedAt + (number * 1_000) / REVOCATIONS_PER_SECOND;
      await Bun.sleep(Math.max(0, due - performance.now()));
      // Remembered by each process as a good key, so that it must be told.
      await Promise.all(watching.map((watched) => answeredAt(watched, root, () => number, "valid")));
      const acknowledged = await revokeOne(filled, number, line);
      times.push(Math.max(0, (await lastToRefuse(watching, root, () => number)) - acknowledged));
    }
  };
  await Promise.all(changing.slice(0, LANES).map(lane));
  const perSecond = (times.length * 1_000) / (performance.now() - startedAt);
  done = true;
  await verifying;
  return { ...spreadOf(times), count: times.length, perSecond };
}

const LANES = 8;
const LONGEST_SPAN_MS = 60_000;
const KEYS_IN_USE = 200;
const VERIFICATIONS_PER_SECOND = 1_000;
const REVOCATIONS_PER_SECOND = 50;

const REVOKE_ONE = "update keys set revoked_at = 1 where id = $1";
const REVOKE_ALL = "update keys set revoked_at = 1 where owner_id = $1";
const NOTE = "insert into bench_notes (id, entry) values ($1, $2)";
const MAKE_NOTES = "create table bench_notes (id text primary key, entry text not null)";
const ENTRY = "x".repeat(700);

/** The same writes by nobody but the bench: a key's row and a text of an entry's length, and all rows of an owner. */
async function writeBare(
  { place, engine }: Filled,
  owner: string,
  ids: readonly string[],
): Promise<{ bare: number; bareBulk: number }> {
  const time = async (work: () => unknown): Promise<number> => {
    const startedAt = performance.now();
    await work();
    return performance.now() - startedAt;
  };
  if (engine === "SQLite" && "KEYTURN_DATA" in place) {
    const file: Database = openFile(join(place.KEYTURN_DATA, AUTHORITY_FILE), "full");
    file.run(MAKE_NOTES);
    const [one, note] = [file.query(REVOKE_ONE), file.query(NOTE)];
    const spent = await time(() => {
      for (const id of ids) {
        file.run("begin immediate");
        one.run(id);
        note.run(id, ENTRY);
        file.run("commit");
      }
    });
    const bareBulk = await time(() => file.query(REVOKE_ALL).run(owner));
    file.close();
    return { bare: (ids.length * 1_000) / spent, bareBulk };
  }
  if (!("KEYTURN_DATABASE_URL" in place)) throw new Error("a store of PostgreSQL has a URL");
  const pool = new Pool({ connectionString: place.KEYTURN_DATABASE_URL, max: AT_ONCE, pipeline: true });
  // The server is stopped at the end of the run, whoever is still connected.
  pool.on("error", () => undefined);
  pool.on("connect", (client) => void client.on("error", () => undefined));
  await pool.query(MAKE_NOTES);
  let next = 0;
  const spent = await time(() =>
    Promise.all(
      numbers(AT_ONCE).map(async () => {
        const client = await pool.connect();
        while (next < ids.length) {
          const id = ids[next];
          next += 1;
          await Promise.all([
            client.query("begin"),
            client.query({ name: "one", text: REVOKE_ONE, values: [id] }),
            client.query({ name: "note", text: NOTE, values: [id, ENTRY] }),
            client.query("commit"),
          ]);
        }
        client.release();
      }),
    ),
  );
  const bareBulk = await time(() => pool.query(REVOKE_ALL, [owner]));
  await pool.end();
  return { bare: (ids.length * 1_000) / spent, bareBulk };
}

function revocationRow(
  engine: EngineName,
  name: string,
  budget: Row["budget"],
  figureOf: (measured: Revoked) => Figure,
): Row {
  return {
    name: `${name}, ${PROCESSES} processes on ${engine}`,
    budget,
    measure: async (lab) => {
      const done = await revoked(lab, engine);
      return done === null ? NO_POSTGRES : figureOf(done);
    },
  };
}

const ms = (value: number) => `${value.toFixed(1)} ms`;

export const REVOCATION_ROWS: readonly Row[] = ENGINES.flatMap((engine) => [
  revocationRow(
    engine,
    "propagation: from a revocation's acknowledgement until the last process refuses",
    atMost(1_000, " ms"),
    ({ propagation: { p50, p99, max, count, perSecond } }) => ({
      value: max,
      figure: `p50 ${ms(p50)}, p99 ${ms(p99)}, longest ${ms(max)}`,
      floor: "-",
      notes: [
        `${count.toLocaleString("en")} revocations, ${perSecond.toFixed(0)}/s, beside ${VERIFICATIONS_PER_SECOND.toLocaleString("en")} verifications/s; the aim is a p99 of 100 ms`,
      ],
    }),
  ),
  revocationRow(
    engine,
    "single revocations: /s against bare transactions that write a key and a text",
    null,
    ({ perSecond, bare, keys }) => ({
      value: perSecond / bare,
      figure: rate(perSecond),
      floor: rate(bare),
      notes: [`of an account of ${(3 * keys).toLocaleString("en")} keys, ${AT_ONCE} under way`],
    }),
  ),
  revocationRow(
    engine,
    "bulk revoke of a service account's keys: keys/s until every process refuses, against a bare update of their rows",
    null,
    ({ keys, bulk, bareBulk }) => {
      const last = bulk.find(({ what }) => what === "delete");
      const perSecond = (keys * 1_000) / (last?.refused ?? Number.NaN);
      const bare = (keys * 1_000) / bareBulk;
      return {
        value: perSecond / bare,
        figure: rate(perSecond),
        floor: rate(bare),
        notes: bulk.map(
          ({ what, acknowledged, refused }) =>
            `${what} with ${keys.toLocaleString("en")} keys: answered after ${ms(acknowledged)}, refused by every process after ${ms(refused)}`,
        ),
      };
    },
  ),
]);
