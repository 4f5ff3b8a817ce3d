/** Lets work with the same name run one after another, and work with other names beside it. */
export type Turns = <T>(name: string, work: () => Promise<T>) => Promise<T>;

/**
 * Who waits for a lock in the database holds a connection meanwhile: without turns in here, many changes of one account
 * would take all connections from the others. A turn that has not come after `waitMs` rejects with what `late` gives.
 */
export function createTurns(waitMs: number, late: () => Error): Turns {
  const lines = new Map<string, (() => void)[]>();

  function arrive(name: string): Promise<void> {
    const line = lines.get(name);
    if (line === undefined) {
      lines.set(name, []);
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        line.splice(line.indexOf(start), 1);
        reject(late());
      }, waitMs);
      const start = () => {
        clearTimeout(timer);
        resolve();
      };
      line.push(start);
    });
  }

  function leave(name: string): void {
    const next = lines.get(name)?.shift();
    if (next === undefined) lines.delete(name);
    else next();
  }

  return async (name, work) => {
    await arrive(name);
    try {
      return await work();
    } finally {
      leave(name);
    }
  };
}
