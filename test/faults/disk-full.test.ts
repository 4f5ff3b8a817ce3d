import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { checkStored } from "../crash/stored-state.ts";
import type { Client } from "../support/client.ts";
import { storedUses } from "../support/evidence-file.ts";
import { issueAt, newPlace, type Place, type Served, usesAt } from "../support/installation.ts";
import { cleanUp } from "../support/traces.ts";
import { until } from "../support/until.ts";
import { expectReadOnly } from "./changes.ts";
import { kill, killAll, serve } from "./servers.ts";
import { canMount, mountSmallDisk, type SmallDisk } from "./small-disk.ts";

// Room for some changes, and for less than one round of the journal.
const ROOM_BYTES = 600 * 1024;
/** More than there is room for: each takes a page at least. */
const MOST_CHANGES = 200;

const mountable = await canMount();

afterAll(cleanUp);

describe.skipIf(!mountable)("R39: a data folder on a disk that is full:", () => {
  let disk: SmallDisk;
  let place: Place;

  // The witness is on another disk, as it should be.
  beforeEach(async () => {
    disk = await mountSmallDisk();
    place = newPlace("disk-full", { KEYTURN_DATA: disk.folder });
  });

  afterEach(async () => {
    await killAll();
    await disk.unmount();
  });

  const start = () => serve(place, {}, { through: disk.through });

  test("unknown is what is said, no change is accepted, verification goes on, and a retry tells the truth once there is room again", async () => {
    const before = await start();
    const good = await issueAt(before.call, "good");
    const unseen = await issueAt(before.call, "verified for the first time on the full disk");
    await before.process.stop();

    const served = await start();
    disk.fill(ROOM_BYTES);
    const made = new Map<string, string>();
    const create = (call: Client, name: string) => {
      const headers = { "idempotency-key": name };
      return call("POST", "/v1/keys", { body: { name, owner_id: good.ownerId }, headers });
    };
    let refused = await create(served.call, "key-0");
    while (refused.status === 201 && made.size < MOST_CHANGES) {
      made.set(`key-${made.size}`, refused.body.text("key", "id"));
      refused = await create(served.call, `key-${made.size}`);
    }
    expect([refused.status, refused.code]).toEqual([503, "outcome_unknown"]);
    expect(made.size).toBeGreaterThan(3);
    await expectReadOnly(served.call, good, [good.secret, unseen.secret, unseen.secret]);
    // Room alone changes nothing: somebody must have looked.
    disk.empty();
    await expectReadOnly(served.call, good, [good.secret, unseen.secret]);
    await kill(served);

    const after = await start();
    disk.copyTo(place.data);
    const stored = checkStored(place.data, place.witness);
    const unknown = `key-${made.size}`;
    const left = [...stored.keys.values()].find((key) => key.name === unknown);
    for (const [name, id] of made) expect(stored.keys.get(id)?.name).toBe(name);
    const again = await create(after.call, unknown);
    expect([again.status, left?.id ?? again.body.text("key", "id")]).toEqual([
      201,
      again.body.text("key", "id"),
    ]);
    await verify(after.call, again.body.text("secret"), 1);
    const twice = await after.call("POST", "/v1/keys", { body: { name: unknown, owner_id: good.ownerId } });
    expect(twice.code).toBe("name_taken");
    expect((await after.call("GET", "/readyz")).body.at("status")).toBe("ready");
  });

  test("uses are counted all the same, and each is stored once when there is room again", async () => {
    const served = await start();
    const good = await issueAt(served.call, "good");
    await verify(served.call, good.secret, 7);
    disk.fill();
    let uses = 7;
    // Each second the same batch fails once more, and what is counted waits behind it.
    await until("uses were not stored for 3 s", async () => {
      if ((await flushLag(served)) >= 3) return true;
      await verify(served.call, good.secret, 1);
      uses += 1;
      return false;
    });
    expect(served.process.errors()).toContain("storing usage failed");
    disk.empty();
    await verify(served.call, good.secret, 5);
    uses += 5;
    await until("all uses are stored", async () => {
      const { valid = 0 } = await usesAt(served.call, good.id);
      return valid >= uses;
    });
    expect(await served.process.stop()).toBe(0);
    disk.copyTo(place.data);
    expect(storedUses(place.data, good.id)).toBe(uses);
  });
});

async function verify(call: Client, secret: string, times: number): Promise<void> {
  for (let n = 0; n < times; n += 1) {
    const body = { key: secret, caller: { name: "billing" } };
    const verdict = await call("POST", "/v1/keys/verify", { body });
    expect(verdict.body.at("code")).toBe("valid");
  }
}

/** Seconds since uses were last stored, as operators are told. */
async function flushLag({ call }: Served): Promise<number> {
  const { text } = await call("GET", "/metrics");
  return Number(/^keyturn_last_used_flush_lag_seconds\S* (\S+)$/m.exec(text)?.[1]);
}
