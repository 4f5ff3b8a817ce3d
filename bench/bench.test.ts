import { expect, test } from "bun:test";
import { join } from "node:path";

// Not a claim about speed: only that the bench still runs from end to end against the real server.
test("a row of the bench still measures the real server beside its floor", async () => {
  const child = Bun.spawn(
    [process.execPath, join(import.meta.dir, "main.ts"), "--tiny", "forward-auth", "SHA-256"],
    {
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  const [output, errors] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  await child.exited;
  expect(errors).toBe("");
  expect(output).toMatch(
    /forward-auth: requests\/s against a bare 200\n {6}[\d,]+\/s, floor [\d,]+\/s: [\d.]+x \(at least 0\.5x\)/,
  );
  expect(output).toMatch(/one SHA-256 of the key\n {6}\d+ ns, floor \d+ ns: [\d.]+x \(at most 3x\)/);
}, 60_000);

test("a word that no row has is refused, and so is an unknown flag", async () => {
  for (const argument of ["no-such-row", "--fast"]) {
    const child = Bun.spawn([process.execPath, join(import.meta.dir, "main.ts"), argument], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    expect(await child.exited).toBe(2);
  }
});
