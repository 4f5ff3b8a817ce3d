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

/** Lines of JSON on standard error. */
export function createLog(level: Config["logLevel"]): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: REDACTED, censor: "[redacted]" },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}
