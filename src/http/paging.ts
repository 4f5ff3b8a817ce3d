import type { PageRequest } from "../authority/storage.ts";
import { HttpProblem } from "./problems.ts";

const CURSOR = /^[a-z0-9_]{1,64}$/;

/** Cursors are opaque to clients: where the last page ended, in base64url. */
export function encodeCursor(after: string): string {
  return Buffer.from(after, "utf8").toString("base64url");
}

export function decodeCursor(cursor: string | undefined): string | null {
  if (cursor === undefined) return null;
  const after = Buffer.from(cursor, "base64url").toString("utf8");
  if (CURSOR.test(after)) return after;
  throw badCursor();
}

export function badCursor(): HttpProblem {
  return new HttpProblem({
    code: "invalid_input",
    detail: "cursor: take next_cursor of the page before, unchanged",
    errors: [{ field: "cursor", message: "take next_cursor of the page before, unchanged" }],
  });
}

export function pageRequest(query: {
  readonly limit: number;
  readonly cursor?: string | undefined;
}): PageRequest {
  return { limit: query.limit, after: decodeCursor(query.cursor) };
}

/** `{data, next_cursor}`; a page that is not full is the last one. */
export function page<T, P>(
  rows: readonly T[],
  limit: number,
  present: (row: T) => P,
  keyOf: (row: T) => string,
) {
  const last = rows.at(-1);
  return {
    data: rows.map(present),
    next_cursor: rows.length < limit || last === undefined ? null : encodeCursor(keyOf(last)),
  };
}
