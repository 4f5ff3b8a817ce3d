import type { Actor } from "./audit/entry.ts";
import type { Authority } from "./authority.ts";
import { authorize } from "./authorize.ts";
import { Refusal } from "./errors.ts";
import type { AccountId } from "./ids.ts";
import { noteRefusal } from "./note-refusal.ts";
import type { Issuer, Permission } from "./operation.ts";
import type { Reader } from "./storage.ts";
import type { Instant } from "./time.ts";

/** A question to the committed state. It asks for a right like an operation, and leaves no entry. */
export interface Reading<Input, Output> {
  readonly name: string;
  readonly permission: Permission;
  /** Open to the operator's account alone. */
  readonly operatorOnly?: boolean;
  run(question: Question, input: Input): Promise<Output>;
}

export interface Question {
  readonly read: Reader;
  readonly now: Instant;
  readonly authority: Authority;
  readonly account: AccountId;
  readonly issuer: Issuer;
}

/** The gate's other side: checks the permission on the truth, then answers. Throws `Refusal`. */
export async function consult<Input, Output>(
  authority: Authority,
  reading: Reading<Input, Output>,
  actor: Actor & { kind: "key" },
  input: Input,
): Promise<Output> {
  const now = authority.time.now();
  const { read } = authority.storage;
  try {
    const issuer = await authorize(read, reading, actor, now);
    return await reading.run({ read, now, authority, account: actor.accountId, issuer }, input);
  } catch (error) {
    if (error instanceof Refusal) await noteRefusal(authority, reading.name, actor, error);
    throw error;
  }
}
