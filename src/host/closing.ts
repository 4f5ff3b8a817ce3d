/** What was opened, to be closed in the opposite order: at a stop as well as when a start fails half-way. */
export interface Closing {
  add(...ends: readonly (() => Promise<void> | void)[]): void;
  /** Goes through all of it. What fails doesn't keep the rest open; the first failure is thrown at the end. */
  close(): Promise<void>;
}

export function createClosing(): Closing {
  const opened: (() => Promise<void> | void)[] = [];
  return {
    add: (...ends) => void opened.push(...ends),
    close: async () => {
      const failures: unknown[] = [];
      for (const end of opened.splice(0).toReversed()) {
        try {
          await end();
        } catch (error) {
          failures.push(error);
        }
      }
      if (failures.length > 0) throw failures[0];
    },
  };
}
