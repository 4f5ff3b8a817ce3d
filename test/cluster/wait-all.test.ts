import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Told } from "../support/client.ts";
import { type Cluster, type Member, startCluster, verdictAt } from "../support/cluster.ts";
import { times } from "../support/counts.ts";
import { NO_POSTGRES } from "../support/postgres.ts";
import { cleanUp } from "../support/traces.ts";
import { until } from "../support/until.ts";

afterAll(cleanUp);

const PROCESSES = 4;
/** Changes of one account wait for each other, those of different accounts don't. */
const ACCOUNTS = 8;
const LANES_EACH = 4;
const LAST = PROCESSES - 1;

interface Lane {
  readonly root: string;
  readonly asker: string;
  readonly key: { readonly id: string; readonly secret: string };
}

describe.skipIf(NO_POSTGRES)("R12: what wait=all says of four processes", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster(PROCESSES, { env: { KEYTURN_BOUNDED_CEILING: "2s" } });
  });
  afterAll(() => cluster?.stop());

  /** An account of its own, with keys that every process knows. */
  async function newLanes(name: string, count: number, freshness: string): Promise<readonly Lane[]> {
    const { call } = cluster.member(0);
    const account = await call("POST", "/v1/accounts", { body: { name } });
    const root = account.body.text("secret");
    let newest = 0;
    const issue = async (label: string, body: object) => {
      const all = { name: label, owner_id: account.body.text("key", "owner_id"), ...body };
      const told = await call("POST", "/v1/keys", { key: root, body: all });
      newest = Number(told.headers.get("keyturn-seq"));
      return { id: told.body.text("key", "id"), secret: told.body.text("secret") };
    };
    const asker = await issue("asker", { scopes: ["keyturn:keys.verify"], freshness: "static" });
    const lanes: Lane[] = [];
    for (let index = 0; index < count; index += 1) {
      const key = await issue(`${name} ${index}`, { scopes: ["invoices:read"], freshness });
      lanes.push({ root, asker: asker.secret, key });
    }
    // From the newest on: what is followed only later makes a process forget what it has just looked up.
    for (const lane of lanes)
      for (const member of cluster.members()) expect(await verdictOn(member, lane, newest)).toBe("valid");
    return lanes;
  }

  const brake = (at: Member, { root, key }: Lane, verb: string): Promise<Told> =>
    at.call("POST", `/v1/keys/${key.id}/${verb}`, { key: root });

  const verdictOn = (member: Member, { asker, key }: Lane, atLeast?: number) =>
    verdictAt(member, asker, key.secret, atLeast);

  const verdicts = (lane: Lane) => Promise.all(cluster.members().map((member) => verdictOn(member, lane)));

  test(`is contradicted by no process in ${times(10_000)} suspensions, under way side by side`, async () => {
    const lanes = (
      await Promise.all(
        Array.from({ length: ACCOUNTS }, (_, index) => newLanes(`busy ${index}`, LANES_EACH, "bounded")),
      )
    ).flat();
    let left = times(10_000);
    let done = 0;
    await Promise.all(
      lanes.map(async (lane, number) => {
        for (let round = 0; left > 0; round += 1) {
          left -= 1;
          const at = cluster.member((number + round) % PROCESSES);
          const told = await brake(at, lane, "suspend?wait=all");
          expect(told.status).toBe(200);
          expect(await verdicts(lane)).toEqual(Array.from({ length: PROCESSES }, () => "suspended"));
          done += 1;
          const back = await brake(at, lane, "reinstate");
          // Refusing for ever would satisfy the above as well.
          const elsewhere = cluster.member((number + round + 1) % PROCESSES);
          expect(await verdictOn(elsewhere, lane, Number(back.headers.get("keyturn-seq")))).toBe("valid");
        }
      }),
    );
    expect(done).toBe(times(10_000));
  }, 1_800_000);

  test(`is contradicted by no process in ${times(50)} suspensions while one is cut off and can't be told`, async () => {
    const lanes = await newLanes("cut off", times(50), "bounded");
    const { wire } = cluster.member(LAST);
    for (const how of ["silence", "cut"] as const) {
      wire[how]();
      try {
        await Promise.all(
          lanes.map(async (lane, number) => {
            const told = await brake(cluster.member(number % LAST), lane, "suspend?wait=all");
            expect(told.status).toBe(200);
            const [cutOff, ...others] = (await verdicts(lane)).toReversed();
            expect(others).toEqual(others.map(() => "suspended"));
            expect(cutOff).toBe("stale");
          }),
        );
      } finally {
        wire.mend();
      }
      for (const lane of lanes) await brake(cluster.member(0), lane, "reinstate");
      for (const lane of lanes)
        await until("the one that was cut off knows again", async () => {
          const told = await verdicts(lane);
          return told.every((code) => code === "valid");
        });
    }
  }, 300_000);

  test("names the one that is cut off where a key is static, and does not say that it is done", async () => {
    const lanes = await newLanes("static", 4, "static");
    const { wire, name } = cluster.member(LAST);
    wire.silence();
    try {
      await Promise.all(
        lanes.map(async (lane, number) => {
          const told = await brake(cluster.member(number % LAST), lane, "suspend?wait=all");
          expect([told.status, told.body.at("silent_processes")]).toEqual([202, [name]]);
          expect(await verdicts(lane)).toEqual(["suspended", "suspended", "suspended", "valid"]);
        }),
      );
    } finally {
      wire.mend();
    }
    const [lane] = lanes;
    if (lane === undefined) throw new Error("there are four");
    const again = await brake(cluster.member(0), lane, "suspend?wait=all");
    expect(again.status).toBe(200);
    expect(await verdicts(lane)).toEqual(Array.from({ length: PROCESSES }, () => "suspended"));
  }, 300_000);
});
