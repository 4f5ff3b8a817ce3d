import type { Evidence } from "../evidence.ts";
import { type EngineName, secretOf } from "../fill.ts";
import { onDatabase } from "../fill-postgres.ts";
import { assertAllValid, type Lab, type Server, verifyRequest } from "../lab.ts";
import { type Figure, median, micros, NO_POSTGRES, type Row, rate, spread } from "../row.ts";
import { ENGINES } from "./stores.ts";

const KEYS = 200;
const numbers = (count: number) => Array.from({ length: count }, (_, number) => number);

/** CPU time over a load and the flush after it, in microseconds for each request. */
async function cpuPerRequest(
  lab: Lab,
  server: Server,
  requests: readonly string[],
): Promise<{ server: number | null; database: number | null; perSecond: number; p99: number }> {
  const seconds = lab.pick({ full: 4, quick: 2, tiny: 0.3 });
  // The compilers' part.
  await lab.load(server, { requests, seconds: seconds / 2 });
  await Bun.sleep(FLUSHED_MS);
  const meters = [() => server.cpu(), () => lab.database()?.cpu() ?? null];
  const before = meters.map((read) => read());
  const result = await lab.load(server, { requests, seconds, warmupSeconds: 0 });
  await Bun.sleep(FLUSHED_MS);
  const [own, database] = meters.map((read, at) => {
    const [from, to] = [before[at] ?? null, read()];
    return from === null || to === null ? null : (to - from) / result.requests;
  });
  assertAllValid(result);
  return { server: own ?? null, database: database ?? null, perSecond: result.perSecond, p99: result.p99 };
}

/** By then what was counted is stored, with the flush interval that is the default. */
const FLUSHED_MS = 1_500;

function cpuRow(engine: EngineName, count: number): Row {
  return {
    name: `CPU time for a verification over HTTP with ${count} ${count === 1 ? "process" : "processes"} on ${engine}: against as many bare servers`,
    budget: null,
    measure: async (lab): Promise<Figure> => {
      const filled = await lab.store(KEYS, engine);
      if (filled === null) return NO_POSTGRES;
      const requests = numbers(KEYS).map((number) =>
        verifyRequest({
          root: filled.root,
          body: { key: secretOf(number), caller: { name: `caller-${number}` } },
        }),
      );
      const servers = await lab.processes(filled, count);
      const ours = await cpuPerRequest(lab, servers, requests);
      await servers.stop();
      const floors = await lab.programs("floor.ts", ["512"], count);
      const floor = await cpuPerRequest(lab, floors, requests);
      await floors.stop();
      return {
        value: ours.server === null || floor.server === null ? null : ours.server / floor.server,
        figure: micros(ours.server),
        floor: micros(floor.server),
        notes: [
          `${rate(ours.perSecond)} against ${rate(floor.perSecond)}, p99 ${micros(ours.p99)} against ${micros(floor.p99)}; the load takes a core of its own`,
          ...(engine === "PostgreSQL"
            ? [`the database took ${micros(ours.database)} of CPU for each verification`]
            : []),
        ],
      };
    },
  };
}

interface Work {
  readonly commits: number;
  readonly rows: number;
}

async function workOf(url: string): Promise<Work> {
  return onDatabase(url, async (client) => {
    const { rows } = await client.query<Work>(
      `select xact_commit::integer as commits, (tup_inserted + tup_updated)::integer as rows
       from pg_stat_database where datname = current_database()`,
    );
    const [row] = rows;
    if (row === undefined) throw new Error("the database keeps no statistics of itself");
    return row;
  });
}

/** Connections tell what they did once a second at most. */
const TOLD_MS = 2_000;

const demand: Row = {
  name: "what PostgreSQL must do: transactions for a process at rest, rows for verifications of keys and callers that differ",
  budget: null,
  measure: async (lab) => {
    const count = 4;
    const filled = await lab.ownStore(lab.pick({ full: 100_000, quick: 20_000, tiny: 1_000 }), "PostgreSQL");
    if (filled === null || !("KEYTURN_DATABASE_URL" in filled.place)) return NO_POSTGRES;
    const url = filled.place.KEYTURN_DATABASE_URL;
    const servers = await lab.processes(filled, count);
    await Bun.sleep(TOLD_MS);
    const rest = lab.pick({ full: 10, quick: 5, tiny: 1 });
    const meter = async () => ({
      work: await workOf(url),
      cpu: lab.database()?.cpu() ?? null,
      own: servers.cpu(),
    });
    const idleFrom = await meter();
    await Bun.sleep(rest * 1_000);
    const idleTo = await meter();
    // Each key once, by a caller of its own: the most that a verification can ask for.
    const seconds = lab.pick({ full: 6, quick: 3, tiny: 0.3 });
    const perSecond = 2_000;
    const result = await lab.load(servers, {
      requests: numbers(Math.min(filled.keys, seconds * perSecond)).map((number) =>
        verifyRequest({
          root: filled.root,
          body: { key: secretOf(number), caller: { name: `caller-${number}` } },
        }),
      ),
      seconds,
      rate: perSecond,
      warmupSeconds: 0,
    });
    await Bun.sleep(TOLD_MS + FLUSHED_MS);
    const busyTo = await meter();
    await servers.stop();
    const cpu = (from: number | null, to: number | null, among: number) =>
      micros(from === null || to === null ? null : (to - from) / among);
    const transactions = (idleTo.work.commits - idleFrom.work.commits) / rest / count;
    return {
      value: null,
      figure: `${transactions.toFixed(1)} transactions/s for a process at rest`,
      floor: "-",
      notes: [
        `a process at rest takes ${cpu(idleFrom.own, idleTo.own, rest * count)} of CPU a second, and ${cpu(idleFrom.cpu, idleTo.cpu, rest * count)} of the database's`,
        `a key's first use in its minute, at ${rate(perSecond)}: ${((busyTo.work.rows - idleTo.work.rows) / result.requests).toFixed(1)} rows written, ${cpu(idleTo.cpu, busyTo.cpu, result.requests)} of the database's CPU and ${cpu(idleTo.own, busyTo.own, result.requests)} of ours; p50 ${micros(result.p50)}, p99 ${micros(result.p99)}`,
      ],
    };
  },
};

function evidenceRow(engine: EngineName): Row {
  return {
    name: `evidence: pairs of key and caller stored per second on ${engine}, five rows each: against bare inserts of as many`,
    budget: null,
    measure: async (lab) => {
      const filled = await lab.ownStore(200, engine);
      if (filled === null) return NO_POSTGRES;
      const [pairs, rounds] = lab.pick({ full: [2_000, 6], quick: [2_000, 3], tiny: [50, 1] });
      const { first, again, floor, ratios } = await lab.ask<Evidence>("evidence.ts", filled, [
        String(pairs),
        String(rounds),
      ]);
      return {
        value: median(ratios),
        figure: rate(first),
        floor: rate(floor),
        notes: [`the ratio was ${spread(ratios)}; pairs that were seen before ${rate(again)}`],
      };
    },
  };
}

export const PROCESS_COUNT_ROWS: readonly Row[] = [
  ...ENGINES.flatMap((engine) => [1, 2, 4].map((count) => cpuRow(engine, count))),
  ...ENGINES.map(evidenceRow),
  demand,
];
