/**
 * Reading a request body without letting the sender decide how much memory or time it takes.
 *
 * Bun refuses bad framing by itself, and reads from the socket only as fast as a stream reader asks. It
 * has no limit below `maxRequestBodySize` that can be answered with a problem document, and its
 * `idleTimeout` closes a slow sender's connection without an answer. This module supplies both.
 */

/** Largest body read, in bytes. No request of the API needs more than a few KiB. */
export const BODY_LIMIT_BYTES = 65_536;

/**
 * Longest time a body may take to arrive, in seconds, counted from the call of `readBody`. A deadline for
 * the whole body: a sender that drips one byte at a time gains nothing by never falling silent.
 */
const BODY_DEADLINE_SECONDS = 10;

/**
 * How often late bodies are looked for, in milliseconds. A body that would be late before the next look is
 * cut off now, so that none ever takes longer than the deadline: it may be cut off this much early instead.
 */
const SWEEP_MILLISECONDS = 250;

/**
 * What became of a body.
 *
 * - `too_large`: more bytes than the limit, declared or sent. Answer 413.
 * - `too_slow`: not complete at the deadline. Answer 408.
 * - `aborted`: the client is gone or broke the framing. Nobody reads the answer.
 *
 * Each failure leaves unread bytes on the connection: answer with `Connection: close`, otherwise the
 * runtime keeps reading and discarding them for as long as the client cares to send.
 */
export type BodyResult =
  | { readonly ok: true; readonly text: string }
  | { readonly ok: false; readonly reason: "too_large" | "too_slow" | "aborted" };

/** Limits other than the service's own, for tests. */
export interface ReadBodyOptions {
  /** Largest body read, in bytes. */
  readonly limitBytes?: number;
  /** Longest time the body may take, in milliseconds. Not useful below the 250 ms between two sweeps. */
  readonly deadlineMilliseconds?: number;
}

type BodyFailure = Extract<BodyResult, { readonly ok: false }>;

const TOO_LARGE: BodyFailure = { ok: false, reason: "too_large" };
const TOO_SLOW: BodyFailure = { ok: false, reason: "too_slow" };
const ABORTED: BodyFailure = { ok: false, reason: "aborted" };

/**
 * A body still arriving: when it is late, and what becomes of it. The first outcome counts, whatever comes after.
 *
 * All of them hang together in a list, and one repeating timer looks them over, instead of one timer for each request:
 * setting and clearing a timer costs the verify path about a tenth of its rate. A list rather than a set, and methods
 * rather than closures, because each request comes by: together 0.7 µs of 17.
 */
class Arrival {
  readonly dueMilliseconds: number;
  readonly #settled: (result: BodyResult) => void;
  #before: Arrival | null = null;
  #after: Arrival | null = null;
  #isOpen = true;

  constructor(deadlineMilliseconds: number, settled: (result: BodyResult) => void) {
    this.dueMilliseconds = performance.now() + deadlineMilliseconds;
    this.#settled = settled;
    this.#after = newest;
    if (newest !== null) newest.#before = this;
    newest = this;
    pendingBodies += 1;
    if (sweepTimer === undefined) {
      sweepTimer = setInterval(sweep, SWEEP_MILLISECONDS);
      sweepTimer.unref();
    }
  }

  /** The one that arrived before this one. */
  get next(): Arrival | null {
    return this.#after;
  }

  settle(result: BodyResult): void {
    if (this.leave()) this.#settled(result);
  }

  /** Takes it off the list; false when it was off already. */
  leave(): boolean {
    if (!this.#isOpen) return false;
    this.#isOpen = false;
    pendingBodies -= 1;
    if (this.#before === null) newest = this.#after;
    else this.#before.#after = this.#after;
    if (this.#after !== null) this.#after.#before = this.#before;
    return true;
  }
}

let newest: Arrival | null = null;
let pendingBodies = 0;
let sweepTimer: ReturnType<typeof setInterval> | undefined;

/** Cuts off the late bodies. Stops the timer once nothing is arriving, so an idle service does not wake. */
function sweep(): void {
  const cutOff = performance.now() + SWEEP_MILLISECONDS;
  for (let body = newest; body !== null; body = body.next) {
    if (body.dueMilliseconds <= cutOff) body.settle(TOO_SLOW);
  }
  if (newest === null) {
    clearInterval(sweepTimer);
    sweepTimer = undefined;
  }
}

/** How many bodies are still arriving, for the metrics and for tests that none is forgotten. */
export function countPendingBodies(): number {
  return pendingBodies;
}

/**
 * Reads a request's body as UTF-8 text, at most `BODY_LIMIT_BYTES` long and within
 * `BODY_DEADLINE_SECONDS`. Never rejects because of what a client sent; rejects only if the body was
 * already read, which is a mistake in the caller.
 *
 * A body with a Content-Length within the limit, the common case, is handed to the runtime whole: its
 * parser has already refused a length that is malformed, repeated with another value or contradicted by
 * Transfer-Encoding, and delivers no more bytes than declared. Any other body is counted as it arrives.
 *
 * The server's `maxRequestBodySize` must be above the limit, or the runtime answers 413 without a problem
 * document before this function has a say. Memory does not grow with it: unread bytes stay in the socket.
 */
export function readBody(request: Request, options?: ReadBodyOptions): Promise<BodyResult> {
  return readBodyThen(request, (body) => body, options);
}

/**
 * Reads a body as `readBody` does and resolves with what `then` makes of it: one promise less for the verify path.
 * Rejects with what `then` throws.
 */
export function readBodyThen<T>(
  request: Request,
  then: (body: BodyResult) => T | Promise<T>,
  options?: ReadBodyOptions,
): Promise<T> {
  const limitBytes = options?.limitBytes ?? BODY_LIMIT_BYTES;
  const deadlineMilliseconds = options?.deadlineMilliseconds ?? BODY_DEADLINE_SECONDS * 1000;
  const declaredLength = request.headers.get("content-length");
  if (declaredLength === null) {
    return readUndeclared(request, limitBytes, deadlineMilliseconds).then(then);
  }
  // Written so that a length which is not a number counts as too large.
  if (!(Number(declaredLength) <= limitBytes)) {
    return Promise.resolve(TOO_LARGE).then(then);
  }
  return readDeclared(request, deadlineMilliseconds, then);
}

/**
 * Whether a body nobody has read may go on for longer than we care to wait. Answer with `Connection: close` then; a
 * short one is let pass, so that a client with a bad key does not lose its connection each time.
 */
export function mayBeEndless(request: Request): boolean {
  const declaredLength = request.headers.get("content-length");
  if (declaredLength === null) return request.headers.has("transfer-encoding");
  return !(Number(declaredLength) <= BODY_LIMIT_BYTES);
}

function readDeclared<T>(
  request: Request,
  deadlineMilliseconds: number,
  then: (body: BodyResult) => T | Promise<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const body = new Arrival(deadlineMilliseconds, (result) => {
      try {
        resolve(then(result));
      } catch (error) {
        reject(error);
      }
    });
    // Both outcomes stay handled after the sweep gave up: closing the connection then rejects the read, and
    // a rejection nobody handles ends the process.
    request.text().then(
      (text) => body.settle({ ok: true, text }),
      (error: unknown) => {
        if (!isAlreadyRead(error)) return body.settle(failureOf(error));
        body.leave();
        reject(error);
      },
    );
  });
}

async function readUndeclared(
  request: Request,
  limitBytes: number,
  deadlineMilliseconds: number,
): Promise<BodyResult> {
  if (request.body === null) {
    return { ok: true, text: "" };
  }
  const reader = request.body.getReader();
  let outcome: BodyResult | undefined;
  const body = new Arrival(deadlineMilliseconds, (result) => {
    outcome = result;
    // Ends the read below. Cancelling a stream that has just failed rejects, and says nothing new.
    if (!result.ok) reader.cancel().catch(() => {});
  });
  const decoder = new TextDecoder();
  let text = "";
  let receivedBytes = 0;
  try {
    while (outcome === undefined) {
      const { done, value } = await reader.read();
      if (outcome !== undefined) break;
      if (done) {
        body.settle({ ok: true, text: text + decoder.decode() });
        break;
      }
      receivedBytes += value.byteLength;
      if (receivedBytes > limitBytes) {
        body.settle(TOO_LARGE);
        break;
      }
      text += decoder.decode(value, { stream: true });
    }
  } catch (error) {
    body.settle(failureOf(error));
  }
  return outcome ?? ABORTED;
}

function isAlreadyRead(error: unknown): boolean {
  return error instanceof TypeError && "code" in error && error.code === "ERR_BODY_ALREADY_USED";
}

/**
 * The reason a read failed. The runtime fails it with an AbortError for a closed connection and for bad
 * framing alike (it has answered 400 itself), and with a plain error naming the option when a chunked body
 * outgrew `maxRequestBodySize` (it has answered 413 itself).
 */
function failureOf(error: unknown): BodyFailure {
  return error instanceof Error && error.message.includes("maxRequestBodySize") ? TOO_LARGE : ABORTED;
}
