import { answerLength } from "./load.ts";

export interface LineAnswer {
  readonly status: number;
  readonly body: string;
  /** When the request was sent and the answer was there, by `performance.now()`. */
  readonly sentAt: number;
  readonly at: number;
}

/**
 * One keep-alive connection, so one process of those that share a port: `fetch` takes whichever connection is free. One
 * request at a time; calls queue up.
 */
export interface Line {
  ask(request: string): Promise<LineAnswer>;
  end(): void;
}

export async function openLine(port: number): Promise<Line> {
  let partial: Buffer | null = null;
  let answered: ((answer: Buffer) => void) | null = null;
  let failed: (error: Error) => void = () => undefined;
  let last: Promise<unknown> = Promise.resolve();
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      data: (_, chunk) => {
        const data: Buffer = partial === null ? Buffer.from(chunk) : Buffer.concat([partial, chunk]);
        const length = answerLength(data);
        partial = length < 0 || data.length < length ? data : null;
        if (partial === null) answered?.(data);
      },
      close: () => failed(new Error("the server closed a connection")),
      error: (_, error) => failed(error),
    },
  });
  socket.setNoDelay(true);
  const askNow = async (request: string): Promise<LineAnswer> => {
    const sentAt = performance.now();
    const data = await new Promise<Buffer>((resolve, reject) => {
      answered = resolve;
      failed = reject;
      if (socket.write(request) !== request.length)
        reject(new Error("the socket took only part of a request"));
    });
    const at = performance.now();
    const status = Number(data.toString("latin1", 9, 12));
    return { status, body: data.toString("utf8", data.indexOf("\r\n\r\n") + 4), sentAt, at };
  };
  return {
    ask: (request) => {
      const answer = last.then(() => askNow(request));
      last = answer.catch(() => undefined);
      return answer;
    },
    end: () => {
      failed = () => undefined;
      socket.terminate();
    },
  };
}
