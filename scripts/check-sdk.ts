/**
 * Holds the SDK's types to the OpenAPI document: sdk/src/schema.gen.ts must be what the document gives today, and
 * sdk/src must compile with nothing but web standards. `bun scripts/check-sdk.ts --write` writes the file anew.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { OpenAPIHono } from "@hono/zod-openapi";
import openapiTS, { astToString, type OpenAPI3 } from "openapi-typescript";
import { describeRoutes, openApiDocument } from "../src/http/openapi.ts";
import { ROUTES } from "../src/http/routes.ts";

const ROOT = join(import.meta.dir, "..");
const GENERATED = "sdk/src/schema.gen.ts";
const HEADER = `/**
 * Generated from the OpenAPI document by scripts/check-sdk.ts; do not edit. After a change of the API:
 * node scripts/bun.mjs scripts/check-sdk.ts --write
 */
`;

/** What the document says today. Problems have one shape everywhere, so only good answers are kept of each call. */
export async function schemaSource(): Promise<string> {
  const app = new OpenAPIHono();
  describeRoutes(app, ROUTES);
  // The version is no part of the types; a release must not make this file stale.
  const document: OpenAPI3 = JSON.parse(JSON.stringify(openApiDocument(app, "0", null)));
  for (const [path, item] of Object.entries(document.paths ?? {})) {
    if (!path.startsWith("/v1/") && path !== "/readyz") delete document.paths?.[path];
    for (const call of Object.values(item)) {
      if (typeof call !== "object" || call === null || !("responses" in call)) continue;
      for (const [status, answer] of Object.entries(call.responses)) {
        if (!status.startsWith("2")) delete call.responses[status];
        else if (typeof answer === "object" && answer !== null && "headers" in answer) delete answer.headers;
      }
    }
  }
  const types = await openapiTS(document, { immutable: true, defaultNonNullable: false });
  return HEADER + astToString(types);
}

if (import.meta.main) {
  const source = await schemaSource();
  const path = join(ROOT, GENERATED);
  if (process.argv.includes("--write")) {
    writeFileSync(path, source);
  } else {
    const kept = readFileSync(path, "utf8");
    if (kept !== source) {
      console.error(`${GENERATED}: the API's document has changed since. Write it anew with`);
      console.error("    node scripts/bun.mjs scripts/check-sdk.ts --write");
      console.error("and look at what the change means for the users of the SDK (npm run check -- types).");
      process.exitCode = 1;
    }
  }
  const tsc = [process.execPath, join(ROOT, "node_modules/typescript/bin/tsc")];
  const compiled = Bun.spawnSync([
    ...tsc,
    "-p",
    join(ROOT, "sdk/tsconfig.json"),
    "--noEmit",
    "--pretty",
    "false",
  ]);
  if (compiled.exitCode !== 0) {
    console.error(`sdk/ does not compile with web standards alone:\n${compiled.stdout.toString()}`);
    process.exitCode = 1;
  }
}
