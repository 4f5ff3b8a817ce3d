import { statSync } from "node:fs";
import { createLane } from "../crash/lane.ts";
import type { Client } from "../support/client.ts";

/** A change whose answer said that it was made. */
export interface Acknowledged {
  /** The number of its audit entry. */
  readonly seq: number;
  /** How long the record was when the answer was there: all that the change needs stands before that. */
  readonly end: number;
  /** The key that it revoked, with its secret where that is known. */
  readonly revoked: { readonly id: string; readonly secret: string | undefined } | null;
}

/** What clients of a recorded server were told. */
export interface Ledger {
  readonly acknowledged: Acknowledged[];
  readonly secrets: Map<string, string>;
}

export function newLedger(): Ledger {
  return { acknowledged: [], secrets: new Map() };
}

/** Asks through `call`, and notes what was acknowledged. */
export function noting(call: Client, record: string, { acknowledged, secrets }: Ledger): Client {
  return async (method, path, asking) => {
    const told = await call(method, path, asking);
    const seq = told.headers.get("keyturn-seq");
    if (told.code !== undefined || method === "GET" || seq === null) return told;
    const secret = told.body.at("secret");
    if (typeof secret === "string") secrets.set(told.body.text("key", "id"), secret);
    const id = /^\/v1\/keys\/(key_\w+)\/revoke$/.exec(path)?.[1];
    acknowledged.push({
      seq: Number(seq),
      end: statSync(record).size,
      revoked: id === undefined ? null : { id, secret: secrets.get(id) },
    });
    return told;
  };
}

const LANES = 3;

/** Several clients at once make changes of all kinds, until so many more are acknowledged. None may be refused. */
export async function work(
  name: string,
  call: Client,
  ledger: Ledger,
  more: number,
  random: () => number,
): Promise<void> {
  const goal = ledger.acknowledged.length + more;
  const until: Client = async (method, path, asking) => {
    // What a lane takes for the end of the server.
    if (ledger.acknowledged.length >= goal) throw Object.assign(new Error("enough"), { code: "EENOUGH" });
    const told = await call(method, path, asking);
    if (told.code !== undefined) throw new Error(`${method} ${path} was refused: ${told.text}`);
    return told;
  };
  const lanes = Array.from({ length: LANES }, (_, lane) => createLane(`${name}-${lane}`, random));
  await Promise.all(lanes.map((lane) => lane.work(until)));
}
