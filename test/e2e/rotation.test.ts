import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Api, apiOf, type RotationNow } from "../support/api.ts";
import { times } from "../support/counts.ts";
import { findProgram, type Gateway, startApi, startNginx } from "../support/gateways.ts";
import { type Server, startServer } from "../support/server.ts";
import { type Client, startTraffic } from "../support/traffic.ts";
import { until } from "../support/until.ts";

const REQUESTS = times(5_000);
const REQUESTS_PER_STATE = times(200);
/** Two flush intervals are the shortest quiet period; the undo window leaves a slow machine time to roll back. */
const PLAN = { completion: "manual", quiet_period: "2s", undo_window: "5s", reason: "the main test" };

const nginx = findProgram("nginx");

describe.skipIf(nginx === null)("a key is turned over under live traffic, behind the real nginx", () => {
  const api = startApi();
  let keyturn: Server;
  let gateway: Gateway;
  let root: Api;

  beforeAll(async () => {
    keyturn = await startServer({ KEYTURN_TRUSTED_PROXIES: "127.0.0.1" });
    root = apiOf(keyturn.url, keyturn.rootKey);
    const scopes = ["keyturn:keys.verify"];
    const owner = await root.owner({ name: "gateway", scopes });
    const { secret } = await root.key({ name: "gateway", owner_id: owner, scopes });
    gateway = await startNginx(nginx ?? "nginx", { keyturn: keyturn.port, api: api.port, key: secret });
  });
  afterAll(async () => {
    await gateway.stop();
    await api.stop();
    await keyturn.clean();
  });

  test(`${REQUESTS} requests of three clients through a whole rotation, rolled back once: none fails, the old key ends`, async () => {
    const owner = await root.owner({ name: "billing", scopes: ["invoices:read"] });
    const issued = await root.key({ name: "billing", owner_id: owner });
    const old = { id: issued.key.id, secret: issued.secret };
    const clients = ["crm", "web", "ledger"].map((name): Client => ({ name, key: old }));
    const [crm, web, ledger] = clients as [Client, Client, Client];
    const traffic = startTraffic(`${gateway.url}/invoices`, clients, { connections: 4, pauseMs: 10 });

    /** A phase: the rotation is in the state from before its first request until after its last. */
    async function phase(
      name: string,
      state: RotationNow["state"],
      during: () => Promise<void> = async () => undefined,
    ) {
      await until(`the rotation is ${state}`, async () => (await root.rotation(id)).state === state);
      traffic.enter(name);
      await traffic.pass(REQUESTS_PER_STATE);
      await during();
      traffic.enter(null);
      expect((await root.rotation(id)).state).toBe(state);
    }
    const status = async (client: Client) =>
      (await root.rotation(id)).callers.find((caller) => caller.name === client.name)?.status;
    /** What a client that did not hear of the rotation gets. Its name is one of the three, so nobody new turns up. */
    const useOld = async () => {
      const headers = { authorization: `Bearer ${old.secret}`, "keyturn-caller": ledger.name };
      const response = await fetch(`${gateway.url}/invoices`, { headers });
      await response.text();
      return { status: response.status, code: response.headers.get("keyturn-code") };
    };

    traffic.enter("before");
    await traffic.pass(REQUESTS_PER_STATE);
    traffic.enter(null);
    const rotated = await root.rotate(old.id, PLAN);
    const { id } = rotated.rotation;
    const successor = { id: rotated.key.id, secret: rotated.secret };

    await phase("issued", "issued", async () => {
      const tooEarly = await root.refused(id, "complete");
      expect(tooEarly).toMatchObject({ status: 409, code: "not_safe_to_complete" });
      expect(tooEarly.callers.toSorted()).toEqual(["crm", "ledger", "web"]);
      expect(tooEarly.reasons.map((reason) => reason.code)).toContain("successor_unused");
    });

    crm.key = successor;
    web.key = successor;
    await phase("adopting", "adopting", async () => {
      await until(
        "crm and web have moved",
        async () => (await status(crm)) === "moved" && (await status(web)) === "moved",
      );
      const tooEarly = await root.refused(id, "complete");
      expect(tooEarly).toMatchObject({ status: 409, code: "not_safe_to_complete", callers: ["ledger"] });
      expect(tooEarly.reasons).toMatchObject([{ code: "still_on_old", callers: ["ledger"] }]);
    });

    ledger.key = successor;
    await phase("adopted", "adopted", async () => {
      expect((await root.rotation(id)).safe_to_complete).toBe(true);
    });

    await root.act(id, "complete");
    await phase("completed", "completed", async () => {
      expect(await useOld()).toEqual({ status: 401, code: "suspended" });
    });

    await root.act(id, "rollback");
    // The reason to roll back: a client that needs the old key after all.
    ledger.key = old;
    await phase("adopting once more", "adopting", async () => {
      expect(await useOld()).toEqual({ status: 200, code: null });
      expect(await root.refused(id, "complete")).toMatchObject({ status: 409, callers: ["ledger"] });
    });

    ledger.key = successor;
    await phase("adopted once more", "adopted");
    await root.act(id, "complete");
    await phase("completed once more", "completed", async () => {
      expect(await useOld()).toEqual({ status: 401, code: "suspended" });
    });

    await phase("closed", "closed", async () => {
      expect(await useOld()).toEqual({ status: 401, code: "revoked" });
      expect((await root.readKey(old.id)).state).toBe("revoked");
    });
    traffic.enter("after");
    await until(`${REQUESTS} requests`, () => traffic.total() >= REQUESTS);
    await traffic.stop();

    expect(traffic.failures).toEqual([]);
    const phases = [
      "issued",
      "adopting",
      "adopted",
      "completed",
      "adopting once more",
      "completed once more",
      "closed",
    ];
    const counts = Object.fromEntries(phases.map((name) => [name, traffic.within(name)]));
    console.log(`rotation under traffic: ${traffic.total()} requests, 0 failed; ${JSON.stringify(counts)}`);
    expect(Object.values(counts).filter((count) => count < REQUESTS_PER_STATE)).toEqual([]);
    expect(traffic.total()).toBeGreaterThanOrEqual(REQUESTS);

    const entries = await root.audit(id);
    const story = entries.map(({ operation, actor, details }) => [
      operation,
      actor.kind,
      details.step ?? null,
    ]);
    // A worker's round between the roll-back and the first use of the old key adopts, and the next takes it back.
    expect(story.filter(([, , step]) => step !== "adopt" && step !== "unadopt")).toEqual([
      ["keys.rotate", "key", null],
      ["rotations.advance", "system", "start_adopting"],
      ["rotations.complete", "key", null],
      ["rotations.rollback", "key", null],
      ["rotations.complete", "key", null],
      ["rotations.advance", "system", "close"],
    ]);
  });
});
