import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  ConfigError,
  type Environment,
  placeOf,
  readConfig,
  SERVER_VARIABLES,
  unknownVariables,
} from "../../src/config.ts";
import { makeCertificate, NO_CERTIFICATES } from "../support/certificate.ts";
import { newPlace, refusedAt, type Served, serveAt } from "../support/installation.ts";
import { cleanUp } from "../support/traces.ts";

afterAll(cleanUp);

const running: Served[] = [];

afterEach(async () => {
  for (const { process } of running.splice(0)) await process.stop();
});

describe("keys never travel in clear by accident", () => {
  test("off the loopback the start is refused without TLS, with both ways out", async () => {
    const { code, said } = await refusedAt(newPlace("clear"), { KEYTURN_HOST: "0.0.0.0" });
    expect(code).not.toBe(0);
    for (const name of [
      "KEYTURN_HOST",
      "KEYTURN_TLS_CERT_FILE",
      "KEYTURN_TLS_KEY_FILE",
      "KEYTURN_TLS=terminated-elsewhere",
    ]) {
      expect(said).toContain(name);
    }
  });

  test("KEYTURN_TLS=terminated-elsewhere is taken at its word", async () => {
    const served = await serveAt(newPlace("elsewhere"), {
      KEYTURN_HOST: "0.0.0.0",
      KEYTURN_TLS: "terminated-elsewhere",
    });
    running.push(served);
    const port = new URL(served.url).port;
    expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200);
  });

  test.skipIf(NO_CERTIFICATES).each(["1", "2"])(
    "with TLS files it serves https, and http not at all; workers: %s",
    async (workers) => {
      const files = makeCertificate();
      const served = await serveAt(newPlace("tls"), {
        KEYTURN_WORKERS: workers,
        KEYTURN_HOST: "0.0.0.0",
        KEYTURN_TLS_CERT_FILE: files?.certFile,
        KEYTURN_TLS_KEY_FILE: files?.keyFile,
      });
      running.push(served);
      expect(served.url).toStartWith("https://");
      expect((await served.call("GET", "/v1/keys/self")).body.at("name")).toBe("root");
      const inClear = await fetch(served.url.replace("https:", "http:"), {
        signal: AbortSignal.timeout(5_000),
      }).then(
        (response) => response.status,
        () => "no answer",
      );
      expect(inClear).not.toBe(200);
    },
  );

  test("certificate files that are not there are refused by the names of their settings", async () => {
    const place = newPlace("tls-missing");
    const missing = join(place.folder, "missing.pem");
    const { code, said } = await refusedAt(place, {
      KEYTURN_TLS_CERT_FILE: missing,
      KEYTURN_TLS_KEY_FILE: missing,
    });
    expect(code).not.toBe(0);
    expect(said).toContain("KEYTURN_TLS_CERT_FILE");
  });
});

describe("settings", () => {
  const bad: readonly [(typeof SERVER_VARIABLES)[number], string][] = [
    ["KEYTURN_PORT", "http"],
    ["KEYTURN_PORT", "65536"],
    ["KEYTURN_PORT", "-1"],
    ["KEYTURN_PORT", "8420.5"],
    ["KEYTURN_HOST", "0.0.0.0"],
    ["KEYTURN_HOST", "192.0.2.1"],
    ["KEYTURN_PUBLIC_URL", "keyturn.example"],
    ["KEYTURN_PUBLIC_URL", "ftp://keyturn.example"],
    ["KEYTURN_REGION", "EU"],
    ["KEYTURN_KEY_BRAND", "KT"],
    ["KEYTURN_KEY_BRAND", "k_t"],
    ["KEYTURN_RETIRED_KEY_BRANDS", "old,No"],
    ["KEYTURN_TRUSTED_PROXIES", "10.0.0.0/33"],
    ["KEYTURN_TRUSTED_PROXIES", "10.0.0.1, proxy"],
    ["KEYTURN_CALLER_ADDRESS", "some"],
    ["KEYTURN_FLUSH_INTERVAL", "61s"],
    ["KEYTURN_FLUSH_INTERVAL", "1"],
    ["KEYTURN_FLUSH_INTERVAL", "0s"],
    ["KEYTURN_CACHE_KEYS", "999"],
    ["KEYTURN_METRICS_PORT", "70000"],
    ["KEYTURN_LOG_LEVEL", "loud"],
    ["KEYTURN_DATABASE_URL", "mysql://db/keyturn"],
    ["KEYTURN_DATABASE_POOL", "1"],
    ["KEYTURN_DATABASE_CONNECT_TIMEOUT", "61s"],
    ["KEYTURN_DATABASE_STATEMENT_TIMEOUT", "10"],
    ["KEYTURN_DATABASE_START_TIMEOUT", "0s"],
    ["KEYTURN_WORKERS", "0"],
    ["KEYTURN_WORKERS", "65"],
    ["KEYTURN_WORKERS", "two"],
    ["KEYTURN_PROCESS_NAME", "#1"],
    ["KEYTURN_PROCESS_NAME", "a name"],
    ["KEYTURN_BOUNDED_CEILING", "1s"],
    ["KEYTURN_BOUNDED_CEILING", "61s"],
    ["KEYTURN_TLS", "off"],
    ["KEYTURN_TLS_CERT_FILE", "cert.pem"],
    ["KEYTURN_TLS_KEY_FILE", "key.pem"],
  ];
  for (const [name, value] of bad) {
    test(`${name}=${value} is refused by its name`, () => {
      const problems = problemsOf({ [name]: value });
      expect(problems.length).toBe(1);
      expect(problems[0]).toContain(name);
    });
  }

  test("each variable that can be wrong is among those", () => {
    // A path is judged when it is used, and any text can be one.
    const paths = ["KEYTURN_DATA", "KEYTURN_ROOT_KEY_FILE", "KEYTURN_WITNESS_FILE"];
    expect([...new Set([...bad.map(([name]) => name), ...paths])].sort()).toEqual(
      [...SERVER_VARIABLES].sort(),
    );
  });

  test("all that is wrong is told at once", () => {
    const problems = problemsOf({ KEYTURN_PORT: "x", KEYTURN_LOG_LEVEL: "loud", KEYTURN_REGION: "EU" });
    expect(problems.map((problem) => problem.split(":")[0]).sort()).toEqual([
      "KEYTURN_LOG_LEVEL",
      "KEYTURN_PORT",
      "KEYTURN_REGION",
    ]);
  });

  test("a variable that is empty counts as absent, and nothing needs to be set", () => {
    const unset = readConfig({});
    expect(readConfig(Object.fromEntries(SERVER_VARIABLES.map((name) => [name, ""])))).toEqual(unset);
    expect([unset.host, unset.port, unset.dataFolder, unset.tls]).toEqual([
      "127.0.0.1",
      8420,
      "./data",
      null,
    ]);
  });

  test("workers are for the embedded database: together with another one they are refused by name", () => {
    const database = { KEYTURN_DATABASE_URL: "postgres://db/keyturn" };
    expect(problemsOf({ ...database, KEYTURN_WORKERS: "2" })).toEqual([
      expect.stringContaining("KEYTURN_WORKERS"),
    ]);
    expect(problemsOf({ ...database, KEYTURN_WORKERS: "1" })).toEqual([]);
  });

  test("processes on free ports of one PostgreSQL do not take each other's name", () => {
    const name = (env: Record<string, string>) => readConfig(env).processName;
    const database = { KEYTURN_DATABASE_URL: "postgres://db/keyturn" };
    expect(name({ ...database, KEYTURN_PORT: "0" })).toEndWith(`:0#${process.pid}`);
    expect(name({ ...database, KEYTURN_PORT: "1" })).toEndWith(":1");
    expect(name({ ...database, KEYTURN_PORT: "0", KEYTURN_PROCESS_NAME: "one" })).toBe("one");
  });

  test("the log tells where the database is, and never what opens it", () => {
    const database = { KEYTURN_DATABASE_URL: "postgres://user:a-password@db:5433/keyturn?sslmode=require" };
    expect(placeOf(readConfig(database))).toBe("postgres://db:5433/keyturn");
    expect(placeOf(readConfig({ KEYTURN_DATA: "/data" }))).toBe("/data");
  });

  test("a name that is almost one of ours is told", () => {
    const names = unknownVariables({
      KEYTURN_TSL: "x",
      KEYTURN_PORT: "1",
      KEYTURN_KEY: "k",
      KEYTURN_TEST_TRACES: "t",
      PATH: "/",
    });
    expect(names).toEqual(["KEYTURN_TSL"]);
  });

  test("the server says what is wrong in one line a setting, without a stack trace", async () => {
    const { code, said } = await refusedAt(newPlace("config"), {
      KEYTURN_PORT: "x",
      KEYTURN_CALLER_ADDRESS: "y",
    });
    expect(code).not.toBe(0);
    expect(said).toMatch(/^ *KEYTURN_PORT: /m);
    expect(said).toMatch(/^ *KEYTURN_CALLER_ADDRESS: /m);
    expect(said).not.toContain("    at ");
  });

  test("docs/running.md gives each variable a row with its default", () => {
    const page = readFileSync(join(import.meta.dir, "../../docs/running.md"), "utf8");
    for (const name of SERVER_VARIABLES)
      expect(page).toMatch(new RegExp(`^\\| \`${name}\` \\| [^|]+ \\| [^|]+ \\|$`, "m"));
  });
});

function problemsOf(environment: Environment): readonly string[] {
  try {
    readConfig(environment);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}
