import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { TIMEOUT_SECONDS } from "../../sdk/src/transport.ts";
import { Refusal } from "../../src/authority/errors.ts";
import type { Storage } from "../../src/authority/storage.ts";
import { patienceOf } from "../../src/host/serving.ts";
import { startServer } from "../../src/http/server.ts";
import { startWorld } from "../support/authority.ts";
import { makeCertificate } from "../support/certificate.ts";
import { clientOf, type Told } from "../support/client.ts";
import { type Http, httpParts, QUIET, startHttp } from "../support/http.ts";

const never = () => new Promise<never>(() => undefined);

/** Under way while the other tests go on, because it takes so long. */
let refusedLate: Promise<Told>;
beforeAll(() => {
  refusedLate = refuseLate();
});

/** A change on the wire that is refused after more time than the runtime gives to a connection that is silent. */
async function refuseLate(): Promise<Told> {
  let isFull = false;
  const world = await startWorld({
    through: (storage) => ({
      ...storage,
      change: async (work, scope) => {
        if (!isFull) return storage.change(work, scope);
        // Over TLS the runtime closes after 16 s, and counts in steps of 4.
        await Bun.sleep(21_000);
        throw new Refusal("storage_unavailable", "The database's disk is full.");
      },
    }),
  });
  const server = startServer({
    ...httpParts(world),
    host: "127.0.0.1",
    port: 0,
    metricsPort: null,
    tls: makeCertificate(),
    log: QUIET,
  });
  try {
    isFull = true;
    return await clientOf(server.url, world.root.secret)("POST", "/v1/accounts", { body: { name: "acme" } });
  } finally {
    isFull = false;
    await server.stop();
    await world.close();
  }
}

describe("R39: a call that the database holds up", () => {
  let http: Http;
  let hangs = false;
  const hanging = (storage: Storage): Storage => ({
    ...storage,
    change: (work, scope) => (hangs ? never() : storage.change(work, scope)),
    read: {
      ...storage.read,
      accounts: {
        ...storage.read.accounts,
        list: (page, only) => (hangs ? never() : storage.read.accounts.list(page, only)),
      },
    },
  });
  beforeAll(async () => {
    http = await startHttp({ through: hanging, patienceSeconds: 0.1 });
    hangs = true;
  });
  afterAll(async () => {
    hangs = false;
    expect(http.errors).toEqual([]);
    await http.close();
  });

  test("is told of a change that takes too long that it may have been made", async () => {
    const told = await http.call("POST", "/v1/accounts", { body: { name: "acme" } });
    expect([told.status, told.code]).toEqual([503, "outcome_unknown"]);
    expect(told.text).toContain("within 0.1 s");
  });

  test("is told of a reading that takes too long that there is no answer", async () => {
    const told = await http.call("GET", "/v1/accounts");
    expect([told.status, told.code]).toEqual([503, "storage_unavailable"]);
  });

  test("is answered on the wire, after more time than silent connections have", async () => {
    const { status, code, text } = await refusedLate;
    expect([status, code]).toEqual([503, "storage_unavailable"]);
    expect(text).toContain("disk is full");
  }, 60_000);
});

test("a client waits longer for a change than a server with default settings does", () => {
  const database = {
    url: "postgres://localhost/keyturn",
    poolSize: undefined,
    connectTimeoutSeconds: undefined,
    statementTimeoutSeconds: undefined,
    startTimeoutSeconds: undefined,
  };
  for (const each of [database, null]) {
    expect(TIMEOUT_SECONDS.change).toBeGreaterThan(patienceOf({ database: each }));
    expect(TIMEOUT_SECONDS.create).toBeGreaterThan(patienceOf({ database: each }));
  }
  // Turn, connection, lock and commit, each as long as it may take, and the reports of others before.
  expect(patienceOf({ database })).toBeGreaterThan(10 + 5 + 12 + 12 + 5);
});
