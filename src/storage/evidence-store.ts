import { type Kysely, sql } from "kysely";
import { z } from "zod";
import { type Caller, type CallerId, MOST_CALLERS_PER_KEY, OVERFLOW } from "../authority/callers/caller.ts";
import type { KeyId } from "../authority/ids.ts";
import { VERDICT_CODES, type VerdictCode } from "../authority/keys/verdict.ts";
import { type Watched, watchedIn } from "../authority/rotations/watch.ts";
import type { CallerRow, EvidenceStore, KeyUse, UsageBatch, UsageCount } from "../authority/storage.ts";
import type { Instant } from "../authority/time.ts";
import { prepare } from "./prepared.ts";
import { toCallerId } from "./rows.ts";
import type { Transact } from "./sqlite.ts";
import type {
  CallerCountTable,
  CallerTable,
  EvidenceTables,
  KeyUseTable,
  UsageHourTable,
  UsageMinuteTable,
} from "./tables.ts";

type Db = Kysely<EvidenceTables>;

const verdictCode = z.enum(VERDICT_CODES);
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** Usage and callers. Writes pass `transact`; `reader` sees only what is committed. */
export function evidenceStoreOver(transact: Transact<EvidenceWriter>, reader: Db): EvidenceStore {
  return {
    startReporter: (id, process, at) => transact((tx) => tx.startReporter(id, process, at)),
    endLostReporters: (before, at) => transact((tx) => tx.endLostReporters(before, at)),
    stopReporter: (id) => transact((tx) => tx.stopReporter(id)),
    apply: (batch) => transact((tx) => tx.apply(batch)),
    dropBefore: (cut) => transact((tx) => tx.dropBefore(cut)),
    callersOf: (key) => callersOf(reader, key),
    useOf: (keys) => useOf(reader, keys),
    usage: (key, unit, from, until) => usageOf(reader, key, unit, from, until),
    watched: () => watchedOver(reader),
  };
}

/** What changes evidence, over a connection with an open transaction. */
export type EvidenceWriter = Pick<
  EvidenceStore,
  "startReporter" | "endLostReporters" | "apply" | "stopReporter" | "dropBefore"
>;

export function evidenceWriterOver(db: Db): EvidenceWriter {
  const statements = statementsOver(db);
  return {
    startReporter: async (id, process, at) => {
      const gone = { ended: "unclean", ended_at: at };
      await db
        .updateTable("reporters")
        .set(gone)
        .where("process", "=", process)
        .where("ended", "is", null)
        .execute();
      // Those of a backup: what was seen between it and now, nobody has told.
      await db
        .updateTable("reporters")
        .set({ ended_at: at })
        .where("ended", "=", "unclean")
        .where("ended_at", "is", null)
        .execute();
      await db
        .insertInto("reporters")
        .values({ id, process, batch_seq: 0, covers_from: at, covers_until: at, ended: null, ended_at: null })
        .execute();
    },
    endLostReporters: async (before, at) =>
      void (await db
        .updateTable("reporters")
        .set({ ended: "unclean", ended_at: at })
        .where("covers_until", "<", before)
        .where("ended", "is", null)
        .execute()),
    stopReporter: async (id) =>
      void (await db
        .updateTable("reporters")
        .set({ ended: "clean" })
        .where("id", "=", id)
        .where("ended", "is", null)
        .execute()),
    apply: (batch) => applyBatch(statements, batch),
    dropBefore: async (cut) => {
      await db
        .deleteFrom("usage_minutes")
        .where("minute", "<", Math.floor(cut.minutes / MINUTE))
        .execute();
      await db
        .deleteFrom("usage_hours")
        .where("hour", "<", Math.floor(cut.hours / HOUR))
        .execute();
      await db
        .deleteFrom("caller_counts")
        .where((is) =>
          is.exists(
            is
              .selectFrom("callers")
              .select("callers.caller")
              .whereRef("callers.key_id", "=", "caller_counts.key_id")
              .whereRef("callers.caller", "=", "caller_counts.caller")
              .where("callers.last_seen_at", "<", cut.callers),
          ),
        )
        .execute();
      await db.deleteFrom("callers").where("last_seen_at", "<", cut.callers).execute();
      await db
        .deleteFrom("reporters")
        .where("covers_until", "<", cut.callers)
        .where("ended", "=", "clean")
        .execute();
    },
  };
}

type Statements = ReturnType<typeof statementsOver>;

/** What a flush runs for each row; all counts add up, whatever the order in which reports arrive. */
function statementsOver(db: Db) {
  return {
    batchSeq: prepare(db, (at: { id: string }) =>
      db.selectFrom("reporters").select(["batch_seq", "ended"]).where("id", "=", at.id),
    ),
    advance: prepare(db, (to: { id: string; batch_seq: number; covers_until: number }) =>
      db
        .updateTable("reporters")
        .set({ batch_seq: to.batch_seq, covers_until: to.covers_until })
        .where("id", "=", to.id),
    ),
    callersOf: prepare(db, (at: { key: string }) =>
      db.selectFrom("callers").select("caller").where("key_id", "=", at.key),
    ),
    addCaller: prepare(db, (row: CallerTable) =>
      db
        .insertInto("callers")
        .values(row)
        .onConflict((on) =>
          on.columns(["key_id", "caller"]).doUpdateSet((is) => ({
            address: is.fn.coalesce("excluded.address", "callers.address"),
            agent: is.fn.coalesce("excluded.agent", "callers.agent"),
            first_seen_at: earlier("callers.first_seen_at", "excluded.first_seen_at"),
            last_seen_at: later("callers.last_seen_at", "excluded.last_seen_at"),
            first_valid_at: earlier("callers.first_valid_at", "excluded.first_valid_at"),
            last_valid_at: later("callers.last_valid_at", "excluded.last_valid_at"),
          })),
        ),
    ),
    addCount: prepare(db, (row: CallerCountTable) =>
      db
        .insertInto("caller_counts")
        .values(row)
        .onConflict((on) =>
          on
            .columns(["key_id", "caller", "code"])
            .doUpdateSet((is) => ({ count: is("caller_counts.count", "+", is.ref("excluded.count")) })),
        ),
    ),
    addUse: prepare(db, (row: KeyUseTable) =>
      db
        .insertInto("key_uses")
        .values(row)
        .onConflict((on) =>
          on.column("key_id").doUpdateSet({
            first_valid_at: earlier("key_uses.first_valid_at", "excluded.first_valid_at"),
            last_valid_at: later("key_uses.last_valid_at", "excluded.last_valid_at"),
            last_seen_at: later("key_uses.last_seen_at", "excluded.last_seen_at"),
          }),
        ),
    ),
    addMinute: prepare(db, (row: UsageMinuteTable) =>
      db
        .insertInto("usage_minutes")
        .values(row)
        .onConflict((on) =>
          on
            .columns(["key_id", "minute", "code"])
            .doUpdateSet((is) => ({ count: is("usage_minutes.count", "+", is.ref("excluded.count")) })),
        ),
    ),
    addHour: prepare(db, (row: UsageHourTable) =>
      db
        .insertInto("usage_hours")
        .values(row)
        .onConflict((on) =>
          on
            .columns(["key_id", "hour", "code"])
            .doUpdateSet((is) => ({ count: is("usage_hours.count", "+", is.ref("excluded.count")) })),
        ),
    ),
  };
}

/** The earlier of two instants, or the one that there is. */
function earlier(had: string, reported: string) {
  const [one, other] = [sql.ref(had), sql.ref(reported)];
  return sql<number>`coalesce(case when ${other} < ${one} then ${other} else ${one} end, ${other})`;
}

function later(had: string, reported: string) {
  const [one, other] = [sql.ref(had), sql.ref(reported)];
  return sql<number>`coalesce(case when ${other} > ${one} then ${other} else ${one} end, ${other})`;
}

/**
 * The embedded database answers on this thread, so a long report lets others have their turn: 32 rows take about 1 ms.
 * On PostgreSQL the statements of so many rows travel together, in this order.
 */
const ROWS_AT_ONCE = 32;

function* inPortions<T>(rows: readonly T[]): Generator<readonly T[]> {
  for (let from = 0; from < rows.length; from += ROWS_AT_ONCE) yield rows.slice(from, from + ROWS_AT_ONCE);
}

async function applyBatch(run: Statements, batch: UsageBatch): Promise<"living" | "ended"> {
  const [reporter] = await run.batchSeq({ id: batch.reporterId });
  if (reporter === undefined) return "ended";
  const session = reporter.ended === null ? "living" : "ended";
  // Applied already: a retry must not count twice.
  if (reporter.batch_seq >= batch.batchSeq) return session;
  await run.advance({ id: batch.reporterId, batch_seq: batch.batchSeq, covers_until: batch.coversUntil });
  const known = new Map<KeyId, Promise<Set<string>>>();
  for (const rows of inPortions(batch.callers)) {
    const callers = await Promise.all(rows.map((row) => knownCallers(run, known, row.keyId)));
    await Promise.all(rows.map((row, index) => applyCaller(run, row, callers[index] ?? new Set())));
    await breathe();
  }
  for (const rows of inPortions(batch.usage)) {
    await Promise.all(
      rows.flatMap(({ keyId, minute, code, count }) => [
        run.addMinute({ key_id: keyId, minute, code, count }),
        run.addHour({ key_id: keyId, hour: Math.floor((minute * MINUTE) / HOUR), code, count }),
      ]),
    );
    await breathe();
  }
  return session;
}

function breathe(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function knownCallers(
  run: Statements,
  known: Map<KeyId, Promise<Set<string>>>,
  keyId: KeyId,
): Promise<Set<string>> {
  const had = known.get(keyId);
  if (had !== undefined) return had;
  const callers = run.callersOf({ key: keyId }).then((rows) => new Set(rows.map((row) => row.caller)));
  known.set(keyId, callers);
  return callers;
}

async function applyCaller(run: Statements, row: CallerRow, known: Set<string>): Promise<void> {
  // The bound is kept here, where all reports of a key meet.
  const full = known.size - (known.has(OVERFLOW) ? 1 : 0) >= MOST_CALLERS_PER_KEY;
  const caller: CallerId = known.has(row.caller) || !full ? row.caller : OVERFLOW;
  const told = caller === OVERFLOW ? { name: null, address: null, agent: null } : row;
  known.add(caller);
  const seen = {
    first_valid_at: row.firstValidAt,
    last_valid_at: row.lastValidAt,
    last_seen_at: row.lastSeenAt,
  };
  const { name, address, agent } = told;
  const key_id = row.keyId;
  await Promise.all([
    run.addCaller({ key_id, caller, name, address, agent, first_seen_at: row.firstSeenAt, ...seen }),
    ...Object.entries(row.counts).map(([code, count]) => run.addCount({ key_id, caller, code, count })),
    run.addUse({ key_id, ...seen }),
  ]);
}

async function callersOf(db: Db, key: KeyId): Promise<readonly Caller[]> {
  const rows = await db
    .selectFrom("callers")
    .selectAll()
    .where("key_id", "=", key)
    .orderBy("caller")
    .execute();
  const counts = await db.selectFrom("caller_counts").selectAll().where("key_id", "=", key).execute();
  const byCaller = new Map<string, Partial<Record<VerdictCode, number>>>();
  for (const { caller, code, count } of counts) {
    byCaller.set(caller, { ...byCaller.get(caller), [verdictCode.parse(code)]: count });
  }
  return rows.map((row) => ({
    id: toCallerId(row.caller),
    name: row.name,
    address: row.address,
    agent: row.agent,
    firstSeenAt: row.first_seen_at,
    lastSeenAt: row.last_seen_at,
    firstValidAt: row.first_valid_at,
    lastValidAt: row.last_valid_at,
    counts: byCaller.get(row.caller) ?? {},
  }));
}

async function useOf(db: Db, keys: readonly KeyId[]): Promise<ReadonlyMap<KeyId, KeyUse>> {
  if (keys.length === 0) return new Map();
  const rows = await db.selectFrom("key_uses").selectAll().where("key_id", "in", keys).execute();
  const uses = new Map(rows.map((row) => [row.key_id, row]));
  return new Map(
    keys.flatMap((key): [KeyId, KeyUse][] => {
      const row = uses.get(key);
      if (row === undefined) return [];
      return [
        [
          key,
          { firstValidAt: row.first_valid_at, lastValidAt: row.last_valid_at, lastSeenAt: row.last_seen_at },
        ],
      ];
    }),
  );
}

async function usageOf(
  db: Db,
  key: KeyId,
  unit: "minute" | "hour",
  from: Instant,
  until: Instant,
): Promise<readonly UsageCount[]> {
  const size = unit === "minute" ? MINUTE : HOUR;
  const first = Math.floor(from / size);
  const last = Math.ceil(until / size);
  const rows =
    unit === "minute"
      ? await db
          .selectFrom("usage_minutes")
          .select(["minute as at", "code", "count"])
          .where("key_id", "=", key)
          .where("minute", ">=", first)
          .where("minute", "<", last)
          .orderBy("minute")
          .orderBy("code")
          .execute()
      : await db
          .selectFrom("usage_hours")
          .select(["hour as at", "code", "count"])
          .where("key_id", "=", key)
          .where("hour", ">=", first)
          .where("hour", "<", last)
          .orderBy("hour")
          .orderBy("code")
          .execute();
  return rows.map((row) => ({ from: row.at * size, code: verdictCode.parse(row.code), count: row.count }));
}

/** How far back watched time is told; no quiet period is longer. */
const LONGEST_WATCH_MS = 400 * 24 * HOUR;

async function watchedOver(db: Db): Promise<Watched> {
  const newest = await db
    .selectFrom("reporters")
    .select("covers_until")
    .orderBy("covers_until", "desc")
    .limit(1)
    .executeTakeFirst();
  if (newest === undefined) return { watches: [], restartedAt: null, watermark: null };
  const sessions = await db
    .selectFrom("reporters")
    .select(["covers_from as from", "covers_until as until", "ended", "ended_at as endedAt"])
    .where("covers_until", ">=", newest.covers_until - LONGEST_WATCH_MS)
    .orderBy("covers_from")
    .orderBy("id")
    .execute();
  return watchedIn(sessions);
}
