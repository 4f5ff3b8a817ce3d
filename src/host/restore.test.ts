import { afterEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { startWorld, type World } from "../../test/support/authority.ts";
import { failureOf, NO_POSTGRES, newDatabase } from "../../test/support/postgres.ts";
import { newFolder } from "../../test/support/traces.ts";
import { createMembership } from "../authority/cluster/membership.ts";
import { OPERATIONS } from "../authority/operations.ts";
import { HOST } from "../authority/setup/setup.ts";
import { readConfig } from "../config.ts";
import { openPostgresStorage } from "../storage/postgres-storage.ts";
import { assertServable, HostError, withUnwitnessed } from "./open.ts";
import { backUp, restore } from "./restore.ts";

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

async function embedded(): Promise<World> {
  const world = await startWorld();
  closing.push(world.close);
  return world;
}

const ACCEPTING = { witnessFile: undefined, acceptLoss: true };

describe("R14: keyturn restore, where a move to PostgreSQL was begun", () => {
  test.each(["moving", "moved"] as const)(
    "opens a backup of a folder that was %s, once somebody answers for the loss",
    async (why) => {
      const world = await embedded();
      await world.as(HOST, OPERATIONS.closeStore, { why });
      const from = join(newFolder("backup"), "copy");
      backUp(readConfig({ KEYTURN_DATA: world.folder }), from);
      const restored = readConfig({ KEYTURN_DATA: join(newFolder("restored"), "data") });
      expect(await restore(restored, { ...ACCEPTING, from })).toMatchObject({ servable: true });
      await withUnwitnessed(restored, async ({ authority }) => {
        await assertServable(authority, restored);
        expect(authority.health.state()).toBe("open");
      });
    },
  );

  test("opens no folder that was left for another database: keys may have been revoked there", async () => {
    const world = await embedded();
    await world.as(HOST, OPERATIONS.closeStore, { why: "moved" });
    const config = readConfig({ KEYTURN_DATA: world.folder });
    const refused = await failureOf(restore(config, { ...ACCEPTING, from: undefined }));
    expect(refused).toBeInstanceOf(HostError);
    expect(String(refused)).toContain("was moved to PostgreSQL");
    expect(await world.authority.storage.read.facts.get("closed")).toBe("moved");
  });
});

test.skipIf(NO_POSTGRES)(
  "R14: a database that was put back and accepted has no process on its list: those of then will never say a word",
  async () => {
    const { url, drop } = await newDatabase();
    closing.push(drop);
    const world = await startWorld({ open: () => openPostgresStorage({ url }) });
    closing.push(world.close);
    await createMembership(world.authority).join();
    const { storage } = world.authority;
    await storage.change((tx) => tx.facts.set("restored_unaccepted", "yes"));
    const config = readConfig({ KEYTURN_DATABASE_URL: url, KEYTURN_DATA: "/nowhere" });
    await restore(config, { ...ACCEPTING, from: undefined });
    expect(await storage.cluster.processes()).toEqual([]);
    // Nor is anything quiet because nobody told of it: how keys were used in what is lost nobody knows.
    expect(await storage.evidence.living()).toEqual([]);
    expect((await storage.evidence.watched()).restartedAt).not.toBeNull();
  },
);

test.skipIf(NO_POSTGRES)("R14: a copy that was never opened is opened by no witness", async () => {
  const { url, drop } = await newDatabase();
  closing.push(drop);
  const world = await startWorld({ open: () => openPostgresStorage({ url }) });
  closing.push(world.close);
  await world.as(HOST, OPERATIONS.closeStore, { why: "moving" });
  const witnessFile = join(newFolder("witness"), "witness.jsonl");
  writeFileSync(witnessFile, "");
  const config = readConfig({ KEYTURN_DATABASE_URL: url, KEYTURN_DATA: "/nowhere" });
  const refused = await failureOf(restore(config, { from: undefined, witnessFile, acceptLoss: false }));
  expect(refused).toBeInstanceOf(HostError);
  expect(String(refused)).toContain("never opened");
  expect(await world.authority.storage.read.facts.get("closed")).toBe("moving");
});
