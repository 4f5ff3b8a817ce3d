import pino, { type Logger } from "pino";
import type { Config } from "../config.ts";

// Nothing that is logged holds a credential; should a header or body ever get here, its value does not get out.
const REDACTED = [
  "authorization",
  "*.authorization",
  "secret",
  "*.secret",
  "key",
  "*.key",
  "token",
  "*.token",
];

/** Lines of JSON on standard error. Where several processes serve, each line says which one it is from. */
export function createLog(level: Config["logLevel"], processName?: string): Logger {
  return pino(
    {
      level,
      base: processName === undefined ? null : { process: processName },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: REDACTED, censor: "[redacted]" },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}
