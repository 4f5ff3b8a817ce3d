/** Work that comes round again and again. A round that takes longer than its interval is not started twice. */
export interface Rounds {
  every(milliseconds: number, what: string, work: () => Promise<unknown> | unknown): void;
  /** Something of a round, ahead of its time. Should it fail, the round itself will tell. */
  ahead(work: () => Promise<unknown>): void;
  /** What is under way ends first: a revocation is told to the witness after it is durable. */
  stop(): Promise<void>;
}

/** Told of the first failure of a round in a row, and when it worked again. */
export interface RoundsTold {
  failed(error: unknown, what: string): void;
  recovered(what: string): void;
}

export function createRounds(told: RoundsTold): Rounds {
  const timers: ReturnType<typeof setInterval>[] = [];
  const underWay = new Set<Promise<void>>();
  return {
    every: (milliseconds, what, work) => {
      let busy = false;
      let failing = false;
      const round = async () => {
        try {
          await work();
          if (failing) told.recovered(what);
          failing = false;
        } catch (error) {
          // Once: a database that is away for an hour would fill the log.
          if (!failing) told.failed(error, what);
          failing = true;
        }
      };
      const timer = setInterval(() => {
        if (busy) return;
        busy = true;
        const running = round().finally(() => {
          busy = false;
          underWay.delete(running);
        });
        underWay.add(running);
      }, milliseconds);
      timers.push(timer);
    },
    ahead: (work) => {
      const running = work()
        .then(
          () => undefined,
          () => undefined,
        )
        .finally(() => underWay.delete(running));
      underWay.add(running);
    },
    stop: async () => {
      for (const timer of timers) clearInterval(timer);
      await Promise.all(underWay);
    },
  };
}
