import { Buffer } from "node:buffer";

/** Texts by digest, in a few large blocks of bytes: a million are no million things for the garbage collector. */
export interface PackedTexts {
  put(digest: string, text: string): void;
  /** Gives a text out and forgets it. */
  take(digest: string): string | undefined;
  forget(digest: string): void;
  size(): number;
}

const BLOCK_BYTES = 256 * 1024;
const DIGEST_LENGTH = 44;
const LENGTH_BYTES = 4;

interface Block {
  readonly number: number;
  readonly bytes: Buffer;
  used: number;
}

/**
 * Holds at most `capacity` texts in about `capacity * meanBytes` bytes; the oldest block makes room, and what would not
 * fill one block is not kept at all. A record is its
 * length, its digest and its text. The index goes by 48 bits of the digest; two digests that share them are told apart
 * by the record, and the later one displaces the earlier.
 */
export function createPackedTexts(capacity: number, meanBytes: number): PackedTexts {
  const places = new Map<number, number>();
  const blocks = new Map<number, Block>();
  const mostBlocks = Math.floor((capacity * meanBytes) / BLOCK_BYTES) + 1;
  let newest = addBlock(0);

  function addBlock(number: number): Block {
    const block = { number, bytes: Buffer.allocUnsafeSlow(BLOCK_BYTES), used: 0 };
    blocks.set(number, block);
    return block;
  }

  function dropOldest(): void {
    for (const { number, bytes, used } of blocks.values()) {
      for (let at = 0; at < used; at += bytes.readUInt32LE(at)) {
        const index = indexOf(bytes.toString("latin1", at + LENGTH_BYTES, at + LENGTH_BYTES + DIGEST_LENGTH));
        if (places.get(index) === number * BLOCK_BYTES + at) places.delete(index);
      }
      blocks.delete(number);
      return;
    }
  }

  function find(digest: string): { readonly index: number; readonly text: string } | undefined {
    const index = indexOf(digest);
    const place = places.get(index);
    const block = place === undefined ? undefined : blocks.get(Math.floor(place / BLOCK_BYTES));
    if (place === undefined || block === undefined) return undefined;
    const at = place % BLOCK_BYTES;
    const textAt = at + LENGTH_BYTES + DIGEST_LENGTH;
    if (block.bytes.toString("latin1", at + LENGTH_BYTES, textAt) !== digest) return undefined;
    return { index, text: block.bytes.toString("utf8", textAt, at + block.bytes.readUInt32LE(at)) };
  }

  function forget(digest: string): void {
    const found = find(digest);
    if (found !== undefined) places.delete(found.index);
  }

  return {
    put: (digest, text) => {
      const length = LENGTH_BYTES + DIGEST_LENGTH + Buffer.byteLength(text);
      if (digest.length !== DIGEST_LENGTH || length > BLOCK_BYTES || mostBlocks < 2) return;
      if (newest.used + length > BLOCK_BYTES) {
        newest = addBlock(newest.number + 1);
        if (blocks.size > mostBlocks) dropOldest();
      }
      const { bytes, used, number } = newest;
      bytes.writeUInt32LE(length, used);
      bytes.write(digest, used + LENGTH_BYTES, "latin1");
      bytes.write(text, used + LENGTH_BYTES + DIGEST_LENGTH, "utf8");
      newest.used += length;
      places.set(indexOf(digest), number * BLOCK_BYTES + used);
      while (places.size > capacity) {
        if (blocks.size === 1) newest = addBlock(newest.number + 1);
        dropOldest();
      }
    },
    take: (digest) => {
      const found = find(digest);
      if (found === undefined) return undefined;
      places.delete(found.index);
      return found.text;
    },
    forget,
    size: () => places.size,
  };
}

/** The first 48 bits of a digest in base64: eight characters. */
function indexOf(digest: string): number {
  return Buffer.from(digest.slice(0, 8), "base64").readUIntBE(0, 6);
}
