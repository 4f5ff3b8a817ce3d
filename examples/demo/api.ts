import type { Client } from "@keyturn/sdk";

const INVOICES = [
  { id: 1, customer: "Ada", cents: 12_900 },
  { id: 2, customer: "Grace", cents: 4_250 },
];

/**
 * The protected API. Behind nginx it is told whose key it was; without nginx (`keyturn` given) it asks for itself,
 * which is all that an API needs to do.
 */
export function startApi(port: number, keyturn: Client | null): Bun.Server<undefined> {
  return Bun.serve({
    hostname: "127.0.0.1",
    port,
    fetch: async (request) => {
      if (new URL(request.url).pathname === "/healthz") return new Response("ok\n");
      if (keyturn === null)
        return Response.json({ for: request.headers.get("keyturn-owner"), invoices: INVOICES });
      const key = request.headers.get("authorization")?.replace(/^Bearer /, "") ?? "";
      const name = request.headers.get("keyturn-caller");
      const caller = name === null ? {} : { name };
      const verdict = await keyturn.keys.verify({ key, scopes: ["invoices:read"], caller });
      if (verdict.valid) return Response.json({ for: verdict.key?.owner_id, invoices: INVOICES });
      const status = verdict.code === "insufficient_scope" ? 403 : 401;
      return Response.json({ verdict: verdict.code }, { status, headers: { "keyturn-code": verdict.code } });
    },
  });
}
