import { clientOf } from "./client.ts";

/** What a process answered to one request, and when that was sent and answered, on this process's monotonic clock. */
export interface Sighting {
  readonly sentAt: number;
  readonly answeredAt: number;
  /** The verdict, or what came in place of one. */
  readonly code: string;
  readonly stalenessSeconds: number | null;
}

export interface Watch {
  readonly sightings: readonly Sighting[];
  /** Sends no more, and resolves when all that was sent is answered. */
  stop(): Promise<readonly Sighting[]>;
}

/** Asks for the verdict on a key again and again, at a steady pace, whether or not the process answers meanwhile. */
export function watchVerdicts(url: string, asker: string, key: string, everyMs: number): Watch {
  const call = clientOf(url, asker);
  const sightings: Sighting[] = [];
  const underWay = new Set<Promise<void>>();

  async function look(): Promise<void> {
    const sentAt = performance.now();
    const told = await call("POST", "/v1/keys/verify", { body: { key } }).catch(() => null);
    const staleness = told?.headers.get("keyturn-staleness-seconds") ?? null;
    sightings.push({
      sentAt,
      answeredAt: performance.now(),
      code: told === null ? "no answer" : (told.code ?? told.body.text("code")),
      stalenessSeconds: staleness === null ? null : Number(staleness),
    });
  }

  const timer = setInterval(() => {
    const looking: Promise<void> = look().finally(() => underWay.delete(looking));
    underWay.add(looking);
  }, everyMs);
  return {
    sightings,
    stop: async () => {
      clearInterval(timer);
      await Promise.all(underWay);
      return sightings;
    },
  };
}
