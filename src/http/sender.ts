import type { Role } from "../authority/access/rights.ts";
import type { CallerSighting } from "../authority/callers/caller.ts";
import type { Requirement } from "../authority/keys/verdict.ts";
import type { ClientAddress } from "./client-address.ts";

/** How to find out where a request came from. */
export interface Origins {
  readonly clientAddress: ClientAddress;
  readonly peerOf: (request: Request) => string | undefined;
}

/**
 * Who sent a request and what is asked of its key. Where it came from is found out when somebody looks: to ask the
 * runtime for the peer's address takes 1 to 1.5 µs, a tenth of the whole request, and a named caller whose key is good
 * from anywhere is judged without it.
 */
export class Sender implements CallerSighting, Requirement {
  readonly isDear = true;
  readonly name: string | undefined;
  readonly scopes: readonly string[] | undefined;
  readonly role: Role | undefined;
  readonly #request: Request;
  readonly #origins: Origins;
  #address: string | undefined | null = null;

  constructor(name: string | undefined, required: Requirement, request: Request, origins: Origins) {
    this.name = name;
    this.scopes = required.scopes;
    this.role = required.role;
    this.#request = request;
    this.#origins = origins;
  }

  get address(): string | undefined {
    if (this.#address !== null) return this.#address;
    const { clientAddress, peerOf } = this.#origins;
    this.#address = clientAddress(peerOf(this.#request), this.#request.headers.get("x-forwarded-for"));
    return this.#address;
  }

  get agent(): string | undefined {
    return this.#request.headers.get("user-agent") ?? undefined;
  }

  /** Looks now, for a verdict that comes later: by then the connection may be gone. */
  remember(): void {
    void this.address;
  }
}
