import { afterEach, expect, test } from "bun:test";
import { startWorld, type World } from "../../../test/support/authority.ts";
import { OPERATIONS } from "../operations.ts";
import type { Storage } from "../storage.ts";

let world: World | null = null;
afterEach(() => world?.close());

/** Evidence that is neither read nor refused for as long as somebody wants. */
function held(): { through(storage: Storage): Storage; isHeld: boolean; release(): void } {
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const line = {
    isHeld: false,
    release,
    through: (storage: Storage): Storage => ({
      ...storage,
      evidence: {
        ...storage.evidence,
        callersOf: async (key) => {
          if (line.isHeld) await released;
          return storage.evidence.callersOf(key);
        },
      },
    }),
  };
  return line;
}

test("the emergency brake doesn't wait for evidence that can't be read soon: it says that it knows no user", async () => {
  const line = held();
  world = await startWorld({ through: line.through });
  const { key, secret } = await world.key((await world.owner()).id);
  expect(world.verify(secret, { name: "billing" })).toBe("valid");
  line.isHeld = true;
  const { inUseBy } = await world.do(OPERATIONS.revokeKey, { id: key.id });
  expect(inUseBy).toEqual([]);
  expect((await world.lastEntry()).details).toEqual({ in_use_by: "unknown" });
  expect(world.verify(secret)).toBe("revoked");
  line.release();
});
