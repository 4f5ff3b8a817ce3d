import type { BrownoutId } from "../ids.ts";
import type { Operation } from "../operation.ts";
import { formatInstant } from "../time.ts";
import type { BrownoutStop } from "./brownout.ts";

export interface EndBrownout {
  readonly id: BrownoutId;
  readonly reason: BrownoutStop;
}

/** The worker's: stores what a brownout found, and that it is over. */
export const endBrownout: Operation<EndBrownout, void> = {
  name: "rotations.end-brownout",
  permission: "system",
  mayBeIdle: true,
  async run(change, input) {
    const brownout = await change.tx.rotations.brownoutById(input.id);
    if (brownout === null || brownout.stoppedAt !== null) return;
    const rotation = await change.tx.rotations.byIdAnywhere(brownout.rotationId);
    if (rotation === null) return;
    change.inAccount(rotation.accountId);
    const tally = change.authority.verifier.tallyOf(brownout.id);
    const ended = {
      ...brownout,
      refusals: tally?.refusals ?? brownout.refusals,
      callersHit: tally?.callersHit ?? brownout.callersHit,
      stoppedAt: Math.min(change.now, brownout.endsAt),
      stopReason: input.reason,
    };
    await change.tx.rotations.replaceBrownout(ended);
    change.record({
      kind: "brownout",
      id: brownout.id,
      before: { stopped_at: null },
      after: {
        stopped_at: formatInstant(ended.stoppedAt),
        stop_reason: ended.stopReason,
        refusals: ended.refusals,
        callers_hit: ended.callersHit.length,
      },
    });
    change.record({ kind: "key", id: rotation.oldKeyId, before: { brownout_id: brownout.id }, after: null });
  },
};
