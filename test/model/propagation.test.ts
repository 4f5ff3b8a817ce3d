import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SYSTEM } from "../../src/authority/audit/entry.ts";
import { type Authority, createAuthority } from "../../src/authority/authority.ts";
import { Refusal } from "../../src/authority/errors.ts";
import type { Matched, Requirement } from "../../src/authority/keys/verdict.ts";
import type { Operation } from "../../src/authority/operation.ts";
import { OPERATIONS } from "../../src/authority/operations.ts";
import { HOST } from "../../src/authority/setup/setup.ts";
import { DAY, INHERITED, QUICK, SECOND, SETTINGS, START } from "../support/authority.ts";
import { times } from "../support/counts.ts";
import { MUTATIONS, newScene, passIn, type Scene } from "./mutations.ts";

/** What a key may be asked for; each right is in one of them. */
const ASKS: readonly Requirement[] = [
  {},
  { scopes: ["invoices:write"] },
  { role: "editor" },
  { address: "10.1.2.3", scopes: ["invoices:read"] },
];

/** An authority that has just started over the same store, and remembers nothing. */
function freshOver({ there }: Scene): Promise<Authority> {
  return createAuthority({
    settings: SETTINGS,
    storage: there.authority.storage,
    clock: there.clock,
    random: (size) => crypto.getRandomValues(new Uint8Array(size)),
    witness: null,
    process: { name: "fresh", version: "0" },
  });
}

/** All that an authority answers about the scene's secrets: verdicts, rights, and what is told of each key. */
async function answersOf(authority: Authority, { secrets, here }: Scene): Promise<readonly unknown[]> {
  const answers: unknown[] = [];
  for (const secret of secrets) {
    for (const ask of ASKS) {
      for (const account of [null, here.account]) {
        const { code, key } = await authority.verifier.verify(secret, ask, {}, account);
        answers.push([code, key?.effective.rights ?? null, key === null ? null : toldOf(key.matched)]);
      }
    }
  }
  return answers;
}

/** A rotation's brownout is the old key's business: no verdict on the successor depends on it. */
function toldOf(matched: Matched): Matched {
  return matched.rotation?.oldKeyId === matched.key.id ? matched : { ...matched, brownout: null };
}

/** What the process with the warm cache answers, and what is true. */
async function compared(scene: Scene): Promise<{ readonly remembered: unknown; readonly truth: unknown }> {
  return {
    remembered: await answersOf(scene.there.authority, scene),
    truth: await answersOf(await freshOver(scene), scene),
  };
}

describe("R12: after each mutation by one process, another with a warm cache", () => {
  test("has a row below for every operation there is", () => {
    expect(Object.keys(MUTATIONS).sort()).toEqual(Object.keys(OPERATIONS).sort());
  });

  for (const [name, { ready, bites }] of Object.entries(MUTATIONS)) {
    test(`answers as one that has just started: ${name}${bites ? ", which changes what it remembers" : ""}`, async () => {
      const scene = await newScene();
      const mutate = await ready(scene);
      await scene.there.follow();
      const warm = await answersOf(scene.there.authority, scene);
      const known = scene.secrets.length;
      await mutate();
      await scene.there.follow();
      const { remembered, truth } = await compared(scene);
      expect(remembered).toEqual(truth);
      // A row that changes nothing of what was remembered would hold whatever the verifier did.
      const same = Bun.deepEquals((truth as readonly unknown[]).slice(0, warm.length), warm);
      expect([name, known > 0, !same]).toEqual([name, true, bites]);
      await scene.close();
    });
  }

  test("answers as one that has just started after any course of mutations", async () => {
    const move = fc.record({ what: fc.nat(), which: fc.nat(), follow: fc.boolean() });
    const done = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(fc.array(move, { minLength: 5, maxLength: 25 }), async (course) => {
        const scene = await newScene();
        for (const { what, which, follow } of course) {
          const names = Object.keys(STEPS);
          const name = names[what % names.length] ?? "";
          try {
            await STEPS[name]?.(scene, which);
            done.set(name, (done.get(name) ?? 0) + 1);
          } catch (error) {
            if (!(error instanceof Refusal)) throw error;
          }
          if (follow) {
            await scene.there.follow();
            const { remembered, truth } = await compared(scene);
            expect(remembered).toEqual(truth);
          }
        }
        await scene.close();
      }),
      { numRuns: times(100) },
    );
    // A course of nothing but refusals would show nothing.
    expect(done.size).toBeGreaterThan(Object.keys(STEPS).length / 2);
  });

  test("does not, where an operation tells the log nothing of the key that it changed: this can fail", async () => {
    const silent: Operation<{ readonly id: `key_${string}` }, void> = {
      name: "keys.suspend-silently",
      permission: "keyturn:keys.update",
      async run(change, { id }) {
        const key = await change.tx.keys.byId(change.account(), id);
        if (key === null) throw new Error("no such key");
        await change.tx.keys.replace({ ...key, suspensions: ["operator"] });
        change.record({ kind: "installation", id: "nothing of it", before: null, after: null });
      },
    };
    const scene = await newScene();
    await answersOf(scene.there.authority, scene);
    await scene.here.do(silent, { id: scene.plain.key.id });
    await scene.there.follow();
    const { remembered, truth } = await compared(scene);
    expect(remembered).not.toEqual(truth);
    await scene.close();
  });
});

/** Steps that may be refused, each with any of the scene's things. */
const STEPS: Readonly<Record<string, (scene: Scene, which: number) => Promise<unknown>>> = {
  rotate: async (scene, which) => {
    const rotated = await scene.here.rotate(pick(scene.keyIds, which), { ...QUICK, completion: "manual" });
    scene.keyIds.push(rotated.key.id);
    scene.rotationIds.push(rotated.rotation.id);
    scene.secrets.push(rotated.secret);
  },
  suspend: ({ here, keyIds }, which) => here.do(OPERATIONS.suspendKey, { id: pick(keyIds, which) }),
  reinstate: ({ here, keyIds }, which) => here.do(OPERATIONS.reinstateKey, { id: pick(keyIds, which) }),
  revoke: ({ here, keyIds }, which) => here.do(OPERATIONS.revokeKey, { id: pick(keyIds, which) }),
  narrow: ({ here, keyIds }, which) =>
    here.do(OPERATIONS.updateKey, {
      id: pick(keyIds, which),
      own: which % 2 === 0 ? { scopes: ["invoices:read"] } : { role: "viewer" },
    }),
  narrowOwner: ({ here, owner }, which) =>
    here.do(OPERATIONS.updateServiceAccount, {
      id: owner.id,
      own: { role: which % 2 === 0 ? "viewer" : "editor" },
    }),
  disable: ({ here, owner }) => here.do(OPERATIONS.disableServiceAccount, { id: owner.id }),
  enable: ({ here, owner }) => here.do(OPERATIONS.enableServiceAccount, { id: owner.id }),
  suspendTenant: ({ here, tenant }) => here.do(OPERATIONS.suspendAccount, { id: tenant.account.id }),
  reinstateTenant: ({ here, tenant }) => here.do(OPERATIONS.reinstateAccount, { id: tenant.account.id }),
  complete: async ({ here, rotationIds }, which) =>
    here.do(OPERATIONS.completeRotation, { id: pick(rotationIds, which), force: true }),
  rollback: ({ here, rotationIds }, which) =>
    here.do(OPERATIONS.rollbackRotation, { id: pick(rotationIds, which) }),
  cancel: ({ here, rotationIds }, which) =>
    here.do(OPERATIONS.cancelRotation, { id: pick(rotationIds, which), force: true }),
  extend: ({ here, rotationIds }, which) =>
    here.do(OPERATIONS.extendRotation, {
      id: pick(rotationIds, which),
      by: { deadlineAt: START + (40 + (which % 40)) * DAY },
    }),
  brownout: ({ here, rotationIds }, which) =>
    here.do(OPERATIONS.announceBrownout, { id: pick(rotationIds, which), stopAfterCallers: 99 }),
  advance: ({ here, rotationIds }, which) =>
    here.as(SYSTEM, OPERATIONS.advanceRotation, { id: pick(rotationIds, which) }),
  recover: async (scene) => {
    const { secret } = await scene.here.as(HOST, OPERATIONS.recover, {});
    scene.secrets.push(secret);
  },
  create: async (scene) => {
    const issued = await scene.here.key(scene.owner.id, { own: INHERITED });
    scene.keyIds.push(issued.key.id);
    scene.secrets.push(issued.secret);
  },
  wait: (scene, which) => passIn(scene, (which % 400) * SECOND),
};

function pick<T>(of: readonly T[], which: number): T {
  const one = of[which % of.length];
  if (one === undefined) throw new Refusal("not_found", "There is none yet.");
  return one;
}
