import type { Kysely } from "kysely";
import { z } from "zod";
import type { AccountId } from "../authority/ids.ts";
import type { Storage } from "../authority/storage.ts";
import { readerOver, transactionOver } from "./authority-store.ts";
import { clusterStoreOver, clusterWriterOver } from "./cluster-store.ts";
import { POSTGRES } from "./engine.ts";
import { evidenceStoreOver, evidenceWriterOver } from "./evidence-store.ts";
import { followLog } from "./follow.ts";
import { createRemoteMatch } from "./match.ts";
import { prepareDatabase } from "./migrate-postgres.ts";
import {
  connectionsTo,
  IDENTITY,
  LOCK_EVIDENCE,
  POSTGRES_DEFAULTS,
  type PostgresOptions,
  readAddress,
  readingOver,
  type Session,
  statementTimeoutMs,
  transactionsOver,
} from "./postgres.ts";
import { unavailable } from "./postgres-faults.ts";
import { hearPostgres } from "./postgres-hear.ts";
import { prepare } from "./prepared.ts";
import type { AuthorityTables, EvidenceTables } from "./tables.ts";
import { createTurns } from "./turns.ts";

const LOOK_SECONDS = 1;
const REPORT_SECONDS = 2;

// "Done" means durable, whatever the server does with transactions that don't say: its `off` is not for these.
const LOCK_ACCOUNT =
  "select set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), true), " +
  "pg_advisory_xact_lock_shared(hashtext('keyturn'), 0), " +
  "pg_advisory_xact_lock(hashtext('keyturn account'), hashtext($1))";
const LOCK_ALL =
  "select set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), true), " +
  "pg_advisory_xact_lock(hashtext('keyturn'), 0)";

/**
 * A database of PostgreSQL 14 or newer. Unless `ready` is another one, it is made and migrated where needed and
 * allowed, and waited for while it is still starting. Several processes may serve from it at once.
 */
export async function openPostgresStorage(
  named: PostgresOptions,
  ready: (options: PostgresOptions) => Promise<void> = prepareDatabase,
): Promise<Storage> {
  await ready(named);
  const options = readAddress(named);
  const half = Math.ceil((options.poolSize ?? POSTGRES_DEFAULTS.poolSize) / 2);
  // Apart from each other, because a change holds its connection while it reads the evidence of others.
  const changing = connectionsTo(options, half);
  const reading = connectionsTo(options, half);
  // Everybody reports, and one after another: a process that was cut off meanwhile must not keep the others waiting.
  const reporting = connectionsTo({ ...options, idleInTransactionSeconds: REPORT_SECONDS }, 2);
  // A look that is not answered soon is one that failed, and a verification that waits for it must say so.
  const quick = { ...options, connectTimeoutSeconds: LOOK_SECONDS, statementTimeoutSeconds: LOOK_SECONDS };
  const following = connectionsTo(quick, 2);
  const matching = connectionsTo(quick, half);

  const lock = (session: Session, scope: AccountId | null) =>
    scope === null ? session.run(LOCK_ALL, [], true) : session.run(LOCK_ACCOUNT, [scope], true);
  const transact = transactionsOver(changing, lock, (db: Kysely<AuthorityTables>) =>
    transactionOver(db, POSTGRES),
  );
  const inTurn = createTurns(statementTimeoutMs(options), () =>
    unavailable(new Error("too many changes are waiting for their turn")),
  );
  // Reports of several processes meet in the same rows, in whatever order: one after another they can't deadlock.
  const transactEvidence = transactionsOver(
    reporting,
    (session) => session.run(LOCK_EVIDENCE, [], true),
    (db: Kysely<EvidenceTables>) => evidenceWriterOver(db, POSTGRES),
  );

  const reader = readingOver<AuthorityTables>(reading);
  const committed = readerOver(reader);
  const follower = readingOver<AuthorityTables>(following);
  const log = readerOver(follower).audit;
  // Asked for each entry that is followed, so it must fail as soon as the look that found the entry would.
  const digestsOf = prepare(follower, (at: { key: string }) =>
    follower.selectFrom("digests").select("digest").where("key_id", "=", at.key),
  );
  // Each touches a row of its own, or rows in one order.
  const transactCluster = transactionsOver(reporting, async () => undefined, clusterWriterOver);
  // One statement each, and asked all the time: that needs no transaction around it.
  const { report, claim } = clusterWriterOver(readingOver<EvidenceTables>(reporting));
  const hearing = new Set<() => Promise<void>>();

  return {
    change: (work, scope = null) => inTurn(scope ?? "", () => transact(work, scope)),
    stopsAtFault: false,
    read: committed,
    evidence: evidenceStoreOver((work) => transactEvidence(work, null), readingOver<EvidenceTables>(reading)),
    cluster: {
      ...clusterStoreOver((work) => transactCluster(work, null), readingOver<EvidenceTables>(reading)),
      report,
      claim,
    },
    match: createRemoteMatch(readingOver<AuthorityTables>(matching)),
    digestsOf: async (key) => (await digestsOf({ key })).map((row) => row.digest),
    follow: (after, limit) => followLog(log, after, limit),
    hear: (onNews) => {
      const end = hearPostgres(options, onNews);
      hearing.add(end);
      return () => {
        hearing.delete(end);
        void end();
      };
    },
    identity: async () => {
      const [row] = await following.lend(
        (session) => session.run(IDENTITY, [], true),
        () => true,
      );
      return z.object({ identity: z.string() }).parse(row).identity;
    },
    close: async () => {
      await Promise.all([...hearing].map((end) => end()));
      // What is under way is let to end.
      await Promise.all([changing, reading, matching, reporting, following].map((one) => one.close()));
    },
  };
}
