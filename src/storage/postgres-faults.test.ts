import { describe, expect, test } from "bun:test";
import { DatabaseError } from "pg";
import { Refusal } from "../authority/errors.ts";
import { faultIn, unavailable } from "./postgres-faults.ts";

const failed = (code: string) => Object.assign(new DatabaseError("said", 0, "error"), { code });

describe("R39: what the database can't do is told by its kind", () => {
  test.each([
    ["53100", "disk is full"],
    ["53200", "lacks memory"],
    ["53300", "no connection left"],
    ["25006", "read-only"],
    ["55P03", "held a lock"],
    ["40P01", "stood in the way"],
    ["57014", "KEYTURN_DATABASE_STATEMENT_TIMEOUT"],
    ["57P03", "stopping or starting"],
    ["42501", "keyturn migrate --runtime-role"],
    ["28P01", "does not let this process in"],
    ["3D000", "does not exist"],
    ["08006", "can't be reached"],
  ])("%s: %s", (code, words) => {
    const cause = failed(code);
    expect(faultIn(cause)).not.toBeNull();
    const refusal = unavailable(cause);
    expect(refusal).toBeInstanceOf(Refusal);
    expect([refusal.code, refusal.cause]).toEqual(["storage_unavailable", cause]);
    expect(refusal.message).toContain(words);
    expect(refusal.message).toEndWith("Nothing was changed.");
  });

  test("a connection that is lost has no code, and a statement that is wrong is a bug", () => {
    expect(unavailable(new Error("Connection terminated unexpectedly")).message).toContain(
      "can't be reached",
    );
    expect(faultIn(failed("42601"))).toBeNull();
    expect(faultIn(failed("23505"))).toBeNull();
  });
});
