// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the examples are source text.
import { describe, expect, test } from "bun:test";
import {
  checkCodes,
  checkCommandBlocks,
  checkGlossary,
  checkLinks,
  commandBlocks,
  testsNamedIn,
  variablesIn,
} from "./check-docs.ts";
import { type Page, readPage } from "./markdown.ts";

const pages = (texts: Record<string, string>): Map<string, Page> =>
  new Map(Object.entries(texts).map(([file, text]) => [file, readPage(text)]));
const whats = (findings: readonly { what: string }[]) => findings.map(({ what }) => what);

describe("links", () => {
  test("resolve to pages, headings, explicit anchors and files", () => {
    const texts = {
      "README.md":
        "[a](docs/a.md) [b](docs/a.md#one-two) [c](docs/a.md#here) [d](package.json) [e](https://x.test/#y)",
      "docs/a.md": '# One, `two`\n<a id="here"></a>\n[up](../README.md) [own](#one-two)',
    };
    expect(checkLinks(pages(texts))).toEqual([]);
  });
  test("that lead nowhere are found with their line", () => {
    const found = checkLinks(
      pages({ "docs/a.md": "# A\n\n[x](nowhere.md) [y](#b) [z](../../out.md)\n\n[r]: gone.md" }),
    );
    expect(found.map(({ line }) => line)).toEqual([3, 3, 3, 5]);
  });
  test("in code and comments are none", () => {
    expect(checkLinks(pages({ "a.md": "`[x](y.md)` <!-- [x](z.md) -->\n```\n[x](y.md)\n```" }))).toEqual([]);
  });
  test("tell headings of the same text apart", () => {
    expect(checkLinks(pages({ "a.md": "# A\n# A\n[x](#a-1)" }))).toEqual([]);
    expect(checkLinks(pages({ "a.md": "# A\n[x](#a-1)" }))).toHaveLength(1);
  });
});

describe("command blocks", () => {
  test("of README, docs and examples are listed with file and line; others are not", () => {
    const texts = {
      "README.md": "x\n\n```sh\nnpm start\n```\n```json\n{}\n```",
      "STYLE.md": "```sh\nls\n```",
    };
    expect(commandBlocks(pages(texts))).toEqual([
      { file: "README.md", line: 3, script: "npm start", skipped: false },
    ]);
  });
  test.each([
    ["bash", "ls", "not ```bash"],
    ["sh", "$ ls", "leading"],
    ["sh", "# nothing", "without a command"],
    ["sh no-run", "npm start", "only npm test"],
    ["sh", "npm test", "no-run"],
    ["sh quiet", "ls", "not ```sh quiet"],
  ])("refused: ```%s with %s", (info, command, what) => {
    const found = whats(checkCommandBlocks(pages({ "README.md": `\`\`\`${info}\n${command}\n\`\`\`` })));
    expect(found.join()).toContain(what);
  });
  test("not to be run are the tests themselves and the demo", () => {
    const text = "```sh no-run\nnpm test   # everything\n```\n```sh no-run\nnpm run demo\n```";
    expect(checkCommandBlocks(pages({ "README.md": text }))).toEqual([]);
  });
});

test("environment variables are found whole, and a pattern is none", () => {
  expect(variablesIn("`KEYTURN_PORT`, KEYTURN_PORT; KEYTURN_* and KEYTURN_TEST_* ${KEYTURN_URL}/x")).toEqual([
    "KEYTURN_PORT",
    "KEYTURN_URL",
  ]);
});

test("tests that comments name are found with their line, and what code names is none", () => {
  const source = [
    "/**",
    " * Never (test/host/stop.test.ts; src/storage/move.test.ts).",
    " */",
    "import x from 'test/host/other.test.ts';",
    "  // Test: test/cli/host.txt.",
  ].join("\n");
  expect(testsNamedIn(source)).toEqual([
    { line: 2, path: "test/host/stop.test.ts" },
    { line: 2, path: "src/storage/move.test.ts" },
    { line: 5, path: "test/cli/host.txt" },
  ]);
});

describe("codes", () => {
  const check = (text: string, api = "") =>
    whats(checkCodes(["not_found"], ["revoked"], readPage(text), api, text));
  test("with a heading for each refusal and a mention of each verdict are in order", () => {
    expect(check("# Errors\n## `not_found`\nOr `revoked`.")).toEqual([]);
    expect(check("# Errors\n## not_found", "`revoked`")).toEqual([]);
  });
  test("that are missing or unknown are found", () => {
    expect(check("# Errors\n`revoked`")).toEqual(["the refusal not_found has no heading"]);
    expect(check("## not_found\n## `made_up`\n`revoked`")).toEqual([
      "made_up is neither a refusal nor a verdict",
    ]);
    expect(check("## not_found")).toHaveLength(1);
  });
});

test("the glossary explains each word, as a row, a heading or in bold", () => {
  const found = whats(
    checkGlossary(readPage("## Keys\n| suspended, revoked | refused |\n**service account**")),
  );
  expect(found).toContain('"caller" is not explained');
  for (const word of ["key", "suspended", "revoked", "service account"]) {
    expect(found).not.toContain(`"${word}" is not explained`);
  }
});
