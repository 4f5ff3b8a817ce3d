import { expect } from "bun:test";
import type { StoredState } from "../crash/stored-state.ts";
import type { Client, Told } from "../support/client.ts";

/** A change that can be sent, and sent again after its answer was lost. */
export interface Change {
  readonly what: string;
  /** It makes something, under an `Idempotency-Key`. */
  readonly creates: boolean;
  send(call: Client): Promise<Told>;
  /** Whether the files say that it was made. */
  isDone(stored: StoredState): boolean;
}

interface Known {
  readonly ownerId: string;
  readonly keyId: string;
  readonly name: string;
}

/**
 * One of each kind of change, in an order in which each can be made: to a key of their own, and what they make bears
 * `name`. What was learnt from an answer is kept for the changes after it.
 */
export function changesOf({ ownerId, keyId, name }: Known): readonly Change[] {
  const learnt = { key: "", rotation: "" };
  const create = (what: string, path: () => string, body: unknown, learn: (told: Told) => void) => ({
    what,
    creates: true,
    send: async (call: Client) => {
      const headers = { "idempotency-key": `${name} ${what}`.replaceAll(" ", "-") };
      const told = await call("POST", path(), { body, headers });
      if (told.code === undefined) learn(told);
      return told;
    },
  });
  const act = (what: string, path: () => string, body?: unknown, method = "POST") => ({
    what,
    creates: false,
    send: (call: Client) => call(method, path(), body === undefined ? {} : { body }),
  });
  const key = (stored: StoredState) => stored.keys.get(keyId);
  const state = (stored: StoredState) => stored.rotations.get(learnt.rotation)?.state;
  return [
    {
      ...create(
        "issue a key",
        () => "/v1/keys",
        { name, owner_id: ownerId },
        (told) => {
          learnt.key = told.body.text("key", "id");
        },
      ),
      isDone: (stored) => [...stored.keys.values()].some((one) => one.name === name),
    },
    {
      ...act("rename", () => `/v1/keys/${keyId}`, { name: `${name} renamed` }, "PATCH"),
      isDone: (stored) => key(stored)?.name === `${name} renamed`,
    },
    {
      ...act("suspend", () => `/v1/keys/${keyId}/suspend`, {}),
      isDone: (stored) => key(stored)?.suspensions.includes("operator") === true,
    },
    {
      ...act("reinstate", () => `/v1/keys/${keyId}/reinstate`),
      isDone: (stored) => key(stored)?.suspensions.includes("operator") === false,
    },
    {
      ...create(
        "rotate",
        () => `/v1/keys/${keyId}/rotations`,
        { undo_window: "1h" },
        (told) => {
          learnt.rotation = told.body.text("rotation", "id");
        },
      ),
      isDone: (stored) => (key(stored)?.rotationId ?? null) !== null,
    },
    {
      ...act("complete", () => `/v1/rotations/${learnt.rotation}/complete`, { force: true }),
      isDone: (stored) => state(stored) === "completed",
    },
    {
      ...act("roll back", () => `/v1/rotations/${learnt.rotation}/rollback`),
      isDone: (stored) => state(stored) === "adopting" || state(stored) === "issued",
    },
    {
      ...act("cancel", () => `/v1/rotations/${learnt.rotation}/cancel`, { force: true }),
      isDone: (stored) => state(stored) === "cancelled",
    },
    {
      ...act("revoke", () => `/v1/keys/${keyId}/revoke`, {}),
      isDone: (stored) => key(stored)?.revokedAt !== null,
    },
    {
      ...act("delete", () => `/v1/keys/${learnt.key}`, undefined, "DELETE"),
      isDone: (stored) => stored.keys.get(learnt.key)?.revokedAt !== null,
    },
  ];
}

/** No change is accepted, whatever it is; verification goes on, and so do questions. */
export async function expectReadOnly(
  call: Client,
  good: { readonly id: string; readonly ownerId: string },
  secrets: readonly string[],
): Promise<void> {
  for (const [method, path, body] of [
    ["POST", "/v1/keys", { name: "one more", owner_id: good.ownerId }],
    ["POST", "/v1/service-accounts", { name: "one more" }],
    ["POST", `/v1/keys/${good.id}/rotations`, {}],
    ["POST", `/v1/keys/${good.id}/suspend`, {}],
    ["POST", `/v1/keys/${good.id}/revoke`, {}],
    ["PATCH", `/v1/keys/${good.id}`, { name: "other" }],
  ] as const) {
    const answer = await call(method, path, { body });
    expect([path, answer.status, answer.code]).toEqual([path, 503, "storage_unavailable"]);
  }
  for (const secret of secrets) {
    const verdict = await call("POST", "/v1/keys/verify", { body: { key: secret } });
    expect([verdict.status, verdict.body.at("code")]).toEqual([200, "valid"]);
  }
  expect((await call("GET", `/v1/keys/${good.id}`)).body.at("state")).toBe("active");
  const ready = await call("GET", "/readyz");
  expect([ready.status, ready.body.at("status")]).toEqual([200, "degraded"]);
}
