import { afterEach, describe, expect, test } from "bun:test";
import { createServer, type Server } from "node:net";
import { refusalOf } from "../../test/support/authority.ts";
import { connectionsTo } from "./postgres.ts";

/** https://www.postgresql.org/docs/current/protocol-message-formats.html: a type, a length that counts itself, a body. */
function message(type: string, body: string | Buffer): Buffer {
  const bytes = Buffer.from(body);
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeInt32BE(bytes.length + 4, 1);
  return Buffer.concat([head, bytes]);
}

const ADMITTED = Buffer.concat([message("R", Buffer.alloc(4)), message("Z", "I")]);
/** One row of one boolean, true: a standby, when it is asked whether it is one. */
const TRUE = Buffer.concat([
  message("T", "\0\x01is_standby\0\0\0\0\0\0\0\0\0\0\x10\0\x01\xff\xff\xff\xff\0\0"),
  message("D", "\0\x01\0\0\0\x01t"),
  message("C", "SELECT 1\0"),
  message("Z", "I"),
]);

let server: Server | null = null;
afterEach(() => server?.close());

/** A server that lets everybody in, answers nothing but `answer` from then on, and never confirms a goodbye. */
async function listening(answer: Buffer | null): Promise<string> {
  const opened = createServer({ allowHalfOpen: true }, (socket) => {
    let isIn = false;
    socket.on("error", () => undefined);
    socket.on("data", (bytes) => {
      if (!isIn) socket.write(ADMITTED);
      else if (answer !== null && bytes[0] !== "X".charCodeAt(0)) socket.write(answer);
      isIn = true;
    });
  });
  server = opened;
  await new Promise<void>((resolve) => opened.listen(0, "127.0.0.1", resolve));
  const address = opened.address();
  if (address === null || typeof address === "string") throw new Error("It listens on no port.");
  return `postgres://keyturn@127.0.0.1:${address.port}/keyturn`;
}

describe("R39: a server that lets a connection in and is not the one to ask", () => {
  test.each([
    ["because it is a standby, and goes away without a word", TRUE],
    ["because it says nothing", null],
  ])("%s: each is refused in time, however many have asked before", async (_, answer) => {
    const url = await listening(answer);
    const connections = connectionsTo({ url, connectTimeoutSeconds: 1, statementTimeoutSeconds: 1 }, 2);
    for (let asked = 0; asked < 4; asked += 1) {
      const refusal = await refusalOf(connections.lend((session) => session.run("select 1", [])));
      expect(refusal.code).toBe("storage_unavailable");
    }
  });
});
