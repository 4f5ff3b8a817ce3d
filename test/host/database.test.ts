import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { newPlace, type Served, serveAt } from "../support/installation.ts";
import { NO_POSTGRES, newDatabase } from "../support/postgres.ts";
import { cleanUp } from "../support/traces.ts";

afterAll(cleanUp);

const running: Served[] = [];

afterEach(async () => {
  for (const { process } of running.splice(0)) await process.stop();
});

describe.skipIf(NO_POSTGRES)("a process of several on PostgreSQL", () => {
  test("says its name in each line of its log, and in the metrics", async () => {
    const database = await newDatabase();
    const served = await serveAt(newPlace("named"), {
      KEYTURN_DATABASE_URL: database.url,
      KEYTURN_PROCESS_NAME: "keys-7",
    });
    running.push(served);
    await served.call("GET", "/v1/keys/self");
    const lines = served.process.errors().split("\n");
    const logged = lines.filter((line) => line.startsWith("{"));
    expect(logged.length).toBeGreaterThan(1);
    for (const line of logged) expect(JSON.parse(line)).toMatchObject({ process: "keys-7" });
    const metrics = await (await fetch(`${served.url}/metrics`)).text();
    expect(metrics).toMatch(/^keyturn_process_info\{process="keys-7",version="[^"]+"\} 1$/m);
    await served.process.stop();
    await database.drop();
  });
});
