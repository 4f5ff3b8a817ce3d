/** The keys as a client holds them. */
export interface Secrets {
  readonly old: string;
  readonly new: string | null;
}

export type Which = "old" | "new";

/** One client: a few instances of a program, each with one of the two keys. */
export interface Caller {
  readonly name: string;
  /** Answered requests in the last second, by the key they were sent with. */
  rate(which: Which): number;
  /** Rolls the new key out, one instance after the other, as a deploy does. */
  move(): Promise<void>;
}

export interface Traffic {
  readonly callers: readonly Caller[];
  requests(): number;
  failures(): readonly string[];
  /** One more request, outside the count, with the key named; resolves to its status and Keyturn's verdict. */
  probe(which: Which, as: string): Promise<{ readonly status: number; readonly verdict: string }>;
  stop(): Promise<void>;
}

const INSTANCES = 4;
/** Requests per second of one instance, at most: it waits for its answer. */
const PACE_PER_SECOND = 10;
const ROLLOUT_STEP_MS = 350;
const WINDOW_MS = 1_000;

/** What a caller whose instances are all in good health reaches. */
export const FULL_RATE = INSTANCES * PACE_PER_SECOND;

/** Steady load on `url`, until it is stopped. Whatever is answered with anything but 200 is a failure. */
export function startTraffic(url: string, names: readonly string[], secrets: () => Secrets): Traffic {
  const failures: string[] = [];
  let requests = 0;
  let running = true;

  async function send(name: string, secret: string): Promise<Response> {
    const response = await fetch(url, {
      headers: { authorization: `Bearer ${secret}`, "keyturn-caller": name },
    });
    await response.arrayBuffer();
    return response;
  }

  function secretOf(which: Which): string {
    const secret = secrets()[which];
    if (secret === null) throw new Error("there is no new key yet");
    return secret;
  }

  async function one(name: string, which: Which): Promise<void> {
    const outcome = await send(name, secretOf(which)).then(
      (response) =>
        response.status === 200 ? null : `${response.status} ${response.headers.get("keyturn-code") ?? ""}`,
      (error: unknown) => String(error),
    );
    requests += 1;
    if (outcome !== null) failures.push(`${name}, ${which} key: ${outcome}`);
  }

  function startCaller(name: string): { readonly caller: Caller; readonly ended: Promise<unknown> } {
    const holds: Which[] = Array.from({ length: INSTANCES }, () => "old");
    const answered: { readonly at: number; readonly which: Which }[] = [];

    const work = async (instance: number) => {
      // Apart from each other, so that the load is steady.
      await Bun.sleep((instance * 1_000) / FULL_RATE);
      while (running) {
        const began = performance.now();
        const which = holds[instance] ?? "old";
        await one(name, which);
        answered.push({ at: performance.now(), which });
        await Bun.sleep(Math.max(1, 1_000 / PACE_PER_SECOND - (performance.now() - began)));
      }
    };
    const ended = Promise.all(holds.map((_, instance) => work(instance)));
    return {
      ended,
      caller: {
        name,
        rate: (which) => {
          const since = performance.now() - WINDOW_MS;
          while ((answered[0]?.at ?? since) < since) answered.shift();
          return answered.filter((one) => one.which === which).length;
        },
        move: async () => {
          for (let instance = 0; instance < INSTANCES; instance += 1) {
            holds[instance] = "new";
            await Bun.sleep(ROLLOUT_STEP_MS);
          }
        },
      },
    };
  }

  const started = names.map(startCaller);
  return {
    callers: started.map(({ caller }) => caller),
    requests: () => requests,
    failures: () => failures,
    probe: async (which, as) => {
      const response = await send(as, secretOf(which));
      const verdict = response.headers.get("keyturn-code") ?? (response.ok ? "valid" : "unknown");
      return { status: response.status, verdict };
    },
    stop: async () => {
      running = false;
      await Promise.all(started.map(({ ended }) => ended));
    },
  };
}
