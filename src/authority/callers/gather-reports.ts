import type { Authority } from "../authority.ts";
import { flushesIn } from "./recorder.ts";

const LONGEST_WAIT_MS = 5_000;
const PAUSE_MS = 25;

/** How often a process whose own flushes are further apart looks whether its report is waited for. */
export const LOOK_SECONDS = 1;

/**
 * Resolves when everything that was seen up to now, by any process, is stored. False when one that counts as living has
 * not told within 5 s: whoever judges goes by what was told so far. Not to be waited for inside a change: it holds up others.
 */
export async function gatherReports(authority: Authority): Promise<boolean> {
  const { clock, recorder, storage } = authority;
  const end = clock.monotonic() + LONGEST_WAIT_MS;
  const asked = new Map(
    (await storage.evidence.living()).map(({ id, batchSeq }) => [id, flushesIn(batchSeq)]),
  );
  await recorder.flush();
  let isAnnounced = false;
  for (;;) {
    // By no clock: those of two machines differ. The first flush that is stored from now on may have begun before; the
    // second has not, nor has the first of a session that has begun since.
    const untold = (await storage.evidence.living()).filter(
      ({ id, batchSeq }) => id !== recorder.session() && flushesIn(batchSeq) < (asked.get(id) ?? -1) + 2,
    );
    if (untold.length === 0) return true;
    if (clock.monotonic() >= end) return false;
    if (!isAnnounced) await storage.cluster.askForReports(crypto.randomUUID());
    isAnnounced = true;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

/** What tells ahead of its time when somebody waits for it. */
export function createReportAnswers({
  recorder,
  storage,
}: Pick<Authority, "recorder" | "storage">): () => Promise<void> {
  let answered: string | null = null;
  return async () => {
    const question = await storage.cluster.reportsAsked();
    if (question === null || question === answered) return;
    // Twice: that the first begins after the question, whoever asks can't know.
    await recorder.flush();
    await recorder.flush();
    answered = question;
  };
}
