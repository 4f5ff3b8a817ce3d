import { describe, expect, test } from "bun:test";
import { type Api, apiOf, type RotationNow } from "../support/api.ts";
import { startServer } from "../support/server.ts";
import { until } from "../support/until.ts";

type Signal = "SIGTERM" | "SIGKILL";

/** A server that is ended by the signal and started again over the same folder, as often as a test wants. */
interface Run {
  /** The API of the server that runs at this moment. */
  api(): Api;
  /** Resolves to when the new process was begun, and when it was ready. */
  restart(): Promise<{ readonly begun: number; readonly ready: number }>;
  /** A key used by crm, and its rotation. */
  rotate(
    plan: Readonly<Record<string, unknown>>,
  ): Promise<{ readonly id: string; readonly old: string; readonly successor: string }>;
}

async function withServer<T>(signal: Signal, work: (run: Run) => Promise<T>): Promise<T> {
  let server = await startServer();
  let api = apiOf(server.url, server.rootKey);
  try {
    return await work({
      api: () => api,
      restart: async () => {
        const code = await server.end(signal);
        expect(code).toBe(signal === "SIGTERM" ? 0 : null);
        const begun = Date.now();
        server = await server.again();
        api = apiOf(server.url, server.rootKey);
        return { begun, ready: Date.now() };
      },
      rotate: async (plan) => {
        const owner = await api.owner({ name: "billing" });
        const old = await api.key({ name: "billing", owner_id: owner });
        await api.verify(old.secret, "crm");
        const { rotation, secret } = await api.rotate(old.key.id, { completion: "manual", ...plan });
        return { id: rotation.id, old: old.secret, successor: secret };
      },
    });
  } finally {
    await server.clean();
  }
}

const SIGNALS: readonly Signal[] = ["SIGTERM", "SIGKILL"];

describe.each(SIGNALS)("when the server is ended by %s", (signal) => {
  test.concurrent("a rotation goes on from the state that it was in, and the worker does what is due by itself", () =>
    withServer(signal, async (run) => {
      const { id, old, successor } = await run.rotate({ quiet_period: "2s", undo_window: "5s" });
      const reaches = (state: RotationNow["state"]) =>
        until(`the rotation is ${state}`, async () => (await run.api().rotation(id)).state === state);
      const verdicts = async () => [
        await run.api().verify(old, "crm"),
        await run.api().verify(successor, "crm"),
      ];

      await run.restart();
      expect((await run.api().rotation(id)).state).toBe("issued");

      // The first use is stored before the end: on the way out, or because reading the rotation stores it.
      expect(await verdicts()).toEqual(["valid", "valid"]);
      if (signal === "SIGKILL") await run.api().rotation(id);
      await run.restart();
      await reaches("adopting");

      await run.restart();
      await reaches("adopted");
      await run.restart();
      // After an unclean end a whole quiet period is watched anew, and it is adopted again.
      if (signal === "SIGTERM") expect((await run.api().rotation(id)).state).toBe("adopted");
      await reaches("adopted");

      // Uncleanly ended, the worker may look before anybody else does; it comes back to `adopted`, and then it is done.
      await until(
        "it can be completed",
        async () => (await run.api().post(`/v1/rotations/${id}/complete`)).ok,
      );
      await run.restart();
      expect((await run.api().rotation(id)).state).toBe("completed");
      expect(await verdicts()).toEqual(["suspended", "valid"]);
      await run.api().act(id, "rollback");
      await run.restart();
      expect(["adopting", "adopted"]).toContain((await run.api().rotation(id)).state);
      expect(await verdicts()).toEqual(["valid", "valid"]);

      await reaches("adopted");
      await until(
        "it can be completed",
        async () => (await run.api().post(`/v1/rotations/${id}/complete`)).ok,
      );
      await run.restart();
      await reaches("closed");
      await run.restart();
      expect((await run.api().rotation(id)).state).toBe("closed");
      expect(await verdicts()).toEqual(["revoked", "valid"]);

      const steps = (await run.api().audit(id)).map((entry) => entry.details.step ?? entry.operation);
      const once = ["keys.rotate", "start_adopting", "rotations.rollback", "close"];
      for (const step of once) expect([step, steps.filter((one) => one === step).length]).toEqual([step, 1]);
    }));

  test.concurrent("a cancelled rotation stays cancelled: the old key good, the successor revoked", () =>
    withServer(signal, async (run) => {
      const { id, old, successor } = await run.rotate({});
      await run.api().act(id, "cancel");
      await run.restart();
      expect((await run.api().rotation(id)).state).toBe("cancelled");
      expect([await run.api().verify(old, "crm"), await run.api().verify(successor, "crm")]).toEqual([
        "valid",
        "revoked",
      ]);
    }));
});

/** Long enough that it can't be over before the test is. */
const QUIET_MS = 600_000;
const WATCHED_MS = 2_000;

const watched = (signal: Signal) =>
  withServer(signal, async (run) => {
    const { id, successor } = await run.rotate({ quiet_period: "600s" });
    await run.api().verify(successor, "crm");
    const quietAt = async () => Date.parse((await run.api().rotation(id)).callers[0]?.quiet_at ?? "");
    await until(
      "some of the quiet has been watched",
      async () => (await quietAt()) - Date.now() <= QUIET_MS - WATCHED_MS,
    );
    const { begun, ready } = await run.restart();
    const { reasons } = await run.api().refused(id, "complete");
    return { quietAt: await quietAt(), begun, ready, reasons: reasons.map((reason) => reason.code) };
  });

test.concurrent("quiet that was watched before a clean stop counts on afterwards", async () => {
  const { quietAt, ready, reasons } = await watched("SIGTERM");
  expect(quietAt).toBeLessThanOrEqual(ready + QUIET_MS - WATCHED_MS);
  expect(reasons).not.toContain("watching");
});

test.concurrent("after an unclean stop quiet begins anew: what was seen at the end may be lost", async () => {
  const { quietAt, begun, reasons } = await watched("SIGKILL");
  expect(quietAt).toBeGreaterThanOrEqual(begun + QUIET_MS);
  expect(reasons).toContain("watching");
});
