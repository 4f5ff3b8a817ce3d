import { type Kysely, sql } from "kysely";
import { MOST_CALLERS_PER_KEY, OVERFLOW } from "../authority/callers/caller.ts";
import type { CallerRow, UsageBatch } from "../authority/storage.ts";
import { type Engine, withoutNul } from "./engine.ts";
import { prepare } from "./prepared.ts";
import type { EvidenceTables } from "./tables.ts";
import {
  CALLER_COUNTS,
  CALLERS,
  KEY_USES,
  type Tally,
  type TallyRow,
  tallyOf,
  USAGE_HOURS,
  USAGE_MINUTES,
} from "./tallies.ts";

type Db = Kysely<EvidenceTables>;

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** Counts a batch within the open transaction of `db`, as `EvidenceStore.apply` says. */
export function flushOver(db: Db, engine: Engine): (batch: UsageBatch) => Promise<"living" | "ended"> {
  const batchSeq = prepare(db, (at: { id: string }) =>
    db.selectFrom("reporters").select(["batch_seq", "ended"]).where("id", "=", at.id),
  );
  const advance = prepare(db, (to: { id: string; batch_seq: number; covers_until: number }) =>
    db
      .updateTable("reporters")
      .set({ batch_seq: to.batch_seq, covers_until: to.covers_until })
      .where("id", "=", to.id),
  );
  const callersOf = engine.selectEach(db, (isOne) =>
    db
      .selectFrom("callers")
      .select(["key_id", "caller"])
      .where(isOne(sql.ref("key_id"))),
  );
  const adding = <Row extends TallyRow>(tally: Tally<Row>) => engine.addEach(db, tally);
  const add = {
    callers: adding(CALLERS),
    counts: adding(CALLER_COUNTS),
    uses: adding(KEY_USES),
    minutes: adding(USAGE_MINUTES),
    hours: adding(USAGE_HOURS),
  };

  async function addCallers(rows: readonly CallerRow[]): Promise<void> {
    const known = await knownCallers(rows);
    const callers = tallyOf(CALLERS);
    const counts = tallyOf(CALLER_COUNTS);
    const uses = tallyOf(KEY_USES);
    for (const row of rows) {
      const key_id = row.keyId;
      const caller = callerWithin(known.get(key_id) ?? new Set(), withoutNul(row.caller));
      const { name, address, agent } = caller === OVERFLOW ? { name: null, address: null, agent: null } : row;
      const seen = {
        first_valid_at: row.firstValidAt,
        last_valid_at: row.lastValidAt,
        last_seen_at: row.lastSeenAt,
      };
      callers.add({ key_id, caller, name, address, agent, first_seen_at: row.firstSeenAt, ...seen });
      for (const [code, count] of Object.entries(row.counts)) counts.add({ key_id, caller, code, count });
      uses.add({ key_id, ...seen });
    }
    await Promise.all([add.callers(callers.rows()), add.counts(counts.rows()), add.uses(uses.rows())]);
  }

  async function knownCallers(rows: readonly CallerRow[]): Promise<ReadonlyMap<string, Set<string>>> {
    const known = new Map(rows.map((row) => [row.keyId as string, new Set<string>()]));
    for (const { key_id, caller } of await callersOf([...known.keys()])) known.get(key_id)?.add(caller);
    return known;
  }

  async function addUsage(rows: UsageBatch["usage"]): Promise<void> {
    const minutes = tallyOf(USAGE_MINUTES);
    const hours = tallyOf(USAGE_HOURS);
    for (const { keyId, minute, code, count } of rows) {
      minutes.add({ key_id: keyId, minute, code, count });
      hours.add({ key_id: keyId, hour: Math.floor((minute * MINUTE) / HOUR), code, count });
    }
    await Promise.all([add.minutes(minutes.rows()), add.hours(hours.rows())]);
  }

  return async (batch) => {
    const [reporter] = await batchSeq({ id: batch.reporterId });
    if (reporter === undefined) return "ended";
    const session = reporter.ended === null ? "living" : "ended";
    // Applied already: a retry must not count twice.
    if (reporter.batch_seq >= batch.batchSeq) return session;
    await advance({ id: batch.reporterId, batch_seq: batch.batchSeq, covers_until: batch.coversUntil });
    for await (const rows of inPortions(batch.callers, engine.rowsAtOnce)) await addCallers(rows);
    for await (const rows of inPortions(batch.usage, engine.rowsAtOnce)) await addUsage(rows);
    return session;
  };
}

/** As whom the caller is counted: the bound is kept here, where all reports of a key meet. */
function callerWithin(known: Set<string>, caller: string): string {
  const full = known.size - (known.has(OVERFLOW) ? 1 : 0) >= MOST_CALLERS_PER_KEY;
  const counted = known.has(caller) || !full ? caller : OVERFLOW;
  known.add(counted);
  return counted;
}

/** A long report lets others have their turn on this thread after each portion. */
async function* inPortions<T>(rows: readonly T[], size: number): AsyncGenerator<readonly T[]> {
  for (let from = 0; from < rows.length; from += size) {
    yield rows.slice(from, from + size);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
