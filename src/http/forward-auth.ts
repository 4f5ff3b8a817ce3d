import { isScope } from "../authority/access/rights.ts";
import type { AccountId } from "../authority/ids.ts";
import type { Requirement, VerdictCode } from "../authority/keys/verdict.ts";
import type { KnownKey, Verdict } from "../authority/keys/verifier.ts";
import { checked } from "./call.ts";
import { presentedBy } from "./credentials.ts";
import { asProblem, HttpProblem, type ProblemCode } from "./problems.ts";
import { forwardAuthQuery } from "./schemas.ts";
import { Sender } from "./sender.ts";
import { type Stamp, setStamp, stampHeaders } from "./stamp.ts";
import { badKey, ownCaller, type VerifyParts } from "./verify.ts";

/**
 * The problem that a refused key is answered with. Proxies understand 401 and 403, which they pass on; anything else
 * but a 2xx is a failure of ours to them, and `stale` is one.
 */
export const PROBLEM_OF: Readonly<Record<Exclude<VerdictCode, "valid">, ProblemCode>> = {
  malformed: "unauthenticated",
  wrong_region: "unauthenticated",
  unknown: "unauthenticated",
  revoked: "unauthenticated",
  retired: "unauthenticated",
  owner_disabled: "unauthenticated",
  suspended: "unauthenticated",
  expired: "unauthenticated",
  stale: "verdict_stale",
  brownout: "unauthenticated",
  ip_not_allowed: "key_not_allowed",
  insufficient_scope: "key_not_allowed",
  insufficient_role: "key_not_allowed",
  rate_limited: "key_not_allowed",
};

const VERIFY_SCOPE: Requirement["scopes"] = ["keyturn:keys.verify"];

/** `GET /v1/forward-auth`, for nginx `auth_request`, Caddy and other proxies. The query is the proxy's, never the client's. */
export function createForwardAuth(parts: VerifyParts): (request: Request) => Response | Promise<Response> {
  const { authority, metrics, stamps } = parts;
  const { verifier } = authority;
  const requirements = new Map<string, Requirement>();

  /** What the proxy's configuration asks of the key. */
  function requirementOf(request: Request): Requirement {
    const { url } = request;
    const mark = url.indexOf("?");
    if (mark < 0) return {};
    const query = url.slice(mark + 1);
    const known = requirements.get(query);
    if (known !== undefined) return known;
    parts.refuseQuery(request);
    const required = parseRequirement(new URLSearchParams(query));
    if (requirements.size >= 1_000) requirements.clear();
    requirements.set(query, required);
    return required;
  }

  function answer(request: Request): Response | Promise<Response> {
    assertPlain(request);
    const required = requirementOf(request);
    const proxyKey = presentedBy(request.headers.get("keyturn-authorization"));
    // Without a proxy that we know nothing is looked at, let alone counted.
    if (proxyKey === undefined) {
      return parts.answer({
        code: "proxy_key_refused",
        detail: "Keyturn-Authorization is missing: the proxy shows its own key there.",
        headers: { "keyturn-code": "malformed" },
      });
    }
    // The agent that the request names is the client's, and so is the name.
    const address = parts.clientAddress(parts.peerOf(request), null);
    const proxy = verifier.verify(proxyKey, { scopes: VERIFY_SCOPE, address }, { address }, null);
    if (!(proxy instanceof Promise)) return answerFor(proxy, request, required, stamps.current);
    const beginning = stamps.begin();
    return proxy.then((verdict) => answerFor(verdict, request, required, () => beginning.end(0, false)));
  }

  function answerFor(
    proxy: Verdict,
    request: Request,
    required: Requirement,
    stampOfProxy: () => Stamp,
  ): Response | Promise<Response> {
    if (proxy.code === "stale") {
      const { problem } = badKey(proxy);
      return parts.answer({
        ...problem,
        headers: { "keyturn-code": proxy.code, ...stampHeaders(stampOfProxy()) },
      });
    }
    if (proxy.code !== "valid" || proxy.key === null) {
      return parts.answer({
        code: "proxy_key_refused",
        detail: `The proxy's own key is not good: ${proxy.code}.`,
        extensions: { verdict: proxy.code },
        headers: { "keyturn-code": proxy.code },
      });
    }
    const account: AccountId = proxy.key.matched.key.accountId;
    const presented = presentedBy(request.headers.get("authorization"));
    if (presented === undefined)
      return refused("malformed", "Send a key: Authorization: Bearer <key>.", stamps.current());
    const client = new Sender(ownCaller(request), required, request, parts);
    const verdict = verifier.verify(presented, client, client, account);
    if (!(verdict instanceof Promise)) return respond(verdict, stamps.current());
    client.remember();
    const beginning = stamps.begin();
    return verdict.then((late) => respond(late, beginning.end(0, false)));
  }

  function respond({ code, key }: Verdict, stamp: Stamp): Response {
    metrics.countVerdict(code);
    if (code === "valid" && key !== null) return new Response(null, answerOf(key, stamp));
    return refused(code === "valid" ? "unknown" : code, `The key was refused: ${code}.`, stamp);
  }

  function refused(verdict: Exclude<VerdictCode, "valid">, detail: string, stamp: Stamp): Response {
    const code = PROBLEM_OF[verdict];
    const challenge = { "www-authenticate": 'Bearer realm="keyturn", error="invalid_token"' };
    return parts.answer({
      code,
      detail,
      extensions: { verdict },
      headers: {
        "keyturn-code": verdict,
        ...stampHeaders(stamp),
        ...(code === "unauthenticated" ? challenge : {}),
      },
    });
  }

  return (request) => {
    try {
      const response = answer(request);
      return response instanceof Promise ? response.catch(failed) : response;
    } catch (error) {
      return failed(error);
    }
  };

  function failed(error: unknown): Response {
    const problem = asProblem(error);
    if (problem === null) return parts.onError(error);
    metrics.countProblem(problem.code);
    return parts.answer(problem);
  }
}

function parseRequirement(query: URLSearchParams): Requirement {
  const unknown = [...query.keys()].find((name) => name !== "scope" && name !== "role");
  if (unknown !== undefined || query.getAll("role").length > 1) {
    const field = unknown ?? "role";
    const message = unknown === undefined ? "is given twice" : "is not a parameter here: scope and role are";
    throw new HttpProblem({
      code: "invalid_input",
      detail: `${field}: ${message}`,
      errors: [{ field, message }],
    });
  }
  const scopes = query.getAll("scope");
  const bad = scopes.find((scope) => !isScope(scope));
  const parsed = checked(forwardAuthQuery, { scope: bad, role: query.get("role") ?? undefined });
  return { scopes: scopes.length === 0 ? undefined : scopes, role: parsed.role };
}

interface Written {
  readonly status: 200;
  readonly headers: Headers;
  stamp: Stamp | null;
}

/** What the upstream is told of a good key: written once, the same until the key changes, but for the stamp. */
const answers = new WeakMap<KnownKey, Written>();

function answerOf(key: KnownKey, stamp: Stamp): ResponseInit {
  const written = answers.get(key) ?? write(key);
  if (written.stamp !== stamp) {
    // `Response` copies the headers, so answers under way keep what they had.
    setStamp(written.headers, stamp);
    written.stamp = stamp;
  }
  return written;
}

function write(key: KnownKey): Written {
  const { matched, effective } = key;
  const headers = new Headers({
    "keyturn-code": "valid",
    "keyturn-key-id": matched.key.id,
    "keyturn-owner": matched.key.ownerId,
    "keyturn-account": matched.key.accountId,
    "keyturn-role": effective.rights.role,
    "keyturn-scopes": effective.rights.scopes.join(" "),
    "cache-control": "no-store",
  });
  const written: Written = { status: 200, headers, stamp: null };
  answers.set(key, written);
  return written;
}

// Spellings that some hop may have read as the real header while another did not (R25).
const ALIASES = [
  "keyturn_authorization",
  "keyturn_caller",
  "x_forwarded_for",
  "x_forwarded-for",
  "x-forwarded_for",
];
const NEVER_HOP_BY_HOP = /authorization|keyturn|x-forwarded/i;

/** Refuses requests whose headers two hops can read in two ways. */
function assertPlain(request: Request): void {
  const { headers: sent } = request;
  const connection = sent.get("connection");
  const hopByHop = connection !== null && NEVER_HOP_BY_HOP.test(connection);
  const alias = ALIASES.find((name) => sent.has(name));
  if (!hopByHop && alias === undefined) return;
  throw new HttpProblem({
    code: "ambiguous_header",
    detail: hopByHop
      ? "Connection names a header that must reach us."
      : `${alias} is not a header of ours; use hyphens.`,
  });
}
