import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { refusalOf } from "../../test/support/authority.ts";
import { failureOf, NO_POSTGRES } from "../../test/support/postgres.ts";
import { type PostgresServer, startPostgresServer } from "../../test/support/postgres-server.ts";
import { appendEntry } from "../../test/support/storage.ts";
import { dropFolder, newFolder } from "../../test/support/traces.ts";
import { until } from "../../test/support/until.ts";
import type { Storage } from "../authority/storage.ts";
import { hearPostgres } from "./postgres-hear.ts";
import { openPostgresStorage } from "./postgres-storage.ts";

describe.skipIf(NO_POSTGRES)("a server that comes and goes", () => {
  let server: PostgresServer;
  let storage: Storage;
  const url = () => `${server.url}/postgres`;
  beforeAll(async () => {
    server = await startPostgresServer({ durable: true });
    storage = await openPostgresStorage({ url: url() });
  });
  afterAll(async () => {
    await storage.close();
    await server.close();
  });

  test.each(["clean", "crash"] as const)(
    "(%s stop) is heard again when it is back, told of as news, and has lost nothing",
    async (how) => {
      let news = 0;
      const end = storage.hear(() => {
        news += 1;
      });
      await until("it listens", () => news === 1);
      const before = await storage.change((tx) => appendEntry(tx));
      await until("it heard", () => news === 2);
      await server.stop(how);
      expect((await refusalOf(storage.change((tx) => appendEntry(tx)))).code).toBe("storage_unavailable");
      expect((await refusalOf(storage.read.audit.head())).code).toBe("storage_unavailable");
      await server.again();
      await until("it listens again", () => news >= 3);
      const heard = news;
      expect(await storage.change((tx) => tx.audit.head())).toMatchObject({ seq: before.seq });
      await storage.change((tx) => appendEntry(tx));
      await until("it heard after that", () => news > heard);
      end();
    },
  );

  test("is reached again while a file that the URL names can't be read: it was read at the start", async () => {
    const folder = newFolder("certificate");
    const authority = join(folder, "ca.pem");
    writeFileSync(authority, "");
    const named = `${url()}?sslmode=disable&sslrootcert=${authority}`;
    const opened = await openPostgresStorage({ url: named });
    let news = 0;
    const end = opened.hear(() => {
      news += 1;
    });
    await until("it listens", () => news === 1);
    rmSync(authority);
    await server.stop("crash");
    await server.again();
    await until("it listens again", () => news >= 2);
    const before = await opened.change((tx) => appendEntry(tx));
    expect(await opened.read.audit.head()).toMatchObject({ seq: before.seq });
    end();
    await opened.close();
    // A start says what is wrong, and so does not begin to serve.
    expect(await failureOf(openPostgresStorage({ url: named, startTimeoutSeconds: 0.1 }))).toMatchObject({
      code: "ENOENT",
    });
    dropFolder(folder);
  });

  test("is heard without a word to anybody where no connection can be made at all", async () => {
    const end = hearPostgres({ url: `${url()}?sslrootcert=/nowhere/ca.pem` }, () => undefined);
    // Several tries, each of which would end the process if it were not caught.
    await Bun.sleep(500);
    await end();
  });

  test("is waited for by a process that starts before it is there, and not for ever", async () => {
    await server.stop("clean");
    const early = await failureOf(openPostgresStorage({ url: url(), startTimeoutSeconds: 0.1 }));
    expect(early).toMatchObject({ code: "ECONNREFUSED" });
    const opening = openPostgresStorage({ url: url() });
    await server.again();
    await (await opening).close();
  });
});
