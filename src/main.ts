import packageFile from "../package.json" with { type: "json" };
import { readConfig } from "./config.ts";
import { serveUntilSignal } from "./host/serve.ts";

await serveUntilSignal(readConfig(process.env), packageFile.version);
