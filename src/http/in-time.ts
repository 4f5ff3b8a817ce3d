import { Refusal } from "../authority/errors.ts";
import type { Seconds } from "../authority/time.ts";

/**
 * What the work comes to, within its time: whoever asks must get an answer while the connection is there. Work that takes
 * longer goes on, so of a change (`isChange`) nobody can say then whether it will be made.
 */
export async function inTime<T>(work: Promise<T>, seconds: Seconds, isChange: boolean): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(isChange ? unknown(seconds) : unavailable(seconds)), seconds * 1000);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function unknown(seconds: Seconds): Refusal {
  return new Refusal(
    "outcome_unknown",
    `The change was not made within ${seconds} s, and it is unknown whether it will be. Retry with the same Idempotency-Key.`,
    { cause: new Error("a change took too long") },
  );
}

function unavailable(seconds: Seconds): Refusal {
  return new Refusal("storage_unavailable", `The database did not give an answer within ${seconds} s.`, {
    cause: new Error("a reading took too long"),
  });
}
