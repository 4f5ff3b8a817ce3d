import { Database } from "bun:sqlite";
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { perform } from "../../src/authority/operation.ts";
import { OPERATIONS } from "../../src/authority/operations.ts";
import { HOST, needsSetup, openSetup, SETUP_TOKEN_SECONDS } from "../../src/authority/setup/setup.ts";
import { readConfig } from "../../src/config.ts";
import { withUnwitnessed } from "../../src/host/open.ts";
import { ROUTES } from "../../src/http/routes.ts";
import { refusalOf, startWorld } from "../support/authority.ts";
import { clientOf } from "../support/client.ts";
import { sessionsOf } from "../support/evidence-file.ts";
import { issueAt, newPlace, type Place, refusedAt, type Served, serveAt } from "../support/installation.ts";
import { type KeyturnProcess, spawnKeyturn, urlOf } from "../support/keyturn-process.ts";
import { cleanUp, noteSecret } from "../support/traces.ts";

afterAll(cleanUp);

const running: KeyturnProcess[] = [];

async function started(place: Place, env = {}): Promise<Served> {
  const served = await serveAt(place, env);
  running.push(served.process);
  return served;
}

/** A server that has no root key and was told of no file: it prints a token. */
async function withoutKey(place: Place) {
  const process = spawnKeyturn(["serve"], {
    env: { ...place.env, KEYTURN_ROOT_KEY_FILE: "" },
    logFile: place.logFile,
  });
  running.push(process);
  const url = await urlOf(process);
  const token = /setup_[0-9A-Za-z]+/.exec(process.errors())?.[0] ?? "";
  noteSecret(token);
  return { process, url, token, call: clientOf(url) };
}

afterEach(async () => {
  for (const process of running.splice(0)) await process.stop();
});

describe("one folder, one server", () => {
  test("a second server over the same folder refuses to start and says why; the first goes on", async () => {
    const place = newPlace("two-servers");
    const first = await started(place);
    const { code, said } = await refusedAt(place);
    expect(code).not.toBe(0);
    expect(said).toContain("Another keyturn process is serving from this data folder");
    expect(said).not.toContain("    at ");
    expect((await first.call("GET", "/v1/keys/self")).status).toBe(200);
  });

  test.each(["1", "2"])(
    "killed in a brownout while its installation is being moved, a server of %s starts again and verifies",
    async (workers) => {
      const place = newPlace("killed-while-closed");
      const first = await serveAt(place);
      const old = await issueAt(first.call, "billing");
      const rotated = await first.call("POST", `/v1/keys/${old.id}/rotations`, { body: {} });
      const successor = rotated.body.text("secret");
      const path = `/v1/rotations/${rotated.body.text("rotation", "id")}/brownouts`;
      await first.call("POST", "/v1/keys/verify", { body: { key: successor } });
      expect((await first.call("POST", path, { body: { duration: "5m" } })).status).toBe(200);
      await withUnwitnessed(readConfig(place.env), ({ authority }) =>
        perform(authority, OPERATIONS.closeStore, HOST, { why: "moving" }),
      );
      first.process.signal("SIGKILL");
      await first.process.exited;
      const second = await started(place, { KEYTURN_WORKERS: workers });
      const told = await second.call("POST", "/v1/keys/verify", { body: { key: successor } });
      expect(told.body.text("code")).toBe("valid");
    },
  );

  test("kill -9 leaves no lock behind", async () => {
    const place = newPlace("lock");
    const first = await serveAt(place);
    first.process.signal("SIGKILL");
    await first.process.exited;
    const second = await started(place);
    expect((await second.call("GET", "/v1/keys/self")).status).toBe(200);
  });

  test("a port that is taken is refused by the name of its setting, and the watch over use is not cut by it", async () => {
    const place = newPlace("port");
    const other = await started(newPlace("port-taken"));
    const { code, said } = await refusedAt(place, { KEYTURN_PORT: new URL(other.url).port });
    expect(code).not.toBe(0);
    expect(said).toContain("KEYTURN_PORT");
    expect(said).not.toContain("    at ");
    // A start that fails has seen nothing and lost nothing: its session has a clean end.
    expect(sessionsOf(place.data).map((session) => session.ended)).toEqual(["clean"]);
  });
});

describe("the first key", () => {
  test("R34: the printed token is good once, for the first root key", async () => {
    const server = await withoutKey(newPlace("token"));
    expect(server.token).toMatch(/^setup_[0-9A-Za-z]{32}$/);
    const wrong = await server.call("POST", "/v1/setup", { body: { token: `${server.token}x` } });
    expect([wrong.status, wrong.code]).toEqual([403, "setup_token_invalid"]);
    const redeemed = await server.call("POST", "/v1/setup", { body: { token: server.token } });
    expect(redeemed.status).toBe(201);
    const self = await server.call("GET", "/v1/keys/self", { key: redeemed.body.text("secret") });
    expect(self.body.at("scopes")).toEqual(["*", "keyturn:*"]);
    const again = await server.call("POST", "/v1/setup", { body: { token: server.token } });
    expect([again.status, again.code]).toEqual([403, "setup_token_invalid"]);
    const log = await server.call("GET", "/v1/audit", { key: redeemed.body.text("secret") });
    expect(log.body.at("data", 0, "operation")).toBe("setup.redeem");
  });

  test("R34: a token is good for 15 minutes, to the millisecond", async () => {
    const world = await startWorld();
    const late = await openSetup(world.authority);
    world.clock.pass(SETUP_TOKEN_SECONDS * 1000);
    const refused = await refusalOf(world.as(HOST, OPERATIONS.redeemSetupToken, { token: late }));
    expect(refused.code).toBe("setup_token_invalid");
    const inTime = await openSetup(world.authority);
    world.clock.pass(SETUP_TOKEN_SECONDS * 1000 - 1);
    expect((await world.as(HOST, OPERATIONS.redeemSetupToken, { token: inTime })).secret).toMatch(/^kts_/);
    await world.close();
  });

  test("a start without a root key prints a new token, and the earlier one is dead", async () => {
    const place = newPlace("new-token");
    const first = await withoutKey(place);
    await first.process.stop();
    const second = await withoutKey(place);
    expect(second.token).not.toBe(first.token);
    expect((await second.call("POST", "/v1/setup", { body: { token: first.token } })).code).toBe(
      "setup_token_invalid",
    );
    expect((await second.call("POST", "/v1/setup", { body: { token: second.token } })).status).toBe(201);
  });

  test("the token goes to the terminal and never into the log", async () => {
    const place = newPlace("token-log");
    const server = await withoutKey(place);
    await server.call("POST", "/v1/setup", { body: { token: server.token } });
    await server.process.stop();
    const log = readFileSync(place.logFile, "utf8");
    expect(log).toContain("setup.redeem");
    expect(log).not.toContain(server.token);
  });

  test("KEYTURN_ROOT_KEY_FILE gets a good root key, readable by its owner alone, once", async () => {
    const place = newPlace("root-file");
    const first = await started(place);
    expect(statSync(place.rootKeyFile).mode & 0o777).toBe(0o600);
    expect(first.process.errors()).not.toContain("setup_");
    const text = readFileSync(place.rootKeyFile, "utf8");
    expect((await first.call("GET", "/v1/keys/self")).body.at("name")).toBe("root");
    await first.process.stop();
    const second = await started(place);
    expect(readFileSync(place.rootKeyFile, "utf8")).toBe(text);
    expect((await second.call("GET", "/v1/keys")).body.at("data", 1)).toBeUndefined();
  });

  test("a file that is there is never written over: the start is refused, by the name of the variable", async () => {
    const place = newPlace("root-file-there");
    writeFileSync(place.rootKeyFile, "somebody's only copy\n");
    const { code, said } = await refusedAt(place);
    expect(code).not.toBe(0);
    expect(said).toContain("KEYTURN_ROOT_KEY_FILE");
    expect(readFileSync(place.rootKeyFile, "utf8")).toBe("somebody's only copy\n");
  });

  test("where the file can't be written there is no key either", async () => {
    const place = newPlace("root-file-nowhere");
    const { code } = await refusedAt(place, {
      KEYTURN_ROOT_KEY_FILE: join(place.folder, "missing", "root.key"),
    });
    expect(code).not.toBe(0);
    const world = await startWorld({ folder: place.data });
    // The world made a root key of its own, and it is the only one.
    expect(await needsSetup(world.authority)).toBe(false);
    expect((await world.authority.storage.read.keys.roots(world.account)).length).toBe(1);
    await world.close();
  });

  test("R34: no credential ships by default: a fresh server refuses every route to whoever has not the token", async () => {
    const place = newPlace("no-default");
    const server = await withoutKey(place);
    const guesses: (string | null)[] = [
      null,
      "Bearer",
      "Bearer admin",
      "Bearer keyturn",
      "Basic YWRtaW46YWRtaW4=",
      "Basic YXBpX2tleTo=",
    ];
    const ways = [
      ...ROUTES.map(({ method, path }) => ({
        method: method.toUpperCase(),
        path: path.replace("{id}", "key_x"),
      })),
      { method: "POST", path: "/v1/keys/verify" },
      { method: "POST", path: "/v1/keys/verify/batch" },
      { method: "GET", path: "/v1/forward-auth" },
    ];
    expect(ways.length).toBeGreaterThan(30);
    for (const { method, path } of ways) {
      for (const guess of guesses) {
        const answer = await server.call(method, path, {
          headers: guess === null ? {} : { authorization: guess },
          ...(method === "GET" || method === "DELETE"
            ? {}
            : { body: path === "/v1/setup" ? { token: "" } : {} }),
        });
        const open = path === "/v1/setup" || path === "/v1/forward-auth";
        expect([method, path, guess, answer.status]).toEqual([method, path, guess, open ? 403 : 401]);
      }
    }
    const file = new Database(join(place.data, "keyturn.db"), { readonly: true });
    expect(file.query("select count(*) as n from audit_entries").get()).toEqual({ n: 0 });
    expect(file.query("select count(*) as n from keys").get()).toEqual({ n: 0 });
    file.close();
  });
});
