import { expect, test } from "bun:test";
import { Client } from "pg";
import { HOUR, startWorld } from "../../test/support/authority.ts";
import { NO_POSTGRES, newDatabase } from "../../test/support/postgres.ts";
import { connectedAtOnce } from "./migrate-postgres.ts";
import { contentOf, copyAuthority, copyEvidence } from "./move.ts";

test.skipIf(NO_POSTGRES)(
  "use is added once, also by a second attempt while the end of the first is still under way",
  async () => {
    const world = await startWorld();
    const { secret } = await world.keyWith({ scopes: ["a:b"] });
    expect(await world.judged(secret, { name: "api" })).toBe("valid");
    await world.pass(HOUR);
    const { url, drop } = await newDatabase();
    const [slow, quick] = [new Client(url), new Client(url)];
    for (const client of [slow, quick]) await client.connect();
    const reached = Promise.withResolvers<void>();
    const mayCommit = Promise.withResolvers<void>();
    const query = slow.query.bind(slow);
    const held = async (text: string, values?: unknown[]) => {
      if (text === "commit") {
        reached.resolve();
        await mayCommit.promise;
      }
      return query(text, values);
    };
    const first = copyEvidence(world.folder, Object.assign(slow, { query: held }));
    await reached.promise;
    const second = copyEvidence(world.folder, quick);
    await Bun.sleep(100);
    mayCommit.resolve();
    await Promise.all([first, second]);
    const { rows } = await quick.query("select sum(count)::integer as uses from usage_hours");
    expect(rows).toEqual([{ uses: 1 }]);
    for (const client of [slow, quick]) await client.end();
    await drop();
    await world.close();
  },
);

test.skipIf(NO_POSTGRES)(
  "R14: a folder that somebody opened meanwhile is not copied: its copy would be open beside it",
  async () => {
    const world = await startWorld();
    const { url, drop } = await newDatabase();
    const target = await connectedAtOnce({ url });
    expect(await copyAuthority(world.folder, target).catch(String)).toContain("was opened meanwhile");
    expect(await contentOf(target)).toBe("empty");
    await target.end();
    await drop();
    await world.close();
  },
);
