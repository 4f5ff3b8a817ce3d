import { withoutSecrets } from "../authority/secret.ts";
import { HttpProblem } from "./problems.ts";

/**
 * The text that a header presents: `Bearer <key>`, or `Basic` with the user `api_key` (RFC 6750, RFC 7617).
 * Undefined without a header or with another scheme; two credentials at once are `ambiguous_header` (R25).
 */
export function presentedBy(header: string | null): string | undefined {
  if (header === null) return undefined;
  // Fetch joins repeated headers with a comma, which neither scheme can contain.
  if (header.includes(",")) {
    throw new HttpProblem({
      code: "ambiguous_header",
      detail: "Send one credential: the header was given twice.",
    });
  }
  if (header.startsWith("Bearer ")) return header.slice(7).trim();
  const scheme = header.slice(0, 7).toLowerCase();
  if (scheme === "bearer ") return header.slice(7).trim();
  if (!scheme.startsWith("basic ")) return undefined;
  const decoded = Buffer.from(header.slice(6).trim(), "base64").toString("utf8");
  return decoded.startsWith("api_key:") ? decoded.slice("api_key:".length) : undefined;
}

// What people call a credential when they put it where it will be logged.
const CREDENTIAL_NAMES = new Set([
  "key",
  "api_key",
  "apikey",
  "token",
  "access_token",
  "secret",
  "authorization",
]);

/** Refuses a credential in a query string, by its name or by its looks (R22). */
export function assertNoCredential(query: URLSearchParams, looksLikeSecret: (text: string) => boolean): void {
  for (const [name, value] of query) {
    if (!CREDENTIAL_NAMES.has(name.toLowerCase()) && !looksLikeSecret(name) && !looksLikeSecret(value))
      continue;
    throw credentialInUrl();
  }
}

/**
 * Refuses a body with a secret in any of its texts: somebody pasted a key as a name or a note, and it would be stored
 * in clear (R19, R21; test/http/bad-input.test.ts). Names the field.
 */
export function assertNoSecretIn(body: unknown): void {
  // A list of what is left to look at instead of recursion: a body can be nested deeper than the stack.
  const left: { readonly field: string; readonly value: unknown }[] = [{ field: "", value: body }];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const { field, value } = next;
    if (typeof value === "string" && withoutSecrets(value) !== value) throw secretIn(field);
    if (typeof value !== "object" || value === null) continue;
    for (const [name, member] of Object.entries(value)) {
      if (withoutSecrets(name) !== name) throw secretIn(field);
      left.push({ field: field === "" ? name : `${field}.${name}`, value: member });
    }
  }
}

function secretIn(path: string): HttpProblem {
  const field = (path || "body").slice(0, 100);
  const message = "must not hold a key: it would be stored in clear";
  return new HttpProblem({
    code: "invalid_input",
    detail: `${field}: ${message}`,
    errors: [{ field, message }],
  });
}

export function credentialInUrl(): HttpProblem {
  return new HttpProblem({
    code: "credential_in_url",
    detail:
      "URLs end up in logs. Send the key in the Authorization header, and replace the one that was in this URL.",
  });
}
