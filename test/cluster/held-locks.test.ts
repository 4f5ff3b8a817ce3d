import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Refusal } from "../../src/authority/errors.ts";
import { newId } from "../../src/authority/ids.ts";
import type { Storage } from "../../src/authority/storage.ts";
import { openPostgresStorage } from "../../src/storage/postgres-storage.ts";
import { START } from "../support/authority.ts";
import { failureOf, NO_POSTGRES, newDatabase, type TestDatabase } from "../support/postgres.ts";
import { appendEntry, seed } from "../support/storage.ts";
import { until } from "../support/until.ts";
import { stretchWire, type Wire } from "../support/wire.ts";

describe.skipIf(NO_POSTGRES)("a process that is cut off without a word", () => {
  let database: TestDatabase;
  let wire: Wire;
  let gone: Storage;
  let well: Storage;
  beforeAll(async () => {
    database = await newDatabase();
    wire = await stretchWire(database.url);
    const patience = { statementTimeoutSeconds: 5 };
    gone = await openPostgresStorage({ url: wire.url, ...patience });
    well = await openPostgresStorage({ url: database.url, ...patience });
  });
  afterAll(async () => {
    wire.mend();
    await gone.close();
    await well.close();
    await wire.close();
    await database.drop();
  });

  test.each(["its account's lock", "the end of the log"])(
    "in the middle of a change holds %s for less long than others wait for it",
    async (what) => {
      const { account } = await seed(well);
      const held = Promise.withResolvers<void>();
      const lost = gone.change(async (tx) => {
        if (what === "the end of the log") await appendEntry(tx, { accountId: account.id });
        wire.silence();
        held.resolve();
        await tx.audit.head();
      }, account.id);
      const failed = failureOf(lost);
      await held.promise;
      // It would be refused after 5 s.
      await well.change((tx) => appendEntry(tx, { accountId: account.id }), account.id);
      wire.mend();
      expect(await failed).toBeInstanceOf(Refusal);
    },
    30_000,
  );

  test("while it reports holds up nobody's reports", async () => {
    const reporter = newId("rep");
    await gone.evidence.startReporter(reporter, "gone", START);
    const report = (reporterId: typeof reporter, batchSeq: number) => ({
      ...{ reporterId, batchSeq, coversFrom: START, coversUntil: START + 1, usage: [] },
      callers: [],
    });
    wire.silenceAtCommit();
    const lost = gone.evidence.apply(report(reporter, 1)).catch(() => undefined);
    await until("it waits to be told that it has reported", () => wire.isSilent());
    const other = newId("rep");
    await well.evidence.startReporter(other, "well", START);
    expect(await well.evidence.apply(report(other, 1))).not.toBe("ended");
    wire.mend();
    await lost;
  }, 30_000);
});
