import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { BlockList, isIPv6 } from "node:net";
import fc from "fast-check";
import { type OwnRights, type Rights, ROLES } from "../../src/authority/access/rights.ts";
import { Refusal } from "../../src/authority/errors.ts";
import { newId } from "../../src/authority/ids.ts";
import type { Issued } from "../../src/authority/keys/issue.ts";
import type { Key } from "../../src/authority/keys/key.ts";
import type { Requirement } from "../../src/authority/keys/verdict.ts";
import { OPERATIONS } from "../../src/authority/operations.ts";
import { digestOf } from "../../src/authority/secret.ts";
import type { ServiceAccount } from "../../src/authority/service-accounts/service-account.ts";
import type { Transaction } from "../../src/authority/storage.ts";
import { actorOf, DAY, HOUR, START, startWorld, type World } from "../support/authority.ts";
import { times } from "../support/counts.ts";
import { NO_POSTGRES, startPostgresWorld } from "../support/postgres.ts";

/**
 * Each operation that puts out a credential, and the retries of those that have one, against each right at its
 * boundary: what the result may do is asked of the verifier, and compared with what the issuer may by means of our own.
 */
const WAYS = [
  "keys.create",
  "keys.create, retried",
  "keys.rotate",
  "keys.rotate, retried",
  "keys.replace-secret",
  "self.rotate",
  "accounts.create",
] as const;
type Way = (typeof WAYS)[number];
const RIGHTS = ["role", "scopes", "keyturn scopes", "wildcard", "allowed_ips", "lifetime"] as const;
type Right = (typeof RIGHTS)[number];
const BOUNDARIES = ["exactly", "one more"] as const;
type Boundary = (typeof BOUNDARIES)[number];

/** What no input can ask for: a key turns itself over as it is, and a tenant's root key lives as long as its issuer. */
function isPossible(way: Way, right: Right, boundary: Boundary): boolean {
  if (boundary === "exactly") return true;
  return way !== "self.rotate" && !(way === "accounts.create" && right === "lifetime");
}

interface Holding extends Rights {
  /** In milliseconds, null for ever. */
  readonly span: number | null;
}
interface Case {
  readonly way: Way;
  readonly right: Right;
  readonly boundary: Boundary;
  readonly issuer: Holding;
  readonly target: Holding;
  /** Whether the issuer's and the target's rights stand in the key (the owner has all), in the owner, or in both. */
  readonly issuerBy: "key" | "owner" | "both";
  readonly targetBy: "key" | "owner" | "both" | "left out";
}

const PLAIN = ["a:x", "a:y:z", "b:read", "c:*", "d:e:*"];
const OWN_SCOPES = [
  "keyturn:keys.create",
  "keyturn:keys.rotate",
  "keyturn:self.rotate",
  "keyturn:accounts.write",
];
const MORE_OWN = ["keyturn:keys.read", "keyturn:audit.read", "keyturn:rotations.manage"];
/** Concrete scopes: what any grant may turn out to mean. */
const UNIVERSE = [
  ...["a:x", "a:y", "a:y:z", "a:q", "b:read", "b:write", "c:1", "c:1:2", "d:e:f", "d:f", "z:anything"],
  ...[...OWN_SCOPES, ...MORE_OWN, "keyturn:something.new"],
];
/** A list, a block in it, a block that is one bit or one address wider, and addresses on both sides. */
const NETWORKS = [
  { list: ["10.1.0.0/16"], inside: "10.1.128.0/17", wider: "10.0.0.0/15" },
  { list: ["10.1.0.0/16", "192.0.2.0/24"], inside: "192.0.2.255/32", wider: "192.0.3.0/32" },
  { list: ["203.0.113.7/32"], inside: "203.0.113.7/32", wider: "203.0.113.6/31" },
  { list: ["2001:db8:2::/48"], inside: "2001:db8:2:1::/64", wider: "2001:db8:2::/47" },
] as const;
const ADDRESSES = [
  ...[
    "10.1.0.0",
    "10.1.128.1",
    "10.1.255.255",
    "10.0.255.255",
    "10.2.0.0",
    "192.0.2.0",
    "192.0.2.255",
    "192.0.3.0",
  ],
  ...[
    "203.0.113.6",
    "203.0.113.7",
    "203.0.113.8",
    "2001:db8:2::1",
    "2001:db8:2:1::1",
    "2001:db8:3::1",
    "::1",
    "8.8.8.8",
  ],
];

type Cell = Pick<Case, "way" | "right" | "boundary">;
const CELLS: readonly Cell[] = WAYS.flatMap((way) =>
  RIGHTS.flatMap((right) => BOUNDARIES.map((boundary) => ({ way, right, boundary }))),
).filter(({ way, right, boundary }) => isPossible(way, right, boundary));

const caseIn = ({ way, right, boundary }: Cell): fc.Arbitrary<Case> =>
  fc
    .record({
      role: fc.constantFrom(...ROLES.slice(0, boundary === "one more" && right === "role" ? 3 : 4)),
      plain: fc.subarray(PLAIN),
      star: fc.boolean(),
      extra: fc.subarray(MORE_OWN, { maxLength: 2 }),
      network: fc.constantFrom(...NETWORKS),
      anywhere: fc.boolean(),
      span: fc.constantFrom(HOUR, DAY + 1, 30 * DAY, 90 * DAY - 7),
      endless: fc.boolean(),
      pick: fc.nat(1_000),
      issuerBy: fc.constantFrom("key", "owner", "both"),
      targetBy: fc.constantFrom("key", "owner", "both", "left out"),
    })
    .map((drawn): Case => {
      const { issuerBy, targetBy } = drawn;
      const holding =
        way === "accounts.create" ? tenantMaker(right, boundary, drawn) : holdingOf(right, drawn);
      const target =
        way === "accounts.create" ? ROOT(holding.span) : targetOf(right, boundary, holding, drawn);
      // Keyturn's own scopes are never inherited, so leaving them out would ask for less.
      const leftOut = targetBy === "left out" && (right === "keyturn scopes" || right === "wildcard");
      return {
        way,
        right,
        boundary,
        issuer: holding,
        target,
        issuerBy,
        targetBy: leftOut ? "key" : targetBy,
      };
    });

interface Drawn {
  readonly role: Rights["role"];
  readonly plain: readonly string[];
  readonly star: boolean;
  readonly extra: readonly string[];
  readonly network: (typeof NETWORKS)[number];
  readonly anywhere: boolean;
  readonly span: number;
  readonly endless: boolean;
  readonly pick: number;
}

function ROOT(span: number | null): Holding {
  return { role: "admin", scopes: ["*", "keyturn:*"], allowedIps: null, span };
}

/** The issuer of everything but accounts: whatever was drawn, but with room above for the right in question. */
function holdingOf(
  right: Right,
  { role, plain, star, extra, network, anywhere, span, endless }: Drawn,
): Holding {
  // With `*` no plain scope is too much; of Keyturn's own and of wildcards there is always more to ask for.
  const scopes = right === "scopes" || !star ? plain : [...plain, "*"];
  return {
    role,
    scopes: [...scopes, ...OWN_SCOPES, ...extra],
    allowedIps: right === "allowed_ips" || !anywhere ? network.list : null,
    span: right === "lifetime" || !endless ? span : null,
  };
}

/** A root key, or one that lacks a single step of the right to be one. */
function tenantMaker(right: Right, boundary: Boundary, { network, span, endless }: Drawn): Holding {
  const root = ROOT(endless ? null : span);
  if (boundary === "exactly") return root;
  switch (right) {
    case "role":
      return { ...root, role: "editor" };
    case "scopes":
      return { ...root, scopes: [...PLAIN, "keyturn:*"] };
    case "keyturn scopes":
      return { ...root, scopes: ["*", ...OWN_SCOPES, ...MORE_OWN] };
    case "wildcard":
      return { ...root, scopes: ["a:*", "b:*", "keyturn:*"] };
    case "allowed_ips":
      return { ...root, allowedIps: network.list };
    case "lifetime":
      return root;
  }
}

/** All that the issuer has, or that and a single step more of one right. */
function targetOf(right: Right, boundary: Boundary, issuer: Holding, drawn: Drawn): Holding {
  const { network, pick } = drawn;
  const choose = <T>(of: readonly T[]): T => {
    const chosen = of[pick % of.length];
    if (chosen === undefined) throw new Error("nothing to choose from");
    return chosen;
  };
  const uncovered = (candidates: readonly string[]) =>
    candidates.filter((scope) => !issuer.scopes.some((grant) => grants(grant, scope)));
  if (boundary === "exactly") {
    const inside =
      right === "allowed_ips"
        ? choose<readonly string[]>([network.list, [network.inside], []])
        : issuer.allowedIps;
    return { ...issuer, allowedIps: inside };
  }
  switch (right) {
    case "role":
      return { ...issuer, role: ROLES[ROLES.indexOf(issuer.role) + 1] ?? "admin" };
    case "scopes":
      return {
        ...issuer,
        scopes: [
          ...issuer.scopes,
          choose(uncovered(["a:x", "a:y:z", "a:q", "b:write", "d:f", "z:anything"])),
        ],
      };
    case "keyturn scopes":
      return {
        ...issuer,
        scopes: [...issuer.scopes, choose(uncovered([...MORE_OWN, "keyturn:something.new"]))],
      };
    case "wildcard": {
      const wider = issuer.scopes.includes("*") ? ["keyturn:*"] : ["a:*", "a:y:*", "d:*", "*", "keyturn:*"];
      return { ...issuer, scopes: [...issuer.scopes, choose(wider)] };
    }
    case "allowed_ips":
      return {
        ...issuer,
        allowedIps: choose([null, [network.wider], [...(issuer.allowedIps ?? []), network.wider]]),
      };
    case "lifetime":
      return { ...issuer, span: choose([null, (issuer.span ?? 0) + 1]) };
  }
}

/** Our own reading of DESIGN.md section 4, apart from the code's. */
function grants(grant: string, scope: string): boolean {
  if (grant === scope) return true;
  if (grant === "*") return !scope.startsWith("keyturn:");
  return grant.endsWith(":*") && scope.startsWith(grant.slice(0, -1));
}
function lets(list: readonly string[] | null, address: string): boolean {
  if (list === null) return true;
  const blocks = new BlockList();
  for (const block of list) {
    const [network = "", prefix = ""] = block.split("/");
    blocks.addSubnet(network, Number(prefix), isIPv6(network) ? "ipv6" : "ipv4");
  }
  return blocks.check(address, isIPv6(address) ? "ipv6" : "ipv4");
}

const ALL: OwnRights = { role: "admin", scopes: ["*", "keyturn:*"], allowedIps: null };
const NOTHING_SAID: OwnRights = { role: null, scopes: null, allowedIps: null };
const NOW = START + HOUR / 2;
let world: World;
let digests = 0;
/** How many issued keys were good from somewhere, so that there was something to compare. */
let looked = 0;

/** Sets up a world on one engine for the tests in `tests`. */
function suite(engine: string, isMissing: boolean, open: () => Promise<World>, tests: () => void): void {
  describe.skipIf(isMissing)(engine, () => {
    beforeAll(async () => {
      world = await open();
      world.clock.pass(NOW - START);
      await world.follow();
    });
    afterAll(() => world.close());
    tests();
  });
}

interface Ready {
  readonly one: Case;
  readonly issuer: Key;
  readonly target: Key;
  readonly targetOwner: ServiceAccount;
}

/** Setting up goes straight to the store, many cases in one transaction; only what is tested passes the gate. */
async function prepare(tx: Transaction, one: Case): Promise<Ready> {
  const issuerOwner = await addOwner(tx, one.issuerBy === "key" ? ALL : one.issuer);
  const targetOwner = await addOwner(tx, one.targetBy === "key" ? ALL : one.target);
  const issuer = await addKey(tx, issuerOwner, one.issuerBy === "owner" ? ALL : one.issuer, one.issuer.span);
  const target = await addKey(tx, targetOwner, ownOfTarget(one), one.target.span);
  return { one, issuer, target, targetOwner };
}

/** What a key that is rotated says of itself: listing more than the owner has must be worth nothing. */
function ownOfTarget({ targetBy, target, way }: Case): OwnRights {
  if (targetBy === "left out")
    return { ...NOTHING_SAID, scopes: way.startsWith("keys.create") ? null : target.scopes };
  return targetBy === "owner" && !way.startsWith("keys.create") ? ALL : limits(target);
}
const limits = ({ role, scopes, allowedIps }: Rights): OwnRights => ({ role, scopes, allowedIps });

async function addOwner(tx: Transaction, rights: OwnRights): Promise<ServiceAccount> {
  const id = newId("sa");
  const own = { role: rights.role, scopes: rights.scopes, allowedIps: rights.allowedIps };
  const owner = {
    id,
    accountId: world.account,
    name: id,
    own,
    disabledAt: null,
    deletedAt: null,
    createdAt: START,
  };
  await tx.serviceAccounts.add(owner);
  return owner;
}

async function addKey(
  tx: Transaction,
  owner: ServiceAccount,
  rights: OwnRights,
  span: number | null,
): Promise<Key> {
  const key: Key = {
    id: newId("key"),
    accountId: world.account,
    ownerId: owner.id,
    lineageId: newId("lin"),
    kind: "service",
    name: "k",
    hint: "",
    own: { role: rights.role, scopes: rights.scopes, allowedIps: rights.allowedIps },
    metadata: {},
    suspensions: [],
    createdAt: START,
    expiresAt: span === null ? null : START + span,
    revokedAt: null,
    freshness: "bounded",
    rotationId: null,
  };
  digests += 1;
  await tx.keys.add(key, digestOf(`no secret, number ${digests}`));
  return key;
}

async function attempt({ one, issuer, target, targetOwner }: Ready): Promise<Issued> {
  const who = actorOf(issuer);
  const { span } = one.target;
  const life = span === null ? { ttl: "never" } : { expiresAt: new Date(NOW + span).toISOString() };
  const create = { name: "new", ownerId: targetOwner.id, own: ownOfTarget(one), ...life };
  const retried = { idempotencyKey: "once" };
  const rotate = { keyId: target.id, plan: {} };
  switch (one.way) {
    case "keys.create":
      return world.as(who, OPERATIONS.createKey, create);
    case "keys.rotate":
      return world.as(who, OPERATIONS.rotateKey, rotate);
    case "keys.replace-secret":
      return world.as(who, OPERATIONS.replaceSecret, { id: target.id });
    case "self.rotate":
      return world.as(who, OPERATIONS.rotateSelf, { plan: {} });
    case "accounts.create":
      return world.as(who, OPERATIONS.createAccount, { name: issuer.id });
    case "keys.create, retried":
      return afterFirst(issuer, () => world.as(who, OPERATIONS.createKey, create, retried));
    case "keys.rotate, retried":
      return afterFirst(issuer, () => world.as(who, OPERATIONS.rotateKey, rotate, retried));
  }
}

/** The first time the issuer has everything; by the time of its retry it has been cut to what it has in this case. */
async function afterFirst(issuer: Key, work: () => Promise<Issued>): Promise<Issued> {
  const { storage } = world.authority;
  const owner = await storage.read.serviceAccounts.byId(
    issuer.accountId,
    issuer.ownerId as ServiceAccount["id"],
  );
  if (owner === null) throw new Error("an issuer without its owner");
  await storage.change(async (tx) => {
    await tx.keys.replace({ ...issuer, own: ALL, expiresAt: null });
    await tx.serviceAccounts.replace({ ...owner, own: ALL });
  });
  await work();
  await storage.change(async (tx) => {
    await tx.keys.replace(issuer);
    await tx.serviceAccounts.replace(owner);
  });
  return work();
}

const FIELD: Readonly<Record<Right, string>> = {
  role: "role",
  scopes: "scopes",
  "keyturn scopes": "scopes",
  wildcard: "scopes",
  allowed_ips: "allowed_ips",
  lifetime: "expires_at",
};

/** Everything that the issued key is let through for, the issuer may; and it ends no later than the issuer's span. */
async function withinIssuer({ key, secret }: Issued, issuer: Holding): Promise<void> {
  const goodOf = async <T>(all: readonly T[], ask: (one: T) => Requirement): Promise<readonly T[]> => {
    const good: T[] = [];
    for (const one of all) {
      const verdict = await world.authority.verifier.verify(secret, ask(one), {}, key.accountId);
      // A verifier that does not know says nothing of what the key may do.
      expect(verdict.code).not.toBe("stale");
      if (verdict.code === "valid") good.push(one);
    }
    return good;
  };
  const from = await goodOf(ADDRESSES, (address) => ({ address }));
  expect(from.filter((address) => !lets(issuer.allowedIps, address))).toEqual([]);
  const [address] = from;
  if (address !== undefined) {
    const may = await goodOf(UNIVERSE, (scope) => ({ address, scopes: [scope] }));
    expect(may.filter((scope) => !issuer.scopes.some((grant) => grants(grant, scope)))).toEqual([]);
    const roles = await goodOf(ROLES, (role) => ({ address, role }));
    expect(roles.filter((role) => ROLES.indexOf(role) > ROLES.indexOf(issuer.role))).toEqual([]);
    looked += 1;
  }
  if (issuer.span !== null)
    expect((key.expiresAt ?? Number.POSITIVE_INFINITY) - key.createdAt).toBeLessThanOrEqual(issuer.span);
}

const CASES = times(20_000);
const BATCH = 250;

suite("on the embedded database", false, startWorld, () => {
  test(`R3, R5, R6, B17: no operation puts out a credential that exceeds its issuer, in ${CASES} cases at each right's boundary`, async () => {
    const seed = Date.now();
    await checkAll(fc.sample(fc.constantFrom(...CELLS).chain(caseIn), { numRuns: CASES, seed }), seed);
  }, 600_000);
});

const CASES_IN_CELL = times(50);

suite("on PostgreSQL", NO_POSTGRES, startPostgresWorld, () => {
  test(`R3, R5, R6, B17: no operation puts out a credential that exceeds its issuer, in ${CASES_IN_CELL} cases for each way, right and boundary`, async () => {
    const seed = Date.now();
    const cases = CELLS.flatMap((cell) => fc.sample(caseIn(cell), { numRuns: CASES_IN_CELL, seed }));
    await checkAll(cases, seed);
  }, 600_000);
});

async function checkAll(cases: readonly Case[], seed: number): Promise<void> {
  const byKeys = Object.values(OPERATIONS).filter(
    ({ issuesCredential, permission }) => issuesCredential && permission !== "host",
  );
  expect(byKeys.map(({ name }) => name).sort()).toEqual(
    WAYS.filter((way) => !way.includes("retried")).sort(),
  );

  looked = 0;
  const counts = new Map<string, number>();
  for (let from = 0; from < cases.length; from += BATCH) {
    const batch = cases.slice(from, from + BATCH);
    const ready = await world.authority.storage.change(async (tx) => {
      const all: Ready[] = [];
      for (const one of batch) all.push(await prepare(tx, one));
      return all;
    });
    for (const prepared of ready) {
      const { one } = prepared;
      try {
        await check(prepared);
      } catch (error) {
        throw new Error(`seed ${seed}: ${JSON.stringify(one)}`, { cause: error });
      }
      const cell = `${one.way}|${one.right}|${one.boundary}`;
      counts.set(cell, (counts.get(cell) ?? 0) + 1);
    }
  }
  console.log(tableOf(counts));
  for (const way of WAYS) {
    for (const right of RIGHTS) {
      for (const boundary of BOUNDARIES) {
        const covered = counts.get(`${way}|${right}|${boundary}`) ?? 0;
        expect(covered > 0).toBe(isPossible(way, right, boundary));
      }
    }
  }
  // Some are confined to addresses that their issuer has none of.
  expect(looked).toBeGreaterThan(cases.length / 4);
  expect(await world.checkChain()).toMatchObject({ ok: true });
}

async function check(prepared: Ready): Promise<void> {
  const { one } = prepared;
  const outcome = await attempt(prepared).then(
    (issued) => ({ issued }),
    (error: unknown) => ({ error }),
  );
  if (one.boundary === "exactly") {
    if ("error" in outcome) throw outcome.error;
    await withinIssuer(outcome.issued, one.issuer);
    return;
  }
  if ("issued" in outcome) throw new Error("issued, and should have been refused");
  if (!(outcome.error instanceof Refusal)) throw outcome.error;
  expect(outcome.error.code).toBe("rights_exceeded");
  expect(outcome.error.errors.map(({ field }): string => field)).toEqual([FIELD[one.right]]);
}

function tableOf(counts: ReadonlyMap<string, number>): string {
  const cell = (way: Way, right: Right) => {
    const [exactly, more] = BOUNDARIES.map((boundary) => counts.get(`${way}|${right}|${boundary}`) ?? 0);
    return `${exactly} / ${isPossible(way, right, "one more") ? more : "-"}`.padEnd(16);
  };
  const head = `${"allowed / refused".padEnd(22)}${RIGHTS.map((right) => right.padEnd(16)).join("")}`;
  return [
    head,
    ...WAYS.map((way) => `${way.padEnd(22)}${RIGHTS.map((right) => cell(way, right)).join("")}`),
  ].join("\n");
}
