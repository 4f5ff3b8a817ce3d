/**
 * The peer: better-auth's API-key plugin on SQLite, set up as its documentation says, with everything turned to its
 * advantage that keeps what a team would keep: WAL, rate limiting off (it is on by default, and lets a key pass ten times
 * a day), use written after the answer. Measures itself in process, then serves verification over HTTP, and prints one
 * line of JSON.
 *
 *     bun bench/peer/serve.mjs <folder> <keys> <seconds>
 */
import { Database } from "bun:sqlite";
import { join } from "node:path";
import { apiKey } from "@better-auth/api-key";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";

const [folder, keyCount, secondsText] = process.argv.slice(2);
const seconds = Number(secondsText);
const database = new Database(join(folder, "peer.db"), { create: true });
database.run("pragma journal_mode = wal");
// As durable as Keyturn for what was acknowledged: a created key survives a power cut.
database.run("pragma synchronous = full");

const auth = betterAuth({
  database,
  baseURL: "http://127.0.0.1",
  secret: "a-secret-of-the-bench-that-protects-nothing",
  emailAndPassword: { enabled: true },
  logger: { disabled: true },
  telemetry: { enabled: false },
  advanced: { backgroundTasks: { handler: (promise) => void promise.catch(() => undefined) } },
  plugins: [apiKey({ rateLimit: { enabled: false }, deferUpdates: true, enableMetadata: true })],
});
const { runMigrations } = await getMigrations(auth.options);
await runMigrations();

const { user } = await auth.api.signUpEmail({
  body: { name: "bench", email: "bench@example.com", password: "correct horse battery staple" },
});

const keys = [];
const createStart = performance.now();
for (let index = 0; index < Number(keyCount); index += 1) {
  const { key } = await auth.api.createApiKey({ body: { name: `key-${index}`, userId: user.id } });
  keys.push(key);
}
const createPerSecond = (keys.length * 1000) / (performance.now() - createStart);

async function verify(key) {
  const { valid } = await auth.api.verifyApiKey({ body: { key } });
  return valid;
}

let verified = 0;
const verifyStart = performance.now();
while (performance.now() - verifyStart < seconds * 1000) {
  if (!(await verify(keys[verified % keys.length]))) throw new Error("a good key was refused");
  verified += 1;
}
const verifyPerSecond = (verified * 1000) / (performance.now() - verifyStart);

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  routes: {
    "/v1/keys/verify": {
      POST: async (request) => {
        const { key } = await request.json();
        return Response.json(await auth.api.verifyApiKey({ body: { key } }));
      },
    },
  },
});
console.log(JSON.stringify({ port: server.port, keys, createPerSecond, verifyPerSecond }));
