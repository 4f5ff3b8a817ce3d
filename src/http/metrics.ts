import { Counter, Gauge, Registry } from "prom-client";
import type { Authority } from "../authority/authority.ts";
import { VERDICT_CODES, type VerdictCode } from "../authority/keys/verdict.ts";
import type { ProblemCode } from "./problems.ts";

/** Numbers for `/metrics`. No label names a key, an owner or a caller: they would be secrets of the customers. */
export interface Metrics {
  countVerdict(code: VerdictCode): void;
  countProblem(code: ProblemCode): void;
  countRequest(operation: string, status: number): void;
  text(): Promise<string>;
}

export function createMetrics(authority: Authority): Metrics {
  const registry = new Registry();
  const registers = [registry];
  // Counted in a plain object and read when asked: a labelled counter costs more than the verdict itself.
  const verdicts: Partial<Record<VerdictCode, number>> = {};
  new Counter({
    name: "keyturn_verdicts_total",
    help: "Verifications by verdict.",
    labelNames: ["code"],
    registers,
    collect() {
      this.reset();
      for (const code of VERDICT_CODES) this.inc({ code }, verdicts[code] ?? 0);
    },
  });
  const problems = new Counter({
    name: "keyturn_problems_total",
    help: "Requests answered with a problem, by its code.",
    labelNames: ["code"],
    registers,
  });
  const requests = new Counter({
    name: "keyturn_requests_total",
    help: "Requests to the management API, by operation and status.",
    labelNames: ["operation", "status"],
    registers,
  });
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  const { name: process, version } = authority.process;
  new Gauge({
    name: "keyturn_process_info",
    help: "1, with the name and the version of this process.",
    labelNames: ["process", "version"],
    registers,
  }).set({ process, version }, 1);
  gauge("keyturn_last_used_flush_lag_seconds", "Time since usage and callers were last stored.", () =>
    authority.recorder.lagSeconds(),
  );
  gauge("keyturn_audit_seq", "Sequence number of the newest audit entry applied.", () =>
    authority.follower.appliedSeq(),
  );
  gauge(
    "keyturn_staleness_seconds",
    "How old what this process knows of the log is.",
    () => authority.follower.stalenessMs() / 1000,
  );
  gauge("keyturn_cached_keys", "Keys remembered by the verifier.", () => authority.verifier.size());
  gauge("keyturn_writable", "1 while changes are accepted.", () => (authority.health.writable() ? 1 : 0));
  gauge("keyturn_clock_trouble", "1 while deadlines stand still because the clock can't be trusted.", () =>
    authority.time.trouble() === null ? 0 : 1,
  );
  /** Null where the database does not answer: what nobody knows is left out, and the rest is told all the same. */
  const openRotations = async () => {
    if (!authority.follower.reachable()) return null;
    return authority.storage.read.rotations.openCounts().catch(() => null);
  };
  new Gauge({
    name: "keyturn_rotations",
    help: "Open rotations by state.",
    labelNames: ["state"],
    registers,
    async collect() {
      const counts = await openRotations();
      this.reset();
      for (const { state, count } of counts ?? []) this.set({ state }, count);
    },
  });
  new Gauge({
    name: "keyturn_rotations_overdue",
    help: "Open rotations that are overdue.",
    registers,
    async collect() {
      const counts = await openRotations();
      if (counts === null) this.remove();
      else this.set(counts.reduce((sum, { overdue }) => sum + overdue, 0));
    },
  });
  return {
    countVerdict: (code) => {
      verdicts[code] = (verdicts[code] ?? 0) + 1;
    },
    countProblem: (code) => problems.inc({ code }),
    countRequest: (operation, status) => requests.inc({ operation, status: String(status) }),
    text: () => registry.metrics(),
  };
}
