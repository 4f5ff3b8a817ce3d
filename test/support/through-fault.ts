import { expect } from "bun:test";
import type { Client } from "./client.ts";
import { type Cluster, type Member, verdictAt } from "./cluster.ts";
import { until } from "./until.ts";
import { type Sighting, watchVerdicts } from "./watch.ts";

/** One key of each freshness that is revoked, and one that is not, which must come back. */
export interface Sample {
  readonly asker: string;
  readonly keys: Readonly<Record<Kind, SampleKey>>;
}

export interface SampleKey {
  readonly id: string;
  readonly secret: string;
}

export const REVOKED = ["strict", "bounded", "static"] as const;
export type Kind = (typeof REVOKED)[number] | "kept";

/** Keys that every process knows: what is not in its memory, a process that is cut off can't judge at all. */
export async function newSample(cluster: Cluster, name: string): Promise<Sample> {
  const { call } = cluster.member(0);
  const owner = await call("POST", "/v1/service-accounts", {
    body: { name, scopes: ["invoices:read"] },
  });
  const issue = async (freshness: string, kind = freshness): Promise<SampleKey> => {
    const body = { name: kind, owner_id: owner.body.text("id"), freshness };
    const told = await call("POST", "/v1/keys", { body });
    return { id: told.body.text("key", "id"), secret: told.body.text("secret") };
  };
  const keys = {
    strict: await issue("strict"),
    bounded: await issue("bounded"),
    static: await issue("static"),
    kept: await issue("bounded", "kept"),
  };
  for (const member of cluster.members())
    for (const { secret } of Object.values(keys))
      expect(await verdictAt(member, cluster.asker, secret)).toBe("valid");
  return { asker: cluster.asker, keys };
}

export interface Fault {
  begin(): void;
  end(): void;
  /** How long it lasts after the last revocation was acknowledged. */
  readonly lastsMs: number;
  readonly paceMs: number;
}

/** What one process said of each key before, while and after something was wrong with it. */
export interface Told {
  readonly seen: Readonly<Record<Kind, readonly Sighting[]>>;
  readonly begunAt: number;
  readonly endedAt: number;
  /** When the revocation of each was acknowledged, on the same clock. */
  readonly acknowledgedAt: Readonly<Record<(typeof REVOKED)[number], number>>;
}

/** Revokes keys at another process while something is wrong with one that is asked for verdicts all the time. */
export async function throughFault(
  sample: Sample,
  victim: Member,
  elsewhere: Client,
  fault: Fault,
): Promise<Told> {
  const watching = (kind: Kind) =>
    watchVerdicts(victim.url, sample.asker, sample.keys[kind].secret, fault.paceMs);
  const watches = {
    strict: watching("strict"),
    bounded: watching("bounded"),
    static: watching("static"),
    kept: watching("kept"),
  };
  try {
    await until("it is asked", () => Object.values(watches).every(({ sightings }) => sightings.length >= 3));
    const begunAt = performance.now();
    fault.begin();
    const revoke = async (kind: (typeof REVOKED)[number]) => {
      const told = await elsewhere("POST", `/v1/keys/${sample.keys[kind].id}/revoke`, { body: {} });
      expect([kind, told.status]).toEqual([kind, 200]);
      return performance.now();
    };
    const acknowledgedAt = {
      strict: await revoke("strict"),
      bounded: await revoke("bounded"),
      static: await revoke("static"),
    };
    await Bun.sleep(fault.lastsMs);
    const endedAt = performance.now();
    fault.end();
    for (const kind of REVOKED)
      await until(
        `it knows that ${kind} was revoked`,
        () => watches[kind].sightings.at(-1)?.code === "revoked",
      );
    await until("it judges again", () => watches.kept.sightings.at(-1)?.code === "valid");
    const seen = {
      strict: await watches.strict.stop(),
      bounded: await watches.bounded.stop(),
      static: await watches.static.stop(),
      kept: await watches.kept.stop(),
    };
    return { seen, begunAt, endedAt, acknowledgedAt };
  } finally {
    fault.end();
    for (const watch of Object.values(watches)) void watch.stop();
  }
}

/** Nothing that was sent after the acknowledgement and the ceiling was accepted; and enough of it was answered. */
export function expectCeilings({ seen, acknowledgedAt }: Told, boundedMs: number): void {
  for (const [kind, ceilingMs] of [
    ["strict", 1_500],
    ["bounded", boundedMs],
  ] as const) {
    const answered = seen[kind].filter(({ code }) => code !== "no answer");
    const late = answered.filter(({ sentAt }) => sentAt > acknowledgedAt[kind] + ceilingMs);
    expect(late.length).toBeGreaterThan(5);
    expect([kind, late.filter(({ code }) => code === "valid")]).toEqual([kind, []]);
  }
}

export function codesIn(sightings: readonly Sighting[], from: number, until: number): readonly string[] {
  const within = sightings.filter(({ sentAt, answeredAt }) => sentAt >= from && answeredAt <= until);
  return [...new Set(within.map(({ code }) => code))].toSorted();
}
