import { z } from "zod";
import { revocationsIn } from "../authority/audit/witness.ts";
import type { AuditReader, FollowedEntry, Storage } from "../authority/storage.ts";

const fields = z.record(z.string(), z.unknown()).nullable();
const entryText = z.object({
  at: z.string(),
  operation: z.string(),
  subjects: z.array(
    z.object({
      kind: z.enum(["account", "service_account", "key", "rotation", "brownout", "installation"]),
      id: z.string(),
      before: fields,
      after: fields,
    }),
  ),
});

/**
 * The entries after the one that was seen last, together with the proof that this one is still in its place: a database
 * that was put back to an older state, or replaced by another, is noticed at the next look.
 */
export async function followLog(
  audit: Pick<AuditReader, "lines">,
  after: Parameters<Storage["follow"]>[0],
  limit: number,
): ReturnType<Storage["follow"]> {
  if (after.seq === 0) return { continuous: true, entries: (await audit.lines(0, limit)).map(followed) };
  const [last, ...lines] = await audit.lines(after.seq - 1, limit + 1);
  const continuous = last?.seq === after.seq && last.chainHash === after.chainHash;
  return { continuous, entries: continuous ? lines.map(followed) : [] };
}

function followed(line: Awaited<ReturnType<AuditReader["lines"]>>[number]): FollowedEntry {
  const { at, operation, subjects } = entryText.parse(JSON.parse(line.text ?? ""));
  return {
    seq: line.seq,
    at: Date.parse(at),
    chainHash: line.chainHash,
    operation,
    subjects,
    revoked: revocationsIn(subjects),
  };
}
