import { Database } from "bun:sqlite";
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readWitnessFile } from "../../src/storage/witness-file.ts";
import { issueAt, newPlace, type Place, refusedAt, type Served, serveAt } from "../support/installation.ts";
import { cleanUp } from "../support/traces.ts";

afterAll(cleanUp);

const running: Served[] = [];

async function started(place: Place, env = {}): Promise<Served> {
  const served = await serveAt(place, env);
  running.push(served);
  return served;
}

/** Starts, does something, and stops cleanly. */
async function session<T>(place: Place, work: (served: Served) => Promise<T>, env = {}): Promise<T> {
  const served = await serveAt(place, env);
  try {
    return await work(served);
  } finally {
    await served.process.stop();
  }
}

afterEach(async () => {
  for (const { process } of running.splice(0)) await process.stop();
});

describe("R14: what would bring a revoked key back is not served", () => {
  test("a database older than its witness is refused, with the way out", async () => {
    const place = newPlace("older-copy");
    const key = await session(place, ({ call }) => issueAt(call, "billing"));
    cpSync(place.data, `${place.data}-yesterday`, { recursive: true });
    await session(place, ({ call }) => call("POST", `/v1/keys/${key.id}/revoke`, { body: {} }));
    rmSync(place.data, { recursive: true });
    cpSync(`${place.data}-yesterday`, place.data, { recursive: true });

    const { code, said } = await refusedAt(place);
    expect(code).not.toBe(0);
    expect(said).toMatch(
      /witness file has seen entry \d+, but the database ends with entry \d+: it is an older copy/,
    );
    expect(said).toContain("keyturn restore --witness");
    expect(said).not.toContain("    at ");
  });

  test("a database that is not the one its witness saw is refused", async () => {
    const one = newPlace("its-own");
    const other = newPlace("another");
    await session(one, async ({ call }) =>
      call("POST", `/v1/keys/${(await issueAt(call, "a")).id}/revoke`, { body: {} }),
    );
    await session(other, async ({ call }) => {
      for (const name of ["a", "b", "c"]) await issueAt(call, name);
    });
    const { said } = await refusedAt(other, { KEYTURN_WITNESS_FILE: one.witness });
    expect(said).toContain("is not the one that the witness file has seen");
    await session(other, ({ call }) => call("GET", "/v1/keys/self"));
  });

  test("what was restored and not accepted is refused, with the way out", async () => {
    const place = newPlace("restored");
    await session(place, ({ call }) => issueAt(call, "billing"));
    const file = new Database(join(place.data, "keyturn.db"));
    file.run("insert into facts (name, value) values ('restored_unaccepted', 'yes')");
    file.close();
    const { code, said } = await refusedAt(place);
    expect(code).not.toBe(0);
    expect(said).toContain("--accept-loss");
  });
});

describe("the witness file", () => {
  test("R14: tells of each revocation before the answer, and of the secrets that died", async () => {
    const place = newPlace("witness");
    const { call } = await started(place);
    const key = await issueAt(call, "billing");
    await call("POST", `/v1/keys/${key.id}/secret`);
    expect(readWitnessFile(place.witness).at(-1)?.revoked).toEqual([
      { kind: "secret", id: key.id, ordinal: 2 },
    ]);
    const revoked = await call("DELETE", `/v1/keys/${key.id}`);
    const line = readWitnessFile(place.witness).at(-1);
    expect(line?.revoked).toEqual([{ kind: "key", id: key.id }]);
    expect(String(line?.seq)).toBe(revoked.headers.get("keyturn-seq") ?? "");
    await call("DELETE", `/v1/service-accounts/${key.ownerId}`);
    expect(readWitnessFile(place.witness).at(-1)?.revoked).toEqual([
      { kind: "service_account", id: key.ownerId },
    ]);
  });

  test("is told at the start of revocations that it missed: one made before it was there, or just before a crash", async () => {
    const place = newPlace("late-witness");
    const ids = await session(
      place,
      async ({ call }) => {
        const keys = [await issueAt(call, "one"), await issueAt(call, "two")];
        for (const key of keys) await call("POST", `/v1/keys/${key.id}/revoke`, { body: {} });
        return keys.map((key) => key.id);
      },
      { KEYTURN_WITNESS_FILE: "" },
    );
    const told = () => readWitnessFile(place.witness).flatMap((line) => line.revoked.map((one) => one.id));
    await session(place, async () => expect(told()).toEqual(ids));
    // As after a crash between the commit and the witness: the last line is not there.
    const lines = readFileSync(place.witness, "utf8").trimEnd().split("\n");
    writeFileSync(place.witness, `${lines.slice(0, -1).join("\n")}\n`);
    expect(told()).toEqual(ids.slice(0, 1));
    await session(place, async () => expect(told()).toEqual(ids));
    await session(place, async () => expect(told()).toEqual(ids));
  });

  test("R14: is told at the start of a revocation that stands before one it holds, as another process's may that was not yet followed", async () => {
    const place = newPlace("gap-witness");
    const ids = await session(place, async ({ call }) => {
      const keys = [await issueAt(call, "other's"), await issueAt(call, "own")];
      for (const key of keys) await call("POST", `/v1/keys/${key.id}/revoke`, { body: {} });
      return keys.map((key) => key.id);
    });
    const told = () => readWitnessFile(place.witness).flatMap((line) => line.revoked.map((one) => one.id));
    const lines = readFileSync(place.witness, "utf8").trimEnd().split("\n");
    writeFileSync(place.witness, `${lines.slice(1).join("\n")}\n`);
    expect(told()).toEqual(ids.slice(1));
    await session(place, async () => expect(told()).toEqual(ids.toReversed()));
    await session(place, async () => expect(told()).toEqual(ids.toReversed()));
  });

  test("a line that a crash cut short is left out, and does not swallow the next one", async () => {
    const place = newPlace("cut-witness");
    const key = await session(place, async ({ call }) => {
      const first = await issueAt(call, "one");
      await call("POST", `/v1/keys/${first.id}/revoke`, { body: {} });
      return first;
    });
    const whole = readFileSync(place.witness, "utf8");
    writeFileSync(place.witness, whole + whole.slice(0, 40));
    const second = await session(place, async ({ call }) => {
      const issued = await issueAt(call, "two");
      await call("POST", `/v1/keys/${issued.id}/revoke`, { body: {} });
      return issued;
    });
    expect(readWitnessFile(place.witness).flatMap((line) => line.revoked.map((one) => one.id))).toEqual([
      key.id,
      second.id,
    ]);
    expect((await started(place)).url).toStartWith("http://");
  });

  test("a line that was tampered with is named, and the start refused", async () => {
    const place = newPlace("broken-witness");
    await session(place, async ({ call }) =>
      call("POST", `/v1/keys/${(await issueAt(call, "a")).id}/revoke`, { body: {} }),
    );
    writeFileSync(place.witness, `{"seq":1}\n${readFileSync(place.witness, "utf8")}`);
    expect((await refusedAt(place)).said).toContain("line 1 is not a line of a witness file");
  });
});
