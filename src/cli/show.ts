import type {
  Account,
  AuditEntry,
  BrakedKey,
  Caller,
  Cluster,
  Key,
  Rotation,
  ServiceAccount,
  UsageCount,
  Verdict,
} from "@keyturn/sdk";
import { formatSpan } from "../authority/time.ts";
import { callerText, card, plain, table } from "./table.ts";

// What people see. All of it is pure: the same answer of the API gives the same text.

/** How long ago, to the second: `3m12s ago`. */
export function ago(at: string | null, now: number): string {
  if (at === null) return "never";
  const seconds = Math.floor((now - Date.parse(at)) / 1000);
  return seconds < 1 ? "just now" : `${formatSpan(seconds)} ago`;
}

/** How long until then, to the second and rounded down: `in 12d`; never more than is left. */
export function until(seconds: number): string {
  return seconds < 1 ? "now" : `in ${formatSpan(Math.floor(seconds))}`;
}

function endOf(key: Pick<Key, "state" | "expires_at" | "expires_in_seconds">): string {
  if (key.expires_at === null || key.expires_in_seconds === null) return "never";
  if (key.expires_in_seconds <= 0) return `ended ${key.expires_at}`;
  return until(key.expires_in_seconds);
}

const list = (items: readonly string[]) => (items.length === 0 ? "none" : items.map(plain).join(" "));
const addresses = (blocks: readonly string[] | null) => (blocks === null ? "any" : list(blocks));
const metadataOf = (metadata: Readonly<Record<string, string>>) =>
  Object.entries(metadata)
    .map(([name, value]) => `${plain(name)}=${plain(value)}`)
    .join(" ");

export function keyTable(keys: readonly Key[], now: number): string {
  return table(
    ["ID", "NAME", "STATE", "ROLE", "ENDS", "LAST USED", "HINT", "OWNER"],
    keys.map((key) => [
      key.id,
      plain(key.name),
      key.rotation_id === null ? key.state : `${key.state} (in rotation)`,
      key.role,
      endOf(key),
      ago(key.last_used_at, now),
      plain(key.hint),
      key.owner_id,
    ]),
  );
}

export function keyCard(key: Key, now: number): string {
  const own = (what: Key["inherits"][number], text: string) =>
    key.inherits.includes(what) ? `${text} (its owner's)` : text;
  return card([
    ["id", key.id],
    ["name", plain(key.name)],
    ["state", key.state],
    ["kind", key.kind],
    ["owner", key.owner_id],
    ["account", key.account_id],
    ["lineage", key.lineage_id],
    ["hint", plain(key.hint)],
    ["role", own("role", key.role)],
    ["scopes", own("scopes", list(key.scopes))],
    ["addresses", own("allowed_ips", addresses(key.allowed_ips))],
    ["freshness", key.freshness],
    ["made", `${key.created_at} (${ago(key.created_at, now)})`],
    ["ends", key.expires_at === null ? "never" : `${key.expires_at} (${endOf(key)})`],
    [
      "last used",
      key.last_used_at === null ? "never" : `${key.last_used_at} (${ago(key.last_used_at, now)})`,
    ],
    ...(key.rotation_id === null ? [] : ([["rotation", key.rotation_id]] as const)),
    ...(Object.keys(key.metadata).length === 0 ? [] : ([["metadata", metadataOf(key.metadata)]] as const)),
  ]);
}

/** Who will notice that a key is refused. */
export function inUseText(users: BrakedKey["in_use_by"], now: number): string {
  if (users.length === 0) return "Nobody used it in the last 24 hours.";
  const named = users.map((user) => `  ${callerText(user)}, ${ago(user.last_seen_at, now)}`);
  return ["In use in the last 24 hours by", ...named].join("\n");
}

export function accountTable(accounts: readonly Account[]): string {
  return table(
    ["ID", "NAME", "STATE", "MADE"],
    accounts.map((one) => [
      one.id,
      `${plain(one.name)}${one.operator ? " (operator)" : ""}`,
      one.suspended ? "suspended" : "active",
      one.created_at,
    ]),
  );
}

function stateOfServiceAccount(one: ServiceAccount): string {
  if (one.deleted) return "deleted";
  return one.disabled ? "disabled" : "enabled";
}

export function serviceAccountTable(all: readonly ServiceAccount[]): string {
  return table(
    ["ID", "NAME", "STATE", "ROLE", "SCOPES", "ADDRESSES"],
    all.map((one) => [
      one.id,
      plain(one.name),
      stateOfServiceAccount(one),
      one.role,
      list(one.scopes),
      addresses(one.allowed_ips),
    ]),
  );
}

export function serviceAccountCard(one: ServiceAccount): string {
  return card([
    ["id", one.id],
    ["name", plain(one.name)],
    ["state", stateOfServiceAccount(one)],
    ["account", one.account_id],
    ["role", one.role],
    ["scopes", list(one.scopes)],
    ["addresses", addresses(one.allowed_ips)],
    ["made", one.created_at],
  ]);
}

export function rotationTable(rotations: readonly Rotation[], now: number): string {
  return table(
    ["ID", "STATE", "DUE", "CALLERS MOVED", "SAFE", "OLD KEY", "SUCCESSOR"],
    rotations.map((one) => [
      one.id,
      stateText(one),
      dueText(one, now),
      movedText(one),
      safeText(one),
      one.old_key_id,
      one.successor_key_id,
    ]),
  );
}

export function stateText(rotation: Rotation): string {
  return rotation.overdue ? `${rotation.state}, OVERDUE` : rotation.state;
}

/** What the clock will do next, in the state that the rotation is in. */
export function dueText(rotation: Rotation, now: number): string {
  const left = (at: string) => until((Date.parse(at) - now) / 1000);
  if (rotation.ended_at !== null) return `ended ${ago(rotation.ended_at, now)}`;
  if (rotation.undo_until !== null)
    return `can be rolled back until ${rotation.undo_until}, ends ${left(rotation.undo_until)}`;
  return rotation.overdue ? `was due ${rotation.due_at}` : `due ${left(rotation.due_at)}`;
}

/** A question for as long as both keys are good. */
function safeText(rotation: Rotation): string {
  if (rotation.ended_at !== null || rotation.undo_until !== null) return "-";
  return rotation.safe_to_complete ? "yes" : "no";
}

function movedText(rotation: Rotation): string {
  const moved = rotation.callers.filter((caller) => caller.status === "moved").length;
  return `${moved} of ${rotation.callers.length}`;
}

export function callerTable(callers: readonly Caller[], now: number): string {
  return table(
    ["CALLER", "FIRST SEEN", "LAST SEEN", "LET THROUGH", "REFUSED", "ADDRESS", "AGENT"],
    callers.map((caller) => {
      const { valid = 0, ...others } = caller.counts;
      const refused = Object.entries(others).map(([code, count]) => `${count} ${code}`);
      return [
        callerText(caller),
        ago(caller.first_seen_at, now),
        ago(caller.last_seen_at, now),
        String(valid),
        refused.length === 0 ? "0" : refused.join(", "),
        plain(caller.address ?? "-"),
        plain(caller.user_agent ?? "-"),
      ];
    }),
  );
}

export function usageTable(counts: readonly UsageCount[]): string {
  return table(
    ["FROM", "VERDICT", "USES"],
    counts.map((one) => [one.from, one.code, String(one.count)]),
  );
}

/** Who serves, under the end of the log that all of them follow. */
export function clusterText({ seq, ceilings, processes }: Cluster): string {
  const promised = [
    ["strict", ceilings.strict_seconds],
    ["bounded", ceilings.bounded_seconds],
    ["static", ceilings.static_seconds],
  ] as const;
  const ceilingText = promised.map(
    ([name, seconds]) => `${name} ${seconds === null ? "none" : `${seconds} s`}`,
  );
  return [
    `The log is at entry ${seq}. Ceilings: ${ceilingText.join(", ")}.`,
    table(
      ["PROCESS", "VERSION", "STARTED", "APPLIED", "LEASE", "STALENESS", "LAST HEARD OF", "LAST FLUSH"],
      processes.map((one) => [
        plain(one.name),
        plain(one.version),
        one.started_at,
        one.behind === 0 ? String(one.applied_seq) : `${one.applied_seq} (${one.behind} behind)`,
        one.lease,
        one.staleness_seconds === null ? "unknown" : `${one.staleness_seconds.toFixed(1)} s`,
        `${one.silent_for_seconds.toFixed(1)} s ago`,
        one.last_flush_at ?? "never",
      ]),
    ),
  ].join("\n");
}

export function auditTable(entries: readonly AuditEntry[]): string {
  return table(
    ["SEQ", "AT", "OPERATION", "OUTCOME", "ACTOR", "SUBJECTS", "DETAILS"],
    entries.map((entry) => [
      String(entry.seq),
      entry.at,
      entry.operation,
      entry.outcome,
      entry.actor.kind === entry.actor.id ? entry.actor.id : `${entry.actor.kind} ${entry.actor.id}`,
      entry.subjects.map((subject) => subject.id).join(" ") || "-",
      detailsText(entry.details),
    ]),
  );
}

// Hashes of addresses and agents say nothing to people.
function detailsText(details: AuditEntry["details"]): string {
  const told = Object.entries(details).filter(
    ([, value]) => !(typeof value === "string" && value.startsWith("sha256:")),
  );
  return told.map(([name, value]) => `${name}=${plain(JSON.stringify(value))}`).join(" ") || "-";
}

/** One line that answers the question, then what is known of the key. */
export function verdictText(verdict: Verdict, now: number): string {
  const answer = verdict.valid ? "valid" : `not valid: ${verdict.code}`;
  const { key, rotation } = verdict;
  if (key === undefined) return answer;
  const ends =
    key.expires_at === null
      ? "never"
      : `${key.expires_at} (${until((Date.parse(key.expires_at) - now) / 1000)})`;
  const pairs: (readonly [string, string])[] = [
    ["key", key.id],
    ["name", plain(key.name)],
    ["owner", key.owner_id],
    ["state", key.state],
    ["role", key.role],
    ["scopes", list(key.scopes)],
    ["ends", ends],
  ];
  if (rotation !== undefined) {
    const part = rotation.position === "old" ? "the old key of" : "the successor in";
    pairs.push(["rotation", `${part} ${rotation.id}, ${rotation.state}, due ${rotation.due_at}`]);
    if (rotation.brownout !== undefined) {
      pairs.push(["brownout", `${rotation.brownout.starts_at} to ${rotation.brownout.ends_at}`]);
    }
  }
  return `${answer}\n${card(pairs)}`;
}
