import { describe, expect, test } from "bun:test";
import { DAY, START } from "../../../test/support/authority.ts";
import { sampleBrownout, sampleKey, sampleOwner, sampleRotation } from "../../../test/support/samples.ts";
import { compileBlocks } from "../access/addresses.ts";
import type { Rights } from "../access/rights.ts";
import {
  type Effective,
  judge,
  type Matched,
  type Requirement,
  VERDICT_CODES,
  type VerdictCode,
} from "./verdict.ts";

const RIGHTS: Rights = { role: "viewer", scopes: ["invoices:read"], allowedIps: ["10.0.0.0/8"] };
const EFFECTIVE: Effective = { rights: RIGHTS, addresses: compileBlocks(["10.0.0.0/8"]) };
const GOOD: Matched = {
  key: sampleKey({ expiresAt: START + DAY }),
  owner: sampleOwner(),
  accountSuspended: false,
  replaced: false,
  rotation: sampleRotation(),
  brownout: null,
};
const GOOD_ASK: Requirement = { scopes: ["invoices:read"], role: "viewer", address: "10.1.2.3" };

interface Situation {
  readonly matched: Matched;
  readonly ask: Requirement;
}
const ALL_WELL: Situation = { matched: GOOD, ask: GOOD_ASK };

/** Each cause of a refusal, brought about on top of whatever else is the matter. */
const CAUSES: Partial<Record<VerdictCode, readonly ((at: Situation) => Situation)[]>> = {
  revoked: [
    ({ matched, ask }) => ({ matched: { ...matched, key: { ...matched.key, revokedAt: START } }, ask }),
    ({ matched, ask }) => ({ matched: { ...matched, owner: { ...matched.owner, deletedAt: START } }, ask }),
    ({ matched, ask }) => ({ matched: { ...matched, replaced: true }, ask }),
  ],
  owner_disabled: [
    ({ matched, ask }) => ({ matched: { ...matched, owner: { ...matched.owner, disabledAt: START } }, ask }),
    ({ matched, ask }) => ({ matched: { ...matched, accountSuspended: true }, ask }),
  ],
  suspended: [
    ({ matched, ask }) => ({
      matched: { ...matched, key: { ...matched.key, suspensions: ["operator"] } },
      ask,
    }),
    ({ matched, ask }) => ({
      matched: { ...matched, key: { ...matched.key, suspensions: ["rotation"] } },
      ask,
    }),
  ],
  expired: [
    ({ matched, ask }) => ({ matched: { ...matched, key: { ...matched.key, expiresAt: START } }, ask }),
  ],
  brownout: [({ matched, ask }) => ({ matched: { ...matched, brownout: sampleBrownout() }, ask })],
  ip_not_allowed: [
    ({ matched, ask }) => ({ matched, ask: { ...ask, address: "11.0.0.1" } }),
    ({ matched, ask: { address: _, ...ask } }) => ({ matched, ask }),
  ],
  insufficient_scope: [
    ({ matched, ask }) => ({ matched, ask: { ...ask, scopes: ["invoices:read", "invoices:write"] } }),
  ],
  insufficient_role: [({ matched, ask }) => ({ matched, ask: { ...ask, role: "editor" } })],
};

/** In order of precedence, those that a matched key can be refused for. */
const IN_ORDER = VERDICT_CODES.flatMap((code) => (CAUSES[code] ?? []).map((cause) => ({ code, cause })));

const verdictOf = ({ matched, ask }: Situation) => judge(matched, EFFECTIVE, ask, START);

describe("the verdict on a key that was found", () => {
  test("is valid when nothing is the matter", () => {
    expect(verdictOf(ALL_WELL)).toBe("valid");
  });

  test("names the cause when one thing is the matter", () => {
    expect(IN_ORDER.map(({ cause }) => verdictOf(cause(ALL_WELL)))).toEqual(IN_ORDER.map(({ code }) => code));
  });

  test("names the cause that comes first in the closed order, for every pair of causes", () => {
    let pairs = 0;
    for (const [i, first] of IN_ORDER.entries()) {
      for (const second of IN_ORDER.slice(i + 1)) {
        expect(verdictOf(second.cause(first.cause(ALL_WELL)))).toBe(first.code);
        pairs += 1;
      }
    }
    expect(pairs).toBe((IN_ORDER.length * (IN_ORDER.length - 1)) / 2);
  });

  test("all causes at once answer revoked, the first that a found key can have", () => {
    const worst = IN_ORDER.reduce((situation, { cause }) => cause(situation), ALL_WELL);
    expect(verdictOf(worst)).toBe("revoked");
  });

  test("R17: a key is good 1 ms before its end, and expired at its end and 1 ms after", () => {
    const at = (now: number) => judge(GOOD, EFFECTIVE, GOOD_ASK, now);
    const end = START + DAY;
    expect([at(end - 1), at(end), at(end + 1)]).toEqual(["valid", "expired", "expired"]);
  });

  test("R17: a key without an end never expires", () => {
    const endless = { ...GOOD, key: sampleKey({ expiresAt: null }) };
    expect(judge(endless, EFFECTIVE, GOOD_ASK, Number.MAX_SAFE_INTEGER)).toBe("valid");
  });

  test("a brownout refuses the old key from its first to before its last millisecond", () => {
    const matched = { ...GOOD, brownout: sampleBrownout({ startsAt: START, endsAt: START + 5_000 }) };
    const at = (now: number) => judge(matched, EFFECTIVE, GOOD_ASK, now);
    expect([at(START - 1), at(START), at(START + 4_999), at(START + 5_000)]).toEqual([
      "valid",
      "brownout",
      "brownout",
      "valid",
    ]);
  });

  test("a brownout never refuses the successor", () => {
    const matched = { ...GOOD, key: sampleKey({ id: "key_new" }), brownout: sampleBrownout() };
    expect(judge(matched, EFFECTIVE, GOOD_ASK, START)).toBe("valid");
  });

  test("asking for nothing asks for nothing but the address", () => {
    expect(judge(GOOD, EFFECTIVE, { address: "10.0.0.1" }, START)).toBe("valid");
    expect(judge(GOOD, { ...EFFECTIVE, addresses: null }, {}, START)).toBe("valid");
  });

  test("an address list refuses when nobody knows the address, or it is none", () => {
    expect(judge(GOOD, EFFECTIVE, {}, START)).toBe("ip_not_allowed");
    expect(judge(GOOD, EFFECTIVE, { address: "nonsense" }, START)).toBe("ip_not_allowed");
  });

  test("an empty address list is nobody, not anybody", () => {
    expect(judge(GOOD, { ...EFFECTIVE, addresses: compileBlocks([]) }, GOOD_ASK, START)).toBe(
      "ip_not_allowed",
    );
  });
});
