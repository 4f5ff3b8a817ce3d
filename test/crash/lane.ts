import { expect } from "bun:test";
import type { Client, Told } from "../support/client.ts";
import type { StoredState } from "./stored-state.ts";

/** What a client knows of a key from the answers that it was given. */
interface KnownKey {
  readonly id: string;
  secret: string;
  used: boolean;
  operator: boolean;
  revoked: boolean;
  rotation: KnownRotation | null;
}

interface KnownRotation {
  readonly id: string;
  readonly old: KnownKey;
  readonly successor: KnownKey;
  phase: "overlap" | "completed" | "ended";
  /** The worker closes it by itself, a second after it was completed. */
  readonly closesItself: boolean;
}

/** A change that was sent and not answered: it was made or it was not, and nothing in between. */
interface Unanswered {
  readonly what: string;
  readonly keys: readonly KnownKey[];
  /** For calls that take an `Idempotency-Key`: the same call again. Takes the answer into account. */
  readonly again: ((call: Client) => Promise<void>) | null;
  /** What the stored state may be, besides what was acknowledged before. */
  readonly isDone: (stored: StoredState) => boolean;
  readonly accept: () => void;
}

export interface Counts {
  readonly acknowledged: number;
  readonly refused: readonly string[];
}

/**
 * One client that makes one change after another to keys of its own, and remembers what it was told. It knows of
 * nothing that it was not told, so what it expects is what the service has promised.
 */
export interface Lane {
  /** Works until the server is gone. */
  work(call: Client): Promise<void>;
  /** Holds what is stored to what was acknowledged; settles what was not answered. */
  settle(stored: StoredState, call: Client): Promise<void>;
  /** Asks for a verdict on each key, and holds it to what is known. */
  verifyAll(call: Client): Promise<void>;
  /** Verifications sent so far, by key. */
  sent(): ReadonlyMap<string, number>;
  counts(): Counts;
}

type Random = () => number;

export function createLane(name: string, random: Random): Lane {
  let ownerId: string | null = null;
  const keys: KnownKey[] = [];
  const rotations: KnownRotation[] = [];
  const sent = new Map<string, number>();
  const refused: string[] = [];
  let acknowledged = 0;
  let number = 0;
  let unanswered: Unanswered | null = null;

  const next = () => {
    number += 1;
    return number;
  };
  const pick = <T>(from: readonly T[]): T | undefined => from[Math.floor(random() * from.length)];
  const known = (id: string, secret: string, rotation: KnownRotation | null = null): KnownKey => {
    const key = { id, secret, used: false, operator: false, revoked: false, rotation };
    keys.push(key);
    return key;
  };

  /** Sends a change. When no answer comes, what was asked for stays behind, to be settled after the restart. */
  async function change(
    pending: Unanswered,
    send: () => Promise<Told>,
    take: (told: Told) => void = pending.accept,
  ) {
    unanswered = pending;
    const told = await send();
    unanswered = null;
    if (told.code !== undefined) {
      refused.push(`${pending.what}: ${told.code}`);
      return;
    }
    acknowledged += 1;
    take(told);
  }

  /** A call that makes something: after a lost answer it is sent again under its own name. */
  async function create(
    call: Client,
    what: string,
    path: string,
    body: unknown,
    touched: readonly KnownKey[],
    isDone: (stored: StoredState) => boolean,
    take: (told: Told) => void,
  ) {
    const headers = { "idempotency-key": `${name}-${next()}` };
    const send = (through: Client) => through("POST", path, { body, headers });
    const again = async (through: Client) => {
      const told = await send(through);
      expect([what, told.status, told.code]).toEqual([what, 201, undefined]);
      take(told);
    };
    await change({ what, keys: touched, again, isDone, accept: () => undefined }, () => send(call), take);
  }

  async function issue(call: Client) {
    const label = `${name} ${next()}`;
    const body = { name: label, owner_id: ownerId, scopes: ["invoices:read"] };
    const isDone = (stored: StoredState) => [...stored.keys.values()].some((key) => key.name === label);
    await create(
      call,
      "issue",
      "/v1/keys",
      body,
      [],
      isDone,
      (told) => void known(told.body.text("key", "id"), told.body.text("secret")),
    );
  }

  async function rotate(call: Client, old: KnownKey) {
    const closesItself = random() < 0.5;
    const body = { quiet_period: "1h", undo_window: closesItself ? "1s" : "1h", reason: "crash test" };
    const isDone = (stored: StoredState) => (stored.keys.get(old.id)?.rotationId ?? null) !== null;
    await create(call, "rotate", `/v1/keys/${old.id}/rotations`, body, [old], isDone, (told) => {
      const successor = known(told.body.text("key", "id"), told.body.text("secret"));
      const rotation: KnownRotation = {
        id: told.body.text("rotation", "id"),
        old,
        successor,
        phase: "overlap",
        closesItself,
      };
      old.rotation = rotation;
      successor.rotation = rotation;
      rotations.push(rotation);
    });
  }

  /** A change without a name of its own: made or not, the state says which. */
  async function act(
    call: Client,
    what: string,
    path: string,
    touched: readonly KnownKey[],
    isDone: Unanswered["isDone"],
    accept: () => void,
  ) {
    await change({ what, keys: touched, again: null, isDone, accept }, () =>
      call("POST", path, { body: what === "complete" || what === "cancel" ? { force: true } : {} }),
    );
  }

  const rowOf = (stored: StoredState, key: KnownKey) => stored.keys.get(key.id);

  async function brake(call: Client, key: KnownKey) {
    const { rotation } = key;
    if (random() < 0.4) {
      await act(
        call,
        "revoke",
        `/v1/keys/${key.id}/revoke`,
        pairOf(key),
        (stored) => rowOf(stored, key)?.revokedAt !== null,
        () => {
          key.revoked = true;
          if (rotation !== null) release(rotation);
        },
      );
      return;
    }
    const verb = key.operator ? "reinstate" : "suspend";
    const wanted = !key.operator;
    const path = `/v1/keys/${key.id}/${verb}`;
    const isDone = (stored: StoredState) => rowOf(stored, key)?.suspensions.includes("operator") === wanted;
    const accept = () => {
      key.operator = wanted;
    };
    if (verb === "reinstate")
      await change({ what: verb, keys: [key], again: null, isDone, accept }, () => call("POST", path));
    else await act(call, verb, path, [key], isDone, accept);
  }

  async function move(call: Client, rotation: KnownRotation) {
    const both = [rotation.old, rotation.successor];
    const stateOf = (stored: StoredState) => stored.rotations.get(rotation.id)?.state;
    if (rotation.phase === "completed") {
      if (rotation.closesItself) return;
      const isDone = (stored: StoredState) => stateOf(stored) !== "completed";
      await change(
        {
          what: "rollback",
          keys: both,
          again: null,
          isDone,
          accept: () => {
            rotation.phase = "overlap";
          },
        },
        () => call("POST", `/v1/rotations/${rotation.id}/rollback`),
      );
    } else if (random() < 0.6) {
      const isDone = (stored: StoredState) => stateOf(stored) === "completed" || stateOf(stored) === "closed";
      await act(call, "complete", `/v1/rotations/${rotation.id}/complete`, both, isDone, () => {
        rotation.phase = "completed";
      });
    } else {
      const isDone = (stored: StoredState) => stateOf(stored) === "cancelled";
      await act(call, "cancel", `/v1/rotations/${rotation.id}/cancel`, both, isDone, () => {
        rotation.successor.revoked = true;
        release(rotation);
      });
    }
  }

  async function replace(call: Client, key: KnownKey) {
    const dead = key.secret;
    await change(
      {
        what: "replace secret",
        keys: [key],
        // Made or not, nobody has the new text: the way out is to ask once more.
        again: async (through) => {
          const told = await through("POST", `/v1/keys/${key.id}/secret`);
          expect(told.status).toBe(201);
          key.secret = told.body.text("secret");
          await verifyAs(through, { ...key, secret: dead }, ["revoked"]);
          // Whoever shows a text of the key that is dead has it, too: it was given out, and can't be replaced again.
          key.used = true;
        },
        isDone: () => true,
        accept: () => undefined,
      },
      () => call("POST", `/v1/keys/${key.id}/secret`),
      (told) => {
        key.secret = told.body.text("secret");
      },
    );
  }

  async function verifyAs(call: Client, key: Pick<KnownKey, "id" | "secret">, expected: readonly string[]) {
    sent.set(key.id, (sent.get(key.id) ?? 0) + 1);
    const told = await call("POST", "/v1/keys/verify", { body: { key: key.secret, caller: { name } } });
    expectOneOf(`the verdict on ${key.id}`, told.body.at("code"), expected);
  }

  async function verify(call: Client, key: KnownKey) {
    key.used = true;
    await verifyAs(call, key, verdictsOf(key));
  }

  async function step(call: Client) {
    if (ownerId === null) {
      const body = { name, scopes: ["invoices:read"] };
      // Found by its name alone where the answer was lost: the retry must give the same one.
      await create(
        call,
        "create owner",
        "/v1/service-accounts",
        body,
        [],
        () => true,
        (told) => {
          ownerId = told.body.text("id");
        },
      );
      return;
    }
    const dice = random();
    const key = pick(keys.filter((one) => !one.revoked && !isParked(one)).slice(-12));
    if (key === undefined || dice < 0.15) return issue(call);
    if (dice < 0.45) return verify(call, pick(keys.slice(-20)) ?? key);
    if (key.rotation !== null && dice < 0.75) return move(call, key.rotation);
    if (key.rotation === null && !key.operator && dice < 0.75) return rotate(call, key);
    if (!key.used && dice < 0.87) return replace(call, key);
    return brake(call, key);
  }

  return {
    work: async (call) => {
      for (;;) {
        try {
          await step(call);
        } catch (error) {
          // What the test itself objects to is an error like any other; a server that is gone is the end.
          if (isGone(error)) return;
          throw error;
        }
      }
    },
    settle: async (stored, call) => {
      const pending = unanswered;
      unanswered = null;
      const wasDone = pending?.isDone(stored) ?? false;
      if (pending !== null && pending.again === null && wasDone) pending.accept();
      for (const key of keys) {
        const isPending = pending?.again !== null && pending?.keys.includes(key);
        if (!isPending) expectOneOf(key.id, rowState(stored, key), statesOf(key));
      }
      // What the worker did by itself was nobody's to acknowledge: from here on it is known.
      for (const rotation of rotations) {
        if (rotation.phase !== "completed" || stored.rotations.get(rotation.id)?.state !== "closed") continue;
        rotation.old.revoked = true;
        release(rotation);
      }
      if (pending !== null && pending.again !== null) await pending.again(call);
    },
    verifyAll: async (call) => {
      for (const key of keys.slice(-15)) await verify(call, key);
    },
    sent: () => sent,
    counts: () => ({ acknowledged, refused }),
  };
}

/** The server is gone: no connection, or one that ended before the answer. */
function isGone(error: unknown): boolean {
  return (
    error instanceof Error &&
    "code" in error &&
    /^(E[A-Z]+|Connection[A-Z]\w+|Failed\w+)$/.test(String(error.code))
  );
}

function pairOf(key: KnownKey): readonly KnownKey[] {
  return key.rotation === null ? [key] : [key.rotation.old, key.rotation.successor];
}

function release(rotation: KnownRotation): void {
  rotation.phase = "ended";
  rotation.old.rotation = null;
  rotation.successor.rotation = null;
}

/** The worker may close its rotation at any moment, so nobody else touches it. */
function isParked(key: KnownKey): boolean {
  return key.rotation?.phase === "completed";
}

function verdictsOf(key: KnownKey): readonly string[] {
  if (key.revoked) return ["revoked"];
  const { rotation } = key;
  if (rotation?.phase === "completed" && rotation.old === key) {
    return rotation.closesItself ? ["suspended", "revoked"] : ["suspended"];
  }
  return [key.operator ? "suspended" : "valid"];
}

function expectOneOf(what: string, found: unknown, expected: readonly string[]): void {
  const isExpected = expected.some((one) => one === found);
  expect({ what, found: isExpected ? expected : found }).toEqual({ what, found: expected });
}

/** How a row reads: what refuses the key, and the rotation that holds it. */
function rowState(stored: StoredState, key: KnownKey): string {
  const row = stored.keys.get(key.id);
  if (row === undefined) return "missing";
  const state = row.revokedAt !== null ? "revoked" : row.suspensions.toSorted().join("+") || "active";
  return `${state} in ${row.rotationId ?? "no rotation"}`;
}

function statesOf(key: KnownKey): readonly string[] {
  if (key.revoked) return ["revoked in no rotation"];
  const { rotation } = key;
  const operator = key.operator ? "operator" : "active";
  if (rotation === null) return [`${operator} in no rotation`];
  if (rotation.phase === "overlap") return [`${operator} in ${rotation.id}`];
  const isOld = rotation.old === key;
  const held = isOld
    ? `${key.operator ? "operator+" : ""}rotation in ${rotation.id}`
    : `${operator} in ${rotation.id}`;
  if (!rotation.closesItself) return [held];
  return [held, isOld ? "revoked in no rotation" : `${operator} in no rotation`];
}
