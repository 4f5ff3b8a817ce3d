import { networkOf } from "../access/addresses.ts";
import type { VerdictCode } from "../keys/verdict.ts";
import { withoutSecrets } from "../secret.ts";
import type { Instant } from "../time.ts";

/**
 * Who presents a key, as far as anybody can tell: `n:` and the name that the verification gave, or `u:` with the
 * network and the agent's product. The name is claimed by whoever verifies or holds the key; it is no proof.
 */
export type CallerId = `n:${string}` | `u:${string}`;

/** The row in which callers beyond the bound are counted together. */
export const OVERFLOW: CallerId = "u:overflow";

/** How many callers of one key are told apart. Further ones are counted as `OVERFLOW`, which blocks completion. */
export const MOST_CALLERS_PER_KEY = 256;

/** How much of an address is kept: `KEYTURN_CALLER_ADDRESS`. */
export type AddressKept = "full" | "prefix" | "none";

/** What a verification says of who is calling; all of it is optional. */
export interface CallerSighting {
  readonly name?: string | undefined;
  readonly address?: string | undefined;
  readonly agent?: string | undefined;
  /** Address and agent are getters that cost: of a named caller they are asked for once between two flushes. */
  readonly isDear?: boolean;
}

/** One caller of one key. Instants are of uses, whatever the verdict; `valid` ones of uses that were let through. */
export interface Caller {
  readonly id: CallerId;
  readonly name: string | null;
  readonly address: string | null;
  readonly agent: string | null;
  readonly firstSeenAt: Instant;
  readonly lastSeenAt: Instant;
  readonly firstValidAt: Instant | null;
  readonly lastValidAt: Instant | null;
  readonly counts: Readonly<Partial<Record<VerdictCode, number>>>;
}

export const LONGEST_CALLER_NAME = 100;
const LONGEST_AGENT = 200;
const NAME = /^[\p{L}\p{N}][\p{L}\p{N} ._:/@+-]*$/u;

/** Whether a text can be a caller's name: up to 100 letters, digits, spaces and `. _ : / @ + -`. */
export function isCallerName(text: string): boolean {
  return text.length <= LONGEST_CALLER_NAME && text.isWellFormed() && NAME.test(text);
}

/** The agent's product without its version: `curl/8.5.0 …` is `curl`. */
export function productOf(agent: string | undefined): string {
  if (agent === undefined) return "";
  const told = withoutSecrets(agent);
  const end = told.search(/[/\s(;,]/);
  return (end < 0 ? told : told.slice(0, end)).slice(0, 60).toWellFormed().toLowerCase();
}

/** The name by which a caller goes. One that holds a secret was a mistake, and must not be kept (R21). */
export function nameOf({ name }: CallerSighting): string | undefined {
  return name === undefined || name === "" || withoutSecrets(name) !== name ? undefined : name;
}

/** A version is an attribute of a deploy, not of a caller, so it is no part of the identity. */
export function callerIdOf(sighting: CallerSighting, kept: AddressKept): CallerId {
  const name = nameOf(sighting);
  if (name !== undefined) return `n:${name}`;
  const { address } = sighting;
  let network = "";
  if (address !== undefined && kept !== "none") {
    network = kept === "prefix" ? networkPrefix(address) : networkOf(address);
  }
  return `u:${network} ${productOf(sighting.agent)}`;
}

/** Neither a name nor an address nor an agent. */
const NOTHING_KNOWN: CallerId = "u: ";

/** What people are shown for a caller. */
export function callerLabel(id: CallerId): string {
  if (id === OVERFLOW) return "(too many callers to tell apart)";
  return id === NOTHING_KNOWN ? "(nothing known)" : id.slice(2);
}

export function isUnnamed(id: CallerId): boolean {
  return id.startsWith("u:");
}

export function keptAddress(address: string | undefined, kept: AddressKept): string | null {
  if (address === undefined || kept === "none") return null;
  return kept === "full" ? address : networkPrefix(address);
}

export function keptAgent(agent: string | undefined): string | null {
  if (agent === undefined) return null;
  return withoutSecrets(agent.toWellFormed().replace(/[\p{Cc}\p{Cf}]/gu, ""))
    .slice(0, LONGEST_AGENT)
    .toWellFormed();
}

function networkPrefix(address: string): string {
  const network = networkOf(address);
  const lastDot = network.lastIndexOf(".");
  return network.includes(":") || lastDot < 0 ? network : `${network.slice(0, lastDot)}.0/24`;
}
