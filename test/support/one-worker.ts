/**
 * `bun one-worker.ts <folder> <now>`: works over a folder as a process of its own, until two rounds find nothing to do,
 * and prints how many steps it took. Its clock stands still at `now`.
 */
import { createAuthority } from "../../src/authority/authority.ts";
import { openSqliteStorage } from "../../src/storage/sqlite-storage.ts";
import { workOnce } from "../../src/worker/worker.ts";
import { SETTINGS } from "./authority.ts";

const [folder = "", now = ""] = process.argv.slice(2);
const storage = openSqliteStorage(folder);
const authority = await createAuthority({
  settings: SETTINGS,
  storage,
  clock: { wall: () => Number(now), monotonic: () => 1_000 },
  random: (size) => crypto.getRandomValues(new Uint8Array(size)),
  witness: null,
  process: { name: `worker-${process.pid}`, version: "0" },
});
let steps = 0;
for (let idle = 0; idle < 2; ) {
  const round = await workOnce(authority);
  if (round.failures.length > 0) throw round.failures[0];
  steps += round.steps.length;
  idle = round.steps.length === 0 ? idle + 1 : 0;
}
await storage.close();
process.stdout.write(String(steps));
