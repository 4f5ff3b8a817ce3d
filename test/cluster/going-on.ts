import type { Client } from "../support/client.ts";
import { until } from "../support/until.ts";

/** Nothing was made, and the client is told to try again. */
const LATER = ["idempotency_in_progress", "storage_unavailable", "verdict_stale"];

/** A client as `Lane` wants it, that goes on through the outages of a database. */
export interface GoingOn {
  readonly client: Client;
  /** From now on it is as if the server were gone. */
  stop(): void;
  /** Requests that were answered with "later", or with "nobody knows". */
  trouble(): Readonly<Record<string, number>>;
}

/**
 * What it verifies is to be judged by nothing older than the newest answer that it was given, whichever process is asked.
 * What was not done is asked for again; where nobody knows whether it was, the lane must find out.
 */
export function goingOn(call: Client, newest: { seq: number }): GoingOn {
  let isOver = false;
  const trouble: Record<string, number> = {};
  const note = (code: string) => {
    trouble[code] = (trouble[code] ?? 0) + 1;
  };
  const gone = () => Object.assign(new Error("it is over"), { code: "ECONNRESET" });
  const client: Client = async (method, path, asking) => {
    const isVerify = path === "/v1/keys/verify";
    const body = isVerify ? { ...Object(asking?.body), at_least: newest.seq } : asking?.body;
    const told = await until("it can be answered now", async () => {
      if (isOver) throw gone();
      const answer = await call(method, path, { ...asking, ...(body === undefined ? {} : { body }) });
      const isStale = isVerify && answer.body.at("code") === "stale";
      const code = isStale ? "stale" : answer.code;
      if (code !== undefined && (isStale || LATER.includes(code))) {
        note(code);
        return false;
      }
      return answer;
    });
    if (told.code === "outcome_unknown") {
      note(told.code);
      throw gone();
    }
    newest.seq = Math.max(newest.seq, Number(told.headers.get("keyturn-seq") ?? 0));
    return told;
  };
  return {
    client,
    stop: () => {
      isOver = true;
    },
    trouble: () => trouble,
  };
}
