import { describe, expect, test } from "bun:test";
import { createTestClock, HOUR, MINUTE, START } from "../../test/support/authority.ts";
import { createTimekeeper } from "./clock.ts";

describe("the time that decides", () => {
  test("R14: is the later of the wall clock and the newest entry, so a clock set back revives nothing", () => {
    const clock = createTestClock();
    const time = createTimekeeper(clock, START - 1);
    expect(time.now()).toBe(START);
    time.noteEntry(START + 5, false);
    expect(time.now()).toBe(START + 5);
    clock.jump(-MINUTE);
    expect(time.now()).toBe(START + 5);
    clock.pass(2 * MINUTE);
    expect(time.now()).toBe(START + MINUTE);
  });

  test("an older entry takes nothing back", () => {
    const time = createTimekeeper(createTestClock(START - HOUR), START);
    time.noteEntry(START - 1, false);
    expect(time.now()).toBe(START);
  });

  test("only an accepted clock leads back", () => {
    const clock = createTestClock();
    const time = createTimekeeper(clock, START + 400 * HOUR);
    expect(time.now()).toBe(START + 400 * HOUR);
    time.noteEntry(START, true);
    expect(time.now()).toBe(START);
    expect(time.trouble()).toBeNull();
  });
});

describe("trouble with the clock", () => {
  test("a wall clock up to 5 minutes behind the newest entry is none; a millisecond more is", () => {
    const clock = createTestClock();
    const time = createTimekeeper(clock, START + 5 * MINUTE);
    expect(time.trouble()).toBeNull();
    time.noteEntry(START + 5 * MINUTE + 1, false);
    expect(time.trouble()).toBe("behind");
    clock.pass(1);
    expect(time.trouble()).toBeNull();
  });

  test("a jump of an hour against the monotonic clock is none; a millisecond more is, either way", () => {
    for (const way of [1, -1]) {
      const clock = createTestClock();
      const time = createTimekeeper(clock, 0);
      clock.jump(way * HOUR);
      expect(time.trouble()).toBeNull();
      clock.jump(way);
      expect(time.trouble()).toBe("jumped");
    }
  });

  test("many small jumps count as what they add up to", () => {
    const clock = createTestClock();
    const time = createTimekeeper(clock, 0);
    for (let i = 0; i < 60; i += 1) clock.jump(MINUTE);
    expect(time.trouble()).toBeNull();
    clock.jump(1);
    expect(time.trouble()).toBe("jumped");
  });

  test("time that passes is none, however much", () => {
    const clock = createTestClock();
    const time = createTimekeeper(clock, START);
    clock.pass(10_000 * HOUR);
    expect(time.trouble()).toBeNull();
  });

  test("ends when the clock is accepted or comes back", () => {
    const clock = createTestClock();
    const time = createTimekeeper(clock, START);
    clock.jump(2 * HOUR);
    expect(time.trouble()).toBe("jumped");
    clock.jump(-2 * HOUR);
    expect(time.trouble()).toBeNull();
    clock.jump(3 * HOUR);
    time.noteEntry(clock.wall(), true);
    expect(time.trouble()).toBeNull();
  });
});
