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
    ...neighbourWarnings(authority),
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
  if (follower.history() === "moved")
    return ["history: the installation was moved to another database; nothing is judged here any more"];
  if (follower.history() === "broken") {
    return [
      "history: the database was put back to an older state, or replaced by another; only static keys are judged, and no change is accepted. Stop all processes, then run keyturn restore",
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
  disk: "the database reported a fault; no change is accepted until the service is restarted",
  witness: "the witness file could not be written; no change is accepted until the service is restarted",
} as const;

function neighbourWarnings({ neighbours, process, settings }: Authority): readonly string[] {
  const { hasNamesake, otherCeilings } = neighbours.disagreement();
  const warnings: string[] = [];
  const doubted = neighbours.doubted();
  if (doubted !== null) warnings.push(`identity: ${doubted}`);
  if (hasNamesake)
    warnings.push(
      `name: another process that serves is called ${process.name}, too; give each a KEYTURN_PROCESS_NAME of its own`,
    );
  if (otherCeilings.length > 0)
    warnings.push(
      `ceiling: bounded keys have ${settings.boundedSeconds} s here, and ${otherCeilings.map(({ name, boundedSeconds }) => `${boundedSeconds} s at ${name}`).join(", ")}; give all processes one KEYTURN_BOUNDED_CEILING`,
    );
  return warnings;
}

function storeWarnings({ health, recorder, settings }: Authority): readonly string[] {
  const warnings: string[] = [];
  const state = health.state();
  // A broken history is told above.
  if (state !== "open" && state !== "history") warnings.push(`storage: ${WHY_NOT_OPEN[state]}`);
  const lag = recorder.lagSeconds();
  if (lag > 10 * settings.flushSeconds + 5) warnings.push(`evidence: not stored for ${Math.round(lag)} s`);
  return warnings;
}
