import type { ErrorCode } from "@keyturn/sdk";

/** What the process ends with. docs/cli.md explains each; scripts rely on them. */
export const EXIT = {
  ok: 0,
  /** Refused, failed, or found something wrong. */
  refused: 1,
  /** The command line or the settings are wrong; nothing was tried. */
  usage: 2,
  unreachable: 3,
  /** No key, a bad one, or one that may not do this. */
  denied: 4,
  /** `verify`: the key is not valid. */
  notValid: 5,
  /** `--wait`: done, and not known to be in force in every process. */
  notEverywhere: 6,
} as const;

export type Exit = (typeof EXIT)[keyof typeof EXIT];

/** A command ends here: `message` is for people, `exit` for scripts. */
export class CliFailure extends Error {
  override readonly name = "CliFailure";
  readonly exit: Exit;
  constructor(exit: Exit, message: string) {
    super(message);
    this.exit = exit;
  }
}

/** The command line was used wrongly. */
export function misuse(message: string): CliFailure {
  return new CliFailure(EXIT.usage, message);
}

/** Every code that a call can end in. A new one does not compile until it stands here. */
const EXIT_OF: Readonly<Record<ErrorCode, Exit>> = {
  invalid_input: EXIT.refused,
  unauthenticated: EXIT.denied,
  insufficient_scope: EXIT.denied,
  operator_only: EXIT.denied,
  rights_exceeded: EXIT.denied,
  not_found: EXIT.refused,
  name_taken: EXIT.refused,
  key_revoked: EXIT.refused,
  key_not_active: EXIT.refused,
  rotation_open: EXIT.refused,
  rotation_state: EXIT.refused,
  not_safe_to_complete: EXIT.refused,
  successor_in_use: EXIT.refused,
  caller_active: EXIT.refused,
  account_protected: EXIT.refused,
  already_in_use: EXIT.refused,
  last_root_key: EXIT.refused,
  process_alive: EXIT.refused,
  setup_token_invalid: EXIT.denied,
  idempotency_conflict: EXIT.refused,
  idempotency_in_progress: EXIT.refused,
  outcome_unknown: EXIT.refused,
  storage_unavailable: EXIT.refused,
  invalid_json: EXIT.refused,
  unsupported_media_type: EXIT.refused,
  body_too_large: EXIT.refused,
  body_too_slow: EXIT.refused,
  ambiguous_header: EXIT.refused,
  credential_in_url: EXIT.refused,
  route_not_found: EXIT.refused,
  method_not_allowed: EXIT.refused,
  internal_error: EXIT.refused,
  key_not_allowed: EXIT.denied,
  proxy_key_refused: EXIT.denied,
  verdict_stale: EXIT.refused,
  unreachable: EXIT.unreachable,
  timeout: EXIT.unreachable,
  unreadable_answer: EXIT.unreachable,
};

/** A server newer than this program may have codes that it does not know: those are refusals. */
export function exitOf(code: ErrorCode): Exit {
  return EXIT_OF[code] ?? EXIT.refused;
}
