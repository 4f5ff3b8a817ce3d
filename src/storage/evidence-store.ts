import { type Kysely, sql } from "kysely";
import { z } from "zod";
import type { Caller } from "../authority/callers/caller.ts";
import { furtherSession } from "../authority/callers/recorder.ts";
import type { KeyId, ReporterId } from "../authority/ids.ts";
import { VERDICT_CODES, type VerdictCode } from "../authority/keys/verdict.ts";
import { type Watched, watchedIn } from "../authority/rotations/watch.ts";
import type { EvidenceStore, KeyUse, LivingReporter, UsageCount } from "../authority/storage.ts";
import type { Instant } from "../authority/time.ts";
import type { Engine } from "./engine.ts";
import { flushOver } from "./evidence-flush.ts";
import { toCallerId } from "./rows.ts";
import type { Transact } from "./sqlite.ts";
import type { EvidenceTables } from "./tables.ts";

type Db = Kysely<EvidenceTables>;

const verdictCode = z.enum(VERDICT_CODES);
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** Usage and callers. Writes pass `transact`; `reader` sees only what is committed. */
export function evidenceStoreOver(transact: Transact<EvidenceWriter>, reader: Db): EvidenceStore {
  return {
    startReporter: (id, process, at, goneOn) => transact((tx) => tx.startReporter(id, process, at, goneOn)),
    endReporters: (lost, at) => transact((tx) => tx.endReporters(lost, at)),
    endReportersOf: (process, at) => transact((tx) => tx.endReportersOf(process, at)),
    endNoneAfter: (at) => transact((tx) => tx.endNoneAfter(at)),
    watchAnew: (at) => transact((tx) => tx.watchAnew(at)),
    stopReporter: (id) => transact((tx) => tx.stopReporter(id)),
    apply: (batch) => transact((tx) => tx.apply(batch)),
    dropBefore: (cut) => transact((tx) => tx.dropBefore(cut)),
    living: () => livingIn(reader),
    callersOf: (key) => callersOf(reader, key),
    useOf: (keys) => useOf(reader, keys),
    usage: (key, unit, from, until) => usageOf(reader, key, unit, from, until),
    watched: () => watchedOver(reader),
  };
}

/** What changes evidence, over a connection with an open transaction. */
export type EvidenceWriter = Pick<
  EvidenceStore,
  | "startReporter"
  | "endReporters"
  | "endReportersOf"
  | "endNoneAfter"
  | "watchAnew"
  | "apply"
  | "stopReporter"
  | "dropBefore"
>;

export function evidenceWriterOver(db: Db, engine: Engine): EvidenceWriter {
  const stopReporter: EvidenceWriter["stopReporter"] = async (id) =>
    void (await db
      .updateTable("reporters")
      .set({ ended: "clean" })
      .where("id", "=", id)
      .where("ended", "is", null)
      .execute());
  return {
    startReporter: async (id, process, at, goneOn = null) => {
      if (goneOn !== null) await stopReporter(goneOn);
      // Not those under further names: a living process of the same name may be what goes on there.
      await db
        .updateTable("reporters")
        .set({ ended: "unclean", ended_at: at })
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
    endReporters: async (lost, at) => {
      for (const { id, batchSeq } of lost) {
        await db
          .updateTable("reporters")
          .set({ ended: "unclean", ended_at: at })
          .where("id", "=", id)
          .where("batch_seq", "=", batchSeq)
          .where("ended", "is", null)
          .execute();
      }
    },
    endReportersOf: async (process, at) => {
      const further = furtherSession(process, "");
      await db
        .updateTable("reporters")
        .set({ ended: "unclean", ended_at: at })
        .where((is) =>
          is.or([
            is("process", "=", process),
            is(sql<string>`substr(process, 1, ${[...further].length})`, "=", further),
          ]),
        )
        .where("ended", "is", null)
        .execute();
    },
    endNoneAfter: async (at) =>
      void (await db.updateTable("reporters").set({ ended_at: at }).where("ended_at", ">", at).execute()),
    watchAnew: async (at) =>
      void (await db.updateTable("reporters").set({ ended: "unclean", ended_at: at }).execute()),
    stopReporter,
    apply: flushOver(db, engine),
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
      // Of the unclean ends only the newest says anything. A younger one may be of a process that lives, whose reports
      // count when it is back; and when one without a date was given up, the next start says.
      await db
        .deleteFrom("reporters")
        .where("covers_until", "<", cut.callers)
        .where("ended", "=", "unclean")
        .where("ended_at", "<", cut.callers)
        .where("ended_at", "<", (is) =>
          is
            .selectFrom("reporters")
            .select(sql<number>`max(ended_at)`.as("newest"))
            .where("ended", "=", "unclean"),
        )
        .execute();
    },
  };
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

async function livingIn(db: Db): Promise<readonly LivingReporter[]> {
  const rows = await db
    .selectFrom("reporters")
    .select(["id", "batch_seq"])
    .where("ended", "is", null)
    .execute();
  return rows.map(({ id, batch_seq }) => ({ id: id as ReporterId, batchSeq: batch_seq }));
}

/** How far back watched time is told; no quiet period is longer. */
const LONGEST_WATCH_MS = 400 * 24 * HOUR;

async function watchedOver(db: Db): Promise<Watched> {
  // Of those that live first: a session of a clock that was years ahead must not make them all seem long ago.
  const newest = await db
    .selectFrom("reporters")
    .select("covers_until")
    .orderBy(sql`case when ended is null then 0 else 1 end`)
    .orderBy("covers_until", "desc")
    .limit(1)
    .executeTakeFirst();
  if (newest === undefined) return { watches: [], restartedAt: null, watermark: null };
  const sessions = db
    .selectFrom("reporters")
    .select(["covers_from as from", "covers_until as until", "ended", "ended_at as endedAt"]);
  // Of any number that were lost the one that was given up last says it all, and nothing before that is watched.
  const lost = await sessions
    .where("ended", "=", "unclean")
    .orderBy(sql`coalesce(ended_at, covers_until)`, "desc")
    .limit(1)
    .execute();
  const recent = sessions.where((is) =>
    is.or([is("ended", "is", null), is("covers_until", ">=", newest.covers_until - LONGEST_WATCH_MS)]),
  );
  const restartedAt = lost.map(({ endedAt, until }) => endedAt ?? until)[0] ?? 0;
  const others = await recent
    .where((is) =>
      is.or([
        is("ended", "is", null),
        is.and([is("ended", "=", "clean"), is("covers_until", ">", restartedAt)]),
      ]),
    )
    .orderBy("covers_from")
    .orderBy("id")
    .execute();
  return watchedIn([...lost, ...others]);
}
