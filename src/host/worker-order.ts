import { z } from "zod";

/** The first argument of a process that serves for another one. Nobody types it. */
export const WORKER_ARGUMENT = "serve-worker";

/** What a server tells its worker on the worker's command line. */
export interface WorkerOrder {
  /** From 1 on. */
  readonly number: number;
  /** 0: take a free one, and say which. */
  readonly port: number;
  /** Without this process, the worker must not serve. */
  readonly serverPid: number;
  readonly version: string;
}

export function argumentsOf({ number, port, serverPid, version }: WorkerOrder): readonly string[] {
  return [WORKER_ARGUMENT, String(number), String(port), String(serverPid), version];
}

const whole = z.coerce.number().int().nonnegative();
const order = z.tuple([z.literal(WORKER_ARGUMENT), whole, whole, whole, z.string()]);

/** Null where these are not such arguments. */
export function orderIn(args: readonly string[]): WorkerOrder | null {
  const parsed = order.safeParse(args);
  if (!parsed.success) return null;
  const [, number, port, serverPid, version] = parsed.data;
  return { number, port, serverPid, version };
}

/** What a worker tells its server: that it serves, or why it can't. */
export const workerMessage = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("ready"), url: z.string() }),
  z.object({ kind: z.literal("refused"), why: z.string() }),
]);
export type WorkerMessage = z.infer<typeof workerMessage>;
