export { type Client, type ClientOptions, createClient } from "./client.ts";
export { type ClientCode, type ErrorCode, KeyturnError, type ProblemDocument } from "./error.ts";
export type { CallOptions, KeySource } from "./transport.ts";
export type {
  Account,
  AuditEntry,
  BrakedKey,
  Caller,
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
  StartedRotation,
  UsageCount,
  Verdict,
  VerdictCode,
} from "./types.ts";
