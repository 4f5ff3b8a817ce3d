import { canonicalAddress, compileBlocks } from "../authority/access/addresses.ts";

/** How to tell where a request came from. */
export type ClientAddress = (peer: string | undefined, forwardedFor: string | null) => string | undefined;

/**
 * The rightmost hop outside the trusted proxies, in canonical form. Forwarding headers of anybody else are not
 * believed, so the peer itself is the answer then (R25, R31). Undefined when a hop can't be read.
 */
export function createClientAddress(trustedProxies: readonly string[]): ClientAddress {
  const trusted = compileBlocks(trustedProxies);
  const canonical = new Map<string, string>();
  return (peer, forwardedFor) => {
    if (peer === undefined) return undefined;
    let address = canonical.get(peer);
    if (address === undefined) {
      address = canonicalAddress(peer);
      if (address === undefined) return undefined;
      if (canonical.size >= 10_000) canonical.clear();
      canonical.set(peer, address);
    }
    if (forwardedFor === null || trustedProxies.length === 0 || !trusted.has(address)) return address;
    const hops = forwardedFor.split(",");
    for (let index = hops.length - 1; index >= 0; index -= 1) {
      const hop = canonicalAddress((hops[index] ?? "").trim());
      if (hop === undefined) return undefined;
      if (!trusted.has(hop)) return hop;
      address = hop;
    }
    return address;
  };
}
