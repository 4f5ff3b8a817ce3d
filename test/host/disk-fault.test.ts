import { afterAll, afterEach, expect, test } from "bun:test";
import { appendFileSync, readFileSync } from "node:fs";
import { readWitnessFile } from "../../src/storage/witness-file.ts";
import type { Told } from "../support/client.ts";
import { issueAt, newPlace, type Served, serveAt } from "../support/installation.ts";
import { cleanUp } from "../support/traces.ts";

afterAll(cleanUp);

const running: Served[] = [];

afterEach(async () => {
  for (const { process } of running.splice(0)) {
    process.signal("SIGKILL");
    await process.exited;
  }
});

// The system itself refuses to let a file grow: SQLite meets the real error in the middle of its own writing.
const LIMIT_KB = 1_024;

test("R39: a disk that is full is told as what it is, verification goes on, and a retry after the restart tells the truth", async () => {
  const place = newPlace("disk-fault", { KEYTURN_WITNESS_FILE: "" });
  const before = await serveAt(place);
  const good = await issueAt(before.call, "before the fault");
  const unused = await issueAt(before.call, "verified for the first time after the fault");
  await before.process.stop();

  const served = await serveAt(place, {}, { largestFileKb: LIMIT_KB });
  running.push(served);
  const made = new Map<string, string>();
  const body = (n: number) => ({ name: `key ${n}`, owner_id: good.ownerId });
  let refused: Told | null = null;
  let tried = 0;
  while (refused === null && tried < 2_000) {
    tried += 1;
    const answer = await served.call("POST", "/v1/keys", {
      body: body(tried),
      headers: { "idempotency-key": `try-${tried}` },
    });
    if (answer.status === 201) made.set(`try-${tried}`, answer.body.text("key", "id"));
    else refused = answer;
  }
  expect([refused?.status, refused?.code]).toEqual([503, "outcome_unknown"]);
  expect(refused?.text).toContain("Idempotency-Key");
  expect(refused?.text).not.toContain("SQLITE");
  expect(made.size).toBeGreaterThan(10);

  // No change is accepted from here on, whatever it is, until somebody has looked.
  for (const [method, path, sent] of [
    ["POST", "/v1/keys", body(0)],
    ["POST", `/v1/keys/${good.id}/rotations`, {}],
    ["POST", `/v1/keys/${good.id}/revoke`, {}],
    ["PATCH", `/v1/keys/${good.id}`, { name: "other" }],
  ] as const) {
    const answer = await served.call(method, path, { body: sent });
    expect([path, answer.status, answer.code]).toEqual([path, 503, "storage_unavailable"]);
  }
  expect(served.process.errors()).toContain("writing stops");

  // Verification goes on, of keys at hand and of keys that must be looked up; so do questions.
  for (const secret of [good.secret, unused.secret, unused.secret]) {
    const verdict = await served.call("POST", "/v1/keys/verify", { body: { key: secret } });
    expect(verdict.body.at("code")).toBe("valid");
  }
  expect((await served.call("GET", `/v1/keys/${good.id}`)).body.at("state")).toBe("active");
  const ready = await served.call("GET", "/readyz");
  expect([ready.status, ready.body.at("status")]).toEqual([200, "degraded"]);

  served.process.signal("SIGKILL");
  await served.process.exited;
  const after = await serveAt(place);
  running.push(after);
  // Every answer that was given holds, and the unanswered call ends as one key with a secret that works.
  for (const id of made.values())
    expect((await after.call("GET", `/v1/keys/${id}`)).body.at("state")).toBe("active");
  const again = await after.call("POST", "/v1/keys", {
    body: body(tried),
    headers: { "idempotency-key": `try-${tried}` },
  });
  expect(again.status).toBe(201);
  expect(
    (await after.call("POST", "/v1/keys/verify", { body: { key: again.body.text("secret") } })).body.at(
      "valid",
    ),
  ).toBe(true);
  // The name is free again where nothing was made, and taken by this very key where it was: never by a second one.
  const twice = await after.call("POST", "/v1/keys", { body: body(tried) });
  expect(twice.code).toBe("name_taken");
  expect((await after.call("GET", "/readyz")).body.at("status")).toBe("ready");
});

test("R39: a full disk under the witness alone: the change stands, its answer says that it is unknown, and writing stops", async () => {
  const place = newPlace("witness-fault");
  const before = await serveAt(place);
  const keys: string[] = [];
  for (let n = 0; n < 3; n += 1) keys.push((await issueAt(before.call, `key ${n}`)).id);
  await before.call("DELETE", `/v1/keys/${keys[2]}`);
  await before.process.stop();
  // Filled with what it says already, until the next line has no room.
  const line = readFileSync(place.witness, "utf8");
  const room = LIMIT_KB * 1024 - line.length;
  appendFileSync(place.witness, line.repeat(Math.floor(room / line.length)));

  const served = await serveAt(place, {}, { largestFileKb: LIMIT_KB });
  running.push(served);
  const answer = await served.call("POST", `/v1/keys/${keys[0]}/revoke`, { body: {} });
  expect([answer.status, answer.code]).toEqual([503, "outcome_unknown"]);
  expect((await served.call("GET", `/v1/keys/${keys[0]}`)).body.at("state")).toBe("revoked");
  expect((await served.call("POST", `/v1/keys/${keys[1]}/revoke`, { body: {} })).code).toBe(
    "storage_unavailable",
  );
  expect((await served.call("GET", `/v1/keys/${keys[1]}`)).body.at("state")).toBe("active");
  const told = () => readWitnessFile(place.witness).flatMap((one) => one.revoked.map(({ id }) => id));
  expect(told()).not.toContain(keys[0] ?? "");
  await served.process.stop();

  // With room again, the witness is told what it missed.
  running.push(await serveAt(place));
  expect(told()).toContain(keys[0] ?? "");
  expect(told()).not.toContain(keys[1] ?? "");
});
