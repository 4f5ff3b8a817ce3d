import ipaddr from "ipaddr.js";

type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** A CIDR block: the network's address, its host bits zero, and the length of its prefix in bits. */
type Block = { readonly network: Address; readonly prefix: number };

type CheckedBlock =
  | { readonly ok: true; readonly block: string }
  | { readonly ok: false; readonly message: string };

/** Blocks read once, so that asking for an address costs only the reading of that address. */
export interface AddressList {
  /** Whether a textual address lies in one of the blocks; false for anything that is not an address. */
  has(address: string): boolean;
}

const HOW_TO_WRITE = "write an address or a CIDR block, such as 203.0.113.7, 10.0.0.0/8 or 2001:db8::/32";

// Eight groups of four with a dotted tail: 0000:0000:0000:0000:0000:ffff:255.255.255.255.
const LONGEST_ADDRESS = 45;

const DOTTED = /^(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}$/;
const V6_CHARACTERS = /^[0-9a-fA-F:]+$/;

// RFC 4291, 2.5.5.2: IPv4 written as IPv6.
const MAPPED = ipaddr.IPv6.parse("::ffff:0:0");

/**
 * The one text of an address, or undefined for what is not one: IPv4 in four decimal parts, IPv6 as RFC 5952
 * writes it, IPv4-mapped IPv6 as the IPv4 it stands for. Octal, hexadecimal and short IPv4 and zone ids are
 * not read (R31).
 */
export function canonicalAddress(text: string): string | undefined {
  return readAddress(text)?.toString();
}

/**
 * The one text of a CIDR block, a single address being a block of one. A block with host bits set is refused
 * with the network it lies in; IPv4-mapped blocks become IPv4. `::/0` holds every IPv6 address and no IPv4
 * one.
 */
export function canonicalBlock(text: string): CheckedBlock {
  const read = readBlock(text);
  return "message" in read ? { ok: false, message: read.message } : { ok: true, block: textOf(read) };
}

/** Reads blocks once; one that can't be read holds nothing. */
export function compileBlocks(blocks: readonly string[]): AddressList {
  const read = readBlocks(blocks);
  return {
    has(text) {
      const address = readAddress(text);
      return address !== undefined && isWithin({ network: address, prefix: widthOf(address) }, read);
    },
  };
}

/**
 * Whether an address lies in one of the blocks; what can't be read lies in none. `compileBlocks` is for many.
 */
export function addressWithin(address: string, blocks: readonly string[]): boolean {
  return compileBlocks(blocks).has(address);
}

/**
 * Whether each inner block lies inside one outer block; what can't be read lies in none. Two halves in
 * `outer` do not make a whole: that would be true in fact but is answered false, which errs towards refusing.
 */
export function blocksWithin(inner: readonly string[], outer: readonly string[]): boolean {
  const outside = readBlocks(outer);
  return inner.map(readBlock).every((block) => !("message" in block) && isWithin(block, outside));
}

/**
 * The blocks that hold exactly the addresses in both lists, canonical, sorted as text and each once. CIDR
 * blocks are nested or apart, so each of them stood in one of the lists; none is left when no address is in
 * both.
 */
export function intersectBlocks(a: readonly string[], b: readonly string[]): readonly string[] {
  const [left, right] = [readBlocks(a), readBlocks(b)];
  const inBoth = [
    ...left.filter((block) => isWithin(block, right)),
    ...right.filter((block) => isWithin(block, left)),
  ];
  return [...new Set(inBoth.map(textOf))].sort();
}

/**
 * What counts as one place on the network: an IPv4 address itself, the /64 of an IPv6 address, whose holder
 * has all of its addresses (R31). What is not an address is `unknown`.
 */
export function networkOf(address: string): string {
  const read = readAddress(address);
  if (read === undefined) return "unknown";
  return isIPv6(read) ? textOf({ network: networkAt(read, 64), prefix: 64 }) : read.toString();
}

function readBlock(text: string): Block | { readonly message: string } {
  const slash = text.indexOf("/");
  const address = readAsWritten(slash < 0 ? text : text.slice(0, slash));
  if (address === undefined) return { message: `this is not an IP address; ${HOW_TO_WRITE}` };

  const bits = widthOf(address);
  const prefix = slash < 0 ? bits : readPrefix(text.slice(slash + 1));
  if (prefix === undefined || prefix > bits) {
    return { message: `the prefix is a whole number from 0 to ${bits}; ${HOW_TO_WRITE}` };
  }

  if (!isMapped(address)) return withoutHostBits(address, prefix);
  if (prefix < 96) return { message: "an IPv4-mapped block has a prefix of 96 to 128; write it as IPv4" };
  return withoutHostBits(address.toIPv4Address(), prefix - 96);
}

function withoutHostBits(address: Address, prefix: number): Block | { readonly message: string } {
  const block = { network: networkAt(address, prefix), prefix };
  if (block.network.toString() === address.toString()) return block;
  const single = textOf({ network: address, prefix: widthOf(address) });
  const ways = `write ${textOf(block)} for the network or ${single} for the address`;
  return { message: `this block has bits set beyond its prefix; ${ways}` };
}

function readBlocks(texts: readonly string[]): readonly Block[] {
  return texts.map(readBlock).flatMap((block) => ("message" in block ? [] : [block]));
}

function textOf(block: Block): string {
  return `${block.network.toString()}/${block.prefix}`;
}

function isWithin(inner: Block, outer: readonly Block[]): boolean {
  return outer.some(
    (each) =>
      each.prefix <= inner.prefix &&
      each.network.kind() === inner.network.kind() &&
      inner.network.match(each.network, each.prefix),
  );
}

function readAddress(text: string): Address | undefined {
  // How a dual-stack socket writes an IPv4 peer: about 0.2 µs straight, 3 µs by way of IPv6, measured.
  const peer = text.startsWith("::ffff:") ? readIPv4(text.slice(7)) : undefined;
  if (peer !== undefined) return peer;
  const address = readAsWritten(text);
  return address !== undefined && isMapped(address) ? address.toIPv4Address() : address;
}

/**
 * Reads an address in the family it is written in. ipaddr.js alone would read octal, hexadecimal and short
 * IPv4.
 */
function readAsWritten(text: string): Address | undefined {
  if (text.length > LONGEST_ADDRESS) return undefined;
  if (!text.includes(":")) return readIPv4(text);
  const groups = inGroups(text);
  if (groups === undefined) return undefined;
  try {
    return ipaddr.IPv6.parse(groups);
  } catch {
    // What ipaddr.js refuses is no address. Asking isValid first would read each good one twice.
    return undefined;
  }
}

function readIPv4(text: string): ipaddr.IPv4 | undefined {
  if (!DOTTED.test(text)) return undefined;
  const octets = text.split(".").map(Number);
  return octets.every((octet) => octet <= 255) ? new ipaddr.IPv4(octets) : undefined;
}

/**
 * Writes the dotted tail of an IPv6 address as two groups. ipaddr.js would read the tail's octets leniently,
 * and take `::192.0.2.1` for the mapped `::ffff:192.0.2.1`, which is another address (RFC 4291, 2.5.5).
 */
function inGroups(text: string): string | undefined {
  const tailAt = text.lastIndexOf(":") + 1;
  const tail = text.slice(tailAt);
  const octets = tail.includes(".") ? readIPv4(tail)?.octets : undefined;
  if (octets === undefined) return V6_CHARACTERS.test(text) ? text : undefined;
  const [a = 0, b = 0, c = 0, d = 0] = octets;
  const groups = `${text.slice(0, tailAt)}${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
  return V6_CHARACTERS.test(groups) ? groups : undefined;
}

function isIPv6(address: Address): address is ipaddr.IPv6 {
  return address.kind() === "ipv6";
}

function isMapped(address: Address): address is ipaddr.IPv6 {
  return isIPv6(address) && address.match(MAPPED, 96);
}

function widthOf(address: Address): 32 | 128 {
  return isIPv6(address) ? 128 : 32;
}

function readPrefix(text: string): number | undefined {
  return /^(?:0|[1-9][0-9]{0,2})$/.test(text) ? Number(text) : undefined;
}

/** The address with all bits beyond the prefix zero. */
function networkAt(address: Address, prefix: number): Address {
  const mask = (isIPv6(address) ? ipaddr.IPv6 : ipaddr.IPv4).subnetMaskFromPrefixLength(prefix).toByteArray();
  return ipaddr.fromByteArray(address.toByteArray().map((byte, at) => byte & (mask[at] ?? 0)));
}
