import { expect, test } from "bun:test";
import fc from "fast-check";
import { createTestClock } from "../../test/support/authority.ts";
import { times } from "../../test/support/counts.ts";
import { createMemoryLog } from "../../test/support/memory-log.ts";
import { GENESIS } from "./audit/entry.ts";
import { createTimekeeper } from "./clock.ts";
import { createFollower, momentOf } from "./follower.ts";
import type { FollowedEntry } from "./storage.ts";

/** What happens to the log: this process appends, another does, this one looks. */
const happening = fc.constantFrom("own" as const, "own" as const, "other" as const, "look" as const);

test("R12: whatever order own entries, those of others, looks and their answers come in, nothing counts as applied that was not forgotten", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(happening, { minLength: 1, maxLength: 12 }),
      async (order, course) => {
        const log = createMemoryLog();
        const clock = createTestClock();
        log.underWay = () => order.schedule(Promise.resolve(), "the log answers");
        const forgotten = new Set<number>();
        let highest = 0;
        const check = () => {
          const applied = follower.appliedSeq();
          expect(applied).toBeGreaterThanOrEqual(highest);
          highest = applied;
          for (let seq = 1; seq <= applied; seq += 1) expect([seq, forgotten.has(seq)]).toEqual([seq, true]);
        };
        const follower = createFollower({
          storage: log,
          clock,
          time: createTimekeeper(clock, 0),
          boundedSeconds: 10,
          head: GENESIS,
          since: momentOf(clock),
          forget: async ({ seq }) => {
            check();
            await order.schedule(Promise.resolve(), `forgetting ${seq}`);
            forgotten.add(seq);
            check();
          },
          onFollowed: check,
          onBroken: (cause) => {
            throw cause;
          },
        });
        const applyOwn = async (entry: FollowedEntry) => {
          await order.schedule(Promise.resolve(), `own ${entry.seq} is durable`);
          await follower.applyOwn(entry);
          // Whoever gets the answer to a change is judged by it here from now on.
          expect(follower.appliedSeq()).toBeGreaterThanOrEqual(entry.seq);
          expect(forgotten.has(entry.seq)).toBe(true);
        };
        const works = course.map(async (what) => {
          await order.schedule(Promise.resolve(), what);
          if (what === "look") return follower.renew();
          const entry = log.append();
          return what === "own" ? applyOwn(entry) : undefined;
        });
        await order.waitFor(Promise.all(works));
        await order.waitFor(follower.renew());
        check();
        expect(follower.appliedSeq()).toBe(log.entries.length);
      },
    ),
    { numRuns: times(2_000) },
  );
});
