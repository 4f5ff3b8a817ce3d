import type { z } from "@hono/zod-openapi";
import { canonicalAddress } from "../authority/access/addresses.ts";
import type { Authority } from "../authority/authority.ts";
import { type CallerSighting, isCallerName } from "../authority/callers/caller.ts";
import type { AccountId } from "../authority/ids.ts";
import type { KnownKey, Verdict } from "../authority/keys/verifier.ts";
import type { Requirement } from "../authority/keys/verdict.ts";
import { BROWNOUT_NOTICE_SECONDS, brownoutNow } from "../authority/rotations/brownout.ts";
import { dueAt } from "../authority/rotations/rotation.ts";
import { formatInstant, type Instant } from "../authority/time.ts";
import { checked } from "./call.ts";
import type { ClientAddress } from "./client-address.ts";
import { presentedBy } from "./credentials.ts";
import type { Metrics } from "./metrics.ts";
import { presentKnownKey } from "./present.ts";
import { asProblem, HttpProblem, problemResponse } from "./problems.ts";
import { readBody } from "./read-body.ts";
import { type verdictAnswer, verifyBatchBody, verifyBody } from "./schemas.ts";

/** What the verify paths need of the server. */
export interface VerifyParts {
  readonly authority: Authority;
  readonly clientAddress: ClientAddress;
  readonly metrics: Metrics;
  readonly peerOf: (request: Request) => string | undefined;
  readonly refuseQuery: (request: Request) => void;
  readonly onError: (error: unknown) => Response;
}

interface Asked {
  readonly key: string;
  readonly ask: Requirement;
  readonly caller: CallerSighting;
}

const VERIFY_SCOPE: Requirement["scopes"] = ["keyturn:keys.verify"];
// Shared, because a fresh literal for each answer costs a tenth of the rate; `Response` copies it.
const JSON_ANSWER = { headers: new Headers({ "content-type": "application/json", "cache-control": "no-store" }) };

/** `POST /v1/keys/verify` and `/verify/batch`, apart from the other routes because every request of an API passes here. */
export function createVerify(parts: VerifyParts) {
  const { authority, metrics } = parts;
  const { verifier } = authority;

  /** The account in whose name the asking key verifies. Throws a problem for any other asker. */
  function verifierAccount(request: Request): AccountId | Promise<AccountId> {
    const presented = presentedBy(request.headers.get("authorization"));
    if (presented === undefined) throw noKey();
    const address = parts.clientAddress(parts.peerOf(request), request.headers.get("x-forwarded-for"));
    const verdict = verifier.verify(presented, { scopes: VERIFY_SCOPE, address }, { name: ownCaller(request), address }, null);
    return verdict instanceof Promise ? verdict.then(accountOf) : accountOf(verdict);
  }

  async function respond(request: Request, answer: (account: AccountId, text: string) => Promise<string> | string) {
    try {
      parts.refuseQuery(request);
      assertJson(request);
      // Before the body: nobody without a key gets to make us read one.
      const account = verifierAccount(request);
      const body = await readBody(request);
      if (!body.ok) return bodyProblem(body.reason);
      const text = answer(account instanceof Promise ? await account : account, body.text);
      return new Response(typeof text === "string" ? text : await text, JSON_ANSWER);
    } catch (error) {
      return failed(error);
    }
  }

  function failed(error: unknown): Response {
    const problem = asProblem(error);
    if (problem === null) return parts.onError(error);
    metrics.countProblem(problem.code);
    return problemResponse(problem);
  }

  function verdictText({ key, ask, caller }: Asked, account: AccountId): string | Promise<string> {
    const verdict = verifier.verify(key, ask, caller, account);
    if (verdict instanceof Promise) return verdict.then(told);
    return told(verdict);
  }

  function told(verdict: Verdict): string {
    metrics.countVerdict(verdict.code);
    return textOf(verdict, authority.time.now());
  }

  return {
    verify: (request: Request): Promise<Response> =>
      respond(request, (account, text) => verdictText(askedIn(parseJson(text)), account)),
    verifyBatch: (request: Request): Promise<Response> =>
      respond(request, async (account, text) => {
        const { keys } = checked(verifyBatchBody, parseJson(text));
        const results: string[] = [];
        for (const item of keys) results.push(await verdictText(toAsked(item), account));
        return `{"results":[${results.join(",")}]}`;
      }),
  };
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

/** The asking key itself is refused. */
export function badKey(verdict: Verdict): HttpProblem {
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

export function bodyProblem(reason: "too_large" | "too_slow" | "aborted"): Response {
  const headers = { connection: "close" };
  if (reason === "too_large") {
    return problemResponse({ code: "body_too_large", detail: "A body has at most 64 KiB.", headers });
  }
  return problemResponse({ code: "body_too_slow", detail: "A body must arrive within 10 seconds.", headers });
}

// The schema is the judge; the hand only says yes to the plain cases, which are nearly all, at a tenth of the price.
function askedIn(body: unknown): Asked {
  if (typeof body !== "object" || body === null) return toAsked(checked(verifyBody, body));
  let known = 0;
  let key: string | undefined;
  let name: string | undefined;
  if ("key" in body && typeof body.key === "string") {
    key = body.key;
    known += 1;
  }
  if ("caller" in body) {
    const { caller } = body;
    if (typeof caller !== "object" || caller === null) return toAsked(checked(verifyBody, body));
    if (!("name" in caller) || typeof caller.name !== "string" || countMembers(caller) !== 1 || !isPlainName(caller.name)) {
      return toAsked(checked(verifyBody, body));
    }
    name = caller.name;
    known += 1;
  }
  if (key === undefined || known !== countMembers(body)) return toAsked(checked(verifyBody, body));
  return { key, ask: NOTHING_ASKED, caller: { name } };
}

const NOTHING_ASKED: Requirement = {};

function countMembers(value: object): number {
  let count = 0;
  for (const _ in value) count += 1;
  return count;
}

const PLAIN_NAME = /^[A-Za-z0-9][A-Za-z0-9._:/@+ -]{0,99}$/;

function isPlainName(name: string): boolean {
  return PLAIN_NAME.test(name);
}

function toAsked(body: z.output<typeof verifyBody>): Asked {
  const address = body.caller?.ip === undefined ? undefined : canonicalAddress(body.caller.ip);
  if (body.caller?.ip !== undefined && address === undefined) {
    throw new HttpProblem({
      code: "invalid_input",
      detail: "caller.ip: must be an IPv4 or IPv6 address",
      errors: [{ field: "caller.ip", message: "must be an IPv4 or IPv6 address" }],
    });
  }
  return {
    key: body.key,
    ask: { scopes: body.scopes, role: body.role, address },
    caller: { name: body.caller?.name, address, agent: body.caller?.user_agent },
  };
}

interface Text {
  readonly valid: string;
  /** From when on the text would say something else. */
  readonly until: Instant;
}

/** The answer for a good key is the same until the key changes, so it is written once. */
const texts = new WeakMap<KnownKey, Text>();

function textOf(verdict: Verdict, now: Instant): string {
  const { code, key } = verdict;
  if (key === null) return `{"valid":false,"code":"${code}"}`;
  if (code !== "valid") return JSON.stringify(presentVerdict(verdict, key, now));
  const written = texts.get(key);
  if (written !== undefined && now < written.until) return written.valid;
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

function presentVerdict({ code }: Verdict, { matched }: KnownKey, now: Instant): z.infer<typeof verdictAnswer> {
  const { key, owner, rotation, brownout } = matched;
  const announced =
    brownout !== null && brownoutNow(brownout, now) !== "over" && now >= brownout.startsAt - BROWNOUT_NOTICE_SECONDS * 1000;
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
              ? { brownout: { starts_at: formatInstant(brownout.startsAt), ends_at: formatInstant(brownout.endsAt) } }
              : {}),
          },
        }),
    expires_at: key.expiresAt === null ? null : formatInstant(key.expiresAt),
  };
}
