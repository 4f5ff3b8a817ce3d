import { SYSTEM } from "../../src/authority/audit/entry.ts";
import { createMembership } from "../../src/authority/cluster/membership.ts";
import type { KeyId, RotationId } from "../../src/authority/ids.ts";
import type { Issued } from "../../src/authority/keys/issue.ts";
import { OPERATIONS } from "../../src/authority/operations.ts";
import type { Rotated } from "../../src/authority/rotations/rotate-key.ts";
import type { ServiceAccount } from "../../src/authority/service-accounts/service-account.ts";
import { HOST, openSetup } from "../../src/authority/setup/setup.ts";
import { actorOf, DAY, MINUTE, QUICK, SECOND, START, startWorld, type World } from "../support/authority.ts";

/** Two processes of one installation with something in it: `here` changes, `there` remembers. */
export interface Scene {
  readonly here: World;
  readonly there: World;
  readonly owner: ServiceAccount;
  readonly plain: Issued;
  readonly tenant: Awaited<ReturnType<typeof makeTenant>>;
  /** All secrets that are asked for. */
  readonly secrets: string[];
  readonly keyIds: KeyId[];
  readonly rotationIds: RotationId[];
  /** From now on the other process is none whose word is waited for. */
  silence(): Promise<void>;
  close(): Promise<void>;
}

const makeTenant = (world: World) => world.do(OPERATIONS.createAccount, { name: "tenant" });

export async function newScene(): Promise<Scene> {
  const here = await startWorld({ process: "here" });
  const { folder, clock } = here;
  const there = await startWorld({ folder, clock, process: "there" });
  const owner = await here.owner({ role: "editor", scopes: ["invoices:*"] });
  const plain = await here.key(owner.id, { ttl: "30d" });
  const sibling = await here.key(owner.id);
  const tenant = await makeTenant(here);
  await there.follow();
  // Whoever judges by use waits for what the other one has seen.
  const telling = setInterval(() => void there.authority.recorder.flush(), 10);
  return {
    here,
    there,
    owner,
    plain,
    tenant,
    secrets: [plain.secret, sibling.secret, tenant.secret],
    keyIds: [plain.key.id, sibling.key.id],
    rotationIds: [],
    silence: () => {
      clearInterval(telling);
      return there.authority.recorder.stop();
    },
    close: async () => {
      clearInterval(telling);
      await there.leave();
      await here.close();
    },
  };
}

interface Mutation {
  /** Brings the scene to where the operation can be performed, and returns what performs it. */
  readonly ready: (scene: Scene) => Promise<() => Promise<unknown>>;
  /** Whether it changes what is known of a key that is remembered. */
  readonly bites: boolean;
}

/** The key is rotated, and its successor was used once. */
async function rotated(scene: Scene): Promise<Rotated> {
  const done = await scene.here.rotate(scene.plain.key.id, { ...QUICK, completion: "manual" });
  scene.secrets.push(done.secret);
  scene.here.verify(done.secret, { name: "api" });
  scene.here.verify(scene.plain.secret, { name: "api" });
  for (const world of [scene.here, scene.there]) await world.authority.recorder.flush();
  return done;
}

/** Time goes by in both processes, all of it watched. */
export async function passIn({ here, there }: Scene, milliseconds: number): Promise<void> {
  here.clock.pass(milliseconds);
  for (const world of [here, there]) {
    await world.follow();
    await world.authority.recorder.flush();
  }
}

async function brownedOut(scene: Scene) {
  const { rotation } = await rotated(scene);
  await scene.here.do(OPERATIONS.announceBrownout, { id: rotation.id, durationSeconds: 300 });
  const [brownout] = (await scene.here.view(rotation.id)).brownouts;
  if (brownout === undefined) throw new Error("no brownout");
  return brownout;
}

/** Whatever it issues is asked for as well. */
const issuing = (scene: Scene, work: () => Promise<{ readonly secret: string }>) => async () => {
  const { secret } = await work();
  scene.secrets.push(secret);
};

/** Everything that changes state, at a scene in which it does. */
export const MUTATIONS: Readonly<Record<keyof typeof OPERATIONS, Mutation>> = {
  redeemSetupToken: {
    bites: false,
    ready: async (scene) => {
      const token = await openSetup(scene.here.authority);
      return issuing(scene, () => scene.here.as(HOST, OPERATIONS.redeemSetupToken, { token }));
    },
  },
  recover: {
    bites: false,
    ready: async (scene) => issuing(scene, () => scene.here.as(HOST, OPERATIONS.recover, {})),
  },
  createAccount: {
    bites: false,
    ready: async (scene) =>
      issuing(scene, () => scene.here.do(OPERATIONS.createAccount, { name: "another" })),
  },
  suspendAccount: {
    bites: true,
    ready:
      async ({ here, tenant }) =>
      () =>
        here.do(OPERATIONS.suspendAccount, { id: tenant.account.id }),
  },
  reinstateAccount: {
    bites: true,
    ready: async ({ here, tenant }) => {
      await here.do(OPERATIONS.suspendAccount, { id: tenant.account.id });
      return () => here.do(OPERATIONS.reinstateAccount, { id: tenant.account.id });
    },
  },
  createServiceAccount: {
    bites: false,
    ready:
      async ({ here }) =>
      () =>
        here.owner({ role: "viewer" }),
  },
  updateServiceAccount: {
    bites: true,
    ready:
      async ({ here, owner }) =>
      () =>
        here.do(OPERATIONS.updateServiceAccount, { id: owner.id, own: { role: "viewer" } }),
  },
  disableServiceAccount: {
    bites: true,
    ready:
      async ({ here, owner }) =>
      () =>
        here.do(OPERATIONS.disableServiceAccount, { id: owner.id }),
  },
  enableServiceAccount: {
    bites: true,
    ready: async ({ here, owner }) => {
      await here.do(OPERATIONS.disableServiceAccount, { id: owner.id });
      return () => here.do(OPERATIONS.enableServiceAccount, { id: owner.id });
    },
  },
  deleteServiceAccount: {
    bites: true,
    ready:
      async ({ here, owner }) =>
      () =>
        here.do(OPERATIONS.deleteServiceAccount, { id: owner.id }),
  },
  createKey: {
    bites: false,
    ready: async (scene) => issuing(scene, () => scene.here.key(scene.owner.id)),
  },
  updateKey: {
    bites: true,
    ready:
      async ({ here, plain }) =>
      () =>
        here.do(OPERATIONS.updateKey, { id: plain.key.id, own: { scopes: ["invoices:read"] } }),
  },
  suspendKey: {
    bites: true,
    ready:
      async ({ here, plain }) =>
      () =>
        here.do(OPERATIONS.suspendKey, { id: plain.key.id }),
  },
  reinstateKey: {
    bites: true,
    ready: async ({ here, plain }) => {
      await here.do(OPERATIONS.suspendKey, { id: plain.key.id });
      return () => here.do(OPERATIONS.reinstateKey, { id: plain.key.id });
    },
  },
  revokeKey: {
    bites: true,
    ready:
      async ({ here, plain }) =>
      () =>
        here.do(OPERATIONS.revokeKey, { id: plain.key.id }),
  },
  replaceSecret: {
    bites: true,
    // What the other process sees from here on it tells nobody: a key whose use was told keeps its secret.
    ready: async (scene) => {
      await scene.silence();
      return issuing(scene, () => scene.here.do(OPERATIONS.replaceSecret, { id: scene.plain.key.id }));
    },
  },
  rotateKey: {
    bites: true,
    ready: async (scene) => issuing(scene, () => scene.here.rotate(scene.plain.key.id)),
  },
  rotateSelf: {
    bites: true,
    ready: async (scene) => {
      const { here, secrets } = scene;
      const issued = await here.keyWith({ scopes: ["keyturn:self.rotate"] });
      secrets.push(issued.secret);
      return issuing(scene, () => here.as(actorOf(issued.key), OPERATIONS.rotateSelf, { plan: QUICK }));
    },
  },
  extendRotation: {
    bites: true,
    ready: async (scene) => {
      const { rotation } = await rotated(scene);
      return () =>
        scene.here.do(OPERATIONS.extendRotation, {
          id: rotation.id,
          by: { deadlineAt: START + 100 * DAY },
        });
    },
  },
  completeRotation: {
    bites: true,
    ready: async (scene) => {
      const { rotation } = await rotated(scene);
      return () => scene.here.do(OPERATIONS.completeRotation, { id: rotation.id, force: true });
    },
  },
  cancelRotation: {
    bites: true,
    ready: async (scene) => {
      const { rotation } = await rotated(scene);
      return () => scene.here.do(OPERATIONS.cancelRotation, { id: rotation.id, force: true });
    },
  },
  rollbackRotation: {
    bites: true,
    ready: async (scene) => {
      const { rotation } = await rotated(scene);
      await scene.here.do(OPERATIONS.completeRotation, { id: rotation.id, force: true });
      return () => scene.here.do(OPERATIONS.rollbackRotation, { id: rotation.id });
    },
  },
  dismissCaller: {
    bites: false,
    ready: async (scene) => {
      scene.here.verify(scene.plain.secret, { name: "gone" });
      await passIn(scene, 2 * MINUTE);
      const { rotation } = await rotated(scene);
      return () =>
        scene.here.do(OPERATIONS.dismissCaller, { id: rotation.id, caller: "gone", reason: "shut down" });
    },
  },
  announceBrownout: {
    bites: true,
    ready: async (scene) => {
      const { rotation } = await rotated(scene);
      return () =>
        scene.here.do(OPERATIONS.announceBrownout, {
          id: rotation.id,
          startsAt: scene.here.clock.wall() + SECOND,
        });
    },
  },
  advanceRotation: {
    bites: true,
    ready: async (scene) => {
      const { rotation } = await rotated(scene);
      return () => scene.here.as(SYSTEM, OPERATIONS.advanceRotation, { id: rotation.id });
    },
  },
  endBrownout: {
    bites: true,
    ready: async (scene) => {
      const { id } = await brownedOut(scene);
      return () => scene.here.as(SYSTEM, OPERATIONS.endBrownout, { id, reason: "ended" });
    },
  },
  forgetProcess: {
    bites: false,
    ready: async (scene) => {
      const { authority, clock } = scene.here;
      await createMembership(scene.there.authority).join();
      clock.pass(2 * MINUTE);
      await authority.follower.renew();
      return () => scene.here.do(OPERATIONS.forgetProcess, { name: "there" });
    },
  },
  acceptClock: {
    bites: true,
    // In the false future the key had expired.
    ready: async ({ here }) => {
      here.clock.jump(31 * DAY);
      await here.owner();
      here.clock.jump(-31 * DAY);
      return () => here.as(HOST, OPERATIONS.acceptClock, {});
    },
  },
  mergeWitness: {
    bites: true,
    ready:
      async ({ here, plain, tenant }) =>
      () =>
        here.as(HOST, OPERATIONS.mergeWitness, {
          revocations: [
            { kind: "secret", id: plain.key.id, ordinal: 2 },
            { kind: "key", id: tenant.key.id },
          ],
        }),
  },
  acceptLoss: {
    bites: false,
    ready:
      async ({ here }) =>
      () =>
        here.as(HOST, OPERATIONS.acceptLoss, { lacksUse: false }),
  },
  noteDatabase: {
    bites: false,
    ready:
      async ({ here }) =>
      () =>
        here.as(SYSTEM, OPERATIONS.noteDatabase, { identity: "another" }),
  },
  closeStore: {
    bites: false,
    ready:
      async ({ here }) =>
      () =>
        here.as(HOST, OPERATIONS.closeStore, { why: "moving" }),
  },
  openStore: {
    bites: false,
    ready: async ({ here }) => {
      await here.as(HOST, OPERATIONS.closeStore, { why: "moving" });
      return () => here.as(HOST, OPERATIONS.openStore, {});
    },
  },
};
