import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Cluster, type Member, startCluster, verdictAt } from "../support/cluster.ts";
import { IS_FULL_RUN, times } from "../support/counts.ts";
import { issueAt } from "../support/installation.ts";
import { NO_POSTGRES } from "../support/postgres.ts";
import { cleanUp } from "../support/traces.ts";

afterAll(cleanUp);

const PROCESSES = 4;
const REVOCATIONS = times(2_000);
const LANES = 4;
const CEILINGS_MS = { strict: 1_500, bounded: 10_000 } as const;
type Freshness = keyof typeof CEILINGS_MS;
/** Between two questions to one process about one key, and between two of the load that goes on beside. */
const PAUSE_MS = 2;
const LOAD_PAUSE_MS = 20;
/** Long, because it is a limit and no measurement. */
const GIVE_UP_MS = 60_000;

interface Living {
  readonly id: string;
  readonly secret: string;
  readonly freshness: Freshness;
}

describe.skipIf(NO_POSTGRES)("R12: with all of four processes well and under load", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster(PROCESSES);
  });
  afterAll(() => cluster?.stop());

  async function isAccepted(member: Member, { secret }: Living): Promise<boolean> {
    const code = await verdictAt(member, cluster.asker, secret);
    if (code !== "valid") expect(code).toBe("revoked");
    return code === "valid";
  }

  async function newKeys(count: number): Promise<readonly Living[]> {
    const { ownerId } = await issueAt(cluster.member(0).call, "the owner's first");
    const keys: Living[] = [];
    await Promise.all(
      cluster.members().map(async ({ call }, lane) => {
        for (let number = lane; number < count; number += PROCESSES) {
          const freshness = number % 3 === 0 ? "strict" : "bounded";
          const body = { name: `key ${number}`, owner_id: ownerId, freshness, scopes: ["invoices:read"] };
          const told = await call("POST", "/v1/keys", { body });
          keys.push({ id: told.body.text("key", "id"), secret: told.body.text("secret"), freshness });
        }
      }),
    );
    return keys;
  }

  /** Keeps every process busy with verdicts on keys that stay good. */
  function load(): { stop(): Promise<number> } {
    let running = true;
    let answered = 0;
    const working = cluster.members().map(async (member) => {
      const { secret } = await issueAt(member.call, `load of ${member.name}`);
      const key: Living = { id: "", secret, freshness: "bounded" };
      while (running) {
        expect(await isAccepted(member, key)).toBe(true);
        answered += 1;
        await Bun.sleep(LOAD_PAUSE_MS);
      }
    });
    return {
      stop: async () => {
        running = false;
        await Promise.all(working);
        return answered;
      },
    };
  }

  /** Asks one process until it refuses; resolves to when the refused request was sent, and whether any came too late. */
  async function untilRefused(member: Member, key: Living, acknowledgedAt: () => number) {
    let late = 0;
    for (const end = performance.now() + GIVE_UP_MS; performance.now() < end; ) {
      const sentAt = performance.now();
      if (!(await isAccepted(member, key))) return { sentAt, late };
      if (sentAt > acknowledgedAt() + CEILINGS_MS[key.freshness]) late += 1;
      await Bun.sleep(PAUSE_MS);
    }
    throw new Error(`${member.name} goes on accepting a ${key.freshness} key that was revoked`);
  }

  /** Milliseconds from the acknowledgement to the last process that refuses. */
  async function revoke(
    key: Living,
    at: Member,
  ): Promise<{ readonly spread: number; readonly late: number }> {
    for (const member of cluster.members()) expect(await isAccepted(member, key)).toBe(true);
    let acknowledgedAt = Number.POSITIVE_INFINITY;
    const watching = cluster.members().map((member) => untilRefused(member, key, () => acknowledgedAt));
    const acknowledge = async () => {
      const told = await at.call("POST", `/v1/keys/${key.id}/revoke`, { body: {} });
      acknowledgedAt = performance.now();
      expect(told.status).toBe(200);
    };
    const [refused] = await Promise.all([Promise.all(watching), acknowledge()]);
    return {
      spread: Math.max(0, ...refused.map(({ sentAt }) => sentAt - acknowledgedAt)),
      late: refused.reduce((sum, { late }) => sum + late, 0),
    };
  }

  test(`each of ${REVOCATIONS} revocations is in force at every process within the ceiling, and stays so`, async () => {
    const keys = await newKeys(REVOCATIONS);
    const waiting = [...keys];
    const spreads: number[] = [];
    let late = 0;
    const busy = load();
    let answered = 0;
    try {
      await Promise.all(
        Array.from({ length: LANES }, async (_, lane) => {
          for (let round = lane; ; round += 1) {
            const key = waiting.pop();
            if (key === undefined) return;
            const told = await revoke(key, cluster.member(round % PROCESSES));
            spreads.push(told.spread);
            late += told.late;
          }
        }),
      );
    } finally {
      answered = await busy.stop();
    }
    spreads.sort((one, other) => one - other);
    const at = (share: number) => `${spreads[Math.ceil(share * spreads.length) - 1]?.toFixed(1)} ms`;
    console.log(
      `${spreads.length} revocations, from the acknowledgement to the last of ${PROCESSES} processes: p50 ${at(0.5)}, p99 ${at(0.99)}, max ${at(1)} (aim: 100 ms, 1 s); ${answered} verdicts beside`,
    );
    expect([spreads.length, late]).toEqual([REVOCATIONS, 0]);
    expect(answered).toBeGreaterThan(IS_FULL_RUN ? 1_000 : 100);
    const alive = await Promise.all(
      cluster.members().map(async (member) => {
        const accepted: Living[] = [];
        for (const key of keys) if (await isAccepted(member, key)) accepted.push(key);
        return accepted;
      }),
    );
    expect(alive.flat()).toEqual([]);
  }, 1_800_000);
});
