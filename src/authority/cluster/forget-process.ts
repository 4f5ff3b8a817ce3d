import { Refusal } from "../errors.ts";
import type { Operation } from "../operation.ts";
import { isAlive } from "./neighbours.ts";

/**
 * `DELETE /v1/cluster/processes/{name}`: nobody waits any more for a process that died without a word. Throws
 * `not_found`, and `process_alive` for one that was heard of in the last 60 s and for the one that answers.
 */
export const forgetProcess: Operation<{ readonly name: string }, void> = {
  name: "cluster.forget",
  permission: "keyturn:cluster.write",
  operatorOnly: true,
  async run({ authority, record }, { name }) {
    const { clock, storage, process } = authority;
    const named = (await storage.cluster.processes()).filter((one) => one.name === name);
    if (named.length === 0) throw new Refusal("not_found", "No such process is on the list.");
    const dead = named.filter((one) => one.id !== process.id && !isAlive(one, clock.wall()));
    if (dead.length === 0) {
      throw new Refusal(
        "process_alive",
        "The process was heard of within the last minute. One that is stopped leaves the list by itself.",
      );
    }
    for (const { appliedSeq } of dead) {
      record({
        kind: "installation",
        id: "cluster",
        before: { process: name, applied_seq: appliedSeq },
        after: null,
      });
    }
    // The list is no part of this transaction. Should that fail, whoever lives is back with its next report, and nobody
    // misses the others. By its id: another that has just taken the name stays.
    for (const { id } of dead) await storage.cluster.leave(id);
  },
};
