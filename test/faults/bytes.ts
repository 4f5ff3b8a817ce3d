/** The content of a file that grows: room is taken in doubling steps, so that a million small writes stay cheap. */
export interface Bytes {
  room: Buffer;
  length: number;
}

export function newBytes(): Bytes {
  return { room: Buffer.alloc(0), length: 0 };
}

export function contentOf({ room, length }: Bytes): Buffer {
  return room.subarray(0, length);
}

export function copyOf(bytes: Bytes): Bytes {
  return { room: Buffer.from(contentOf(bytes)), length: bytes.length };
}

/** Writes `data`; what lies between the end and `at` reads as zeros. */
export function put(bytes: Bytes, at: number, data: Buffer): void {
  const end = at + data.length;
  if (end > bytes.length) cut(bytes, end);
  data.copy(bytes.room, at);
}

/** Sets the length: what is cut off is gone, and what is added reads as zeros. */
export function cut(bytes: Bytes, length: number): void {
  if (length > bytes.room.length) {
    const room = Buffer.alloc(Math.max(length, 2 * bytes.room.length));
    contentOf(bytes).copy(room);
    bytes.room = room;
  } else if (length < bytes.length) bytes.room.fill(0, length, bytes.length);
  bytes.length = length;
}
