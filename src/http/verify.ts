import type { z } from "@hono/zod-openapi";
import type { Authority } from "../authority/authority.ts";
import { isCallerName } from "../authority/callers/caller.ts";
import type { Timekeeper } from "../authority/clock.ts";
import type { AccountId } from "../authority/ids.ts";
import type { Requirement } from "../authority/keys/verdict.ts";
import type { KnownKey, Verdict } from "../authority/keys/verifier.ts";
import { BROWNOUT_NOTICE_SECONDS, brownoutNow } from "../authority/rotations/brownout.ts";
import { dueAt } from "../authority/rotations/rotation.ts";
import { formatInstant, type Instant } from "../authority/time.ts";
import { checked } from "./call.ts";
import type { ClientAddress } from "./client-address.ts";
import { presentedBy } from "./credentials.ts";
import type { Metrics } from "./metrics.ts";
import { presentKnownKey } from "./present.ts";
import { type Answering, asProblem, HttpProblem, type Problem } from "./problems.ts";
import { type BodyResult, mayBeEndless, readBodyThen } from "./read-body.ts";
import { type verdictAnswer, verifyBatchBody } from "./schemas.ts";
import { Sender } from "./sender.ts";
import { type Stamp, type Stamps, setStamp, stampHeaders } from "./stamp.ts";
import {
  type AskedMany,
  checkedBatch,
  plainBatch,
  type Verification,
  verificationIn,
} from "./verification.ts";

/** What the verify paths need of the server. */
export interface VerifyParts {
  readonly authority: Authority;
  readonly clientAddress: ClientAddress;
  readonly metrics: Metrics;
  readonly stamps: Stamps;
  readonly peerOf: (request: Request) => string | undefined;
  readonly refuseQuery: (request: Request) => void;
  readonly answer: Answering;
  readonly onError: (error: unknown) => Response;
}

const MAY_VERIFY: Requirement = { scopes: ["keyturn:keys.verify"] };
const JSON_HEADERS = { "content-type": "application/json", "cache-control": "no-store" };

/** `POST /v1/keys/verify` and `/verify/batch`, apart from the other routes because every request of an API passes here. */
export function createVerify(parts: VerifyParts) {
  const { authority, metrics, stamps } = parts;
  const { verifier } = authority;
  // Shared, because a fresh literal for each answer costs a tenth of the rate; `Response` copies it.
  const shared = { headers: new Headers(JSON_HEADERS) };
  let stamped: Stamp | null = null;

  /** An answer by what is known at this moment. */
  function answerNow(text: string): Response {
    const stamp = stamps.current();
    if (stamp !== stamped) {
      setStamp(shared.headers, stamp);
      stamped = stamp;
    }
    return new Response(text, shared);
  }

  function answerLater(text: string, stamp: Stamp): Response {
    return new Response(text, { headers: { ...JSON_HEADERS, ...stampHeaders(stamp) } });
  }

  /** The account in whose name the asking key verifies. Throws a problem for any other asker. */
  function verifierAccount(request: Request): AccountId | Promise<AccountId> {
    const presented = presentedBy(request.headers.get("authorization"));
    if (presented === undefined) throw noKey();
    const sender = new Sender(ownCaller(request), MAY_VERIFY, request, parts);
    const verdict = verifier.verify(presented, sender, sender, null);
    if (!(verdict instanceof Promise)) return accountOf(verdict);
    sender.remember();
    return verdict.then(accountOf);
  }

  // Plain promises: an async function would make one more of them for each request, and a turn of the queue.
  function respond(request: Request, answer: AnswerTo): Response | Promise<Response> {
    try {
      parts.refuseQuery(request);
      assertJson(request);
      // Before the body: nobody without a key gets to make us read one.
      const account = verifierAccount(request);
      if (typeof account === "string")
        return readBodyThen(request, (body) => respondTo(body, request, account, answer));
      return account.then(
        (id) => readBodyThen(request, (body) => respondTo(body, request, id, answer)),
        (error) => failed(error, request),
      );
    } catch (error) {
      return failed(error, request);
    }
  }

  function respondTo(
    body: BodyResult,
    request: Request,
    account: AccountId,
    answer: AnswerTo,
  ): Response | Promise<Response> {
    try {
      if (!body.ok) throw bodyProblem(body.reason);
      const response = answer(account, body.text);
      return response instanceof Promise ? response.catch((error) => failed(error, request)) : response;
    } catch (error) {
      return failed(error, request);
    }
  }

  function failed(error: unknown, request: Request): Response {
    const problem = asProblem(error);
    if (problem === null) return parts.onError(error);
    metrics.countProblem(problem.code);
    return parts.answer(closing(problem, request));
  }

  function judge(item: Verification, account: AccountId, atLeast: number): Verdict | Promise<Verdict> {
    return verifier.verify(item.key, item.ask, item.caller, account, atLeast);
  }

  function told(verdict: Verdict): string {
    metrics.countVerdict(verdict.code);
    return textOf(verdict, authority.time);
  }

  function one(account: AccountId, text: string): Response | Promise<Response> {
    const { item, atLeast } = verificationIn(parseJson(text));
    const verdict = judge(item, account, atLeast);
    if (!(verdict instanceof Promise)) return answerNow(told(verdict));
    const beginning = stamps.begin();
    return verdict.then((late) => answerLater(told(late), beginning.end(atLeast, false)));
  }

  function many(account: AccountId, text: string): Response | Promise<Response> {
    const { items, atLeast } = batchIn(parseJson(text));
    const verdicts = items.map((item) => judge(item, account, atLeast));
    if (verdicts.every((verdict): verdict is Verdict => !(verdict instanceof Promise)))
      return answerNow(batchText(verdicts));
    const beginning = stamps.begin();
    return Promise.all(verdicts).then((late) => answerLater(batchText(late), beginning.end(atLeast, true)));
  }

  function batchText(verdicts: readonly Verdict[]): string {
    return `{"results":[${verdicts.map(told).join(",")}]}`;
  }

  return {
    verify: (request: Request): Response | Promise<Response> => respond(request, one),
    verifyBatch: (request: Request): Response | Promise<Response> => respond(request, many),
  };
}

/** What is answered to a body. */
type AnswerTo = (account: AccountId, text: string) => Response | Promise<Response>;

/** All or nothing: a body with one wrong item is refused before any of its keys was looked at. */
function batchIn(body: unknown): AskedMany {
  return plainBatch(body) ?? checkedBatch(checked(verifyBatchBody, body));
}

function accountOf(verdict: Verdict): AccountId {
  if (verdict.code === "valid" && verdict.key !== null) return verdict.key.matched.key.accountId;
  if (verdict.code === "insufficient_scope") {
    throw new HttpProblem({
      code: "insufficient_scope",
      detail: "This needs the scope keyturn:keys.verify.",
      extensions: { scope: "keyturn:keys.verify" },
    });
  }
  throw badKey(verdict);
}

/** The asking key itself is refused; or nobody can tell, which must not look like a refusal. */
export function badKey(verdict: Verdict): HttpProblem {
  if (verdict.code === "stale") {
    return new HttpProblem({
      code: "verdict_stale",
      detail: "Whether the presented key is still good can't be told at the moment.",
      extensions: { verdict: verdict.code },
    });
  }
  return new HttpProblem({
    code: "unauthenticated",
    detail: `The presented key is not good: ${verdict.code}.`,
    extensions: { verdict: verdict.code },
    headers: { "www-authenticate": 'Bearer realm="keyturn", error="invalid_token"' },
  });
}

export function noKey(): HttpProblem {
  return new HttpProblem({ code: "unauthenticated", detail: "Send a key: Authorization: Bearer <key>." });
}

/** The name by which the asker wants to be known; a text that can't be one is ignored. */
export function ownCaller(request: Request): string | undefined {
  const name = request.headers.get("keyturn-caller");
  return name !== null && isCallerName(name) ? name : undefined;
}

export function assertJson(request: Request): void {
  const type = request.headers.get("content-type");
  if (type === "application/json") return;
  if (type !== null && /^application\/json\s*(;\s*charset=utf-8\s*)?$/i.test(type)) return;
  throw new HttpProblem({ code: "unsupported_media_type", detail: "Send Content-Type: application/json." });
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new HttpProblem({ code: "invalid_json", detail: "The body could not be read as JSON." });
  }
}

export function bodyProblem(reason: "too_large" | "too_slow" | "aborted"): HttpProblem {
  const headers = { connection: "close" };
  if (reason === "too_large") {
    return new HttpProblem({ code: "body_too_large", detail: "A body has at most 64 KiB.", headers });
  }
  return new HttpProblem({ code: "body_too_slow", detail: "A body must arrive within 10 seconds.", headers });
}

/** Whoever is refused before its body was read must not keep the connection with a body that never ends. */
function closing(problem: Problem, request: Request): Problem {
  if (request.bodyUsed || !mayBeEndless(request)) return problem;
  return { ...problem, headers: { ...problem.headers, connection: "close" } };
}

interface Text {
  readonly valid: string;
  /** From when on the text would say something else. */
  readonly until: Instant;
}

/** The answer for a good key is the same until the key changes, so it is written once. */
const texts = new WeakMap<KnownKey, Text>();

function textOf(verdict: Verdict, time: Timekeeper): string {
  const { code, key } = verdict;
  if (key === null) return `{"valid":false,"code":"${code}"}`;
  if (code !== "valid") return JSON.stringify(presentVerdict(verdict, key, time.now()));
  const written = texts.get(key);
  if (written !== undefined && (written.until === Number.POSITIVE_INFINITY || time.now() < written.until))
    return written.valid;
  const now = time.now();
  const valid = JSON.stringify(presentVerdict(verdict, key, now));
  texts.set(key, { valid, until: nextChange(key, now) });
  return valid;
}

/** Only an announced brownout changes an answer by the clock alone. */
function nextChange({ matched: { brownout } }: KnownKey, now: Instant): Instant {
  if (brownout === null || brownoutNow(brownout, now) === "over") return Number.POSITIVE_INFINITY;
  const notice = brownout.startsAt - BROWNOUT_NOTICE_SECONDS * 1000;
  return [notice, brownout.startsAt, brownout.endsAt].find((at) => at > now) ?? Number.POSITIVE_INFINITY;
}

function presentVerdict(
  { code }: Verdict,
  { matched }: KnownKey,
  now: Instant,
): z.infer<typeof verdictAnswer> {
  const { key, owner, rotation, brownout } = matched;
  // To the old key's users alone: the successor's are not in for it, and its answer is not dropped when it is announced.
  const announced =
    brownout !== null &&
    rotation?.oldKeyId === key.id &&
    brownoutNow(brownout, now) !== "over" &&
    now >= brownout.startsAt - BROWNOUT_NOTICE_SECONDS * 1000;
  return {
    valid: code === "valid",
    code,
    key: presentKnownKey(key, owner, now),
    ...(rotation === null
      ? {}
      : {
          rotation: {
            id: rotation.id,
            position: rotation.oldKeyId === key.id ? "old" : "successor",
            state: rotation.state,
            due_at: formatInstant(dueAt(rotation)),
            ...(announced
              ? {
                  brownout: {
                    starts_at: formatInstant(brownout.startsAt),
                    ends_at: formatInstant(brownout.endsAt),
                  },
                }
              : {}),
          },
        }),
    expires_at: key.expiresAt === null ? null : formatInstant(key.expiresAt),
  };
}
