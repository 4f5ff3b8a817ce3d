import { errorOf, KeyturnError } from "./error.ts";

/** The key's text, or what gives it: asked for each request, so a rotated key is picked up without a restart. */
export type KeySource = string | (() => string | Promise<string>);

export interface TransportOptions {
  /** Where Keyturn is, such as `https://keys.example.com`; a path in front of `/v1` may be part of it. */
  readonly url: string | URL;
  /** Absent: only what is open to everybody can be asked for, such as `setup`. */
  readonly key?: KeySource | undefined;
  /** The name by which Keyturn knows the user of this key, sent as `Keyturn-Caller`. */
  readonly caller?: string | undefined;
  /** In place of the global `fetch`. */
  readonly fetch?: ((url: string, init: RequestInit) => Promise<Response>) | undefined;
  /**
   * How long one try may take until its answer is read. Unless said: 10 for a verification, 20 for a reading, and 60 for a
   * change, which is longer than a server with default settings takes to say why it can't.
   */
  readonly timeoutSeconds?: number | undefined;
  /** How often what may be repeated is tried again; 2 unless said. */
  readonly retries?: number | undefined;
}

/** Of one call, whatever the call is. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutSeconds?: number | undefined;
  /** For calls that create: your own, so that even a restarted program repeats the same request. */
  readonly idempotencyKey?: string | undefined;
  /** Told what a good answer says of itself, before the call ends. */
  readonly onAnswer?: ((about: AboutAnswer) => void) | undefined;
}

/** What an answer says of itself, beside its body. */
export interface AboutAnswer {
  readonly status: number;
  /** Of a change: the number of its entry. Of a verification: the newest entry that it takes into account. */
  readonly seq: number | null;
  /** Of a verification: how old what it rests on is at most. */
  readonly stalenessSeconds: number | null;
}

/**
 * When a call may be sent again. `read`: no connection, or 502 to 504. `create`: the same and while the first try is in
 * progress, with one `Idempotency-Key` for all tries. `verify`: once, without a connection. `change`: never.
 */
export type Repeats = "read" | "create" | "verify" | "change";

export interface Outgoing {
  readonly method: string;
  readonly path: string;
  readonly query?: Readonly<Record<string, unknown>> | undefined;
  readonly body?: unknown;
  readonly repeats: Repeats;
  readonly options?: CallOptions | undefined;
}

/** Sends one call and gives the body of its good answer, parsed. Throws `KeyturnError`, or the reason of your signal. */
export type Send = (outgoing: Outgoing) => Promise<unknown>;

/** Longer than a server with default settings takes to say that it can't. */
export const TIMEOUT_SECONDS: Readonly<Record<Repeats, number>> = {
  verify: 10,
  read: 20,
  create: 60,
  change: 60,
};
const RETRIES = 2;
const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 2_000;

/** What stands between the client and `fetch`. The key stays inside, where no inspection of the client finds it. */
export function createTransport(options: TransportOptions): Send {
  const base = baseOf(options.url);
  if (typeof options.key === "string") checkedKey(options.key);
  const fetching = options.fetch ?? ((url: string, init: RequestInit) => globalThis.fetch(url, init));
  const retries = options.retries ?? RETRIES;

  async function headersOf(outgoing: Outgoing, idempotencyKey: string | undefined): Promise<Headers> {
    const headers = new Headers({ accept: "application/json" });
    const key = typeof options.key === "function" ? await options.key() : options.key;
    if (key !== undefined) headers.set("authorization", `Bearer ${checkedKey(key)}`);
    if (options.caller !== undefined) headers.set("keyturn-caller", options.caller);
    if (outgoing.body !== undefined) headers.set("content-type", "application/json");
    if (idempotencyKey !== undefined) headers.set("idempotency-key", idempotencyKey);
    return headers;
  }

  async function once(outgoing: Outgoing, url: string, idempotencyKey: string | undefined): Promise<unknown> {
    const seconds =
      outgoing.options?.timeoutSeconds ?? options.timeoutSeconds ?? TIMEOUT_SECONDS[outgoing.repeats];
    const headers = await headersOf(outgoing, idempotencyKey);
    return withinTime(seconds, outgoing.options?.signal, base.origin, async (signal) => {
      const response = await fetching(url, {
        method: outgoing.method.toUpperCase(),
        headers,
        // A redirect would carry the key to an address that nobody chose.
        redirect: "manual",
        signal,
        ...(outgoing.body === undefined ? {} : { body: JSON.stringify(outgoing.body) }),
      });
      const text = await response.text();
      const body = text === "" ? undefined : parsed(text);
      if (response.ok && (text === "" || body !== undefined)) {
        outgoing.options?.onAnswer?.(aboutOf(response));
        return body;
      }
      throw errorOf(response.status, body);
    });
  }

  return async (outgoing) => {
    const url = `${base.href}${outgoing.path}${queryText(outgoing.query)}`;
    const idempotencyKey =
      outgoing.repeats === "create" ? (outgoing.options?.idempotencyKey ?? randomText()) : undefined;
    for (let tried = 0; ; tried += 1) {
      try {
        return await once(outgoing, url, idempotencyKey);
      } catch (error) {
        const most = outgoing.repeats === "verify" ? Math.min(1, retries) : retries;
        if (tried >= most || !mayRepeat(outgoing.repeats, error)) throw error;
        await pause(tried, outgoing.options?.signal);
      }
    }
  };
}

/** 128 bits. Not crypto.randomUUID, which browsers keep from pages without TLS. */
function randomText(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function mayRepeat(repeats: Repeats, error: unknown): boolean {
  if (!(error instanceof KeyturnError) || repeats === "change") return false;
  if (error.code === "unreachable" || error.code === "timeout") return true;
  if (repeats === "verify") return false;
  if (error.status >= 502 && error.status <= 504) return true;
  return repeats === "create" && error.code === "idempotency_in_progress";
}

/** Doubling, and spread by half, so that many clients do not come back at the same moment. Ends early with the signal. */
async function pause(tried: number, signal: AbortSignal | undefined): Promise<void> {
  const wait = Math.min(FIRST_WAIT_MS * 2 ** tried, LONGEST_WAIT_MS) * (0.5 + Math.random());
  await new Promise<void>((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, wait);
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort, { once: true });
  });
}

/** Runs one try within its time. The caller's own abort is passed on as it is; every other failure is ours to name. */
async function withinTime<T>(
  seconds: number,
  signal: AbortSignal | undefined,
  origin: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (signal?.aborted) throw signal.reason;
  // By hand, because AbortSignal.any is missing from the first releases of Node 20.
  const controller = new AbortController();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    controller.abort();
  }, seconds * 1000);
  const abort = () => controller.abort(signal?.reason);
  signal?.addEventListener("abort", abort, { once: true });
  try {
    return await work(controller.signal);
  } catch (error) {
    if (error instanceof KeyturnError) throw error;
    if (signal?.aborted) throw signal.reason;
    if (late) {
      const detail = `There was no answer from ${origin} within ${seconds} s.`;
      throw new KeyturnError({ status: 0, code: "timeout", detail });
    }
    const detail = `There is no connection to ${origin}: ${whyUnreachable(error)}.`;
    throw new KeyturnError({ status: 0, code: "unreachable", detail });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

// Of the runtime's own error only this much is passed on: some runtimes put the request, headers and all, into it.
function whyUnreachable(error: unknown): string {
  for (const one of [error, error instanceof Error ? error.cause : undefined]) {
    if (typeof one === "object" && one !== null && "code" in one && typeof one.code === "string")
      return one.code;
  }
  return "the request failed";
}

function baseOf(url: string | URL): { readonly href: string; readonly origin: string } {
  if (!URL.canParse(String(url))) throw new TypeError("Keyturn's URL can't be read.");
  const base = new URL(url);
  if (base.protocol !== "http:" && base.protocol !== "https:") {
    throw new TypeError("Keyturn's URL starts with http:// or https://.");
  }
  if (base.username !== "" || base.password !== "" || base.search !== "" || base.hash !== "") {
    throw new TypeError("Keyturn's URL holds no user, password, query or fragment.");
  }
  return { href: `${base.origin}${base.pathname.replace(/\/+$/, "")}`, origin: base.origin };
}

/** Looked at here, because a runtime that refuses a header quotes its value. */
function checkedKey(key: string): string {
  if (/^[\x21-\x2b\x2d-\x7e]+$/.test(key)) return key;
  throw new TypeError("The key is empty or has characters that no key has, such as a line break.");
}

function queryText(query: Readonly<Record<string, unknown>> | undefined): string {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined) pairs.set(name, String(value));
  }
  const text = pairs.toString();
  return text === "" ? "" : `?${text}`;
}

function aboutOf({ status, headers }: Response): AboutAnswer {
  const numberIn = (name: string) => {
    const text = headers.get(name);
    return text === null ? null : Number(text);
  };
  return {
    status,
    seq: numberIn("keyturn-seq"),
    stalenessSeconds: numberIn("keyturn-staleness-seconds"),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
