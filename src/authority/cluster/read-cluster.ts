import type { Authority } from "../authority.ts";
import type { Reading } from "../reading.ts";
import type { ServingProcess } from "../storage.ts";
import type { Instant } from "../time.ts";
import { reportOf } from "./membership.ts";

export interface ClusterView {
  readonly processes: readonly ServingProcess[];
  /** The newest entry of the log. */
  readonly seq: number;
  readonly now: Instant;
}

/** `GET /v1/cluster`: who serves, and how far each process is. */
export const readCluster: Reading<Record<string, never>, ClusterView> = {
  name: "cluster.read",
  permission: "keyturn:cluster.read",
  operatorOnly: true,
  async run({ read, authority }) {
    const now = authority.clock.wall();
    const { seq } = await read.audit.head();
    const processes = await authority.storage.cluster.processes();
    return { processes: processes.map((one) => asKnown(one, authority, now)), seq, now };
  },
};

/** Of itself a process knows better than by what it last told. */
function asKnown(
  one: ServingProcess,
  { process, follower, recorder }: Authority,
  now: Instant,
): ServingProcess {
  if (one.id !== process.id) return one;
  return { ...one, ...reportOf({ follower, recorder }, now) };
}
