/**
 * Issues and rotates keys through the gate, in process, by turns with one prepared transaction that writes the very same
 * rows. Prints JSON.
 *
 *     KEYTURN_DATA=… bun bench/changes.ts turns <operations> <under way at once> <an empty folder>
 *     KEYTURN_DATABASE_URL=… bun bench/changes.ts turns <operations> <under way at once>
 *     KEYTURN_DATABASE_URL=… bun bench/changes.ts span <start, ms since 1970> <milliseconds> <under way at once> <twin URL>
 *
 * `span` issues keys in an account of its own from a given moment on, so that several processes can do so together, and
 * then writes the same rows once more.
 */

import { createAccount } from "../src/authority/accounts/create-account.ts";
import type { Actor } from "../src/authority/audit/entry.ts";
import type { Authority } from "../src/authority/authority.ts";
import type { KeyId } from "../src/authority/ids.ts";
import { createKey } from "../src/authority/keys/create-key.ts";
import { perform } from "../src/authority/operation.ts";
import { rotateKey } from "../src/authority/rotations/rotate-key.ts";
import { createServiceAccount } from "../src/authority/service-accounts/create-service-account.ts";
import { DATABASE_URL, FOLDER, openStore } from "./open.ts";
import { copyDatabase, type Replay, replayOnPostgres, replayOnSqlite } from "./replay.ts";
import { median } from "./row.ts";

const INHERITED = { role: null, scopes: null, allowedIps: null } as const;
/** As many as the product has for changes. */
const CONNECTIONS = 5;

/** Operations per second through the gate, and of the same rows in bare transactions. */
export interface Compared {
  readonly gate: number;
  readonly floor: number;
  readonly ratios: readonly number[];
}

export interface Changes {
  readonly issue: Compared;
  readonly rotate: Compared;
}

export interface Span {
  readonly gate: number;
  readonly floor: number;
}

async function operatorRoot({ storage }: Authority): Promise<Actor & { kind: "key" }> {
  const account = await storage.read.accounts.operator();
  const [root] = account === null ? [] : await storage.read.keys.roots(account.id);
  if (account === null || root === undefined) throw new Error("the store has no root key");
  return { kind: "key", id: root[0].id, accountId: account.id };
}

/** Does `count` of it with so many under way at a time. */
async function together(count: number, atOnce: number, work: (number: number) => unknown): Promise<void> {
  let next = 0;
  const line = async () => {
    while (next < count) {
      next += 1;
      await work(next - 1);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, line));
}

async function turns(operations: number, atOnce: number, twinFolder: string): Promise<Changes> {
  const block = Math.max(25, 4 * atOnce);
  const prepared = await openStore();
  const actor = await operatorRoot(prepared.authority);
  const owner = await perform(prepared.authority, createServiceAccount, actor, {
    name: `changes-${Date.now()}`,
    own: INHERITED,
  });
  await prepared.close();
  const replay =
    DATABASE_URL === undefined
      ? replayOnSqlite(FOLDER, twinFolder)
      : await replayOnPostgres(DATABASE_URL, await copyDatabase(DATABASE_URL), CONNECTIONS);
  const { authority, close } = await openStore();
  await authority.recorder.start();

  const blocks = async (run: (number: number) => Promise<{ seq: number }>): Promise<Compared> => {
    const gate: number[] = [];
    const floor: number[] = [];
    for (let done = 0; done < operations + block; done += block) {
      const seqs: number[] = [];
      const gateStart = performance.now();
      await together(block, atOnce, async (number) => void seqs.push((await run(done + number)).seq));
      const gateSpent = performance.now() - gateStart;
      const writes = await replay.prepare(seqs);
      const floorStart = performance.now();
      await together(block, atOnce, (number) => writes[number]?.());
      const floorSpent = performance.now() - floorStart;
      // The first block is the compilers'.
      if (done === 0 && operations > block) continue;
      gate.push((block * 1_000) / gateSpent);
      floor.push((block * 1_000) / floorSpent);
    }
    const ratios = gate.map((value, round) => value / (floor[round] ?? Number.NaN));
    return { gate: median(gate), floor: median(floor), ratios };
  };
  const keys: KeyId[] = [];
  const issue = await blocks(async (number) => {
    const done = await perform(authority, createKey, actor, {
      name: `c-${number}`,
      ownerId: owner.output.id,
      own: INHERITED,
    });
    keys.push(done.output.key.id);
    return done;
  });
  const rotate = await blocks(async (number) => {
    const keyId = keys[number];
    if (keyId === undefined) throw new Error("more rotations than keys");
    return perform(authority, rotateKey, actor, { keyId, plan: {} });
  });
  await replay.close();
  await authority.recorder.stop();
  await close();
  return { issue, rotate };
}

async function until(at: number): Promise<void> {
  await Bun.sleep(Math.max(0, at - Date.now()));
}

async function span(startAt: number, milliseconds: number, atOnce: number, twin: string): Promise<Span> {
  const { authority, close } = await openStore();
  const operator = await operatorRoot(authority);
  const name = `changes-${crypto.randomUUID()}`;
  const { output: made } = await perform(authority, createAccount, operator, { name });
  const actor: Actor = { kind: "key", id: made.key.id, accountId: made.account.id };
  const owner = await perform(authority, createServiceAccount, actor, { name, own: INHERITED });
  let issued = 0;
  const seqs: number[] = [];
  const issueOne = async () => {
    issued += 1;
    const { seq } = await perform(authority, createKey, actor, {
      name: `c-${issued}`,
      ownerId: owner.output.id,
      own: INHERITED,
    });
    return seq;
  };
  for (let warm = 0; warm < 20; warm += 1) await issueOne();
  await until(startAt);
  const line = async () => {
    while (Date.now() < startAt + milliseconds) seqs.push(await issueOne());
  };
  await Promise.all(Array.from({ length: atOnce }, line));
  const gate = seqs.length;
  const floor = await spanAgain(seqs, startAt + 2 * milliseconds + 1_000, milliseconds, atOnce, twin);
  await close();
  return { gate: (gate * 1_000) / milliseconds, floor };
}

/** The twin knows neither account nor owner, and looks for none. */
async function spanAgain(
  seqs: readonly number[],
  startAt: number,
  milliseconds: number,
  atOnce: number,
  twin: string,
): Promise<number> {
  const replay: Replay = await replayOnPostgres(
    DATABASE_URL ?? "",
    `${twin}?options=-csession_replication_role%3Dreplica`,
    CONNECTIONS,
  );
  const writes = await replay.prepare(seqs);
  await until(startAt);
  const since = performance.now();
  let next = 0;
  const line = async () => {
    while (next < writes.length && performance.now() - since < milliseconds) {
      next += 1;
      await writes[next - 1]?.();
    }
  };
  await Promise.all(Array.from({ length: atOnce }, line));
  const spent = performance.now() - since;
  await replay.close();
  return (next * 1_000) / spent;
}

const [what = "", first = "", second = "", third = "", fourth = ""] = process.argv.slice(2);
console.log(
  JSON.stringify(
    what === "turns"
      ? await turns(Number(first), Number(second), third)
      : await span(Number(first), Number(second), Number(third), fourth),
  ),
);
