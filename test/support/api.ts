import type { z } from "@hono/zod-openapi";
import {
  auditAnswer,
  issuedAnswer,
  keyAnswer,
  pageOf,
  rotatedAnswer,
  rotationAnswer,
  serviceAccountAnswer,
  verdictAnswer,
} from "../../src/http/schemas.ts";
import { noteSecretIn } from "./traces.ts";

export type RotationNow = z.infer<typeof rotationAnswer>;
export type KeyNow = z.infer<typeof keyAnswer>;
export type Issued = z.infer<typeof issuedAnswer>;
export type Rotated = z.infer<typeof rotatedAnswer>;
export type AuditLine = z.infer<typeof auditAnswer>;

/** A refusal as it came: its status, and the problem with whatever it carries. */
export interface Refused {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly callers: readonly string[];
  readonly reasons: readonly { readonly code: string; readonly callers: readonly string[] }[];
}

type Body = Readonly<Record<string, unknown>>;
const auditPage = pageOf(auditAnswer, "AuditPage");

/** Keyturn's API with one key, as far as the end-to-end tests go. Every answer is checked against its schema. */
export interface Api {
  owner(body: Body): Promise<string>;
  key(body: Body): Promise<Issued>;
  readKey(id: string): Promise<KeyNow>;
  /** The verdict's code on a key that a caller of this name presented somewhere. */
  verify(secret: string, caller: string): Promise<string>;
  rotate(keyId: string, body: Body): Promise<Rotated>;
  rotation(id: string): Promise<RotationNow>;
  /** `complete`, `rollback`, `cancel`, `dismissals` … of a rotation. */
  act(rotationId: string, verb: string, body?: Body): Promise<RotationNow>;
  /** The same, to be refused. */
  refused(rotationId: string, verb: string, body?: Body): Promise<Refused>;
  post(path: string, body?: Body): Promise<Response>;
  /** The log entries that name the subject, oldest first. */
  audit(subjectId: string): Promise<readonly AuditLine[]>;
}

export function apiOf(url: string, secret: string): Api {
  const headers = { authorization: `Bearer ${secret}`, "content-type": "application/json" };
  const get = async <T>(path: string, schema: z.ZodType<T>) =>
    read(await fetch(`${url}${path}`, { headers }), schema);
  const post = (path: string, body: Body = {}) =>
    fetch(`${url}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  return {
    owner: async (body) => (await read(await post("/v1/service-accounts", body), serviceAccountAnswer)).id,
    key: async (body) => read(await post("/v1/keys", body), issuedAnswer),
    readKey: (id) => get(`/v1/keys/${id}`, keyAnswer),
    verify: async (key, name) =>
      (await read(await post("/v1/keys/verify", { key, caller: { name } }), verdictAnswer)).code,
    rotate: async (keyId, body) => read(await post(`/v1/keys/${keyId}/rotations`, body), rotatedAnswer),
    rotation: (id) => get(`/v1/rotations/${id}`, rotationAnswer),
    act: async (id, verb, body) => read(await post(`/v1/rotations/${id}/${verb}`, body), rotationAnswer),
    refused: async (id, verb, body) => {
      const response = await post(`/v1/rotations/${id}/${verb}`, body);
      if (response.ok) throw new Error(`${verb} was done, and should have been refused`);
      const problem = (await response.json()) as Omit<Refused, "status">;
      return { ...problem, status: response.status };
    },
    post,
    audit: async (subjectId) => {
      const { data } = await get(`/v1/audit?limit=200&subject_id=${subjectId}`, auditPage);
      return (data as readonly AuditLine[]).toReversed();
    },
  };
}

async function read<T>(response: Response, schema: z.ZodType<T>): Promise<T> {
  const body: unknown = await response.json();
  if (!response.ok) throw new Error(`${response.status} ${JSON.stringify(body)}`);
  noteSecretIn(body);
  return schema.parse(body);
}
