import type { z } from "@hono/zod-openapi";
import type { Authority } from "../authority/authority.ts";
import { leaseOf } from "../authority/freshness.ts";
import { leaseAt, presentCeilings, secondsOf } from "./present.ts";
import type { readinessAnswer } from "./schemas.ts";

/** `GET /readyz`: what is out of order in this process, without asking anybody else. */
export function readiness(authority: Authority): z.infer<typeof readinessAnswer> {
  const { boundedSeconds } = authority.settings;
  const staleness = authority.follower.stalenessMs();
  const warnings = [
    ...clockWarnings(authority),
    ...freshnessWarnings(authority),
    ...storeWarnings(authority),
  ];
  return {
    status: warnings.length === 0 ? "ready" : "degraded",
    seq: authority.follower.appliedSeq(),
    staleness_seconds: secondsOf(staleness),
    lease: leaseAt(staleness, boundedSeconds),
    ceilings: presentCeilings(boundedSeconds),
    warnings,
  };
}

function clockWarnings({ time }: Authority): readonly string[] {
  const trouble = time.trouble();
  if (trouble === "behind")
    return ["clock: the wall clock lies behind the newest entry; deadlines stand still"];
  return trouble === "jumped" ? ["clock: the wall clock jumped; deadlines stand still"] : [];
}

function freshnessWarnings({ follower, settings }: Authority): readonly string[] {
  const staleness = follower.stalenessMs();
  if (follower.history() === "broken") {
    return [
      "history: the database is not the one that was followed so far; only static keys are judged, and no change is accepted",
    ];
  }
  const isReachable = follower.reachable();
  if (leaseAt(staleness, settings.boundedSeconds) === "held")
    return isReachable ? [] : ["database: it does not answer"];
  const cause = isReachable
    ? "lease: the log was not looked at"
    : "database: it does not answer; nothing was heard";
  return [
    `${cause} for ${ageText(staleness)}; ${whoIsStale(staleness, settings.boundedSeconds)} answer stale`,
  ];
}

function ageText(staleness: number): string {
  return Number.isFinite(staleness)
    ? `${(staleness / 1000).toFixed(1)} s`
    : "a time that the clocks can't tell";
}

function whoIsStale(staleness: number, boundedSeconds: number): string {
  return staleness <= leaseOf("bounded", boundedSeconds) ? "strict keys" : "all but static keys";
}

const WHY_NOT_OPEN = {
  closed: "the installation is being moved; no change is accepted until that is done",
  fault: "the database reported a fault; no change is accepted until the service is restarted",
} as const;

function storeWarnings({ health, recorder, settings }: Authority): readonly string[] {
  const warnings: string[] = [];
  const state = health.state();
  if (state !== "open") warnings.push(`storage: ${WHY_NOT_OPEN[state]}`);
  const lag = recorder.lagSeconds();
  if (lag > 10 * settings.flushSeconds + 5) warnings.push(`evidence: not stored for ${Math.round(lag)} s`);
  return warnings;
}
