/**
 * What the runtime can do at best with the same requests: reads the body and answers a constant of the given length with
 * the same two headers, or answers a bare 200. Prints its port.
 *
 *     bun bench/floor.ts 512
 */
const constant = JSON.stringify("x".repeat(Math.max(0, Number(process.argv[2] ?? 2) - 2)));
const init = { headers: new Headers({ "content-type": "application/json", "cache-control": "no-store" }) };

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  development: false,
  routes: {
    "/v1/keys/verify": { POST: (request) => request.text().then(() => new Response(constant, init)) },
    "/v1/forward-auth": { GET: () => new Response(null) },
  },
  fetch: () => new Response(null, { status: 404 }),
});
console.log(server.port);
