import { isScope } from "../authority/access/rights.ts";
import type { Authority } from "../authority/authority.ts";
import type { AccountId } from "../authority/ids.ts";
import type { Requirement, VerdictCode } from "../authority/keys/verdict.ts";
import type { KnownKey, Verdict } from "../authority/keys/verifier.ts";
import { checked } from "./call.ts";
import type { ClientAddress } from "./client-address.ts";
import { presentedBy } from "./credentials.ts";
import type { Metrics } from "./metrics.ts";
import { asProblem, HttpProblem, problemResponse } from "./problems.ts";
import { forwardAuthQuery } from "./schemas.ts";
import { ownCaller } from "./verify.ts";

export interface ForwardAuthParts {
  readonly authority: Authority;
  readonly clientAddress: ClientAddress;
  readonly metrics: Metrics;
  readonly peerOf: (request: Request) => string | undefined;
  readonly refuseQuery: (request: Request) => void;
  readonly onError: (error: unknown) => Response;
}

/** What proxies understand: 2xx lets through, 401 and 403 are passed on, anything else is a failure of ours. */
const STATUS: Readonly<Record<VerdictCode, 200 | 401 | 403 | 503>> = {
  malformed: 401,
  wrong_region: 401,
  unknown: 401,
  revoked: 401,
  retired: 401,
  owner_disabled: 401,
  suspended: 401,
  expired: 401,
  stale: 503,
  brownout: 401,
  ip_not_allowed: 403,
  insufficient_scope: 403,
  insufficient_role: 403,
  rate_limited: 403,
  valid: 200,
};

const VERIFY_SCOPE: Requirement["scopes"] = ["keyturn:keys.verify"];

/** `GET /v1/forward-auth`, for nginx `auth_request`, Caddy and other proxies. The query is the proxy's, never the client's. */
export function createForwardAuth(parts: ForwardAuthParts): (request: Request) => Response | Promise<Response> {
  const { authority, metrics } = parts;
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
    const peer = parts.clientAddress(parts.peerOf(request), null);
    const proxyKey = presentedBy(request.headers.get("keyturn-authorization"));
    // Without a proxy that we know nothing is looked at, let alone counted.
    if (proxyKey === undefined) return refused("malformed", 403, "Keyturn-Authorization is missing.");
    const proxy = verifier.verify(proxyKey, { scopes: VERIFY_SCOPE, address: peer }, { name: undefined, address: peer }, null);
    return proxy instanceof Promise
      ? proxy.then((verdict) => answerFor(verdict, request, required))
      : answerFor(proxy, request, required);
  }

  function answerFor(proxy: Verdict, request: Request, required: Requirement): Response | Promise<Response> {
    if (proxy.code !== "valid" || proxy.key === null) {
      return refused(proxy.code, 403, `The proxy's own key is not good: ${proxy.code}.`);
    }
    const account: AccountId = proxy.key.matched.key.accountId;
    const presented = presentedBy(request.headers.get("authorization"));
    if (presented === undefined) return refused("malformed", 401, "Send a key: Authorization: Bearer <key>.");
    const address = parts.clientAddress(parts.peerOf(request), request.headers.get("x-forwarded-for"));
    const caller = { name: ownCaller(request), address, agent: request.headers.get("user-agent") ?? undefined };
    const verdict = verifier.verify(presented, { ...required, address }, caller, account);
    return verdict instanceof Promise ? verdict.then(respond) : respond(verdict);
  }

  function respond({ code, key }: Verdict): Response {
    metrics.countVerdict(code);
    if (code !== "valid" || key === null) return refused(code, STATUS[code], `The key was refused: ${code}.`);
    return new Response(null, answerOf(key));
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
    return problemResponse(problem);
  }
}

function parseRequirement(query: URLSearchParams): Requirement {
  const unknown = [...query.keys()].find((name) => name !== "scope" && name !== "role");
  if (unknown !== undefined || query.getAll("role").length > 1) {
    const field = unknown ?? "role";
    const message = unknown === undefined ? "is given twice" : "is not a parameter here: scope and role are";
    throw new HttpProblem({ code: "invalid_input", detail: `${field}: ${message}`, errors: [{ field, message }] });
  }
  const scopes = query.getAll("scope");
  const bad = scopes.find((scope) => !isScope(scope));
  const parsed = checked(forwardAuthQuery, { scope: bad, role: query.get("role") ?? undefined });
  return { scopes: scopes.length === 0 ? undefined : scopes, role: parsed.role };
}

/** What the upstream is told of a good key: written once, the same until the key changes. */
const answers = new WeakMap<KnownKey, ResponseInit>();

function answerOf(key: KnownKey): ResponseInit {
  const known = answers.get(key);
  if (known !== undefined) return known;
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
  const written = { status: 200, headers };
  answers.set(key, written);
  return written;
}

function refused(code: VerdictCode, status: 200 | 401 | 403 | 503, detail: string): Response {
  const problemCode = status === 503 ? "storage_unavailable" : status === 403 ? "insufficient_scope" : "unauthenticated";
  return new Response(
    JSON.stringify({
      type: `/docs/errors#${problemCode}`,
      title: detail,
      status,
      code: problemCode,
      verdict: code,
      detail,
    }),
    {
      status,
      headers: {
        "content-type": "application/problem+json",
        "cache-control": "no-store",
        "keyturn-code": code,
        ...(status === 401 ? { "www-authenticate": 'Bearer realm="keyturn", error="invalid_token"' } : {}),
      },
    },
  );
}

// Spellings that some hop may have read as the real header while another did not (R25).
const ALIASES = ["keyturn_authorization", "keyturn_caller", "x_forwarded_for"];
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
    detail: hopByHop ? "Connection names a header that must reach us." : `${alias} is not a header of ours; use hyphens.`,
  });
}
