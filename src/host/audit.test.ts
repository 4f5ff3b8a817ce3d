import { Database } from "bun:sqlite";
import { afterEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { startWorld, type World } from "../../test/support/authority.ts";
import { OPERATIONS } from "../authority/operations.ts";
import type { AuditQuestion } from "../cli/host-commands.ts";
import { readConfig } from "../config.ts";
import { exportAudit, verifyAudit } from "./audit.ts";
import { HostError } from "./open.ts";

const worlds: World[] = [];

/** Five entries of the operator, with one of another account among them: the fourth. */
async function installation(): Promise<World> {
  const world = await startWorld();
  worlds.push(world);
  await world.owner();
  await world.do(OPERATIONS.createAccount, { name: "acme" });
  const [, acme] = await world.authority.storage.read.accounts.list({ limit: 2, after: null }, null);
  const [root] = await world.authority.storage.read.keys.roots(acme?.id ?? "acc_none");
  if (acme === undefined || root === undefined) throw new Error("the account has no root key");
  const actor = { kind: "key", id: root[0].id, accountId: acme.id } as const;
  const own = { role: null, scopes: null, allowedIps: null };
  await world.as(actor, OPERATIONS.createServiceAccount, { name: "secret-project", own });
  await world.owner();
  return world;
}

afterEach(async () => {
  for (const world of worlds.splice(0)) await world.close();
});

const NOTHING: AuditQuestion = { head: undefined, witnessFile: undefined, file: undefined };
const check = (world: World, question: Partial<AuditQuestion> = {}) =>
  verifyAudit(readConfig({ KEYTURN_DATA: world.folder }), { ...NOTHING, ...question });

function tamper(world: World, ...statements: readonly string[]): void {
  const file = new Database(join(world.folder, "keyturn.db"));
  file.run("pragma foreign_keys = off");
  for (const statement of statements) file.run(statement);
  file.close();
}

async function exported(world: World, account?: string): Promise<readonly string[]> {
  const lines: string[] = [];
  await exportAudit(readConfig({ KEYTURN_DATA: world.folder }), account, (line) => lines.push(line));
  return lines;
}

/** The lines as a file, checked. */
async function checkLines(world: World, lines: readonly string[], question: Partial<AuditQuestion> = {}) {
  const path = join(world.folder, "log.jsonl");
  writeFileSync(path, lines.map((line) => `${line}\n`).join(""));
  return check(world, { ...question, file: path });
}

describe("keyturn audit verify, on the database", () => {
  test("a whole log is whole, and says when it was compared with nothing", async () => {
    const world = await installation();
    const { seq, chainHash } = await world.authority.storage.read.audit.head();
    const whole = { ok: true, entries: 5, head: { seq, chainHash } };
    expect(await check(world)).toMatchObject({ ...whole, comparedWith: { head: false, witnessLines: 0 } });
    const compared = await check(world, { head: { seq, chainHash } });
    expect(compared).toMatchObject({ ...whole, comparedWith: { head: true, witnessLines: 0 } });
  });

  test.each([
    ["deleted", ["delete from audit_entries where seq = 3"], 3],
    ["changed", ["update audit_entries set entry = replace(entry, 'acme', 'acne') where seq = 3"], 3],
    ["changed in its hash", ["update audit_entries set entry_hash = chain_hash where seq = 4"], 4],
    [
      "put in another's place",
      [
        "update audit_entries set seq = 99 where seq = 2",
        "update audit_entries set seq = 2 where seq = 3",
        "update audit_entries set seq = 3 where seq = 99",
      ],
      2,
    ],
  ] as const)("an entry that was %s is found where it stands", async (_, statements, seq) => {
    const world = await installation();
    tamper(world, ...statements);
    expect(await check(world)).toMatchObject({ ok: false, seq });
  });

  test("a cut-off end is found against a head, and looks whole without one", async () => {
    const world = await installation();
    const head = await world.authority.storage.read.audit.head();
    tamper(world, "delete from audit_entries where seq >= 4");
    expect(await check(world)).toMatchObject({ ok: true, entries: 3 });
    expect(await check(world, { head })).toMatchObject({ ok: false, seq: 4 });
  });
});

describe("keyturn audit export", () => {
  test("tells one account's entries, and of the others nothing but hashes", async () => {
    const world = await installation();
    const lines = await exported(world);
    expect(lines.map((line) => "entry" in JSON.parse(line))).toEqual([true, true, true, false, true]);
    expect(lines.join("")).not.toContain("secret-project");
    const acme = (await world.authority.storage.read.accounts.list({ limit: 2, after: null }, null))[1];
    const theirs = await exported(world, acme?.id);
    expect(theirs.map((line) => "entry" in JSON.parse(line))).toEqual([false, false, false, true, false]);
    expect(await checkLines(world, theirs)).toMatchObject({ ok: true, entries: 5 });
    await expect(exported(world, "acc_unknown")).rejects.toBeInstanceOf(HostError);
  });

  test("is found broken at every position: deleted, changed, turned round, doubled, junk", async () => {
    const world = await installation();
    const lines = await exported(world);
    expect(await checkLines(world, lines)).toMatchObject({ ok: true, entries: 5 });
    const head = await world.authority.storage.read.audit.head();
    for (const [index, line] of lines.entries()) {
      const seq = index + 1;
      const isLast = index === lines.length - 1;
      const without = await checkLines(world, lines.toSpliced(index, 1), isLast ? { head } : {});
      expect(without).toMatchObject({ ok: false, seq });
      const next = lines[index + 1];
      if (next !== undefined) {
        expect(await checkLines(world, lines.with(index, next).with(index + 1, line))).toMatchObject({
          ok: false,
          seq,
        });
      }
      expect(await checkLines(world, lines.toSpliced(index, 0, line))).toMatchObject({ ok: false, seq: seq });
      expect(await checkLines(world, lines.with(index, "{}"))).toMatchObject({ ok: false, seq });
      const changed = line.replace(
        /"entry_hash":"(.)/,
        (_, first) => `"entry_hash":"${first === "0" ? "1" : "0"}`,
      );
      expect(await checkLines(world, lines.with(index, changed))).toMatchObject({ ok: false, seq });
    }
  });
});
