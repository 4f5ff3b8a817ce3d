import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { BODY_LIMIT_BYTES, type BodyResult, countPendingBodies, readBody } from "./read-body.ts";

/** Short enough for tests to wait for, long enough for a body on loopback to arrive on a busy machine. */
const SHORT_DEADLINE_MILLISECONDS = 600;

/** Results in the order in which the handler got them. Each test takes its own with `nextResult`. */
const results: BodyResult[] = [];
const waiting: ((result: BodyResult) => void)[] = [];

function report(result: BodyResult): void {
  const waiter = waiting.shift();
  if (waiter === undefined) {
    results.push(result);
  } else {
    waiter(result);
  }
}

function nextResult(): Promise<BodyResult> {
  const result = results.shift();
  return result === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(result);
}

function answer(result: BodyResult): Response {
  report(result);
  if (result.ok) {
    return new Response(result.text);
  }
  const status = result.reason === "too_large" ? 413 : result.reason === "too_slow" ? 408 : 400;
  return new Response(result.reason, { status, headers: { connection: "close" } });
}

let server: Bun.Server<undefined>;
let strictServer: Bun.Server<undefined>;

beforeAll(() => {
  server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    routes: {
      "/read": async (request) => answer(await readBody(request)),
      "/short": async (request) =>
        answer(await readBody(request, { deadlineMilliseconds: SHORT_DEADLINE_MILLISECONDS })),
      "/tiny": async (request) => answer(await readBody(request, { limitBytes: 5 })),
    },
  });
  strictServer = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    maxRequestBodySize: 10,
    routes: { "/read": async (request) => answer(await readBody(request)) },
  });
});

afterAll(async () => {
  await server.stop(true);
  await strictServer.stop(true);
});

/** A raw connection: what it received so far, and a promise for all of it once the server closed. */
interface RawClient {
  readonly socket: Socket;
  readonly closed: Promise<string>;
}

function open(head: readonly string[], body: string | Uint8Array = "", port = server.port): RawClient {
  const socket = connect(port ?? 0, "127.0.0.1");
  let received = "";
  socket.setEncoding("latin1");
  socket.on("data", (data: string) => {
    received += data;
  });
  // Writing to a connection the server has closed is what some of these clients are for.
  socket.on("error", () => {});
  const closed = new Promise<string>((resolve) => socket.on("close", () => resolve(received)));
  socket.write(`${head.join("\r\n")}\r\nHost: keyturn.test\r\n\r\n`);
  socket.write(body);
  return { socket, closed };
}

/** Writes a piece again and again until the server closes the connection. */
async function keepWriting(client: RawClient, piece: string | Uint8Array, pause: number): Promise<void> {
  while (!client.socket.destroyed && client.socket.writable) {
    const flushed = client.socket.write(piece);
    if (!flushed) {
      await new Promise<void>((resolve) => {
        client.socket.once("drain", resolve);
        client.socket.once("close", () => resolve());
      });
    }
    await Bun.sleep(pause);
  }
}

function post(path: string, body: string | Uint8Array | ReadableStream): Promise<Response> {
  return fetch(new URL(path, server.url), { method: "POST", body });
}

const CHUNK = `10000\r\n${"x".repeat(65_536)}\r\n`;

describe("a body within the limit and the deadline", () => {
  test("is returned whole when its length is declared", async () => {
    const response = await post("/read", '{"key":"kts_é"}');
    expect(await response.text()).toBe('{"key":"kts_é"}');
    expect(await nextResult()).toEqual({ ok: true, text: '{"key":"kts_é"}' });
  });

  test("is returned whole when chunks split a character", async () => {
    const head = ["POST /read HTTP/1.1", "Transfer-Encoding: chunked", "Connection: close"];
    const client = open(head, new Uint8Array([0x32, 13, 10, 0x61, 0xc3, 13, 10]));
    await Bun.sleep(20);
    client.socket.write(new Uint8Array([0x31, 13, 10, 0xa9, 13, 10, 0x30, 13, 10, 13, 10]));
    expect(await nextResult()).toEqual({ ok: true, text: "aé" });
    await client.closed;
  });

  test("is the same text chunked or not, even when it is not valid UTF-8", async () => {
    const bytes = new Uint8Array([0xef, 0xbb, 0xbf, 0x61, 0xff, 0xc3]);
    await post("/read", bytes);
    const declared = await nextResult();
    await post(
      "/read",
      new ReadableStream({
        start(controller) {
          controller.enqueue(bytes);
          controller.close();
        },
      }),
    );
    expect(await nextResult()).toEqual(declared);
    expect(declared).toEqual({ ok: true, text: "a\ufffd\ufffd" });
  });

  test("may be exactly as long as the limit", async () => {
    const text = "x".repeat(BODY_LIMIT_BYTES);
    await post("/read", text);
    expect(await nextResult()).toEqual({ ok: true, text });
    const head = ["POST /read HTTP/1.1", "Transfer-Encoding: chunked", "Connection: close"];
    const client = open(head, `${CHUNK}0\r\n\r\n`);
    expect(await nextResult()).toEqual({ ok: true, text });
    await client.closed;
  });

  test("is empty text when there is none", async () => {
    for (const lines of [["POST /read HTTP/1.1"], ["POST /read HTTP/1.1", "Content-Length: 0"]]) {
      const client = open([...lines, "Connection: close"]);
      expect(await nextResult()).toEqual({ ok: true, text: "" });
      await client.closed;
    }
    const client = open(
      ["POST /read HTTP/1.1", "Transfer-Encoding: chunked", "Connection: close"],
      "0\r\n\r\n",
    );
    expect(await nextResult()).toEqual({ ok: true, text: "" });
    await client.closed;
  });

  test("is counted in bytes and not in characters", async () => {
    await post("/tiny", "éé");
    expect(await nextResult()).toEqual({ ok: true, text: "éé" });
    await post("/tiny", "ééé");
    expect(await nextResult()).toEqual({ ok: false, reason: "too_large" });
  });
});

describe("a body over the limit", () => {
  test("is refused on its declared length, before any of it arrives", async () => {
    const client = open(["POST /read HTTP/1.1", `Content-Length: ${BODY_LIMIT_BYTES + 1}`]);
    expect(await nextResult()).toEqual({ ok: false, reason: "too_large" });
    expect(await client.closed).toStartWith("HTTP/1.1 413 ");
  });

  test("of a declared gigabyte is answered 413 and the connection closed under the sender", async () => {
    const client = open(["POST /read HTTP/1.1", "Content-Length: 1073741824"]);
    await Promise.all([keepWriting(client, "x".repeat(65_536), 1), client.closed]);
    expect(await nextResult()).toEqual({ ok: false, reason: "too_large" });
  });

  test("is refused when one byte too many arrives in chunks", async () => {
    const client = open(["POST /read HTTP/1.1", "Transfer-Encoding: chunked"], `${CHUNK}1\r\nx\r\n`);
    expect(await nextResult()).toEqual({ ok: false, reason: "too_large" });
    expect(await client.closed).toStartWith("HTTP/1.1 413 ");
  });

  test("without an end is refused and the connection closed under the sender", async () => {
    const client = open(["POST /read HTTP/1.1", "Transfer-Encoding: chunked"]);
    await Promise.all([keepWriting(client, CHUNK, 1), client.closed]);
    expect(await nextResult()).toEqual({ ok: false, reason: "too_large" });
  });

  test("is reported as too large when the runtime's own limit is hit first", async () => {
    const client = open(
      ["POST /read HTTP/1.1", "Transfer-Encoding: chunked"],
      "b\r\nhello world\r\n",
      strictServer.port,
    );
    expect(await nextResult()).toEqual({ ok: false, reason: "too_large" });
    expect(await client.closed).toStartWith("HTTP/1.1 413 ");
  });
});

describe("a body past the deadline", () => {
  test("is cut off although a byte keeps arriving, with its length declared", async () => {
    const client = open(["POST /short HTTP/1.1", "Content-Length: 60000"]);
    await keepWriting(client, "x", 50);
    expect(await nextResult()).toEqual({ ok: false, reason: "too_slow" });
    expect(await client.closed).toStartWith("HTTP/1.1 408 ");
  });

  test("is cut off although a chunk keeps arriving", async () => {
    const client = open(["POST /short HTTP/1.1", "Transfer-Encoding: chunked"]);
    await keepWriting(client, "1\r\nx\r\n", 50);
    expect(await nextResult()).toEqual({ ok: false, reason: "too_slow" });
    expect(await client.closed).toStartWith("HTTP/1.1 408 ");
  });

  test("is cut off when the sender falls silent", async () => {
    for (const line of ["Content-Length: 100", "Transfer-Encoding: chunked"]) {
      const client = open(["POST /short HTTP/1.1", line]);
      expect(await nextResult()).toEqual({ ok: false, reason: "too_slow" });
      expect(await client.closed).toStartWith("HTTP/1.1 408 ");
    }
  });

  test("does not take a body with more time down with it", async () => {
    const patient = open(["POST /read HTTP/1.1", "Content-Length: 4", "Connection: close"], "ab");
    const late = open(["POST /short HTTP/1.1", "Content-Length: 4"], "ab");
    expect(await nextResult()).toEqual({ ok: false, reason: "too_slow" });
    await late.closed;
    patient.socket.write("cd");
    expect(await nextResult()).toEqual({ ok: true, text: "abcd" });
    await patient.closed;
  });
});

describe("a body whose sender is gone or breaks the framing", () => {
  test("is reported as aborted when the client disconnects", async () => {
    for (const line of ["Content-Length: 100", "Transfer-Encoding: chunked"]) {
      const client = open(["POST /read HTTP/1.1", line], "3\r\nabc\r\n");
      await Bun.sleep(20);
      client.socket.destroy();
      expect(await nextResult()).toEqual({ ok: false, reason: "aborted" });
    }
  });

  test("is reported as aborted when a chunk size is not a number", async () => {
    const client = open(["POST /read HTTP/1.1", "Transfer-Encoding: chunked"], "3\r\nabc\r\nzz\r\n");
    expect(await nextResult()).toEqual({ ok: false, reason: "aborted" });
    expect(await client.closed).toStartWith("HTTP/1.1 400 ");
  });
});

describe("readBody", () => {
  test("takes a declared length that is not a number for too large", async () => {
    const request = new Request("http://keyturn.test/", {
      method: "POST",
      body: "x",
      headers: { "content-length": "many" },
    });
    expect(await readBody(request)).toEqual({ ok: false, reason: "too_large" });
  });

  test("rejects when the body was already read, declared or not", async () => {
    for (const headers of [{ "content-length": "1" }, {}]) {
      const request = new Request("http://keyturn.test/", { method: "POST", body: "x", headers });
      await request.text();
      await expect(readBody(request)).rejects.toThrow(TypeError);
    }
  });

  test("holds on to a body only while it arrives", async () => {
    const before = countPendingBodies();
    const gone = open(["POST /read HTTP/1.1", "Content-Length: 4"], "ab");
    const complete = open(["POST /read HTTP/1.1", "Content-Length: 4", "Connection: close"], "ab");
    const late = open(["POST /short HTTP/1.1", "Transfer-Encoding: chunked"], "2\r\nab\r\n");
    while (countPendingBodies() < before + 3) {
      await Bun.sleep(1);
    }
    gone.socket.destroy();
    expect(await nextResult()).toEqual({ ok: false, reason: "aborted" });
    complete.socket.write("cd");
    expect(await nextResult()).toEqual({ ok: true, text: "abcd" });
    expect(await nextResult()).toEqual({ ok: false, reason: "too_slow" });
    await Promise.all([complete.closed, late.closed]);
    expect(countPendingBodies()).toBe(before);
  });
});
