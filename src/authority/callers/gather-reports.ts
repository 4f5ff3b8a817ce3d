import type { Authority } from "../authority.ts";

const LONGEST_WAIT_MS = 5_000;
const PAUSE_MS = 25;

/**
 * Resolves when everything that was seen up to now, by any process, is stored. False when a process that counts as
 * living has not told within two flush intervals (5 s at most): whoever judges goes by what was told so far.
 */
export async function gatherReports(authority: Authority): Promise<boolean> {
  const { clock, time, recorder, settings, storage } = authority;
  const asked = time.now();
  const end = clock.monotonic() + Math.min(LONGEST_WAIT_MS, 2_000 * settings.flushSeconds);
  await recorder.flush();
  for (;;) {
    const { watermark } = await storage.evidence.watched();
    if (watermark === null || watermark >= asked) return true;
    if (clock.monotonic() >= end) return false;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}
