import { connect, type Socket } from "node:net";

/** A connection on which anything can be written, HTTP or not. */
export interface Raw {
  readonly socket: Socket;
  /** What came back until the server closed the connection. */
  readonly closed: Promise<string>;
  /** What came back so far. */
  received(): string;
}

export function openRaw(port: number): Raw {
  const socket = connect(port, "127.0.0.1");
  let received = "";
  socket.setEncoding("latin1");
  socket.on("data", (data: string) => {
    received += data;
  });
  // Writing to a connection that the server has closed is what some of these tests are for.
  socket.on("error", () => {});
  const closed = new Promise<string>((resolve) => socket.on("close", () => resolve(received)));
  return { socket, closed, received: () => received };
}

/** Writes these bytes, and resolves with all that came back once the server has closed the connection. */
export function sendRaw(port: number, bytes: string | Uint8Array): Promise<string> {
  const raw = openRaw(port);
  raw.socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  return raw.closed;
}

/** The status of an answer, or undefined for a connection that was closed without one. */
export function statusOf(answer: string): number | undefined {
  const status = /^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1];
  return status === undefined ? undefined : Number(status);
}

/** The problem's code in an answer of ours. */
export function codeIn(answer: string): string | undefined {
  return /"code":"([a-z_]+)"/.exec(answer)?.[1];
}

/** Keeps writing a piece until the server closes or `most` bytes were taken. Resolves with the bytes written. */
export async function keepWriting({ socket }: Raw, piece: Uint8Array, most: number): Promise<number> {
  let written = 0;
  while (!socket.destroyed && socket.writable && written < most) {
    const flushed = socket.write(piece);
    written += piece.byteLength;
    if (!flushed) {
      await new Promise<void>((resolve) => {
        socket.once("drain", resolve);
        socket.once("close", () => resolve());
      });
    }
    await Bun.sleep(0);
  }
  return written;
}
