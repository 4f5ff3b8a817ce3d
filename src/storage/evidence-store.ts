import type { Kysely, Transaction } from "kysely";
import { z } from "zod";
import { type Caller, type CallerId, MOST_CALLERS_PER_KEY, OVERFLOW } from "../authority/callers/caller.ts";
import type { KeyId } from "../authority/ids.ts";
import { VERDICT_CODES, type VerdictCode } from "../authority/keys/verdict.ts";
import type { Watch } from "../authority/rotations/evidence.ts";
import type { CallerRow, EvidenceStore, KeyUse, UsageBatch } from "../authority/storage.ts";
import type { Instant } from "../authority/time.ts";
import { toCallerId } from "./rows.ts";
import type { EvidenceTables } from "./tables.ts";

type Db = Kysely<EvidenceTables>;
type Tx = Transaction<EvidenceTables>;

const verdictCode = z.enum(VERDICT_CODES);
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** Usage and callers over Kysely. `writer` and `reader` are two connections to the same place. */
export function evidenceStoreOver(writer: Db, reader: Db): EvidenceStore {
  return {
    startReporter: (id, at) =>
      writer.transaction().execute(async (tx) => {
        await tx.updateTable("reporters").set({ ended: "unclean" }).where("ended", "is", null).execute();
        await tx
          .insertInto("reporters")
          .values({ id, batch_seq: 0, covers_from: at, covers_until: at, ended: null })
          .execute();
      }),
    stopReporter: async (id) =>
      void (await writer.updateTable("reporters").set({ ended: "clean" }).where("id", "=", id).execute()),
    apply: (batch) => writer.transaction().execute((tx) => applyBatch(tx, batch)),
    callersOf: (key) => callersOf(reader, key),
    useOf: async (keys) => {
      if (keys.length === 0) return new Map();
      const rows = await reader.selectFrom("key_uses").selectAll().where("key_id", "in", keys).execute();
      const uses = new Map(rows.map((row) => [row.key_id, row]));
      return new Map(
        keys.flatMap((key): [KeyId, KeyUse][] => {
          const row = uses.get(key);
          if (row === undefined) return [];
          const { first_valid_at, last_valid_at, last_seen_at } = row;
          return [[key, { firstValidAt: first_valid_at, lastValidAt: last_valid_at, lastSeenAt: last_seen_at }]];
        }),
      );
    },
    usage: async (key, unit, from, until) => {
      const size = unit === "minute" ? MINUTE : HOUR;
      const first = Math.floor(from / size);
      const last = Math.ceil(until / size);
      const rows =
        unit === "minute"
          ? await reader
              .selectFrom("usage_minutes")
              .select(["minute as at", "code", "count"])
              .where("key_id", "=", key)
              .where("minute", ">=", first)
              .where("minute", "<", last)
              .orderBy("minute")
              .orderBy("code")
              .execute()
          : await reader
              .selectFrom("usage_hours")
              .select(["hour as at", "code", "count"])
              .where("key_id", "=", key)
              .where("hour", ">=", first)
              .where("hour", "<", last)
              .orderBy("hour")
              .orderBy("code")
              .execute();
      return rows.map((row) => ({ from: row.at * size, code: verdictCode.parse(row.code), count: row.count }));
    },
    watches: () => watchesOf(reader),
    dropBefore: (cut) =>
      writer.transaction().execute(async (tx) => {
        await tx.deleteFrom("usage_minutes").where("minute", "<", Math.floor(cut.minutes / MINUTE)).execute();
        await tx.deleteFrom("usage_hours").where("hour", "<", Math.floor(cut.hours / HOUR)).execute();
        await tx
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
        await tx.deleteFrom("callers").where("last_seen_at", "<", cut.callers).execute();
        await tx.deleteFrom("reporters").where("covers_until", "<", cut.callers).where("ended", "=", "clean").execute();
      }),
  };
}

async function applyBatch(tx: Tx, batch: UsageBatch): Promise<void> {
  const reporter = await tx
    .selectFrom("reporters")
    .select("batch_seq")
    .where("id", "=", batch.reporterId)
    .executeTakeFirst();
  // Applied already, or from a session that nobody opened: a retry must not count twice.
  if (reporter === undefined || reporter.batch_seq >= batch.batchSeq) return;
  await tx
    .updateTable("reporters")
    .set({ batch_seq: batch.batchSeq, covers_until: batch.coversUntil })
    .where("id", "=", batch.reporterId)
    .execute();
  const known = new Map<KeyId, Set<string>>();
  for (const row of batch.callers) await applyCaller(tx, row, await knownCallers(tx, known, row.keyId));
  for (const { keyId, minute, code, count } of batch.usage) {
    await tx
      .insertInto("usage_minutes")
      .values({ key_id: keyId, minute, code, count })
      .onConflict((on) =>
        on.columns(["key_id", "minute", "code"]).doUpdateSet((is) => ({ count: is("usage_minutes.count", "+", count) })),
      )
      .execute();
    const hour = Math.floor((minute * MINUTE) / HOUR);
    await tx
      .insertInto("usage_hours")
      .values({ key_id: keyId, hour, code, count })
      .onConflict((on) =>
        on.columns(["key_id", "hour", "code"]).doUpdateSet((is) => ({ count: is("usage_hours.count", "+", count) })),
      )
      .execute();
  }
}

async function knownCallers(tx: Tx, known: Map<KeyId, Set<string>>, keyId: KeyId): Promise<Set<string>> {
  const had = known.get(keyId);
  if (had !== undefined) return had;
  const rows = await tx.selectFrom("callers").select("caller").where("key_id", "=", keyId).execute();
  const callers = new Set(rows.map((row) => row.caller));
  known.set(keyId, callers);
  return callers;
}

async function applyCaller(tx: Tx, row: CallerRow, known: Set<string>): Promise<void> {
  // The bound is kept here, where all reports of a key meet.
  const full = known.size - (known.has(OVERFLOW) ? 1 : 0) >= MOST_CALLERS_PER_KEY;
  const caller: CallerId = known.has(row.caller) || !full ? row.caller : OVERFLOW;
  const attributes =
    caller === OVERFLOW
      ? { name: null, address: null, agent: null }
      : { name: row.name, address: row.address, agent: row.agent };
  known.add(caller);
  const { firstSeenAt, lastSeenAt, firstValidAt, lastValidAt } = row;
  await tx
    .insertInto("callers")
    .values({
      key_id: row.keyId,
      caller,
      ...attributes,
      first_seen_at: firstSeenAt,
      last_seen_at: lastSeenAt,
      first_valid_at: firstValidAt,
      last_valid_at: lastValidAt,
    })
    .onConflict((on) =>
      on.columns(["key_id", "caller"]).doUpdateSet((is) => ({
        ...attributes,
        last_seen_at: lastSeenAt,
        first_valid_at: is.fn.coalesce("callers.first_valid_at", is.val(firstValidAt)),
        last_valid_at: is.fn.coalesce(is.val(lastValidAt), "callers.last_valid_at"),
      })),
    )
    .execute();
  for (const [code, count] of Object.entries(row.counts)) {
    await tx
      .insertInto("caller_counts")
      .values({ key_id: row.keyId, caller, code, count })
      .onConflict((on) =>
        on.columns(["key_id", "caller", "code"]).doUpdateSet((is) => ({ count: is("caller_counts.count", "+", count) })),
      )
      .execute();
  }
  await tx
    .insertInto("key_uses")
    .values({ key_id: row.keyId, first_valid_at: firstValidAt, last_valid_at: lastValidAt, last_seen_at: lastSeenAt })
    .onConflict((on) =>
      on.column("key_id").doUpdateSet((is) => ({
        last_seen_at: lastSeenAt,
        first_valid_at: is.fn.coalesce("key_uses.first_valid_at", is.val(firstValidAt)),
        last_valid_at: is.fn.coalesce(is.val(lastValidAt), "key_uses.last_valid_at"),
      })),
    )
    .execute();
}

async function callersOf(db: Db, key: KeyId): Promise<readonly Caller[]> {
  const rows = await db.selectFrom("callers").selectAll().where("key_id", "=", key).orderBy("caller").execute();
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

/** How far back watched time is told; no quiet period is longer. */
const LONGEST_WATCH_MS = 400 * 24 * HOUR;

async function watchesOf(db: Db): Promise<{ watches: readonly Watch[]; restartedAt: Instant | null }> {
  const newest = await db.selectFrom("reporters").select("covers_until").orderBy("covers_until", "desc").limit(1).executeTakeFirst();
  if (newest === undefined) return { watches: [], restartedAt: null };
  const rows = await db
    .selectFrom("reporters")
    .select(["covers_from", "covers_until", "ended"])
    .where("covers_until", ">=", newest.covers_until - LONGEST_WATCH_MS)
    .orderBy("covers_from")
    .execute();
  const lastUnclean = rows.findLastIndex((row) => row.ended === "unclean");
  const since = rows.slice(lastUnclean + 1);
  const restartedAt = lastUnclean < 0 ? null : (since[0]?.covers_from ?? newest.covers_until);
  return { watches: since.map((row) => ({ from: row.covers_from, until: row.covers_until })), restartedAt };
}
