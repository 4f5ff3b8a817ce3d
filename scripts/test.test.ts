import { describe, expect, test } from "bun:test";
import { countsOf, splitArguments, summaryLine } from "./test.ts";

const SUMMARY =
  "\n 2 pass\n 1 skip\n 1 todo\n 3 fail\n 1 error\n 1 expect() calls\nRan 7 tests across 3 files. [6.00ms]\n";

describe("the counts of a test run", () => {
  test("come from Bun's summary, with what is still to do among the skipped", () => {
    expect(countsOf(SUMMARY, 1)).toEqual({ passed: 2, failed: 3, skipped: 2 });
  });
  test("are read through colours", () => {
    expect(countsOf("\u001b[32m 5 pass\u001b[0m\n 0 fail\nRan 5 tests across 1 file. [1ms]", 0)).toEqual({
      passed: 5,
      failed: 0,
      skipped: 0,
    });
  });
  test("say failed when the run crashed before its summary, even if it exited with zero", () => {
    expect(countsOf("a.test.ts:\n 12 pass\n", 0).failed).toBe(1);
  });
  test("say failed when the exit code does and no test did", () => {
    expect(countsOf(" 1 pass\n 0 fail\nRan 1 test across 1 file. [1ms]", 1).failed).toBe(1);
  });
  test("are none where no test has the name that was asked for", () => {
    const output =
      'a.test.ts:\n\n\u001b[31merror\u001b[0m: regex "revoked" matched 0 tests. Searched 1 file (skipping 7 tests) [9.00ms]\n';
    expect(countsOf(output, 1)).toEqual({ passed: 0, failed: 0, skipped: 0 });
  });
  test("do not take a test's own output for the summary", () => {
    expect(countsOf(` 99 pass\n${"noise\n".repeat(20)}${SUMMARY}`, 1).passed).toBe(2);
  });
});

test("the last line names the skipped only when there are some", () => {
  expect(summaryLine({ passed: 3, failed: 0, skipped: 0 })).toBe("3 passed, 0 failed");
  expect(summaryLine({ passed: 3, failed: 1, skipped: 2 })).toBe("3 passed, 1 failed, 2 skipped");
});

test("words choose files, flags and their values go on to Bun", () => {
  expect(splitArguments(["keys", "-t", "revoked", "--bail", "storage"])).toEqual({
    words: ["keys", "storage"],
    flags: ["-t", "revoked", "--bail"],
  });
});
