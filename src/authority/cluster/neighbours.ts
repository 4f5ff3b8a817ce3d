import type { ServingProcess } from "../storage.ts";
import type { Instant, Seconds } from "../time.ts";

/** The longest ceiling that `bounded` keys can have: whoever is cut off for longer can judge none but `static` ones. */
const ALIVE_MS = 60_000;

/** Whether a process was heard of within the last minute. */
export function isAlive({ at }: Pick<ServingProcess, "at">, now: Instant): boolean {
  return now - at <= ALIVE_MS;
}

/** What of the other processes doesn't go with this one. */
export interface Disagreement {
  /** A living process is called as this one is. */
  readonly hasNamesake: boolean;
  /** Living processes that judge `bounded` keys by another ceiling. */
  readonly otherCeilings: readonly Pick<ServingProcess, "name" | "boundedSeconds">[];
}

/** What this process has last read of the others. */
export interface Neighbours {
  note(processes: readonly ServingProcess[], now: Instant): void;
  disagreement(): Disagreement;
  /** What one of them may know against the database that is there now; null when nothing is in doubt. */
  doubt(why: string | null): void;
  doubted(): string | null;
}

export function createNeighbours(
  own: Pick<ServingProcess, "id" | "name">,
  boundedSeconds: Seconds,
): Neighbours {
  let living: readonly ServingProcess[] = [];
  let doubted: string | null = null;
  return {
    note: (processes, now) => {
      living = processes.filter((one) => one.id !== own.id && isAlive(one, now));
    },
    disagreement: () => ({
      hasNamesake: living.some(({ name }) => name === own.name),
      otherCeilings: living.filter((one) => one.boundedSeconds !== boundedSeconds),
    }),
    doubt: (why) => {
      doubted = why;
    },
    doubted: () => doubted,
  };
}
