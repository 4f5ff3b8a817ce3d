import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { VERDICT_CODES } from "../../src/authority/keys/verdict.ts";
import { PROBLEM_OF } from "../../src/http/forward-auth.ts";
import { PROBLEM_CODES, PROBLEMS } from "../../src/http/problems.ts";
import { type Http, startHttp } from "../support/http.ts";
import { operatorOf } from "./requests.ts";

let http: Http;
beforeAll(async () => {
  http = await startHttp({ publicUrl: "https://keys.example.com/" });
});
afterAll(() => http.close());

const doc = (name: string) => readFileSync(join(import.meta.dir, "../../docs", name), "utf8");
const page = async (path: string) => (await http.face.fetch(new Request(`http://a${path}`))).text();

describe("the page of the problems:", () => {
  test("has a section for every code, with its status, where the problem's type leads", async () => {
    const [text, html] = [doc("errors.md"), await page("/docs/errors")];
    for (const code of PROBLEM_CODES) {
      const section = new RegExp(`^### ${code}\\n\\nStatus (\\d{3})\\. `, "m").exec(text);
      expect(section?.[1], code).toBe(String(PROBLEMS[code].status));
      expect(html).toContain(`<h3 id="${code}">${code}</h3>`);
    }
  });

  test("has every verdict in order of precedence, with the status that a proxy gets", () => {
    const rows = [...doc("errors.md").matchAll(/^\| `([a-z_]+)` \| .+ \| (\d{3}) \|$/gm)].map(
      ([, code, status]) => [code, status],
    );
    expect(rows).toEqual(
      VERDICT_CODES.map((code) => [code, String(code === "valid" ? 200 : PROBLEMS[PROBLEM_OF[code]].status)]),
    );
  });

  test("every link inside it leads to one of its own sections", async () => {
    const html = await page("/docs/errors");
    for (const [, target] of html.matchAll(/href="#([^"]+)"/g)) expect(html).toContain(`id="${target}"`);
    // What leads to another file of the repository leads nowhere from here.
    expect([...html.matchAll(/href="(?!#|https:)([^"]+)"/g)]).toEqual([]);
  });
});

describe("the reference:", () => {
  test("docs/api.md has a heading for every operation in the document, and for no other", () => {
    const operations = Object.values(http.face.document().paths ?? {}).flatMap((methods) =>
      Object.values(methods).map((one) => String(one.operationId)),
    );
    expect(new Set(operations).size).toBe(operations.length);
    // The pages of the documentation share the heading of the first.
    const expected = operations.filter((name) => !name.startsWith("docs."));
    const headings = [...doc("api.md").matchAll(/^### (.+)$/gm)].map(([, name]) => name ?? "");
    expect(headings.sort()).toEqual(expected.sort());
  });

  test("docs/api.md names the scope that each operation takes, and its method and path", () => {
    const text = doc("api.md");
    for (const [path, methods] of Object.entries(http.face.document().paths ?? {})) {
      for (const [method, one] of Object.entries(methods)) {
        expect(text, `${method} ${path}`).toContain(
          `\`${method.toUpperCase()} ${path}\``.replace("/docs/reference.js`", "/docs`"),
        );
        const permission: unknown = one["x-permission"];
        if (typeof permission !== "string" || !permission.startsWith("keyturn:")) continue;
        const section = text.slice(text.indexOf(`### ${one.operationId}\n`)).split("\n### ")[0];
        expect(section, String(one.operationId)).toContain(permission);
      }
    }
  });

  test("its pages may load nothing but what we serve, and nobody may frame them", async () => {
    for (const path of ["/docs", "/docs/errors"]) {
      const response = await http.face.fetch(new Request(`http://a${path}`));
      const policy = response.headers.get("content-security-policy") ?? "";
      for (const part of [
        "default-src 'self'",
        "script-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
      ]) {
        expect(policy, path).toContain(part);
      }
      expect(policy).not.toMatch(/unsafe-eval|script-src[^;]*unsafe-inline|https?:/);
      expect(await response.text()).not.toMatch(/(src|href)="(https?:)?\/\/(?!www\.rfc-editor\.org)/);
    }
    const program = await http.face.fetch(new Request("http://a/docs/reference.js"));
    expect(program.headers.get("content-type")).toStartWith("text/javascript");
    expect((await program.text()).length).toBeGreaterThan(100_000);
  });
});

test("what anybody may ask for is made once, and costs the verifying thread nothing after that (R30)", async () => {
  expect(http.face.document()).toBe(http.face.document());
  expect(JSON.parse(await page("/openapi.json"))).toEqual(JSON.parse(JSON.stringify(http.face.document())));
});

describe("where the service is reached under another URL:", () => {
  test("problems lead there, and the document names it", async () => {
    const { body } = await http.call("GET", "/v1/keys", { key: null });
    expect(body.at("type")).toBe("https://keys.example.com/docs/errors#unauthenticated");
    expect(http.face.document().servers).toEqual([{ url: "https://keys.example.com/" }]);
  });
});

describe("metrics and readiness tell nothing of keys, owners or callers:", () => {
  test("whatever was asked, no label names one (R21)", async () => {
    const tenant = operatorOf(http);
    const owner = await tenant.owner();
    const made = await tenant.make(owner, { name: "a-telling-name" });
    await http.verify(made.secret, { caller: { name: "a-telling-caller", ip: "203.0.113.77" } });
    await http.call("GET", `/v1/keys/${made.id}`, { headers: { "keyturn-caller": "a-telling-caller" } });
    const text = (await page("/metrics")) + (await page("/readyz")) + (await page("/healthz"));
    expect(text).toContain('keyturn_verdicts_total{code="valid"}');
    expect(text).toContain('keyturn_requests_total{operation="keys.read",status="200"} 1');
    for (const telling of [
      made.secret,
      made.id,
      owner,
      tenant.account,
      "a-telling-name",
      "a-telling-caller",
      "203.0.113.77",
    ]) {
      expect(text).not.toContain(telling);
    }
    expect(JSON.stringify(http.lines)).not.toContain(made.secret);
    expect(JSON.stringify(http.lines)).not.toContain("a-telling-");
  });
});

describe("docs/security-requirements.md:", () => {
  const sections = doc("security-requirements.md")
    .split(/^### /m)
    .slice(1)
    .map((text) => text.split(/^## /m)[0] ?? "");

  test("restates every requirement that this stage touches, once", () => {
    const touched = [
      1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 25, 26, 30, 31, 32, 33, 34, 39,
      40,
    ];
    const told = sections.map((text) => Number(/^R(\d+): /.exec(text)?.[1]));
    expect(told.sort((a, b) => a - b)).toEqual(touched);
  });

  test("names under each only tests that name it themselves", () => {
    for (const text of sections) {
      const [tag = ""] = /^R\d+/.exec(text) ?? [];
      const linked = [...text.matchAll(/\]\(\.\.\/([^)]+\.test\.ts)\)/g)].map(([, file]) => file ?? "");
      expect(linked.length, `${tag} is held by nothing`).toBeGreaterThan(0);
      for (const file of linked) {
        const source = readFileSync(join(import.meta.dir, "../..", file), "utf8");
        expect(new RegExp(`\\b${tag}\\b`).test(source), `${file} does not name ${tag}`).toBe(true);
      }
    }
  });
});
