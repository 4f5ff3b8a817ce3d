import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { allHaveTold, type Cluster, type Member, startCluster } from "../support/cluster.ts";
import { times } from "../support/counts.ts";
import { issueAt } from "../support/installation.ts";
import { NO_POSTGRES } from "../support/postgres.ts";
import { cleanUp } from "../support/traces.ts";
import { until } from "../support/until.ts";

afterAll(cleanUp);

const AT_ONCE = 10;
const PROCESSES = 4;
const QUIET_MS = 2_000;
const PLAN = { quiet_period: "2s", overlap: "1h", undo_window: "1s", look_back: "1h" };
/** Of a rotation that nobody stands in the way of, in this order. */
const STEPS = ["start_adopting", "adopt", "complete", "close"];

describe.skipIf(NO_POSTGRES)("four processes on one PostgreSQL", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster(PROCESSES);
  });
  afterAll(() => cluster?.stop());

  const verify = async (at: Member, secret: string): Promise<void> => {
    const body = { key: secret, caller: { name: "billing" } };
    const told = await at.call("POST", "/v1/keys/verify", { key: cluster.asker, body });
    expect(told.body.at("code")).toBe("valid");
  };

  /** A rotation whose one caller has moved from the old key, seen by one process, to the successor, seen by another. */
  async function movedRotation(name: string, one: Member, other: Member): Promise<string> {
    const key = await issueAt(one.call, name);
    await verify(one, key.secret);
    const told = await one.call("POST", `/v1/keys/${key.id}/rotations`, { body: PLAN });
    expect(told.status).toBe(201);
    await verify(other, told.body.text("secret"));
    return told.body.text("rotation", "id");
  }

  const stepsOf = async (rotation: string) =>
    (
      await cluster.query<{ step: string }>(
        "select entry::json -> 'details' ->> 'step' as step from audit_entries join audit_subjects using (seq) where subject_id = $1 and operation = 'rotations.advance' order by seq",
        [rotation],
      )
    ).map(({ step }) => step);

  const stateOf = async (rotation: string, at = cluster.member(0)) =>
    (await at.call("GET", `/v1/rotations/${rotation}`)).body.text("state");

  test(`R15: take each step of ${times(100)} rotations once, also when the one that works is killed`, async () => {
    const rotations: string[] = [];
    // A few at once: changes of one account take turns, and none waits for its turn for ever.
    for (let from = 0; from < times(100); from += AT_ONCE) {
      const some = Array.from({ length: Math.min(AT_ONCE, times(100) - from) }, (_, index) =>
        movedRotation(
          `rotated ${from + index}`,
          cluster.member(index % PROCESSES),
          cluster.member((index + 1) % PROCESSES),
        ),
      );
      rotations.push(...(await Promise.all(some)));
    }
    const worker = await until("somebody works", async () => {
      const [claim] = await cluster.query<{ name: string }>(
        "select name from claims join processes on processes.id = process_id where work = 'worker'",
      );
      return claim?.name;
    });
    const index = cluster.members().findIndex(({ name }) => name === worker);
    // What a process saw and had not told when it was killed is lost, and then nobody knows that the caller has moved.
    await allHaveTold(cluster, Date.now());
    cluster.member(index).process.signal("SIGKILL");
    await cluster.member(index).process.exited;
    await cluster.again(index);
    for (const rotation of rotations) {
      await until("it is over", async () => (await stateOf(rotation)) === "closed");
      expect(await stepsOf(rotation)).toEqual(STEPS);
    }
  }, 300_000);

  test("adopt nothing while one of them is silent, for it may have seen the old key; and adopt it when that one has told", async () => {
    const silent = cluster.member(PROCESSES - 1);
    const control = await movedRotation("control", cluster.member(0), cluster.member(1));
    await until("all are heard", async () => (await stateOf(control)) === "closed");
    silent.wire.silence();
    try {
      const rotation = await movedRotation("waits", cluster.member(0), cluster.member(1));
      await Bun.sleep(3 * QUIET_MS);
      expect(await stepsOf(rotation)).not.toContain("adopt");
      silent.wire.mend();
      await until("it is adopted", async () => (await stepsOf(rotation)).includes("adopt"));
    } finally {
      silent.wire.mend();
    }
  }, 300_000);

  test("watch anew for a whole quiet period after one was killed: what that one saw last, nobody knows", async () => {
    const victim = PROCESSES - 2;
    const [killed] = await cluster.query<{ id: string }>(
      "select id from reporters where process = $1 and ended is null",
      [cluster.member(victim).name],
    );
    const rotation = await movedRotation("watched anew", cluster.member(0), cluster.member(1));
    cluster.member(victim).process.signal("SIGKILL");
    await cluster.member(victim).process.exited;
    await Bun.sleep(2 * QUIET_MS);
    expect(await stepsOf(rotation)).not.toContain("adopt");
    await cluster.again(victim);
    await until("it is adopted", async () => (await stepsOf(rotation)).includes("adopt"));
    const [session] = await cluster.query<{ ended: string; ended_at: string }>(
      "select ended, ended_at from reporters where id = $1",
      [killed?.id],
    );
    expect(session?.ended).toBe("unclean");
    const [adopted] = await cluster.query<{ at: string }>(
      "select at from audit_entries join audit_subjects using (seq) where subject_id = $1 and entry::json -> 'details' ->> 'step' = 'adopt'",
      [rotation],
    );
    expect(Number(adopted?.at)).toBeGreaterThanOrEqual(Number(session?.ended_at) + QUIET_MS);
  }, 300_000);
});
