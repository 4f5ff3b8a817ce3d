import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawnKeyturn } from "../support/keyturn-process.ts";

/** Answers what is asked to wait as an installation does in which somebody keeps silent. */
let server: ReturnType<typeof Bun.serve>;
const asked: string[] = [];

beforeAll(() => {
  server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request) => {
      const { pathname, search } = new URL(request.url);
      asked.push(`${request.method} ${pathname}${search}`);
      const refused = { status: 404, code: "not_found", title: "Not found", detail: "No such key." };
      if (pathname.startsWith("/v1/cluster/processes/")) return new Response(null, { status: 204 });
      if (pathname.includes("key_unknown")) return Response.json(refused, { status: 404 });
      const silent_processes = ["process-2", "evil\u001b[2J"];
      if (request.method === "DELETE") return Response.json({ silent_processes }, { status: 202 });
      const key = { id: pathname.split("/")[3], name: "ci", state: "revoked", in_use_by: [] };
      return Response.json({ ...key, silent_processes }, { status: 202 });
    },
  });
});
afterAll(() => server.stop(true));

async function run(...args: readonly string[]) {
  const env = { KEYTURN_URL: server.url.href, KEYTURN_KEY: "kts_of-nobody" };
  const done = spawnKeyturn(args, { env });
  return { exit: await done.exited, said: done.errors(), told: done.output() };
}

test("cluster forget takes the process with exactly this name off the list", async () => {
  const forgotten = await run("cluster", "forget", "keys-2:8420#1", "--yes");
  expect(forgotten).toEqual({ exit: 0, said: "", told: "keys-2:8420#1 is off the list.\n" });
  expect(asked.at(-1)).toBe("DELETE /v1/cluster/processes/keys-2%3A8420%231");
});

describe("--wait, where a process keeps silent:", () => {
  const NAMES = "Nothing was heard of: process-2, evil�[2J.\n";

  test.each([
    "keys revoke key_1 --yes",
    "keys suspend key_1",
    "keys delete key_1 --yes",
    "service-accounts delete sa_1 --yes",
  ])("%s says who it is and ends with 6: the change is made", async (command) => {
    const { exit, said, told } = await run(...command.split(" "), "--wait");
    expect([exit, said]).toEqual([6, `Done, but not known to be in force everywhere. ${NAMES}`]);
    expect(told).not.toBe("");
    expect(asked.at(-1)).toEndWith("?wait=all");
  });

  test("with --json the names are in the answer, and nothing is said besides", async () => {
    const { exit, said, told } = await run("keys", "delete", "key_1", "--yes", "--wait", "--json");
    expect([exit, said]).toEqual([6, ""]);
    expect(JSON.parse(told)).toEqual({
      id: "key_1",
      deleted: true,
      silent_processes: ["process-2", "evil\u001b[2J"],
    });
  });

  test("a refusal among several is told by the exit code before the silence is", async () => {
    expect((await run("keys", "revoke", "key_1", "key_2", "--yes", "--wait")).exit).toBe(6);
    expect((await run("keys", "revoke", "key_1", "key_unknown", "--yes", "--wait")).exit).toBe(1);
    expect((await run("keys", "revoke", "key_unknown", "key_1", "--yes", "--wait")).exit).toBe(1);
  });

  test("without it nobody is asked to wait", async () => {
    expect((await run("keys", "suspend", "key_1")).exit).toBe(0);
    expect(asked.at(-1)).toBe("POST /v1/keys/key_1/suspend");
  });
});
