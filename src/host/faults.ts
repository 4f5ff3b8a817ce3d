import { Refusal } from "../authority/errors.ts";
import { CliFailure, EXIT } from "../cli/exit.ts";
import { ConfigError } from "../config.ts";
import { HostError } from "./open.ts";

/** What the command line says of something that went wrong on the machine. Bugs are passed on as they are. */
function faultOf(error: unknown): unknown {
  if (error instanceof ConfigError) return new CliFailure(EXIT.usage, error.message);
  if (error instanceof HostError) return new CliFailure(EXIT.refused, error.message);
  if (error instanceof Refusal) return new CliFailure(EXIT.refused, `${error.code}: ${error.message}`);
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return error;
  if (error.code === "EADDRINUSE") {
    return new CliFailure(
      EXIT.refused,
      "The address is taken by another program. Choose another with KEYTURN_PORT or KEYTURN_HOST.",
    );
  }
  // Files and the database: their own words say which file and what is the matter.
  if (/^(E[A-Z0-9]+|SQLITE_[A-Z_]+)$/.test(error.code))
    return new CliFailure(EXIT.refused, `${error.code}: ${error.message}`);
  return error;
}

/** Runs what may go wrong on the machine, and says so in words. */
export async function explaining<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw faultOf(error);
  }
}
