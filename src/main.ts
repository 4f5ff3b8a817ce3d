import packageFile from "../package.json" with { type: "json" };
import { runCli } from "./cli/program.ts";

const { version } = packageFile;

// Not process.exit: what is still to be written would be lost.
process.exitCode = await runCli(process.argv.slice(2), {
  version,
  environment: process.env,
  // Only when it is asked for: the server and the database take three times as long to load as all the rest.
  host: async () => (await import("./host/commands.ts")).createHostCommands(process.env, version),
});
