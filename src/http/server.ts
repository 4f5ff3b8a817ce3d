import type { HttpFace, HttpParts } from "./app.ts";
import { createHttpFace } from "./app.ts";
import { createAnswering } from "./problems.ts";

export interface ServeOptions extends Omit<HttpParts, "peerOf" | "keepOpen"> {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  /** Whether other processes that do the same listen on it, too: the system deals the connections out. */
  readonly sharesPort?: boolean;
  readonly metricsPort: number | null;
  readonly tls: { readonly certFile: string; readonly keyFile: string } | null;
}

export interface RunningServer {
  readonly url: string;
  readonly metricsUrl: string | null;
  /** Takes no new requests and resolves when those under way are answered, after 10 seconds at the latest. */
  stop(): Promise<void>;
}

/** `readBody` has the say over bodies: the runtime's own 413 has no problem document. Unread bytes stay in the socket. */
const RUNTIME_BODY_LIMIT = Number.MAX_SAFE_INTEGER;
/**
 * The runtime closes without an answer after this, over TLS even while an answer is being made: calls of the management
 * API have time of their own. It counts in steps of 4 s, and must leave room for our 408 at 10 s.
 */
const IDLE_SECONDS = 16;
/** The runtime knows no longer time. */
const LONGEST_IDLE_SECONDS = 255;
const STOP_SECONDS = 10;

/** Serves the API. The verify paths are Bun's own routes: they cost less than a router. */
export function startServer(options: ServeOptions): RunningServer {
  let server: Bun.Server<undefined> | null = null;
  const face: HttpFace = createHttpFace({
    ...options,
    peerOf: (request) => server?.requestIP(request)?.address,
    keepOpen: (request, seconds) => server?.timeout(request, Math.min(seconds, LONGEST_IDLE_SECONDS)),
  });
  const tls =
    options.tls === null
      ? {}
      : { tls: { cert: Bun.file(options.tls.certFile), key: Bun.file(options.tls.keyFile) } };
  server = Bun.serve({
    hostname: options.host,
    port: options.port,
    maxRequestBodySize: RUNTIME_BODY_LIMIT,
    idleTimeout: IDLE_SECONDS,
    development: false,
    // On unless said, where development is off: two servers would share the port, and each get half of the requests.
    reusePort: options.sharesPort ?? false,
    ...tls,
    routes: {
      "/v1/keys/verify": { POST: face.verify },
      "/v1/keys/verify/batch": { POST: face.verifyBatch },
      "/v1/forward-auth": { GET: face.forwardAuth },
    },
    fetch: face.fetch,
    error: (error) => {
      options.log.error(error);
      return createAnswering(options.publicUrl)({
        code: "internal_error",
        detail: "Something is wrong on our side.",
      });
    },
  });
  const metricsServer =
    options.metricsPort === null ? null : serveMetrics(options, options.metricsPort, face, server);
  const serving = server;
  return {
    url: serving.url.href.replace(/\/$/, ""),
    metricsUrl: metricsServer === null ? null : `${metricsServer.url.href}metrics`,
    stop: async () => {
      await Promise.race([
        serving.stop(),
        new Promise((resolve) => setTimeout(resolve, STOP_SECONDS * 1000).unref()),
      ]);
      await serving.stop(true);
      await metricsServer?.stop(true);
    },
  };
}

/** Where that port can't be had, the API is not served either: a server that was left behind would keep the process. */
function serveMetrics(
  { host }: ServeOptions,
  port: number,
  face: HttpFace,
  api: Bun.Server<undefined>,
): Bun.Server<undefined> {
  try {
    return Bun.serve({
      hostname: host,
      port,
      development: false,
      reusePort: false,
      routes: { "/metrics": { GET: face.metrics } },
      fetch: () => new Response(null, { status: 404 }),
    });
  } catch (error) {
    void api.stop(true);
    throw error;
  }
}
