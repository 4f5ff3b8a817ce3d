import { appendFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Performed } from "../../src/authority/operation.ts";

/** Where the run keeps what its tests leave, so that the canary scan can search it at the end; see scripts/test.ts. */
export const TRACES = process.env.KEYTURN_TEST_TRACES;

/** Secrets that were issued. The scan reads what is in here, and searches everything else for it. */
export const CANARIES = "canaries";

let file: string | undefined;

/** Remembers a secret that a test was given. Nothing that the tests leave behind may contain it. */
export function noteSecret(secret: string): void {
  if (TRACES === undefined) return;
  if (file === undefined) {
    mkdirSync(join(TRACES, CANARIES), { recursive: true });
    file = join(TRACES, CANARIES, `${crypto.randomUUID()}.txt`);
  }
  appendFileSync(file, `${secret}\n`);
}

/** Remembers the secret of an answer, if there is one. */
export function noteSecretIn(answer: unknown): void {
  if (typeof answer !== "object" || answer === null || !("secret" in answer)) return;
  if (typeof answer.secret === "string") noteSecret(answer.secret);
}

/** The same for what the gate answers. */
export function noted<Output>(performed: Performed<Output>): Performed<Output> {
  noteSecretIn(performed.output);
  return performed;
}

/** What `cleanUp` removes. */
const keyFolders: string[] = [];
const folders: string[] = [];

/** A folder of the test's own, kept for the scan where there is one. */
export function newFolder(name: string): string {
  const base = TRACES ?? tmpdir();
  mkdirSync(base, { recursive: true });
  const folder = mkdtempSync(join(base, `${name}-`));
  folders.push(folder);
  return folder;
}

/** A folder that the scan does not see: for files that hold a key because somebody asked for that. */
export function keyFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "keyturn-key-"));
  keyFolders.push(folder);
  return folder;
}

/** Removes a folder of `newFolder`, unless the scan is still to search it. */
export function dropFolder(folder: string): void {
  if (TRACES === undefined) rmSync(folder, { recursive: true, force: true });
}

/** For `afterAll`: removes every folder that was made up to now, but what the scan is still to search. */
export function cleanUp(): void {
  for (const folder of keyFolders.splice(0)) rmSync(folder, { recursive: true, force: true });
  for (const folder of folders.splice(0)) dropFolder(folder);
}
