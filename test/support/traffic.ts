import type { Seen } from "./gateways.ts";
import { until } from "./until.ts";

/** A client of the protected API: it has a name, the key it was given last, and connections that it keeps. */
export interface Client {
  readonly name: string;
  key: { readonly id: string; readonly secret: string };
}

export interface Failure {
  readonly client: string;
  readonly phase: string | null;
  readonly what: string;
}

/** Steady load of several clients, of which every single answer is judged and counted. */
export interface Traffic {
  readonly failures: readonly Failure[];
  total(): number;
  /** Requests that were sent and answered within the phase. */
  within(phase: string): number;
  /** From now on requests count for this phase; null between phases, when the state is about to change. */
  enter(phase: string | null): void;
  /** Resolves when so many requests were sent and answered within the phase that goes on now. */
  pass(count: number): Promise<void>;
  /** Resolves when every request is answered. */
  stop(): Promise<void>;
}

/**
 * Each client keeps `connections` busy, with a short pause after each answer: the load is steady, and leaves the
 * machine to others as well. A request that is answered with anything but the API's own answer is a failure.
 */
export function startTraffic(
  url: string,
  clients: readonly Client[],
  { connections, pauseMs }: { readonly connections: number; readonly pauseMs: number },
): Traffic {
  const failures: Failure[] = [];
  const counts = new Map<string, number>();
  let phase: string | null = null;
  let total = 0;
  let running = true;

  async function one(client: Client): Promise<void> {
    const sentIn = phase;
    const { key } = client;
    const wrong = await wrongWith(url, client.name, key);
    total += 1;
    if (wrong !== null) failures.push({ client: client.name, phase: sentIn, what: wrong });
    if (sentIn !== null && sentIn === phase) counts.set(sentIn, (counts.get(sentIn) ?? 0) + 1);
  }

  const workers = clients.flatMap((client) =>
    Array.from({ length: connections }, async () => {
      while (running) {
        await one(client);
        await Bun.sleep(pauseMs);
      }
    }),
  );

  return {
    failures,
    total: () => total,
    within: (name) => counts.get(name) ?? 0,
    enter: (name) => {
      phase = name;
    },
    pass: async (count) => {
      const during = phase;
      if (during === null) throw new Error("no phase goes on");
      const goal = (counts.get(during) ?? 0) + count;
      await until(`${goal} requests while ${during}`, () => (counts.get(during) ?? 0) >= goal);
    },
    stop: async () => {
      running = false;
      await Promise.all(workers);
    },
  };
}

/** Null for the API's own answer, told of the right key; otherwise what came instead. */
async function wrongWith(url: string, caller: string, key: Client["key"]): Promise<string | null> {
  try {
    const headers = { authorization: `Bearer ${key.secret}`, "keyturn-caller": caller };
    const response = await fetch(url, { headers });
    if (response.status !== 200) return `${response.status} ${await response.text()}`;
    const seen = (await response.json()) as Seen;
    const told = seen.headers["keyturn-key-id"];
    return told === key.id ? null : `the API was told of ${told} in place of ${key.id}`;
  } catch (error) {
    return String(error);
  }
}
