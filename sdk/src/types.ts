import type { components, paths } from "./schema.gen.ts";

type Schemas = components["schemas"];

// The resources, as the API's document has them.
export type Account = Schemas["Account"];
export type ServiceAccount = Schemas["ServiceAccount"];
export type Key = Schemas["Key"];
export type BrakedKey = Schemas["BrakedKey"];
export type IssuedKey = Schemas["IssuedKey"];
export type IssuedAccount = Schemas["IssuedAccount"];
export type Rotation = Schemas["Rotation"];
export type StartedRotation = Schemas["StartedRotation"];
export type Caller = Schemas["Caller"];
export type UsageCount = Schemas["UsageCount"];
export type AuditEntry = Schemas["AuditEntry"];
export type Verdict = Schemas["Verdict"];
export type Cluster = Schemas["Cluster"];
export type ServingProcess = Cluster["processes"][number];
export type Readiness = Schemas["Readiness"];
export type Problem = Schemas["Problem"];
export type ProblemCode = Problem["code"];
export type VerdictCode = Verdict["code"];
export type KeyState = Key["state"];
export type Freshness = Key["freshness"];
export type Role = Key["role"];
export type RotationState = Rotation["state"];

/** One page of a list; `next_cursor` is null on the last one. */
export interface Page<Item> {
  readonly data: readonly Item[];
  readonly next_cursor: string | null;
}

// What a call takes and gives, read off the document, so that a client which no longer fits it does not compile.

export type Method = "get" | "post" | "patch" | "delete";
export type PathOf<M extends Method> = {
  [P in keyof paths]: paths[P][M] extends object ? P : never;
}[keyof paths];

type OperationOf<M extends Method, P extends PathOf<M>> = paths[P][M];
type Parameters<M extends Method, P extends PathOf<M>> =
  OperationOf<M, P> extends { readonly parameters: infer Given } ? Given : never;

/** The parameters of the path, such as `{id}`. Never for a path without any. */
export type ParamsOf<M extends Method, P extends PathOf<M>> =
  Parameters<M, P> extends { readonly path: infer Params } ? Params : never;

export type QueryOf<M extends Method, P extends PathOf<M>> =
  Parameters<M, P> extends { readonly query?: infer Query } ? Loose<NonNullable<Query>> : never;

export type BodyOf<M extends Method, P extends PathOf<M>> =
  OperationOf<M, P> extends { readonly requestBody?: infer Body } ? JsonIn<NonNullable<Body>> : never;
type JsonIn<Body> = Body extends { readonly content: { readonly "application/json": infer Json } }
  ? Loose<Json>
  : never;

/** The good answer's body; undefined where there is none. */
export type AnswerOf<M extends Method, P extends PathOf<M>> =
  OperationOf<M, P> extends { readonly responses: infer Responses }
    ? JsonOf<Responses[keyof Responses]>
    : never;
type JsonOf<Response> = Response extends { content: { readonly "application/json": infer Json } }
  ? Json
  : undefined;

/** Whether the call takes an `Idempotency-Key`, so that it may be sent again. */
export type Creates<M extends Method, P extends PathOf<M>> =
  Parameters<M, P> extends { readonly header?: infer Header } ? HasRetryKey<NonNullable<Header>> : false;
type HasRetryKey<Header> = [Header] extends [never]
  ? false
  : "Idempotency-Key" extends keyof Header
    ? true
    : false;

/** What may be left out may as well be given as undefined. */
export type Loose<T> = {
  [Name in keyof T]: object extends Pick<T, Name> ? T[Name] | undefined : T[Name];
};
