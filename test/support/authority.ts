import { z } from "zod";
import type { OwnRights } from "../../src/authority/access/rights.ts";
import { type Actor, SYSTEM } from "../../src/authority/audit/entry.ts";
import {
  type ChainFinding,
  createChainCheck,
  type KnownHead,
} from "../../src/authority/audit/verify-chain.ts";
import type { Witness } from "../../src/authority/audit/witness.ts";
import { type Authority, type AuthoritySettings, createAuthority } from "../../src/authority/authority.ts";
import type { CallerSighting } from "../../src/authority/callers/caller.ts";
import type { Clock } from "../../src/authority/clock.ts";
import { Refusal } from "../../src/authority/errors.ts";
import type { AccountId, KeyId, OwnerId, RotationId } from "../../src/authority/ids.ts";
import type { CreateKey } from "../../src/authority/keys/create-key.ts";
import type { Issued } from "../../src/authority/keys/issue.ts";
import type { Key } from "../../src/authority/keys/key.ts";
import type { Requirement, VerdictCode } from "../../src/authority/keys/verdict.ts";
import {
  type Operation,
  type Performed,
  type PerformOptions,
  perform,
} from "../../src/authority/operation.ts";
import { OPERATIONS, READINGS } from "../../src/authority/operations.ts";
import { consult, type Reading } from "../../src/authority/reading.ts";
import type { RotationView } from "../../src/authority/rotations/read-rotations.ts";
import type { Rotated } from "../../src/authority/rotations/rotate-key.ts";
import type { RotationPlan, Step } from "../../src/authority/rotations/rotation.ts";
import type { ServiceAccount } from "../../src/authority/service-accounts/service-account.ts";
import { HOST } from "../../src/authority/setup/setup.ts";
import type { Storage } from "../../src/authority/storage.ts";
import type { Instant } from "../../src/authority/time.ts";
import { openSqliteStorage } from "../../src/storage/sqlite-storage.ts";
import { dropFolder, newFolder, noted } from "./traces.ts";

export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** Where the tests' clock starts. */
export const START: Instant = Date.UTC(2026, 0, 5, 12);

/** A clock that stands still until somebody moves it. */
export interface TestClock extends Clock {
  /** Time goes by: both hands move. */
  pass(milliseconds: number): void;
  /** Somebody sets the wall clock: the monotonic one knows nothing of it. */
  jump(milliseconds: number): void;
}

export function createTestClock(start: Instant = START): TestClock {
  let wall = start;
  let monotonic = 1_000;
  return {
    wall: () => wall,
    monotonic: () => monotonic,
    pass: (milliseconds) => {
      wall += milliseconds;
      monotonic += milliseconds;
    },
    jump: (milliseconds) => {
      wall += milliseconds;
    },
  };
}

export const SETTINGS: AuthoritySettings = {
  format: { brand: "kt", retiredBrands: [], region: null },
  callerAddress: "full",
  flushSeconds: 10,
  cacheKeys: 10_000,
  boundedSeconds: 10,
};

/** Rights of nobody in particular: everything is left to the owner. */
export const INHERITED: OwnRights = { role: null, scopes: null, allowedIps: null };

/** A rotation whose spans are short, so that a test can pass through it. */
export const QUICK: RotationPlan = { quietPeriodSeconds: 60, undoWindowSeconds: 600 };

/** An audit entry as its text says it. */
const entryText = z.strictObject({
  seq: z.number(),
  at: z.string(),
  account_id: z.string().nullable(),
  actor: z.strictObject({ kind: z.string(), id: z.string(), account_id: z.string().nullable() }),
  operation: z.string(),
  outcome: z.enum(["performed", "refused"]),
  subjects: z.array(
    z.strictObject({
      kind: z.string(),
      id: z.string(),
      before: z.record(z.string(), z.unknown()).nullable(),
      after: z.record(z.string(), z.unknown()).nullable(),
    }),
  ),
  details: z.record(z.string(), z.unknown()),
});
export type EntryText = z.infer<typeof entryText>;

export interface WorldOptions {
  readonly folder?: string;
  readonly clock?: TestClock;
  readonly settings?: Partial<AuthoritySettings>;
  readonly witness?: Witness | null;
  readonly random?: (size: number) => Uint8Array;
  /** What the process is called among those of the installation. */
  readonly process?: string;
  /** For faults: what stands between the authority and its store. */
  readonly through?: (storage: Storage) => Storage;
  /** Opens the store, at the start and at each restart, where it is not the embedded one in the folder. */
  readonly open?: () => Promise<Storage>;
}

export interface MakeKey extends Partial<Omit<CreateKey, "own">> {
  readonly own?: Partial<OwnRights>;
}

/** An authority over a throw-away folder, with a root key and short words for what tests do all the time. */
export interface World {
  readonly authority: Authority;
  readonly clock: TestClock;
  readonly folder: string;
  readonly root: Issued;
  readonly account: AccountId;
  /** The root key as an actor. */
  readonly actor: Actor & { kind: "key" };
  /** Performs as the root key. */
  do<I, O>(operation: Operation<I, O>, input: I, options?: PerformOptions): Promise<O>;
  as<I, O>(actor: Actor, operation: Operation<I, O>, input: I, options?: PerformOptions): Promise<O>;
  performed<I, O>(operation: Operation<I, O>, input: I, options?: PerformOptions): Promise<Performed<O>>;
  ask<I, O>(reading: Reading<I, O>, input: I): Promise<O>;
  owner(own?: Partial<OwnRights>, name?: string): Promise<ServiceAccount>;
  key(ownerId: OwnerId, make?: MakeKey): Promise<Issued>;
  /** A key with exactly these rights, under an owner of its own that has them too. */
  keyWith(own: Partial<OwnRights>, make?: MakeKey): Promise<Issued>;
  rotate(keyId: KeyId, plan?: RotationPlan): Promise<Rotated>;
  /** The code of a verification by the account's own verifier. */
  verify(secret: string, caller?: CallerSighting, ask?: Requirement): VerdictCode;
  /** The same where the store may have to be asked first. */
  judged(secret: string, caller?: CallerSighting, ask?: Requirement, atLeast?: number): Promise<VerdictCode>;
  view(id: RotationId): Promise<RotationView>;
  stored(id: KeyId): Promise<Key>;
  /** Looks at the end of the log, as every process does four times a second: what is remembered is current again. */
  follow(): Promise<void>;
  /** Time goes by, all of it watched. */
  pass(milliseconds: number): Promise<void>;
  /** Flushes, then lets the worker take every step that is due. */
  work(id: RotationId): Promise<readonly Step[]>;
  entries(): Promise<readonly EntryText[]>;
  lastEntry(): Promise<EntryText>;
  /** Checks the whole chain. */
  checkChain(known?: readonly KnownHead[]): Promise<ChainFinding>;
  /** A clean stop, and a start over the same folder. */
  restart(): Promise<World>;
  /** The process dies with what it had in memory; another starts over the same folder. */
  crash(): Promise<World>;
  /** A clean stop that leaves the folder to the others that work over it. */
  leave(): Promise<void>;
  close(): Promise<void>;
}

export function actorOf(key: Pick<Key, "id" | "accountId">): Actor & { kind: "key" } {
  return { kind: "key", id: key.id, accountId: key.accountId };
}

/** Starts an authority over a fresh folder, or over the given one without making another root key. */
export async function startWorld(options: WorldOptions = {}): Promise<World> {
  return openWorld({ ...options, folder: options.folder ?? newFolder("authority") }, null);
}

async function openWorld(
  options: WorldOptions & { readonly folder: string },
  had: Issued | null,
): Promise<World> {
  const clock = options.clock ?? createTestClock();
  const opened = (await options.open?.()) ?? openSqliteStorage(options.folder);
  const authority = await createAuthority({
    settings: { ...SETTINGS, ...options.settings },
    storage: options.through?.(opened) ?? opened,
    clock,
    random: options.random ?? ((size) => crypto.getRandomValues(new Uint8Array(size))),
    witness: options.witness ?? null,
    process: { name: options.process ?? "test", version: "0" },
  });
  await authority.recorder.start();
  const root = had ?? noted(await perform(authority, OPERATIONS.recover, HOST, {})).output;
  const account = root.key.accountId;
  const actor = actorOf(root.key);
  let names = 0;

  const world: World = {
    authority,
    clock,
    folder: options.folder,
    root,
    account,
    actor,
    do: (operation, input, more) => world.as(actor, operation, input, more),
    as: async (who, operation, input, more) =>
      noted(await perform(authority, operation, who, input, more)).output,
    performed: async (operation, input, more) =>
      noted(await perform(authority, operation, actor, input, more)),
    ask: (reading, input) => consult(authority, reading, actor, input),
    owner: (own = {}, name = `owner-${++names}`) =>
      world.do(OPERATIONS.createServiceAccount, { name, own: { ...INHERITED, ...own } }),
    key: (ownerId, { own, ...make } = {}) =>
      world.do(OPERATIONS.createKey, {
        name: `key-${++names}`,
        ownerId,
        own: { ...INHERITED, ...own },
        ...make,
      }),
    keyWith: async (own, make) => world.key((await world.owner(own)).id, { ...make, own }),
    rotate: (keyId, plan = QUICK) => world.do(OPERATIONS.rotateKey, { keyId, plan }),
    verify: (secret, caller = {}, ask = {}) => {
      const verdict = authority.verifier.verify(secret, ask, caller, account);
      if (verdict instanceof Promise) throw new Error("the embedded database answers at once");
      return verdict.code;
    },
    judged: async (secret, caller = {}, ask = {}, atLeast = 0) =>
      (await authority.verifier.verify(secret, ask, caller, account, atLeast)).code,
    view: (id) => world.ask(READINGS.readRotation, { id }),
    stored: async (id) => (await world.ask(READINGS.readKey, { id })).key,
    follow: () => authority.follower.renew(),
    pass: async (milliseconds) => {
      clock.pass(milliseconds);
      await authority.follower.renew();
      await authority.recorder.flush();
    },
    work: async (id) => {
      await authority.recorder.flush();
      const steps: Step[] = [];
      for (;;) {
        const step = await world.as(SYSTEM, OPERATIONS.advanceRotation, { id });
        if (step === null) return steps;
        steps.push(step);
        if (steps.length > 20) throw new Error(`the worker runs in circles: ${steps.join(", ")}`);
      }
    },
    entries: async () => {
      const lines = await authority.storage.read.audit.lines(0, 1_000_000);
      return lines.map((line) => entryText.parse(JSON.parse(line.text ?? "")));
    },
    lastEntry: async () => {
      const { seq } = await authority.storage.read.audit.head();
      const [line] = await authority.storage.read.audit.lines(seq - 1, 1);
      return entryText.parse(JSON.parse(line?.text ?? ""));
    },
    checkChain: async (known = []) => {
      const check = createChainCheck(known);
      for (const line of await authority.storage.read.audit.lines(0, 1_000_000)) check.add(line);
      return check.end();
    },
    restart: async () => {
      await authority.recorder.stop();
      await authority.storage.close();
      return openWorld({ ...options, clock }, root);
    },
    crash: async () => {
      await authority.storage.close();
      return openWorld({ ...options, clock }, root);
    },
    leave: async () => {
      await authority.recorder.stop();
      await authority.storage.close();
    },
    close: async () => {
      await authority.recorder.stop();
      await authority.storage.close();
      dropFolder(options.folder);
    },
  };
  return world;
}

/** The refusal that this ends in. Fails when it is done, or ends in a bug. */
export async function refusalOf(attempt: Promise<unknown>): Promise<Refusal> {
  const outcome = await attempt.then(
    (output) => ({ output }),
    (error: unknown) => ({ error }),
  );
  if ("error" in outcome) {
    if (outcome.error instanceof Refusal) return outcome.error;
    throw outcome.error;
  }
  throw new Error("It was done, and should have been refused.");
}

/** The refusal that this function throws. */
export function refusalIn(work: () => unknown): Refusal {
  try {
    work();
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
  throw new Error("It was done, and should have been refused.");
}
