/**
 * What is measured inside one process, without HTTP. Prints JSON.
 *
 *     bun bench/in-process.ts hot <folder> <milliseconds>
 *     bun bench/in-process.ts memory <folder> <keys>
 *     bun bench/in-process.ts changes <folder> <another empty folder> <operations>
 */
import { cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Actor } from "../src/authority/audit/entry.ts";
import type { Authority } from "../src/authority/authority.ts";
import type { KeyId, OwnerId } from "../src/authority/ids.ts";
import { createKey } from "../src/authority/keys/create-key.ts";
import { perform } from "../src/authority/operation.ts";
import { rotateKey } from "../src/authority/rotations/rotate-key.ts";
import { digestOf } from "../src/authority/secret.ts";
import { createServiceAccount } from "../src/authority/service-accounts/create-service-account.ts";
import { readConfig } from "../src/config.ts";
import { openInstallation } from "../src/host/open.ts";
import { openFile } from "../src/storage/sqlite.ts";
import { AUTHORITY_FILE } from "../src/storage/sqlite-storage.ts";
import { secretOf } from "./fill.ts";
import { median } from "./row.ts";

const INHERITED = { role: null, scopes: null, allowedIps: null } as const;

const open = (folder: string, cacheKeys = 200_000) =>
  openInstallation(readConfig({ KEYTURN_DATA: folder, KEYTURN_CACHE_KEYS: String(cacheKeys) }));

export interface Hot {
  /** Nanoseconds for each, medians of the rounds. */
  readonly digest: number;
  readonly verify: number;
  readonly ratios: readonly number[];
}

const HOT_KEYS = 1_000;
const LOOPS = 20_000;

/** A thousand keys in turn, all of them remembered, by turns with one SHA-256 of each. */
async function hot(folder: string, milliseconds: number): Promise<Hot> {
  const { authority, close } = await open(folder);
  await authority.recorder.start();
  const { verifier } = authority;
  const secrets = Array.from({ length: HOT_KEYS }, (_, number) => secretOf(number));
  const caller = { name: "bench" };
  const time = (work: (secret: string) => void): number => {
    const startedAt = Bun.nanoseconds();
    for (let loop = 0; loop < LOOPS; loop += 1) work(secrets[loop % HOT_KEYS] ?? "");
    return (Bun.nanoseconds() - startedAt) / LOOPS;
  };
  let refused = 0;
  let characters = 0;
  const verifyOne = (secret: string): void => {
    const verdict = verifier.verify(secret, {}, caller, null);
    if (verdict instanceof Promise || verdict.code !== "valid") refused += 1;
  };
  const digestOne = (secret: string): void => {
    characters += digestOf(secret).length;
  };
  for (let round = 0; round < 20; round += 1) {
    time(verifyOne);
    time(digestOne);
  }
  const digests: number[] = [];
  const verifies: number[] = [];
  for (const end = performance.now() + milliseconds; performance.now() < end; ) {
    digests.push(time(digestOne));
    verifies.push(time(verifyOne));
    // As in service, where what was counted is stored each second.
    if (digests.length % 100 === 0) await authority.recorder.flush();
  }
  if (refused > 0 || characters === 0) throw new Error(`${refused} good keys were refused`);
  await authority.recorder.stop();
  await close();
  return {
    digest: median(digests),
    verify: median(verifies),
    ratios: verifies.map((verify, round) => verify / (digests[round] ?? Number.NaN)),
  };
}

export interface Memory {
  readonly keys: number;
  /** What the process alone holds: without the mapped pages of the database, which are the system's cache. */
  readonly ownMegabytes: number;
  readonly rssMegabytes: number;
  readonly heapMegabytes: number;
  /** Microseconds to verify a key for the first time: look-up, judgement, and the place in the memory. */
  readonly firstVerify: number;
}

/** Linux tells apart what a process holds itself from mapped files (proc(5), RssAnon); elsewhere null. */
function anonymousBytes(): number | null {
  try {
    const kilobytes = readFileSync("/proc/self/status", "latin1").match(/^RssAnon:\s+(\d+) kB$/m)?.[1];
    return kilobytes === undefined ? null : Number(kilobytes) * 1024;
  } catch {
    return null;
  }
}

const FLUSH_EACH = 5_000;

async function memory(folder: string, keys: number): Promise<Memory> {
  const { authority, close } = await open(folder, keys + 10);
  await authority.recorder.start();
  const measure = async () => {
    Bun.gc(true);
    // What was let go of goes back to the system in the background.
    await Bun.sleep(3_000);
    Bun.gc(true);
    await Bun.sleep(500);
    const { rss, heapUsed } = process.memoryUsage();
    return { own: anonymousBytes() ?? rss, rss, heapUsed };
  };
  const caller = { name: "bench" };
  const first = 10_000;
  const verifyAll = async (from: number, to: number): Promise<number> => {
    let spent = 0;
    for (let start = from; start < to; start += FLUSH_EACH) {
      const secrets = Array.from({ length: Math.min(FLUSH_EACH, to - start) }, (_, offset) =>
        secretOf(start + offset),
      );
      const startedAt = performance.now();
      for (const secret of secrets) {
        const verdict = await authority.verifier.verify(secret, {}, caller, null);
        if (verdict.code !== "valid") throw new Error("a good key was refused");
      }
      spent += performance.now() - startedAt;
      await authority.recorder.flush();
    }
    return spent;
  };
  // Compilers, statements and the database's own pages first: they don't grow with the keys.
  await verifyAll(0, first);
  const before = await measure();
  const spent = await verifyAll(first, keys);
  const after = await measure();
  if (authority.verifier.size() < keys) throw new Error("not all keys are remembered");
  await authority.recorder.stop();
  await close();
  const scale = 1_000_000 / (keys - first) / 1e6;
  return {
    keys,
    ownMegabytes: (after.own - before.own) * scale,
    rssMegabytes: (after.rss - before.rss) * scale,
    heapMegabytes: (after.heapUsed - before.heapUsed) * scale,
    firstVerify: (spent * 1000) / (keys - first),
  };
}

export interface Changes {
  /** Operations per second through the gate, and of the same rows written by prepared statements. */
  readonly issue: { readonly gate: number; readonly floor: number; readonly ratios: readonly number[] };
  readonly rotate: { readonly gate: number; readonly floor: number; readonly ratios: readonly number[] };
}

const BLOCK = 25;

async function changes(folder: string, twin: string, operations: number): Promise<Changes> {
  const prepared = await open(folder);
  const { authority: setUp } = prepared;
  const root = (await setUp.storage.read.accounts.operator())?.id;
  if (root === undefined) throw new Error("the store has no account");
  const [rootKey] = await setUp.storage.read.keys.roots(root);
  if (rootKey === undefined) throw new Error("the store has no root key");
  const actor: Actor = { kind: "key", id: rootKey[0].id, accountId: root };
  const owner = await perform(setUp, createServiceAccount, actor, {
    name: `changes-${Date.now()}`,
    own: INHERITED,
  });
  await prepared.close();
  // The floor writes into a copy, so that both files have the same size and the same indexes.
  cpSync(folder, twin, { recursive: true });

  const { authority, close } = await open(folder);
  await authority.recorder.start();
  const replay = createReplay(folder, twin);
  const blocks = async (run: (authority: Authority, number: number) => Promise<{ seq: number }>) => {
    const gate: number[] = [];
    const floor: number[] = [];
    const ratios: number[] = [];
    for (let done = 0; done < operations; done += BLOCK) {
      const seqs: number[] = [];
      const gateStart = performance.now();
      for (let number = done; number < done + BLOCK; number += 1)
        seqs.push((await run(authority, number)).seq);
      const gateSpent = performance.now() - gateStart;
      const write = replay.prepare(seqs);
      const floorStart = performance.now();
      for (const one of write) one();
      const floorSpent = performance.now() - floorStart;
      gate.push((BLOCK * 1000) / gateSpent);
      floor.push((BLOCK * 1000) / floorSpent);
      ratios.push(floorSpent / gateSpent);
    }
    return { gate: median(gate), floor: median(floor), ratios };
  };
  const keys: KeyId[] = [];
  const ownerId: OwnerId = owner.output.id;
  const issue = await blocks(async (open, number) => {
    const done = await perform(open, createKey, actor, { name: `c-${number}`, ownerId, own: INHERITED });
    keys.push(done.output.key.id);
    return done;
  });
  const rotate = await blocks(async (open, number) => {
    const keyId = keys[number];
    if (keyId === undefined) throw new Error("more rotations than keys");
    return perform(open, rotateKey, actor, { keyId, plan: {} });
  });
  replay.close();
  await authority.recorder.stop();
  await close();
  return { issue, rotate };
}

type Cells = Record<string, string | number | null>;

/** Takes the rows that operations wrote and writes them again elsewhere: one prepared transaction for each operation. */
function createReplay(source: string, target: string) {
  const from = openFile(join(source, AUTHORITY_FILE), "full", true);
  const to = openFile(join(target, AUTHORITY_FILE), "full");
  const begin = to.query("begin immediate");
  const commit = to.query("commit");
  const insert = new Map(
    ["keys", "digests", "rotations", "audit_entries", "audit_subjects"].map((table) => {
      const columns = from
        .query<{ name: string }, [string]>("select name from pragma_table_info(?)")
        .all(table);
      const names = columns.map((column) => column.name);
      return [
        table,
        {
          names,
          statement: to.query(
            `insert into ${table} (${names.join(", ")}) values (${names.map(() => "?").join(", ")})`,
          ),
        },
      ];
    }),
  );
  const setRotation = to.query("update keys set rotation_id = ? where id = ?");
  const rows = (sql: string, value: string | number) => from.query<Cells, [string | number]>(sql).all(value);
  const put = (table: string, row: Cells) => {
    const { names, statement } = insert.get(table) ?? { names: [], statement: null };
    return { statement, cells: names.map((name) => row[name] ?? null) };
  };
  return {
    /** What to write for each entry of the log, ready to be bound. */
    prepare: (seqs: readonly number[]): readonly (() => void)[] =>
      seqs.map((seq) => {
        const subjects = rows("select * from audit_subjects where seq = ?", seq);
        const ids = (kind: string) =>
          subjects.filter((one) => one.kind === kind).map((one) => String(one.id ?? one.subject_id));
        const rotations = ids("rotation").flatMap((id) => rows("select * from rotations where id = ?", id));
        const old = new Set(rotations.map((one) => one.old_key_id));
        const fresh = ids("key")
          .filter((id) => !old.has(id))
          .flatMap((id) => rows("select * from keys where id = ?", id));
        const writes = [
          ...fresh.map((row) => put("keys", row)),
          ...fresh
            .flatMap((row) => rows("select * from digests where key_id = ?", String(row.id)))
            .map((row) => put("digests", row)),
          ...rotations.map((row) => put("rotations", row)),
          ...rows("select * from audit_entries where seq = ?", seq).map((row) => put("audit_entries", row)),
          ...subjects.map((row) => put("audit_subjects", row)),
        ];
        const updates = rotations.map((row) => [String(row.id), String(row.old_key_id)] as const);
        return () => {
          begin.run();
          for (const { statement, cells } of writes) statement?.run(...cells);
          for (const [id, key] of updates) setRotation.run(id, key);
          commit.run();
        };
      }),
    close: () => {
      from.close();
      to.close();
    },
  };
}

if (import.meta.main) {
  const [what = "", folder = "", third = "", fourth = ""] = process.argv.slice(2);
  const measured =
    what === "hot"
      ? await hot(folder, Number(third))
      : what === "memory"
        ? await memory(folder, Number(third))
        : await changes(folder, third, Number(fourth));
  console.log(JSON.stringify(measured));
}
