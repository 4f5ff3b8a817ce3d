import { describe, expect, test } from "bun:test";
import { Refusal } from "../../src/authority/errors.ts";
import { createCauses, type Trouble } from "../../src/http/causes.ts";
import { createTestClock, MINUTE } from "../support/authority.ts";
import { startHttp } from "../support/http.ts";

const refused = (cause: unknown) => new Refusal("storage_unavailable", "Not now.", { cause });
const coded = (code: string, message: string) => Object.assign(new Error(message), { code });

function listen() {
  const told: Trouble[] = [];
  const clock = createTestClock();
  return { told, clock, note: createCauses((trouble) => void told.push(trouble), clock) };
}

describe("the log is told the cause of a 503", () => {
  test("that a call was answered with, which the answer keeps to itself", async () => {
    const cause = coded("53100", "could not extend file: No space left on device");
    let isFull = false;
    const http = await startHttp({
      through: (storage) => ({
        ...storage,
        change: (work, scope) => (isFull ? Promise.reject(refused(cause)) : storage.change(work, scope)),
      }),
    });
    isFull = true;
    const told = await http.call("POST", "/v1/accounts", { body: { name: "acme" } });
    expect([told.status, told.text.includes("extend")]).toEqual([503, false]);
    expect(http.troubles).toEqual([
      { problem: "storage_unavailable", cause: "53100: could not extend file: No space left on device" },
    ]);
    isFull = false;
    await http.close();
  });

  test("the first of each kind, and then at most one a minute", () => {
    const { told, clock, note } = listen();
    for (let times = 0; times < 3; times += 1) {
      note(refused(coded("53100", "full")));
      note(refused(coded("53300", "too many")));
    }
    expect(told.map(({ cause }) => cause)).toEqual(["53100: full", "53300: too many"]);
    clock.pass(MINUTE - 1);
    note(refused(coded("53100", "full")));
    expect(told).toHaveLength(2);
    clock.pass(1);
    note(refused(coded("53100", "full")));
    expect(told).toHaveLength(3);
  });

  test("as it was at first, through whoever passed it on; and nothing of what is the client's own fault", () => {
    const { told, note } = listen();
    note(refused(refused(coded("ECONNREFUSED", "connect"))));
    note(refused(new Error("timeout exceeded")));
    note(new Refusal("not_found", "No such key.", { cause: new Error("x") }));
    note(new Refusal("storage_unavailable", "Without a cause."));
    note(new Error("a bug"));
    expect(told.map(({ cause }) => cause)).toEqual(["ECONNREFUSED: connect", "timeout exceeded"]);
  });

  test("R21: without a key, a password of a URL, or rows that a database quotes", async () => {
    const http = await startHttp();
    const { told, note } = listen();
    const { secret } = http.world.root;
    const error = Object.assign(coded("XX000", `${secret} at postgres://kt:hunter2@db/keys`), {
      detail: secret,
    });
    note(refused(error));
    expect(told[0]?.cause).toBe("XX000: [secret] at postgres://…@db/keys");
    await http.close();
  });
});
