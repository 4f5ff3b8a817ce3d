import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Cluster, type Member, startCluster, verdictAt } from "../support/cluster.ts";
import { NO_COMPILER } from "../support/compiled.ts";
import { IS_FULL_RUN } from "../support/counts.ts";
import { NO_POSTGRES } from "../support/postgres.ts";
import { newShiftedClock, type ShiftedClock } from "../support/shifted-clock.ts";
import { codesIn, expectCeilings, type Fault, newSample, throughFault } from "../support/through-fault.ts";
import { cleanUp } from "../support/traces.ts";
import { until } from "../support/until.ts";

afterAll(cleanUp);

/** What people run with under the full run; otherwise the least that can be set. */
const BOUNDED_SECONDS = IS_FULL_RUN ? 10 : 2;
const BOUNDED_MS = BOUNDED_SECONDS * 1_000;
/** Longer than the ceiling, so that much is asked beyond it. */
const LONG_MS = BOUNDED_MS + (IS_FULL_RUN ? 2_000 : 1_000);
const STOPPED_MS = IS_FULL_RUN ? 12_000 : 4_000;
const DAY_MS = 86_400_000;
const DEAF = 1;
const SHIFTED = 3;

describe.skipIf(NO_POSTGRES)("R12, R14: a revocation while one of four processes", () => {
  let cluster: Cluster;
  let clock: ShiftedClock | null = null;
  beforeAll(async () => {
    clock = NO_COMPILER ? null : newShiftedClock();
    cluster = await startCluster(4, {
      env: { KEYTURN_BOUNDED_CEILING: `${BOUNDED_SECONDS}s` },
      envOf: (index) => ({
        ...(index === SHIFTED ? clock?.env : {}),
        // To write a witness, a process looks at the log as well.
        ...(index === DEAF ? { KEYTURN_WITNESS_FILE: "" } : {}),
      }),
    });
  });
  afterAll(() => cluster?.stop());

  const through = async (name: string, victim: Member, fault: Fault) =>
    throughFault(await newSample(cluster, name), victim, cluster.member(0).call, fault);

  const wired = ({ wire }: Member, begin: "cut" | "silence" | "forget"): Fault => ({
    begin: () => wire[begin](),
    end: () => wire.mend(),
    lastsMs: LONG_MS,
    paceMs: 50,
  });

  const stopped = ({ process }: Member): Fault => ({
    begin: () => process.signal("SIGSTOP"),
    end: () => process.signal("SIGCONT"),
    lastsMs: STOPPED_MS,
    // What is asked meanwhile waits, and there are only so many connections.
    paceMs: 200,
  });

  test("hears no NOTIFY: it judges on, and by the ceiling of strict keys it knows", async () => {
    const victim = cluster.member(DEAF);
    const before = victim.wire.unheard();
    const told = await through("while deaf", victim, {
      begin: () => victim.wire.deafen(true),
      end: () => victim.wire.deafen(false),
      lastsMs: LONG_MS,
      paceMs: 50,
    });
    expectCeilings(told, BOUNDED_MS);
    expect(victim.wire.unheard() - before).toBeGreaterThanOrEqual(3);
    const { seen, begunAt, endedAt, acknowledgedAt } = told;
    expect(codesIn(seen.strict, acknowledgedAt.strict + 1_500, endedAt)).toEqual(["revoked"]);
    expect(codesIn(seen.kept, begunAt, endedAt)).toEqual(["valid"]);
  }, 300_000);

  test("hears no NOTIFY and is asked for a static key alone, for which nobody looks at the log: it knows by polling", async () => {
    const { keys } = await newSample(cluster, "static while deaf");
    const { secret, id } = keys.static;
    const victim = cluster.member(DEAF);
    const before = victim.wire.unheard();
    victim.wire.deafen(true);
    try {
      const told = await cluster.member(0).call("POST", `/v1/keys/${id}/revoke`, { body: {} });
      expect(told.status).toBe(200);
      await until("it knows", async () => (await verdictAt(victim, cluster.asker, secret)) === "revoked");
      await until("the news was left out", () => victim.wire.unheard() > before);
    } finally {
      victim.wire.deafen(false);
    }
  }, 300_000);

  test("is cut off, loudly, silently or with all connections lost: nothing is accepted beyond the ceiling, static keys are, and say how stale that is", async () => {
    const kinds = ["cut", "silence", "forget"] as const;
    await Promise.all(
      kinds.map(async (kind, index) => {
        const victim = cluster.member(index + 1);
        const told = await through(`while ${kind}`, victim, wired(victim, kind));
        expectCeilings(told, BOUNDED_MS);
        const { seen, begunAt, endedAt } = told;
        expect(codesIn(seen.strict, begunAt + 1_500, endedAt)).toEqual(["stale"]);
        expect(codesIn(seen.kept, begunAt + BOUNDED_MS, endedAt)).toEqual(["stale"]);
        expect(codesIn(seen.static, begunAt, endedAt)).toEqual(["valid"]);
        const off = seen.static.filter((one) => one.sentAt > begunAt && one.answeredAt < endedAt);
        for (const { sentAt, stalenessSeconds } of off)
          expect(stalenessSeconds).toBeGreaterThanOrEqual((sentAt - begunAt) / 1_000);
      }),
    );
  }, 300_000);

  test(`is stopped for ${STOPPED_MS / 1_000} s and goes on: what was asked meanwhile is judged by what became of it meanwhile`, async () => {
    const victim = cluster.member(2);
    const told = await through("while stopped", victim, stopped(victim));
    expectCeilings(told, BOUNDED_MS);
    // It could ask again as soon as it went on, so nobody was told that it can't know. A connection that was idle for
    // long before is closed then, and so may be what was just asked on it.
    const codes = codesIn(told.seen.kept, told.begunAt, Number.POSITIVE_INFINITY);
    expect(codes.filter((code) => code !== "no answer")).toEqual(["valid"]);
    for (const kind of ["strict", "bounded"] as const) {
      const { seen, acknowledgedAt, endedAt } = told;
      const meanwhile = seen[kind].filter(({ sentAt }) => sentAt > acknowledgedAt[kind] && sentAt < endedAt);
      expect(meanwhile.map(({ code }) => code)).toContain("revoked");
    }
  }, 300_000);

  describe.skipIf(NO_COMPILER)("has a wall clock that is set", () => {
    const set = (ms: number) => clock?.set(ms);

    test.each([
      ["back by a day", -DAY_MS],
      ["back by a second", -1_000],
      ["ahead by a day", DAY_MS],
    ])(
      "%s: nothing is accepted beyond the ceiling, and it judges on",
      async (name, ms) => {
        const told = await through(`while ${name}`, cluster.member(SHIFTED), {
          begin: () => set(ms),
          end: () => set(0),
          lastsMs: LONG_MS,
          paceMs: 50,
        });
        expectCeilings(told, BOUNDED_MS);
        expect(codesIn(told.seen.kept, told.begunAt, told.endedAt)).toEqual(["valid"]);
      },
      120_000,
    );

    test("back while it is cut off, again and again: nothing is accepted beyond the ceiling", async () => {
      const victim = cluster.member(SHIFTED);
      let timer: ReturnType<typeof setInterval> | undefined;
      let behind = 0;
      const told = await through("while cut off and set back", victim, {
        ...wired(victim, "silence"),
        begin: () => {
          victim.wire.silence();
          timer = setInterval(() => {
            behind += 700;
            set(-behind);
          }, 500);
        },
        end: () => {
          clearInterval(timer);
          victim.wire.mend();
          set(0);
        },
      });
      expectCeilings(told, BOUNDED_MS);
      expect(codesIn(told.seen.static, told.begunAt, told.endedAt)).toEqual(["valid"]);
    }, 300_000);

    test("back by the time for which it was stopped: it doesn't take that for no time", async () => {
      const victim = cluster.member(SHIFTED);
      const told = await through("while stopped and set back", victim, {
        ...stopped(victim),
        end: () => {
          set(-STOPPED_MS);
          victim.process.signal("SIGCONT");
        },
      });
      set(0);
      expectCeilings(told, BOUNDED_MS);
    }, 300_000);
  });
});
