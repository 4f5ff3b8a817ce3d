import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readinessAnswer } from "../../src/http/schemas.ts";
import { type Cluster, type Member, startCluster } from "../support/cluster.ts";
import { issueAt } from "../support/installation.ts";
import { NO_POSTGRES } from "../support/postgres.ts";
import { cleanUp } from "../support/traces.ts";
import { until } from "../support/until.ts";

afterAll(cleanUp);

describe.skipIf(NO_POSTGRES)("R12: two processes on one PostgreSQL that bear one name", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster(2);
  });
  afterAll(() => cluster?.stop());

  const warnings = async ({ call }: Member) =>
    readinessAnswer.parse((await call("GET", "/readyz")).body.value).warnings;
  const named = (name: string) =>
    expect.stringContaining(`called ${name}, too; give each a KEYTURN_PROCESS_NAME`);

  test("take each other's place when one has died, and are both waited for when both live, which they say", async () => {
    const first = cluster.member(0);
    const key = await staticKey(first);
    cluster.member(1).process.signal("SIGKILL");
    await cluster.member(1).process.exited;
    const other = await cluster.again(1);
    // Its predecessor died without a word, and nobody waits for it.
    const suspended = async (member: Member) => {
      const told = await member.call("POST", `/v1/keys/${key}/suspend?wait=all`);
      await member.call("POST", `/v1/keys/${key}/reinstate`);
      return [told.status, told.body.at("silent_processes")];
    };
    expect(await suspended(first)).toEqual([200, undefined]);

    other.process.signal("SIGTERM");
    await other.process.exited;
    const twin = await cluster.again(1, { KEYTURN_PROCESS_NAME: first.name });
    for (const member of [first, twin])
      await until("it is said", async () => (await warnings(member)).length > 0);
    for (const member of [first, twin]) {
      expect(await warnings(member)).toEqual([named(first.name)]);
      expect(member.process.errors()).toContain("another process that serves has this name, too");
    }
    expect(await suspended(first)).toEqual([200, undefined]);
    twin.wire.silence();
    try {
      expect(await suspended(first)).toEqual([202, [first.name]]);
    } finally {
      twin.wire.mend();
    }
    await until("it is heard again", async () => (await suspended(twin))[0] === 200);
  }, 180_000);

  /** A key for which nobody stops judging by time alone: whoever has not heard is named. */
  async function staticKey({ call }: Member): Promise<string> {
    const { ownerId } = await issueAt(call, "names");
    const body = { name: "static", owner_id: ownerId, freshness: "static" };
    const told = await call("POST", "/v1/keys", { body });
    return told.body.text("key", "id");
  }
});
