/** How long a condition may take. Long, because it is a limit and no measurement: a good run never gets near. */
const LIMIT_MS = 60_000;
const PAUSE_MS = 20;

/** Asks until the answer is neither false nor undefined, and resolves to it. Fails by name after a minute. */
export async function until<T>(
  what: string,
  ask: () => T | false | undefined | Promise<T | false | undefined>,
): Promise<T> {
  const deadline = performance.now() + LIMIT_MS;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline) throw new Error(`This did not come about: ${what}`);
    await Bun.sleep(PAUSE_MS);
  }
}
