import { Refusal } from "../errors.ts";
import type { Operation } from "../operation.ts";
import type { ServingProcess } from "../storage.ts";
import type { Instant } from "../time.ts";

/** The longest ceiling that `bounded` keys can have: whoever is cut off for longer can judge none but `static` ones. */
const ALIVE_MS = 60_000;

/**
 * `DELETE /v1/cluster/processes/{name}`: nobody waits any more for a process that died without a word. Throws
 * `not_found`, and `process_alive` for one that was heard of in the last 60 s and for the one that answers.
 */
export const forgetProcess: Operation<{ readonly name: string }, void> = {
  name: "cluster.forget",
  permission: "keyturn:cluster.write",
  operatorOnly: true,
  async run({ authority, now, record }, { name }) {
    const { storage, process } = authority;
    const found = (await storage.cluster.processes()).find((one) => one.name === name);
    if (found === undefined) throw new Refusal("not_found", "No such process is on the list.");
    if (found.id === process.id || isAlive(found, now)) {
      throw new Refusal(
        "process_alive",
        "The process was heard of within the last minute. One that is stopped leaves the list by itself.",
      );
    }
    record({
      kind: "installation",
      id: "cluster",
      before: { process: found.name, applied_seq: found.appliedSeq },
      after: null,
    });
    // The list is no part of this transaction. Should that fail, whoever lives is back with its next report, and nobody
    // misses the others. By its id: another that has just taken the name stays.
    await storage.cluster.leave(found.id);
  },
};

function isAlive({ at }: ServingProcess, now: Instant): boolean {
  return now - at <= ALIVE_MS;
}
