import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type RunningServer, startServer } from "../../src/http/server.ts";
import { startWorld, type World } from "../support/authority.ts";
import { httpParts, QUIET } from "../support/http.ts";
import { codeIn, sendRaw, statusOf } from "../support/raw.ts";

let world: World;
let server: RunningServer;
let port: number;
const errors: unknown[] = [];
beforeAll(async () => {
  world = await startWorld();
  const log = { ...QUIET, error: (error: unknown) => void errors.push(error) };
  server = startServer({
    ...httpParts(world),
    host: "127.0.0.1",
    port: 0,
    metricsPort: null,
    tls: null,
    log,
  });
  port = Number(new URL(server.url).port);
});
afterAll(async () => {
  await server.stop();
  expect(errors).toEqual([]);
  await world.close();
});

const line = (path: string, more = "") => `GET ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`;
const post = (headers: string, body = "") =>
  `POST /v1/keys/verify HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nAuthorization: Bearer ${world.root.secret}\r\n${headers}\r\n\r\n${body}`;
const headers = (count: number) => Array.from({ length: count }, (_, at) => `x-${at}: 1\r\n`).join("");

/** What the runtime answers before our code is asked, by the first cell of the table in docs/errors.md. */
const REFUSED: Readonly<Record<string, { readonly answer: string; readonly sent: () => readonly string[] }>> =
  {
    "a request line and headers of more than 16,384 bytes together": {
      answer: "431, closed",
      sent: () => [line(`/healthz?${"a".repeat(17_000)}`), line("/healthz", `x: ${"a".repeat(17_000)}\r\n`)],
    },
    "more than 198 headers, or 100,000": {
      answer: "431, closed",
      sent: () => [line("/healthz", headers(250)), line("/healthz", headers(100_000))],
    },
    "no HTTP at all, half a request line, an HTTP/2 preface": {
      answer: "400, closed",
      sent: () => ["\x16\x03\x01\x02\x00garbage\r\n\r\n", "GET\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    },
    "no version, an unknown one, lines that end in LF alone, NUL or TAB in the path": {
      answer: "505, closed",
      sent: () => [
        "GET /healthz\r\nHost: a\r\n\r\n",
        "GET /healthz HTTP/9.9\r\nHost: a\r\n\r\n",
        "GET /healthz HTTP/1.1\nHost: a\n\n",
        line("/health\0z"),
        line("/health\tz"),
      ],
    },
    "a method that is unknown or in lower case": {
      answer: "closed without an answer",
      sent: () => ["BREW /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "get /healthz HTTP/1.1\r\nHost: a\r\n\r\n"],
    },
    "a Content-Length that is no number, negative, or given twice with two values": {
      answer: "400, closed",
      sent: () => [
        post("Content-Length: x", "{}"),
        post("Content-Length: -1", "{}"),
        post("Content-Length: 2\r\nContent-Length: 3", "{} "),
      ],
    },
    "Content-Length beside Transfer-Encoding, or a Transfer-Encoding other than chunked": {
      answer: "400, closed",
      sent: () => [
        post("Content-Length: 2\r\nTransfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n"),
        post("Transfer-Encoding: gzip", "{}"),
      ],
    },
    "chunks that are not framed as chunks": {
      answer: "400, closed",
      sent: () => [post("Transfer-Encoding: chunked", "zz\r\n{}\r\n0\r\n\r\n")],
    },
    "HTTP/1.1 without Host": { answer: "400, closed", sent: () => ["GET /healthz HTTP/1.1\r\n\r\n"] },
    "a header whose value has NUL or CR in it": {
      answer: "400, closed",
      sent: () => [line("/healthz", "x: a\0b\r\n"), line("/healthz", "x: a\rb\r\n")],
    },
  };

// Held by bad-input.test.ts, which has something to do in those 12 seconds.
const SLOW = "a head that is not complete after 12 s";

async function outcomeOf(bytes: string): Promise<string> {
  const answer = await sendRaw(port, bytes);
  // The runtime has no body for what it refuses: with one it would be an answer of ours.
  expect(codeIn(answer)).toBeUndefined();
  const status = statusOf(answer);
  return status === undefined ? "closed without an answer" : `${status}, closed`;
}

describe("what the runtime refuses by itself is as docs/errors.md says:", () => {
  for (const [what, { answer, sent }] of Object.entries(REFUSED)) {
    test(`${what}: ${answer}`, async () => {
      for (const bytes of sent())
        expect(await outcomeOf(bytes), JSON.stringify(bytes.slice(0, 120))).toBe(answer);
      expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
    });
  }

  test("the table has these rows and no other", () => {
    const text = readFileSync(join(import.meta.dir, "../../docs/errors.md"), "utf8");
    const table = text.slice(text.indexOf("## What the runtime refuses by itself"));
    const rows = [...table.matchAll(/^\| (.+?) \| (.+?) \|$/gm)]
      .slice(2)
      .map(([, what, answer]) => [what, answer]);
    const held = [
      ...Object.entries(REFUSED).map(([what, { answer }]) => [what, answer]),
      [SLOW, "closed without an answer"],
    ];
    expect(rows).toEqual(held);
  });
});

describe("what the runtime lets through is ours to judge:", () => {
  test.each(["", " ", "a b", "[", "//", "a/../.."])(
    "a Host of %p changes nothing: the path alone says what is asked (R26)",
    async (host) => {
      const paths = [
        "/healthz",
        "/v1/keys/self",
        "/v1/keys?limit=1",
        "/",
        "/aa/healthz",
        "/aa/v1/keys/self",
        "//healthz",
        "/v1//keys",
      ];
      for (const path of paths) {
        const ask = (named: string) =>
          sendRaw(port, `GET ${path} HTTP/1.1\r\nHost: ${named}\r\nConnection: close\r\n\r\n`);
        const [plain, odd] = [await ask("keyturn.test"), await ask(host)];
        expect([statusOf(odd), codeIn(odd)], `${path} ${odd.slice(0, 200)}`).toEqual([
          statusOf(plain),
          codeIn(plain),
        ]);
      }
    },
  );

  test("HTTP/1.0 is answered, and needs no Host", async () => {
    expect(statusOf(await sendRaw(port, "GET /healthz HTTP/1.0\r\n\r\n"))).toBe(200);
    expect(codeIn(await sendRaw(port, "GET /v1/keys HTTP/1.0\r\n\r\n"))).toBe("unauthenticated");
  });

  test("a target that is no path is refused, never a fault", async () => {
    for (const target of ["*", "keyturn.test:443", "healthz", "http:healthz"]) {
      for (const method of ["GET", "OPTIONS", "CONNECT"]) {
        const answer = await sendRaw(
          port,
          `${method} ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
        );
        expect(statusOf(answer) ?? 400, `${method} ${target}`).toBeLessThan(500);
      }
    }
  });

  test("two Authorization headers are ambiguous, on the table's routes and the verify paths alike (R25)", async () => {
    const twice = `Authorization: Bearer ${world.root.secret}\r\nAuthorization: Bearer ${world.root.secret}\r\n`;
    const table = await sendRaw(
      port,
      `GET /v1/keys/self HTTP/1.1\r\nHost: a\r\n${twice}Connection: close\r\n\r\n`,
    );
    expect(codeIn(table)).toBe("ambiguous_header");
    const verify = `POST /v1/keys/verify HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n${twice}Connection: close\r\n\r\n{}`;
    expect(codeIn(await sendRaw(port, verify))).toBe("ambiguous_header");
  });
});
