import type { Environment } from "../../src/config.ts";
import { type Place, type Served, serveAt } from "../support/installation.ts";
import type { ProcessOptions } from "../support/keyturn-process.ts";

const running: Served[] = [];

/** A server that `killAll` ends, if nobody has by then. */
export async function serve(
  place: Place,
  env: Environment = {},
  limits: Pick<ProcessOptions, "through"> = {},
): Promise<Served> {
  const served = await serveAt(place, env, limits);
  running.push(served);
  return served;
}

export async function kill({ process }: Served): Promise<void> {
  process.signal("SIGKILL");
  await process.exited;
}

/** For `afterEach`. */
export async function killAll(): Promise<void> {
  for (const served of running.splice(0)) await kill(served);
}
