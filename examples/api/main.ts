/**
 * An API to put a gateway in front of: answers with what it was told of the key. It listens on the loopback, because
 * whoever reaches it past the gateway could claim anything.
 */
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 8490,
  fetch: (request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/healthz") return new Response("ok\n");
    const told = [...request.headers].filter(([name]) => name.startsWith("keyturn-"));
    return Response.json({ path: pathname, ...Object.fromEntries(told) });
  },
});
console.log(`an API at ${server.url.href}`);
