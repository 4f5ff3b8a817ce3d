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
export const BODY_DEADLINE_SECONDS = 10;

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

/** A body still arriving: when it is late, and how to give up on it. */
interface PendingBody {
  readonly dueMilliseconds: number;
  readonly giveUp: (result: BodyFailure) => void;
}

/**
 * Every body still arriving. One repeating timer looks them all over, instead of one timer for each
 * request: setting and clearing a timer costs the verify path about a tenth of its rate.
 */
const pendingBodies = new Set<PendingBody>();
let sweepTimer: ReturnType<typeof setInterval> | undefined;

/** Cuts off the late bodies. Stops the timer once nothing is arriving, so an idle service does not wake. */
function sweep(): void {
  const cutOff = performance.now() + SWEEP_MILLISECONDS;
  for (const body of pendingBodies) {
    if (body.dueMilliseconds <= cutOff) {
      pendingBodies.delete(body);
      body.giveUp(TOO_SLOW);
    }
  }
  if (pendingBodies.size === 0) {
    clearInterval(sweepTimer);
    sweepTimer = undefined;
  }
}

function watch(body: PendingBody): void {
  pendingBodies.add(body);
  if (sweepTimer === undefined) {
    sweepTimer = setInterval(sweep, SWEEP_MILLISECONDS);
    sweepTimer.unref();
  }
}

/** How many bodies are still arriving, for the metrics and for tests that none is forgotten. */
export function countPendingBodies(): number {
  return pendingBodies.size;
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
  const limitBytes = options?.limitBytes ?? BODY_LIMIT_BYTES;
  const deadlineMilliseconds = options?.deadlineMilliseconds ?? BODY_DEADLINE_SECONDS * 1000;
  const declaredLength = request.headers.get("content-length");
  if (declaredLength === null) {
    return readUndeclared(request, limitBytes, deadlineMilliseconds);
  }
  // Written so that a length which is not a number counts as too large.
  if (!(Number(declaredLength) <= limitBytes)) {
    return Promise.resolve(TOO_LARGE);
  }
  return readDeclared(request, deadlineMilliseconds);
}

function readDeclared(request: Request, deadlineMilliseconds: number): Promise<BodyResult> {
  return new Promise((resolve, reject) => {
    const body: PendingBody = {
      dueMilliseconds: performance.now() + deadlineMilliseconds,
      giveUp: resolve,
    };
    watch(body);
    // Both outcomes stay handled after the sweep gave up: closing the connection then rejects the read, and
    // a rejection nobody handles ends the process.
    request.text().then(
      (text) => {
        pendingBodies.delete(body);
        resolve({ ok: true, text });
      },
      (error: unknown) => {
        pendingBodies.delete(body);
        if (isAlreadyRead(error)) {
          reject(error);
        } else {
          resolve(failureOf(error));
        }
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
  let failure: BodyFailure | undefined;
  const giveUp = (result: BodyFailure): void => {
    failure ??= result;
    // Ends the read below. Cancelling a stream that has just failed rejects, and says nothing new.
    reader.cancel().catch(() => {});
  };
  const body: PendingBody = { dueMilliseconds: performance.now() + deadlineMilliseconds, giveUp };
  watch(body);
  const decoder = new TextDecoder();
  let text = "";
  let receivedBytes = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (failure !== undefined) {
        return failure;
      }
      if (done) {
        return { ok: true, text: text + decoder.decode() };
      }
      receivedBytes += value.byteLength;
      if (receivedBytes > limitBytes) {
        giveUp(TOO_LARGE);
        return TOO_LARGE;
      }
      text += decoder.decode(value, { stream: true });
    }
  } catch (error) {
    return failure ?? failureOf(error);
  } finally {
    pendingBodies.delete(body);
  }
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
