/**
 * Holds the documentation to the code: links and fragments resolve, command blocks are such that `npm test` can run
 * them, and environment variables, refusal codes, verdict codes and the domain's words are the same on both sides. And
 * holds the comments of the source to the tests that they name.
 * Prints each difference as `file:line: what`.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { type Page, readPage } from "./markdown.ts";

const ROOT = join(import.meta.dir, "..");

export interface CommandBlock {
  readonly file: string;
  readonly line: number;
  /** The block as it stands, a shell script of one or more lines. */
  readonly script: string;
  /** Marked `sh no-run`: `npm test` itself and the demo, which a test can't run inside itself. */
  readonly skipped: boolean;
}

interface Finding {
  readonly file: string;
  readonly line: number;
  readonly what: string;
}

const NOT_RUN = ["npm test", "npm run demo"];
const SHELL_FENCES = /^(sh|bash|shell|zsh|console|shell-session)\b/;
/** The server's variables have one list, in src/config.ts. The CLI and the SDK read some of their own, */
const CLIENT_SOURCES = "{sdk,src/cli}/**/*.ts";
/** and the tests, the benchmarks and the demo each have names of their own, so that a server's can't hide among them. */
const TOOL_SOURCES = "{scripts,test,bench,examples}/**/*.{ts,mjs}";
const TOOL_VARIABLE = /^KEYTURN_(TEST|BENCH|DEMO)_/;
const VARIABLE = /\bKEYTURN_[A-Z0-9_]*[A-Z0-9](?![A-Z0-9_]|\*)/g;
/** The domain's words, each of which docs/glossary.md explains. */
const WORDS =
  "account, region, user, member, service account, key, secret, digest, hint, role, scope, verdict, actor, caller, rotation, overlap, adoption, lineage, brownout, suspended, revoked, policy, migration, retirement, notice".split(
    ", ",
  );

/** Text of a file from the root, or undefined when there is none. */
function read(file: string): string | undefined {
  const path = join(ROOT, file);
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}

function filesLike(pattern: string): string[] {
  return [...new Bun.Glob(pattern).scanSync({ cwd: ROOT, dot: false })]
    .map((file) => file.replaceAll("\\", "/"))
    .filter((file) => !/(^|\/)(node_modules|dist|data)\//.test(file))
    .sort();
}

/** Every Markdown page of the repository by its path. */
export function readPages(): Map<string, Page> {
  return new Map(filesLike("**/*.md").map((file) => [file, readPage(read(file) ?? "")]));
}

/** The pages whose commands a reader types one after another, and `npm test` runs. */
function hasCommands(file: string): boolean {
  return file === "README.md" || /^(docs|examples)\//.test(file);
}

/** Every command block of README.md, docs/ and examples/, in reading order. */
export function commandBlocks(pages: ReadonlyMap<string, Page> = readPages()): CommandBlock[] {
  return [...pages].flatMap(([file, page]) =>
    page.blocks
      .filter((block) => hasCommands(file) && /^sh\b/.test(block.info))
      .map(({ line, info, text }) => ({ file, line, script: text, skipped: info !== "sh" })),
  );
}

/** The commands of a script, without comments and empty lines. */
function commandsOf(script: string): string[] {
  return script
    .split("\n")
    .map((line) => line.replace(/(^|\s)#.*$/, "").trim())
    .filter((line) => line !== "");
}

export function checkCommandBlocks(pages: ReadonlyMap<string, Page>): Finding[] {
  const fences = [...pages].flatMap(([file, page]) =>
    page.blocks
      .filter(
        ({ info }) => hasCommands(file) && SHELL_FENCES.test(info) && !["sh", "sh no-run"].includes(info),
      )
      .map(({ line, info }) => ({
        file,
        line,
        what: `a block of commands starts with \`\`\`sh, not \`\`\`${info}`,
      })),
  );
  const blocks = commandBlocks(pages).flatMap(({ file, line, script, skipped }) => {
    const commands = commandsOf(script);
    const found: Finding[] = [];
    const say = (what: string) => found.push({ file, line, what });
    if (commands.length === 0) say("a command block without a command");
    if (commands.some((command) => command.startsWith("$ "))) say("commands stand without a leading `$ `");
    const alone = commands.every((command) => NOT_RUN.includes(command));
    if (skipped && !alone) say(`only ${NOT_RUN.join(" and ")} may be marked no-run: ${commands.join("; ")}`);
    if (!skipped && commands.some((command) => NOT_RUN.includes(command))) say("mark this block `sh no-run`");
    return found;
  });
  return [...fences, ...blocks];
}

export function checkLinks(pages: ReadonlyMap<string, Page>): Finding[] {
  return [...pages].flatMap(([file, page]) =>
    page.links.flatMap(({ line, target }): Finding[] => {
      if (/^[a-z][a-z0-9+.-]*:|^\/\//i.test(target)) return [];
      const [path = "", fragment] = decodeURI(target).split("#");
      const at = path === "" ? file : normalize(join(path.startsWith("/") ? "." : dirname(file), path));
      if (at.startsWith("..")) return [{ file, line, what: `${target} leads out of the repository` }];
      const to = pages.get(at) ?? pages.get(join(at, "README.md"));
      if (to === undefined && !existsSync(join(ROOT, at)))
        return [{ file, line, what: `${target} leads nowhere` }];
      if (fragment === undefined || fragment === "") return [];
      // Lines of source (#L12) move too easily to be held to anything.
      if (to === undefined) return [{ file, line, what: `${target}: only Markdown pages have fragments` }];
      const known = [...to.headings.map(({ anchor }) => anchor), ...to.anchors];
      return known.includes(fragment)
        ? []
        : [{ file, line, what: `${target}: no heading #${fragment} in ${at}` }];
    }),
  );
}

/** Every name like KEYTURN_PORT in a text, once. */
export function variablesIn(text: string): string[] {
  return [...new Set(text.match(VARIABLE) ?? [])];
}

function checkVariables(pages: ReadonlyMap<string, Page>): Finding[] {
  const config = read("src/config.ts");
  if (config === undefined) return [missing("src/config.ts", "the list of environment variables")];
  const settings = variablesIn(config);
  const of = (pattern: string) =>
    filesLike(pattern)
      .filter((file) => !file.endsWith(".test.ts"))
      .flatMap((file) => variablesIn(read(file) ?? ""));
  const tools = of(TOOL_SOURCES).filter((name) => TOOL_VARIABLE.test(name));
  const known = new Set([...settings, ...of(CLIENT_SOURCES), ...tools]);

  const unknown = [...pages.keys()].flatMap((file) =>
    (read(file) ?? "").split("\n").flatMap((text, i) =>
      variablesIn(text)
        .filter((name) => !known.has(name))
        .map((name) => ({ file, line: i + 1, what: `nothing reads ${name}` })),
    ),
  );
  const page = "docs/running.md";
  const running = read(page);
  if (running === undefined) return [...unknown, missing(page, "every setting")];
  const documented = variablesIn(running);
  const silent = settings.filter((name) => !documented.includes(name));
  return [...unknown, ...silent.map((name) => ({ file: page, line: 1, what: `${name} is not described` }))];
}

function missing(file: string, what: string): Finding {
  return { file, line: 1, what: `no such file; it should hold ${what}` };
}

/** Every test that a comment of source names by its path: what holds a promise must be there to be read. */
export function testsNamedIn(source: string): { readonly line: number; readonly path: string }[] {
  return source.split("\n").flatMap((text, i) => {
    const comment = text.match(/^\s*(?:\/\/|\/?\*).*/)?.[0] ?? "";
    const paths = comment.match(/\b(?:src|test|sdk)\/[\w./-]+\.(?:test\.ts|txt)\b/g) ?? [];
    return paths.map((path) => ({ line: i + 1, path }));
  });
}

function checkTestsNamed(): Finding[] {
  return filesLike("{src,sdk}/**/*.ts").flatMap((file) =>
    testsNamedIn(read(file) ?? "")
      .filter(({ path }) => !existsSync(join(ROOT, path)))
      .map(({ line, path }) => ({ file, line, what: `there is no test ${path}` })),
  );
}

/** The array that a module exports under a name, or a finding that says why not. */
async function exportedCodes(file: string, name: string): Promise<readonly string[] | Finding> {
  if (!existsSync(join(ROOT, file))) return missing(file, name);
  try {
    const value: unknown = (await import(join(ROOT, file)))[name];
    if (Array.isArray(value) && value.every((code) => typeof code === "string")) return value;
    return { file, line: 1, what: `exports no array of texts named ${name}` };
  } catch (error) {
    return { file, line: 1, what: `can't be read: ${error}` };
  }
}

/** A heading that is a code and nothing else: `## name_taken`, with or without backticks. */
function codeOfHeading(text: string): string | undefined {
  return text.match(/^`?([a-z]+(?:_[a-z]+)*)`?$/)?.[1];
}

export function checkCodes(
  refusals: readonly string[],
  verdicts: readonly string[],
  errors: Page,
  apiText: string,
  errorsText: string,
): Finding[] {
  const file = "docs/errors.md";
  const headings = errors.headings.map(({ text, line }) => ({ line, code: codeOfHeading(text) }));
  const undocumented = refusals
    .filter((code) => !headings.some((heading) => heading.code === code))
    .map((code) => ({ file, line: 1, what: `the refusal ${code} has no heading` }));
  const unknown = headings.flatMap(({ line, code }) =>
    code === undefined || refusals.includes(code) || verdicts.includes(code)
      ? []
      : [{ file, line, what: `${code} is neither a refusal nor a verdict` }],
  );
  const both = errorsText + apiText;
  const silent = verdicts
    .filter((code) => !both.includes(`\`${code}\``) && !headings.some((heading) => heading.code === code))
    .map((code) => ({
      file,
      line: 1,
      what: `the verdict \`${code}\` stands neither here nor in docs/api.md`,
    }));
  return [...undocumented, ...unknown, ...silent];
}

async function checkCodesOfCode(pages: ReadonlyMap<string, Page>): Promise<Finding[]> {
  // Those of the core, and those of the HTTP face's own.
  const refusals = await exportedCodes("src/http/problems.ts", "PROBLEM_CODES");
  const verdicts = await exportedCodes("src/authority/keys/verdict.ts", "VERDICT_CODES");
  const page = pages.get("docs/errors.md");
  if ("what" in refusals || "what" in verdicts || page === undefined) {
    const unread = [refusals, verdicts].filter((it): it is Finding => "what" in it);
    return page === undefined ? [...unread, missing("docs/errors.md", "a heading for each refusal")] : unread;
  }
  return checkCodes(refusals, verdicts, page, read("docs/api.md") ?? "", read("docs/errors.md") ?? "");
}

/** Each word must be a heading, a row's first cell or a bold term; the plural and capitals are free. */
export function checkGlossary(page: Page): Finding[] {
  const terms = page.prose.flatMap((line) => {
    const cell = line.match(/^\|\s*([^|]*?)\s*\|/)?.[1];
    const heading = line.match(/^#+ +(.*)$/)?.[1];
    const bold = [...line.matchAll(/\*\*([^*]+)\*\*/g)].map(([, text = ""]) => text);
    return [cell, heading, ...bold].flatMap((text) => (text ?? "").split(/,| and |\//));
  });
  const known = new Set(
    terms.map((term) =>
      term
        .replace(/[`*:.]/g, "")
        .trim()
        .toLowerCase(),
    ),
  );
  return WORDS.filter((word) => !known.has(word) && !known.has(`${word}s`)).map((word) => ({
    file: "docs/glossary.md",
    line: 1,
    what: `"${word}" is not explained`,
  }));
}

if (import.meta.main) {
  const pages = readPages();
  const glossary = pages.get("docs/glossary.md");
  const findings = [
    ...checkLinks(pages),
    ...checkCommandBlocks(pages),
    ...checkVariables(pages),
    ...checkTestsNamed(),
    ...(await checkCodesOfCode(pages)),
    ...(glossary === undefined ? [] : checkGlossary(glossary)),
  ];
  for (const { file, line, what } of findings) console.error(`${file}:${line}: ${what}`);
  process.exitCode = findings.length > 0 ? 1 : 0;
}
