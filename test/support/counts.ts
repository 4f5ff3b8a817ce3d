/** Whether this is the full run, as in CI: every count holds, and nothing may be skipped. */
export const IS_FULL_RUN = process.env.KEYTURN_TEST_REQUIRE_ALL === "1";

/** The count that an issue names under `KEYTURN_TEST_REQUIRE_ALL=1`; without it a tenth, but at least one. */
export function times(full: number): number {
  return IS_FULL_RUN ? full : Math.max(1, Math.ceil(full / 10));
}
