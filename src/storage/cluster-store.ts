import type { Kysely, Selectable } from "kysely";
import type { ProcessId } from "../authority/ids.ts";
import type { BrownoutHit, ClusterStore, ServingProcess } from "../authority/storage.ts";
import type { Transact } from "./sqlite.ts";
import type { EvidenceTables, ProcessTable } from "./tables.ts";

type Db = Kysely<EvidenceTables>;

/** What the processes of an installation must know of each other. Writes pass `transact`. */
export function clusterStoreOver(transact: Transact<ClusterStore>, reader: Db): ClusterStore {
  return {
    join: (process) => transact((tx) => tx.join(process)),
    rejoin: (process) => transact((tx) => tx.rejoin(process)),
    report: (id, report) => transact((tx) => tx.report(id, report)),
    leave: (id) => transact((tx) => tx.leave(id)),
    clear: () => transact((tx) => tx.clear()),
    processes: async () => {
      const rows = await reader.selectFrom("processes").selectAll().orderBy("name").orderBy("id").execute();
      return rows.map(toProcess);
    },
    claim: (work, id, now, until) => transact((tx) => tx.claim(work, id, now, until)),
    countBrownout: (id, hits) => transact((tx) => tx.countBrownout(id, hits)),
    askForReports: (question) => transact((tx) => tx.askForReports(question)),
    reportsAsked: () => reportsAsked(reader),
    offerSetup: (digest, expiresAt) => transact((tx) => tx.offerSetup(digest, expiresAt)),
    takeSetup: (digest, now) => transact((tx) => tx.takeSetup(digest, now)),
  };
}

/** The same over a connection with an open transaction. */
export function clusterWriterOver(db: Db): ClusterStore {
  return {
    join: async (process) => {
      await db.deleteFrom("processes").where("name", "=", process.name).execute();
      await db.insertInto("processes").values(fromProcess(process)).execute();
    },
    rejoin: async (process) => {
      await db
        .insertInto("processes")
        .values(fromProcess(process))
        .onConflict((on) => on.column("id").doNothing())
        .execute();
    },
    report: async (id, { appliedSeq, stalenessMs, flushedAt, at }) => {
      const row = await db
        .updateTable("processes")
        .set({
          applied_seq: appliedSeq,
          staleness_ms: wholeMs(stalenessMs),
          flushed_at: flushedAt,
          reported_at: at,
        })
        .where("id", "=", id)
        .returning("id")
        .executeTakeFirst();
      return row !== undefined;
    },
    leave: async (id) => {
      await db.deleteFrom("processes").where("id", "=", id).execute();
      await db.deleteFrom("claims").where("process_id", "=", id).execute();
    },
    clear: async () => {
      await db.deleteFrom("processes").execute();
      await db.deleteFrom("claims").execute();
    },
    processes: async () =>
      (await db.selectFrom("processes").selectAll().orderBy("name").orderBy("id").execute()).map(toProcess),
    claim: async (work, id, now, until) => {
      const row = await db
        .insertInto("claims")
        .values({ work, process_id: id, until })
        .onConflict((on) =>
          on
            .column("work")
            .doUpdateSet({ process_id: id, until })
            .where((is) => is.or([is("claims.process_id", "=", id), is("claims.until", "<", now)])),
        )
        .returning("work")
        .executeTakeFirst();
      return row !== undefined;
    },
    countBrownout: async (brownout_id, hits) => {
      // In one order for all: two processes that report the same callers would wait for each other's rows for ever.
      for (const { caller, refusals } of hits.toSorted(byCaller)) {
        await db
          .insertInto("brownout_tallies")
          .values({ brownout_id, caller, refusals })
          .onConflict((on) =>
            on.columns(["brownout_id", "caller"]).doUpdateSet((is) => ({
              refusals: is("brownout_tallies.refusals", "+", is.ref("excluded.refusals")),
            })),
          )
          .execute();
      }
      return db
        .selectFrom("brownout_tallies")
        .select(["caller", "refusals"])
        .where("brownout_id", "=", brownout_id)
        .orderBy("caller")
        .execute();
    },
    askForReports: async (question) => {
      const row = { process_id: question, until: 0 };
      await db
        .insertInto("claims")
        .values({ work: REPORTS, ...row })
        .onConflict((on) => on.column("work").doUpdateSet(row))
        .execute();
    },
    reportsAsked: () => reportsAsked(db),
    offerSetup: async (digest, expires_at) => {
      await db
        .insertInto("setup_tokens")
        .values({ place: 1, digest, expires_at })
        .onConflict((on) => on.column("place").doUpdateSet({ digest, expires_at }))
        .execute();
    },
    takeSetup: async (digest, now) => {
      // One statement finds and takes it: of two processes that ask at once, one is told that it is good.
      const row = await db
        .deleteFrom("setup_tokens")
        .where("digest", "=", digest)
        .where("expires_at", ">", now)
        .returning("digest")
        .executeTakeFirst();
      return row !== undefined;
    },
  };
}

/** No process takes this piece of work: it is all of theirs, and the row has the question in a process' place. */
const REPORTS = "reports";

async function reportsAsked(db: Db): Promise<string | null> {
  const row = await db
    .selectFrom("claims")
    .select("process_id")
    .where("work", "=", REPORTS)
    .executeTakeFirst();
  return row?.process_id ?? null;
}

function byCaller(one: BrownoutHit, other: BrownoutHit): number {
  return one.caller < other.caller ? -1 : 1;
}

function wholeMs(staleness: number | null): number | null {
  return staleness === null ? null : Math.ceil(staleness);
}

function toProcess(row: Selectable<ProcessTable>): ServingProcess {
  return {
    id: row.id as ProcessId,
    name: row.name,
    version: row.version,
    startedAt: row.started_at,
    boundedSeconds: row.bounded_seconds,
    appliedSeq: row.applied_seq,
    stalenessMs: row.staleness_ms,
    flushedAt: row.flushed_at,
    at: row.reported_at,
  };
}

function fromProcess(process: ServingProcess): Selectable<ProcessTable> {
  return {
    id: process.id,
    name: process.name,
    version: process.version,
    started_at: process.startedAt,
    bounded_seconds: process.boundedSeconds,
    applied_seq: process.appliedSeq,
    staleness_ms: wholeMs(process.stalenessMs),
    flushed_at: process.flushedAt,
    reported_at: process.at,
  };
}
