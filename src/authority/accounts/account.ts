import { invalid } from "../errors.ts";
import type { AccountId } from "../ids.ts";
import type { Instant } from "../time.ts";

/** A tenant. The operator's account is the first one of an installation; only it may make or suspend others. */
export interface Account {
  readonly id: AccountId;
  readonly name: string;
  readonly operator: boolean;
  readonly suspendedAt: Instant | null;
  readonly createdAt: Instant;
}

const LONGEST_NAME = 120;
const CONTROL = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

/**
 * The name as it will be stored: 1 to 120 characters, trimmed, in Unicode NFC, on one line.
 * Throws `invalid_input` naming `field`.
 */
export function checkName(name: string, field = "name"): string {
  if (!name.isWellFormed()) throw invalid(field, "is not well-formed Unicode (a lone surrogate)");
  const clean = name.normalize("NFC").trim();
  if (clean.length === 0) throw invalid(field, "must not be empty");
  if (clean.length > LONGEST_NAME) throw invalid(field, `must have at most ${LONGEST_NAME} characters`);
  if (CONTROL.test(clean)) throw invalid(field, "must not contain control or invisible characters");
  return clean;
}
