import { compileBlocks } from "../access/addresses.ts";
import type { OwnRights } from "../access/rights.ts";
import type { PendingKey } from "../callers/backlog.ts";
import { type Freshness, freshnessOf } from "../freshness.ts";
import type { AccountId, KeyId, LineageId } from "../ids.ts";
import type { Instant } from "../time.ts";
import { type Key, type KeyKind, type Metadata, type Owner, rightsOf, type Suspension } from "./key.ts";
import { createPackedTexts } from "./packed-texts.ts";
import type { Effective, Matched } from "./verdict.ts";

/** Says whether all keys that share it are still as they were remembered. */
interface Bond {
  intact: boolean;
}

/** What all keys of one owner share, for as long as nothing about owner and account has changed. */
interface Standing extends Bond {
  readonly place: number;
  readonly accountId: AccountId;
  readonly owner: Owner;
  readonly ownerText: string;
  readonly accountSuspended: boolean;
  /** The effective rights of keys that have none of their own. */
  readonly inherited: Effective;
}

/** A key at hand. `pending` is the recorder's. */
export interface Remembered {
  matched: Matched;
  readonly freshness: Freshness;
  readonly effective: Effective;
  readonly standing: Standing;
  readonly rotation: Bond | null;
  pending: PendingKey | null;
}

/** What the verifier knows without asking the store, by digest. Nothing in it can be turned back into a secret. */
export interface KeyMemory {
  get(digest: string): Remembered | undefined;
  put(digest: string, matched: Matched): Remembered;
  forget(digest: string): void;
  /** All keys of this owner or account, or in this rotation. */
  forgetKeysOf(kind: "service_account" | "account" | "rotation", id: string): void;
  size(): number;
}

/** How many keys are kept as objects, 2 to 3 KB each. */
const MOST_AT_HAND = 10_000;

/** What a packed key may take on average; without names and rights of its own it is 190 bytes. */
const PACKED_BYTES = 256;

/**
 * Remembers about `capacity` keys, the oldest make room. Those used last are kept as objects; the others as one packed
 * text each, which is read again at their next use (3 µs, where the store takes 7 to 20). A million plain objects took
 * 3,000 MB; packed they take 300 MB.
 */
export function createKeyMemory(capacity: number): KeyMemory {
  const mostAtHand = Math.min(MOST_AT_HAND, capacity);
  const atHand = createQueue<Remembered>();
  const packed = createPackedTexts(capacity - mostAtHand, PACKED_BYTES);
  const standings = new Map<number, Standing>();
  const standingByOwner = new Map<string, Standing>();
  const rotations = new Map<string, Bond>();
  let places = 0;

  function standingOf({ key, owner, accountSuspended }: Matched): Standing {
    const had = standingByOwner.get(owner.id);
    const ownerText = JSON.stringify(owner);
    if (had?.ownerText === ownerText && had.accountSuspended === accountSuspended) return had;
    if (had !== undefined) drop(had);
    places += 1;
    const standing: Standing = {
      place: places,
      accountId: key.accountId,
      owner,
      ownerText,
      accountSuspended,
      inherited: effectiveOf({ ...key, own: INHERITED }, owner),
      intact: true,
    };
    standings.set(standing.place, standing);
    standingByOwner.set(owner.id, standing);
    return standing;
  }

  function drop(standing: Standing): void {
    standing.intact = false;
    standings.delete(standing.place);
    standingByOwner.delete(standing.owner.id);
  }

  /** Verdicts tell of the rotation's state, so its steps must reach them as well. */
  function rotationBond({ rotation }: Matched): Bond | null {
    if (rotation === null) return null;
    const bond = rotations.get(rotation.id) ?? { intact: true };
    rotations.set(rotation.id, bond);
    return bond;
  }

  function hold(digest: string, matched: Matched, standing: Standing): Remembered {
    const inherits = isInherited(matched.key.own);
    const effective = inherits ? standing.inherited : effectiveOf(matched.key, standing.owner);
    const entry: Remembered = {
      matched,
      freshness: freshnessOf(matched.key.freshness, effective.rights.scopes),
      effective,
      standing,
      rotation: rotationBond(matched),
      pending: null,
    };
    atHand.set(digest, entry);
    if (atHand.size() > mostAtHand) {
      const oldest = atHand.takeOldest();
      if (oldest?.[1].standing.intact) {
        const text = pack(oldest[1]);
        if (text !== null) packed.put(oldest[0], text);
      }
    }
    return entry;
  }

  return {
    get: (digest) => {
      const entry = atHand.get(digest);
      if (entry !== undefined) {
        if (entry.standing.intact && entry.rotation?.intact !== false) return entry;
        atHand.delete(digest);
        return undefined;
      }
      const text = packed.take(digest);
      if (text === undefined) return undefined;
      const row: PackedKey = JSON.parse(text);
      const standing = standings.get(row[0]);
      return standing === undefined ? undefined : hold(digest, unpack(row, standing), standing);
    },
    put: (digest, matched) => {
      packed.forget(digest);
      const standing = standingOf(matched);
      return hold(digest, { ...matched, owner: standing.owner }, standing);
    },
    forget: (digest) => {
      atHand.delete(digest);
      packed.forget(digest);
    },
    forgetKeysOf: (kind, id) => {
      if (kind === "rotation") {
        const bond = rotations.get(id);
        if (bond !== undefined) bond.intact = false;
        rotations.delete(id);
        return;
      }
      const owner = standingByOwner.get(id);
      if (owner !== undefined) drop(owner);
      if (kind === "account") {
        for (const standing of standings.values()) if (standing.accountId === id) drop(standing);
      }
    },
    size: () => atHand.size() + packed.size(),
  };
}

const INHERITED: OwnRights = { role: null, scopes: null, allowedIps: null };

function isInherited(own: OwnRights): boolean {
  return own.role === null && own.scopes === null && own.allowedIps === null;
}

function effectiveOf(key: Key, owner: Owner): Effective {
  const rights = rightsOf(key, owner);
  return { rights, addresses: rights.allowedIps === null ? null : compileBlocks(rights.allowedIps) };
}

const PLAIN_FRESHNESS: Freshness = "bounded";

type PackedKey = readonly [
  place: number,
  id: KeyId,
  lineageId: LineageId,
  name: string,
  hint: string,
  createdAt: Instant,
  expiresAt: Instant | null,
  // Left out when the key has nothing but what it inherits.
  more?: readonly [
    KeyKind,
    OwnRights,
    Metadata,
    readonly Suspension[],
    Instant | null,
    Freshness,
    replaced: boolean,
  ],
];

/** A key in a rotation is in the midst of changes and read from the store again: null. */
function pack({ matched, standing }: Remembered): string | null {
  const { key, replaced, rotation, brownout } = matched;
  if (key.rotationId !== null || rotation !== null || brownout !== null) return null;
  const plain =
    key.kind === "service" &&
    isInherited(key.own) &&
    Object.keys(key.metadata).length === 0 &&
    key.suspensions.length === 0 &&
    key.revokedAt === null &&
    key.freshness === PLAIN_FRESHNESS &&
    !replaced;
  const more = plain
    ? []
    : [[key.kind, key.own, key.metadata, key.suspensions, key.revokedAt, key.freshness, replaced]];
  const row = [
    standing.place,
    key.id,
    key.lineageId,
    key.name,
    key.hint,
    key.createdAt,
    key.expiresAt,
    ...more,
  ];
  return JSON.stringify(row);
}

function unpack(row: PackedKey, standing: Standing): Matched {
  const [, id, lineageId, name, hint, createdAt, expiresAt, more] = row;
  const [kind, own, metadata, suspensions, revokedAt, freshness, replaced] =
    more ?? (["service", INHERITED, {}, [], null, PLAIN_FRESHNESS, false] as const);
  const { owner, accountId, accountSuspended } = standing;
  return {
    key: {
      id,
      accountId,
      ownerId: owner.id,
      lineageId,
      kind,
      name,
      hint,
      own,
      metadata,
      suspensions,
      createdAt,
      expiresAt,
      revokedAt,
      freshness,
      rotationId: null,
    },
    owner,
    accountSuspended,
    replaced,
    rotation: null,
    brownout: null,
  };
}

/** A map that can give up its oldest member. */
function createQueue<T>() {
  const map = new Map<string, T>();
  // Goes on from where it stood: a new one would step over the places of all that was deleted before.
  let oldest = map.entries();
  return {
    get: (key: string) => map.get(key),
    set: (key: string, value: T) => void map.set(key, value),
    delete: (key: string) => map.delete(key),
    size: () => map.size,
    takeOldest: (): readonly [string, T] | undefined => {
      let next = oldest.next();
      if (next.done) {
        oldest = map.entries();
        next = oldest.next();
      }
      if (next.done) return undefined;
      map.delete(next.value[0]);
      return next.value;
    },
  };
}
