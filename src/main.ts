import packageFile from "../package.json" with { type: "json" };
import { runCli } from "./cli/program.ts";
import { WORKER_ARGUMENT } from "./host/worker-order.ts";

const { version } = packageFile;
const args = process.argv.slice(2);

if (args[0] === WORKER_ARGUMENT) {
  // At once: nobody but its server knows of a worker, so none may stay because something in it has not ended.
  process.exit(await (await import("./host/serve-worker.ts")).serveAsWorker(args, process.env, version));
}

// Not process.exit: what is still to be written would be lost.
process.exitCode = await runCli(args, {
  version,
  environment: process.env,
  // Only when it is asked for: the server and the database take three times as long to load as all the rest.
  host: async () => (await import("./host/commands.ts")).createHostCommands(process.env, version),
});
