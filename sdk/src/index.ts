export { type Client, type ClientOptions, createClient, type WaitOptions } from "./client.ts";
export { type ClientCode, type ErrorCode, KeyturnError, type ProblemDocument } from "./error.ts";
export type { AboutAnswer, CallOptions, KeySource } from "./transport.ts";
export type {
  Account,
  AuditEntry,
  BrakedKey,
  Caller,
  Cluster,
  Freshness,
  IssuedAccount,
  IssuedKey,
  Key,
  KeyState,
  Page,
  Problem,
  ProblemCode,
  Readiness,
  Role,
  Rotation,
  RotationState,
  ServiceAccount,
  ServingProcess,
  StartedRotation,
  UsageCount,
  Verdict,
  VerdictCode,
} from "./types.ts";
