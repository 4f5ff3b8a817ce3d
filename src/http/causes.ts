import type { Clock } from "../authority/clock.ts";
import { Refusal } from "../authority/errors.ts";
import { withoutSecrets } from "../authority/secret.ts";
import { PROBLEMS } from "./problems.ts";

/** Why something failed that is not the client's fault, in words for whoever looks after the service. */
export interface Trouble {
  readonly problem: string;
  readonly cause: string;
}

const AGAIN_MS = 60_000;
/** There are some dozens of codes and texts; should there be more, they must not fill the memory. */
const MOST_KINDS = 1_000;

/**
 * Tells the log the cause of a 503, which the answer keeps to itself: of each kind the first, and then at most one a
 * minute, because a database that is away fails every request.
 */
export function createCauses(
  tell: (trouble: Trouble) => void,
  clock: Pick<Clock, "monotonic">,
): (error: unknown) => void {
  const told = new Map<string, number>();
  return (error) => {
    if (!(error instanceof Refusal) || PROBLEMS[error.code].status !== 503) return;
    const cause = rootOf(error);
    if (cause === undefined) return;
    const text = messageOf(cause);
    const code = codeOf(cause);
    const kind = `${error.code} ${code ?? text}`;
    const now = clock.monotonic();
    const last = told.get(kind);
    if (last !== undefined && now - last < AGAIN_MS) return;
    if (told.size >= MOST_KINDS) told.clear();
    told.set(kind, now);
    tell({ problem: error.code, cause: code === null ? text : `${code}: ${text}` });
  };
}

function rootOf(refusal: Refusal): unknown {
  let { cause } = refusal;
  while (cause instanceof Refusal && cause.cause !== undefined) cause = cause.cause;
  return cause;
}

function codeOf(cause: unknown): string | null {
  if (!(cause instanceof Error)) return null;
  return "code" in cause && typeof cause.code === "string" ? cause.code : null;
}

/** The message alone: other members of a database's error quote rows. Neither a key nor a URL's password (R21). */
function messageOf(cause: unknown): string {
  const text = cause instanceof Error ? cause.message : "unknown";
  return withoutSecrets(text)
    .replaceAll(/:\/\/[^\s/@]*@/g, "://…@")
    .slice(0, 500);
}
