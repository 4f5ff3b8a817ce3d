import { Client } from "pg";
import { NEWS_CHANNEL } from "./engine.ts";
import { connectionTo, type PostgresOptions } from "./postgres.ts";

const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 5_000;
/** A connection that was cut without a word looks like one on which nothing happens. */
const PING_MS = 15_000;

/**
 * Calls back when an entry was appended, by whichever process, and after each new connection: what was told while this
 * one was away is lost. Keeps trying until it is ended; never throws.
 */
export function hearPostgres(options: PostgresOptions, onNews: () => void): () => Promise<void> {
  let ended = false;
  let retryMs = FIRST_RETRY_MS;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let client: Client | undefined;

  function retry(): void {
    if (ended) return;
    timer = setTimeout(listen, retryMs);
    retryMs = Math.min(2 * retryMs, LONGEST_RETRY_MS);
  }

  async function listen(): Promise<void> {
    let fresh: Client;
    try {
      fresh = new Client(connectionTo(options));
    } catch {
      // Nobody waits for this, so what the client has to say of its settings would end the process.
      retry();
      return;
    }
    client = fresh;
    let lost = false;
    const again = () => {
      if (lost) return;
      lost = true;
      clearInterval(ping);
      fresh.end().catch(() => undefined);
      retry();
    };
    const ping = setInterval(() => void fresh.query("select 1").catch(again), PING_MS);
    fresh.on("error", again);
    fresh.on("end", again);
    fresh.on("notification", () => {
      // What is on its way when somebody stops listening is nobody's news any more.
      if (!ended) onNews();
    });
    try {
      await fresh.connect();
      await fresh.query(LISTEN);
      retryMs = FIRST_RETRY_MS;
      if (!ended) onNews();
    } catch {
      again();
    }
  }
  void listen();

  return async () => {
    ended = true;
    clearTimeout(timer);
    await client?.end().catch(() => undefined);
  };
}

/** A standby refuses it: nothing is heard from a server that may lack entries. */
const LISTEN = `listen ${NEWS_CHANNEL}`;
