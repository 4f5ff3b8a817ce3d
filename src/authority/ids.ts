import { typeid } from "typeid-js";

export type AccountId = `acc_${string}`;
export type ServiceAccountId = `sa_${string}`;
export type OwnerId = ServiceAccountId;
export type KeyId = `key_${string}`;
export type LineageId = `lin_${string}`;
export type RotationId = `rot_${string}`;
export type BrownoutId = `bro_${string}`;
export type ReporterId = `rep_${string}`;
export type ProcessId = `prc_${string}`;
export type MoveId = `mov_${string}`;

interface Prefixes {
  readonly acc: AccountId;
  readonly sa: ServiceAccountId;
  readonly key: KeyId;
  readonly lin: LineageId;
  readonly rot: RotationId;
  readonly bro: BrownoutId;
  readonly rep: ReporterId;
  readonly prc: ProcessId;
  readonly mov: MoveId;
}

/** A fresh TypeID (UUIDv7 behind a typed prefix, 122 random and time bits: https://github.com/jetify-com/typeid). */
export function newId<P extends keyof Prefixes>(prefix: P): Prefixes[P];
export function newId(prefix: string): string {
  return typeid(prefix).toString();
}
