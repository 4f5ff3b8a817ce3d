/**
 * Holds src/ and sdk/ to the house's rules: which way imports may point, what a noun file may do, where SQL may be
 * written, what files may be called. Prints each violation as `file:line: rule`. The rules in prose: STYLE.md.
 *
 * Tests (`*.test.ts`) may import what they like: a test of a verb needs a real store.
 */
import { readFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import ts from "typescript";

export interface Violation {
  readonly file: string;
  readonly line: number;
  readonly rule: string;
}

/** The pure libraries of the core; decisions/002-pure-libraries-in-the-core.md says how one gets on the list. */
const CORE_LIBRARIES = ["typeid-js", "canonicalize", "ipaddr.js"];
const ADAPTERS = ["storage", "http", "console", "cli", "worker", "mail", "webhooks", "calendar"];
const SDK_USERS = ["cli", "console"];
/** Packages that one adapter alone may import. A name covers its sub-paths. */
const PACKAGE_OWNERS: Readonly<Record<string, string>> = {
  kysely: "storage",
  "bun:sqlite": "storage",
  pg: "storage",
  hono: "http",
  "@hono/zod-openapi": "http",
};
/** What a noun may take from the runtime: pure functions, no files, no sockets, no clock. */
const PURE_BUILTINS = ["node:assert", "node:buffer", "node:crypto", "node:util"];
const IMPURE_CALLS = [
  "Date.now",
  "Math.random",
  "performance.now",
  "crypto.randomUUID",
  "crypto.getRandomValues",
];
const BANNED_WORDS = [
  "util",
  "utils",
  "helper",
  "helpers",
  "common",
  "manager",
  "service",
  "services",
  "impl",
];
/** The one file of the core that may use Bun's own API: its hash is twice as fast as node:crypto's on short input. */
const DIGEST_FILE = "src/authority/secret.ts";
const MIGRATIONS_RUNNER = /^src\/storage\/(.*\/)?migrat[a-z-]*\.ts$/;
const SQL_START =
  /^\s*(select|insert|update|delete|create|drop|alter|pragma|attach|vacuum|with|begin|replace)\s/i;
const SQL_TAKERS = ["query", "prepare", "exec", "run", "executeQuery", "raw", "unsafe"];

/** Where the adapters are put together: it sees everything, and main alone sees it; see decisions/004-host-folder.md. */
const HOST = "host";

/** Prose that the HTTP face serves as a page: the problems' `type` leads there. */
const SERVED_PAGE = "docs/errors.md";

/** The layer of a file: `authority`, an adapter, `host`, `main`, `config`, `sdk`, or undefined for one that has none. */
function layerOf(file: string): string | undefined {
  if (file.startsWith("sdk/")) return "sdk";
  if (file === "src/main.ts") return "main";
  if (file === "src/config.ts") return "config";
  const folder = file.match(/^src\/([^/]+)\//)?.[1];
  return folder === "authority" || folder === HOST || ADAPTERS.includes(folder ?? "") ? folder : undefined;
}

function isPackage(specifier: string, name: string): boolean {
  return specifier === name || specifier.startsWith(`${name}/`);
}

/** Why a file of this layer may not import that, or undefined when it may. */
function refuseImport(file: string, layer: string, specifier: string): string | undefined {
  if (layer === "main") return undefined;
  if (specifier.startsWith(".")) {
    const target = posix.normalize(posix.join(posix.dirname(file), specifier));
    const to = layerOf(target) ?? target;
    if (to === layer) return undefined;
    if (layer === HOST && to !== "main" && (target.startsWith("src/") || target === "package.json"))
      return undefined;
    if (layer === "sdk") return `the SDK imports nothing outside itself, but ${specifier}`;
    if (layer === "authority") return `the core imports nothing outside itself, but ${specifier}`;
    if (to === "authority" || (layer === "http" && target === SERVED_PAGE)) return undefined;
    if (ADAPTERS.includes(to) && layer !== "config") return `${layer} imports another adapter: ${to}`;
    return `${layer} may import the core and itself, not ${target}`;
  }
  if (layer === "sdk") return `the SDK imports nothing outside itself, but ${specifier}`;
  if (isPackage(specifier, "@keyturn/sdk")) {
    return SDK_USERS.includes(layer) ? undefined : `only ${SDK_USERS.join(" and ")} use the SDK`;
  }
  if (layer === "authority") {
    if (specifier.startsWith("node:") || CORE_LIBRARIES.includes(specifier)) return undefined;
    return `the core imports itself, node: and ${CORE_LIBRARIES.join(", ")}, not ${specifier}`;
  }
  const owner = Object.keys(PACKAGE_OWNERS).find((name) => isPackage(specifier, name));
  if (owner !== undefined && PACKAGE_OWNERS[owner] !== layer)
    return `only ${PACKAGE_OWNERS[owner]} imports ${owner}`;
  return undefined;
}

/** The specifier that a node imports or re-exports from, dynamic and type imports included. */
function specifierOf(node: ts.Node): ts.StringLiteralLike | undefined {
  const of = (it: ts.Node | undefined) => (it !== undefined && ts.isStringLiteralLike(it) ? it : undefined);
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return of(node.moduleSpecifier);
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) return of(node.argument.literal);
  if (ts.isCallExpression(node)) {
    const { expression } = node;
    const imports =
      expression.kind === ts.SyntaxKind.ImportKeyword ||
      (ts.isIdentifier(expression) && expression.text === "require");
    return imports ? of(node.arguments[0]) : undefined;
  }
  return undefined;
}

/** Why a file may not be called that. `service-account` is a word of the domain; `account-service` is not. */
function refuseName(file: string): string | undefined {
  for (const part of file.replace(/^(src|sdk)\//, "").split("/")) {
    const words = part.replace(/(\.test|\.gen|\.d)?\.[a-z]+$/, "").split(/[-_.]/);
    const banned = words.find(
      (word, i) =>
        BANNED_WORDS.includes(word) && !(word === "service" && /^accounts?$/.test(words[i + 1] ?? "")),
    );
    if (banned !== undefined)
      return `no file or folder is named "${banned}": name it after what it knows or does`;
  }
  if (/^src\/.*\bindex\.tsx?$/.test(file))
    return "no barrels inside src: import from the file that has the thing";
  return undefined;
}

/** SQL whose text is put together from values (R20 of the security requirements), or undefined. */
function refuseSql(node: ts.Node): string | undefined {
  if (ts.isPropertyAccessExpression(node) && node.expression.getText() === "sql") {
    const name = node.name.text;
    const value = ts.isCallExpression(node.parent) ? node.parent.arguments[0] : undefined;
    const isConstant = value !== undefined && ts.isLiteralExpression(value);
    if (["raw", "lit", "literal", "unsafe"].includes(name) && !(name === "lit" && isConstant)) {
      return `sql.${name} puts text into SQL unescaped`;
    }
  }
  if (ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression)) {
    const [text] = node.arguments;
    if (text && SQL_TAKERS.includes(node.expression.name.text) && isPutTogether(text)) {
      return "SQL is put together from values: bind them";
    }
  }
  if (isPutTogether(node) && !ts.isTaggedTemplateExpression(node.parent) && SQL_START.test(firstText(node))) {
    return "SQL is put together from values: bind them";
  }
  return undefined;
}

function isPutTogether(node: ts.Node): boolean {
  if (ts.isTemplateExpression(node)) return true;
  if (!ts.isBinaryExpression(node) || node.operatorToken.kind !== ts.SyntaxKind.PlusToken) return false;
  // Constant texts joined over several lines are one text.
  return [node.left, node.right].some(
    (side) => !ts.isStringLiteralLike(side) && (!ts.isBinaryExpression(side) || isPutTogether(side)),
  );
}

function firstText(node: ts.Node): string {
  if (ts.isTemplateExpression(node)) return node.head.text;
  if (ts.isBinaryExpression(node)) return firstText(node.left);
  return ts.isStringLiteralLike(node) ? node.text : "";
}

/** What a noun file does besides deciding, or undefined. */
function refuseInNoun(node: ts.Node): string | undefined {
  if (node.kind === ts.SyntaxKind.AsyncKeyword || ts.isAwaitExpression(node))
    return "a noun file has no async";
  if (ts.isCallExpression(node) && IMPURE_CALLS.includes(node.expression.getText())) {
    return `a noun file has no clock and no chance: ${node.expression.getText()}`;
  }
  if (ts.isNewExpression(node) && node.expression.getText() === "Date" && !node.arguments?.length) {
    return "a noun file has no clock: new Date()";
  }
  const specifier = specifierOf(node)?.text;
  if (specifier?.startsWith("node:") && !PURE_BUILTINS.includes(specifier))
    return `a noun file has no I/O: ${specifier}`;
  return undefined;
}

/** Whether a name stands for the global of that name: not a property, a declared name or part of an import. */
function isGlobal(node: ts.Node, name: string): boolean {
  if (!ts.isIdentifier(node) || node.text !== name) return false;
  const { parent } = node;
  return !(ts.isPropertyAccessExpression(parent) && parent.name === node) && !ts.isPropertyAssignment(parent);
}

/** Every violation in one file. `file` is its path from the repository's root, with forward slashes. */
export function checkFile(file: string, text: string): Violation[] {
  const found: Violation[] = [];
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const report = (node: ts.Node, rule: string | undefined) => {
    const line = source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;
    if (rule === undefined || found.some((other) => other.line === line && other.rule === rule)) return;
    found.push({ file, line, rule });
  };

  report(source, refuseName(file));
  if (/\.test\.tsx?$/.test(file)) return found;

  const layer = layerOf(file);
  if (layer === undefined) {
    report(source, "a file of src is main.ts, config.ts, or belongs to the core or to an adapter");
    return found;
  }

  const specifiers: string[] = [];
  const visit = (node: ts.Node, each: (node: ts.Node) => void): void => {
    each(node);
    ts.forEachChild(node, (child) => visit(child, each));
  };
  visit(source, (node) => {
    const specifier = specifierOf(node);
    if (specifier === undefined) return;
    specifiers.push(specifier.text);
    report(specifier, refuseImport(file, layer, specifier.text));
  });

  // A file in a noun's folder that knows neither the gate nor the store, nor who holds both, is a noun; else a verb.
  const isInNounFolder = /^src\/authority\/[^/]+\//.test(file);
  const isNoun =
    isInNounFolder && !specifiers.some((specifier) => /\/(authority|operation|storage)\.ts$/.test(specifier));
  const mayHoldSql = layer === "storage" && !MIGRATIONS_RUNNER.test(file);
  visit(source, (node) => {
    if (layer === "authority" && file !== DIGEST_FILE && isGlobal(node, "Bun")) {
      report(node, `only ${DIGEST_FILE} uses Bun's own API in the core`);
    }
    if (isNoun) report(node, refuseInNoun(node));
    if (mayHoldSql) report(node, refuseSql(node));
    if (layer !== "sdk" && ts.isExportDeclaration(node) && node.exportClause === undefined) {
      report(node, "no barrels inside src: export * hides where a thing comes from");
    }
  });
  return found;
}

if (import.meta.main) {
  const root = join(dirname(import.meta.dir));
  const files = [...new Bun.Glob("{src,sdk}/**/*.{ts,tsx,mts,js,mjs}").scanSync({ cwd: root })]
    .map((file) => file.replaceAll("\\", "/"))
    .filter((file) => !/(^|\/)(node_modules|dist)\//.test(file))
    .sort();
  const violations = files.flatMap((file) => checkFile(file, readFileSync(join(root, file), "utf8")));
  for (const { file, line, rule } of violations) console.error(`${file}:${line}: ${rule}`);
  process.exitCode = violations.length > 0 ? 1 : 0;
}
