import { describe, expect, test } from "bun:test";
import { DAY, refusalIn, SECOND, START } from "../../../test/support/authority.ts";
import { sampleAssessment, sampleRotation } from "../../../test/support/samples.ts";
import type { ReasonCode } from "./evidence.ts";
import {
  adopt,
  COMPLETIONS,
  cancel,
  close,
  complete,
  dueAt,
  extend,
  inOverlap,
  isCutShort,
  isOpen,
  isOverdue,
  nextStep,
  overdueFrom,
  planRotation,
  ROTATION_STATES,
  type Rotation,
  type RotationState,
  raiseOverdue,
  rollback,
  startAdopting,
  unadopt,
} from "./rotation.ts";

const USED = START + 2 * DAY;
const DUE = USED + 7 * DAY;
/** Whose successor was first used two days after the start. */
const used = (changes: Partial<Rotation> = {}) =>
  sampleRotation({ state: "adopting", firstUsedAt: USED, ...changes });

describe("planning a rotation", () => {
  test("fills in 7 d of overlap, 30 d to the deadline, 1 d of quiet, 30 d of look-back, 1 d to undo", () => {
    expect(planRotation({}, START)).toEqual({
      completion: "when_adopted",
      reason: null,
      overlapSeconds: 7 * 86_400,
      quietPeriodSeconds: 86_400,
      lookBackSeconds: 30 * 86_400,
      undoWindowSeconds: 86_400,
      deadlineAt: START + 30 * DAY,
    });
  });

  test("keeps what was asked for", () => {
    const asked = {
      completion: "manual",
      reason: "90 days",
      overlapSeconds: 1,
      quietPeriodSeconds: 2,
      lookBackSeconds: 3,
      undoWindowSeconds: 4,
      deadlineAt: START + 5,
    } as const;
    expect(planRotation(asked, START)).toEqual(asked);
  });

  test("a deadline lies in the future, to the millisecond", () => {
    expect(planRotation({ deadlineAt: START + 1 }, START).deadlineAt).toBe(START + 1);
    expect(refusalIn(() => planRotation({ deadlineAt: START }, START)).errors[0]?.field).toBe("deadline");
  });

  test("nobody can look further back than callers are kept: 400 days", () => {
    expect(planRotation({ lookBackSeconds: 400 * 86_400 }, START).lookBackSeconds).toBe(400 * 86_400);
    const refusal = refusalIn(() => planRotation({ lookBackSeconds: 400 * 86_400 + 1 }, START));
    expect(refusal.errors[0]?.field).toBe("look_back");
  });
});

describe("when the overlap is due", () => {
  test("at the deadline while the successor was never used: the overlap's clock has not started", () => {
    expect(dueAt(sampleRotation())).toBe(START + 30 * DAY);
  });

  test("an overlap after the first use, counted from that use", () => {
    expect(dueAt(used())).toBe(DUE);
  });

  test("at the deadline when that comes before the overlap is over, to the millisecond", () => {
    expect(dueAt(used({ deadlineAt: DUE - 1 }))).toBe(DUE - 1);
    expect(dueAt(used({ deadlineAt: DUE + 1 }))).toBe(DUE);
  });

  test("never after the old key's own end", () => {
    expect(dueAt(used({ oldKeyEndsAt: DUE - 1 }))).toBe(DUE - 1);
    expect(dueAt(used({ oldKeyEndsAt: DUE + 1 }))).toBe(DUE);
    expect(dueAt(sampleRotation({ oldKeyEndsAt: START + DAY }))).toBe(START + DAY);
  });

  test("is cut short when the old key ends a millisecond earlier, not when it ends just then", () => {
    expect(isCutShort(used({ oldKeyEndsAt: DUE - 1 }))).toBe(true);
    expect(isCutShort(used({ oldKeyEndsAt: DUE }))).toBe(false);
    expect(isCutShort(used({ oldKeyEndsAt: null }))).toBe(false);
  });
});

describe("overdue", () => {
  test("from the due instant on, to the millisecond", () => {
    expect([DUE - 1, DUE, DUE + 1].map((now) => isOverdue(used(), now))).toEqual([false, true, true]);
  });

  test("a day before the old key's end, when that cuts a long overlap short", () => {
    const end = START + 6 * DAY;
    const rotation = used({ oldKeyEndsAt: end });
    expect(overdueFrom(rotation)).toBe(end - DAY);
    expect([end - DAY - 1, end - DAY].map((now) => isOverdue(rotation, now))).toEqual([false, true]);
  });

  test("a quarter of the time before the old key's end, when that cuts a short overlap shorter still", () => {
    const end = START + 60 * SECOND;
    expect(overdueFrom(sampleRotation({ oldKeyEndsAt: end }))).toBe(end - 15 * SECOND);
  });

  test("always before an end that cuts the overlap short, even one of a few milliseconds", () => {
    expect(overdueFrom(sampleRotation({ oldKeyEndsAt: START + 4 }))).toBe(START + 3);
  });

  test("is a flag on the states of the overlap, and on no other", () => {
    const late = DUE + 100 * DAY;
    expect(ROTATION_STATES.filter((state) => isOverdue(used({ state }), late))).toEqual([
      "issued",
      "adopting",
      "adopted",
    ]);
  });
});

test("a rotation is open until it is closed or cancelled: the undo window counts", () => {
  expect(ROTATION_STATES.filter(isOpen)).toEqual(["issued", "adopting", "adopted", "completed"]);
  expect(ROTATION_STATES.filter(inOverlap)).toEqual(["issued", "adopting", "adopted"]);
});

describe("the next step", () => {
  const well = sampleAssessment();
  const blockedBy = (...codes: ReasonCode[]) => sampleAssessment(codes);
  const step = (rotation: Rotation, assessment = well, firstUsedAt: number | null = USED, now = USED) =>
    nextStep(rotation, assessment, firstUsedAt, now);
  const LATE = START + 40 * DAY;
  const overdue = { overdueAt: DUE };

  test("issued: starts adopting once the successor was used, and not before", () => {
    expect(step(sampleRotation(), blockedBy("successor_unused"), null)).toBeNull();
    expect(step(sampleRotation(), well, USED)).toBe("start_adopting");
  });

  test("issued: the deadline raises overdue once, and completes nothing, in every completion mode", () => {
    const unused = blockedBy("successor_unused");
    for (const completion of COMPLETIONS) {
      expect(step(sampleRotation({ completion }), unused, null, START + 30 * DAY - 1)).toBeNull();
      expect(step(sampleRotation({ completion }), unused, null, START + 30 * DAY)).toBe("raise_overdue");
      expect(step(sampleRotation({ completion, ...overdue }), unused, null, LATE)).toBeNull();
    }
  });

  test("adopting: is adopted when the evidence says so", () => {
    expect(step(used(), blockedBy("still_on_old"))).toBeNull();
    expect(step(used(), sampleAssessment([], { adopted: false }))).toBeNull();
    expect(step(used(), well)).toBe("adopt");
  });

  test("adopting: at its due instant it is overdue; adoption comes first", () => {
    expect(step(used(), blockedBy("silent"), USED, DUE - 1)).toBeNull();
    expect(step(used(), blockedBy("silent"), USED, DUE)).toBe("raise_overdue");
    expect(step(used(), well, USED, DUE)).toBe("adopt");
  });

  test("adopting: at_deadline completes at the due instant whoever is in the way, but told as overdue first", () => {
    const rotation = used({ completion: "at_deadline" });
    const blocked = blockedBy("still_on_old", "silent", "watching", "too_many_callers");
    expect(step(rotation, blocked, USED, DUE - 1)).toBeNull();
    expect(step(rotation, blocked, USED, DUE)).toBe("raise_overdue");
    expect(step({ ...rotation, ...overdue }, blocked, USED, DUE)).toBe("complete");
    expect(step({ ...rotation, ...overdue }, blocked, USED, DUE - 1)).toBeNull();
  });

  test("adopting: at_deadline never completes on a successor that is unused or itself refused", () => {
    const rotation = used({ completion: "at_deadline", ...overdue });
    expect(step(rotation, blockedBy("successor_unused"), USED, LATE)).toBeNull();
    expect(step(rotation, blockedBy("successor_not_active"), USED, LATE)).toBeNull();
  });

  test("adopting: the other modes never complete against the evidence, however late", () => {
    for (const completion of ["when_adopted", "manual"] as const) {
      expect(step(used({ completion, ...overdue }), blockedBy("still_on_old"), USED, LATE)).toBeNull();
    }
  });

  test("adopted: completes by itself when_adopted, waits for a person when manual, and for its time at_deadline", () => {
    const adopted = (completion: Rotation["completion"]) =>
      used({ state: "adopted", adoptedAt: USED, completion });
    expect(step(adopted("when_adopted"))).toBe("complete");
    expect(step(adopted("manual"))).toBeNull();
    expect(step(adopted("at_deadline"))).toBeNull();
    expect(step({ ...adopted("manual"), ...overdue }, well, USED, LATE)).toBeNull();
    expect(step({ ...adopted("at_deadline"), ...overdue }, well, USED, DUE)).toBe("complete");
  });

  test("adopted: goes back to adopting when somebody turns up on the old key, in every mode", () => {
    for (const completion of COMPLETIONS) {
      const rotation = used({ state: "adopted", adoptedAt: USED, completion });
      expect(step(rotation, blockedBy("still_on_old"))).toBe("unadopt");
    }
  });

  test("completed: closes at the end of the undo window, to the millisecond", () => {
    const undoUntil = USED + DAY;
    const rotation = used({ state: "completed", completedAt: USED, undoUntil });
    expect(step(rotation, well, USED, undoUntil - 1)).toBeNull();
    expect(step(rotation, well, USED, undoUntil)).toBe("close");
    expect(step(rotation, blockedBy("still_on_old"), USED, undoUntil)).toBe("close");
  });

  test("closed and cancelled: nothing is ever due", () => {
    for (const state of ["closed", "cancelled"] as const) {
      for (const completion of COMPLETIONS)
        expect(step(used({ state, completion }), well, USED, LATE)).toBeNull();
    }
  });
});

describe("what is done to a rotation", () => {
  const statesWhere = (work: (rotation: Rotation) => unknown) =>
    ROTATION_STATES.filter((state) => {
      try {
        work(inState(state));
        return true;
      } catch (error) {
        expect(error).toMatchObject({ name: "Refusal", code: "rotation_state" });
        return false;
      }
    });
  const inState = (state: RotationState) =>
    used({ state, undoUntil: state === "completed" ? USED + DAY : null });

  test("the worker's steps set their state and their instant", () => {
    expect(startAdopting(sampleRotation(), USED)).toEqual(
      sampleRotation({ state: "adopting", firstUsedAt: USED }),
    );
    expect(adopt(used(), DUE)).toEqual(used({ state: "adopted", adoptedAt: DUE }));
    expect(unadopt(used({ state: "adopted", adoptedAt: DUE }))).toEqual(used());
    expect(raiseOverdue(used(), DUE)).toEqual(used({ overdueAt: DUE }));
    expect(close(inState("completed"), DUE)).toEqual({
      ...inState("completed"),
      state: "closed",
      endedAt: DUE,
    });
  });

  test("completing opens the undo window, from every state of the overlap and from no other", () => {
    expect(complete(used(), false, USED)).toEqual(
      used({ state: "completed", completedAt: USED, undoUntil: USED + DAY }),
    );
    expect(statesWhere((rotation) => complete(rotation, false, USED))).toEqual([
      "issued",
      "adopting",
      "adopted",
    ]);
  });

  test("a rotation that was forced once stays marked", () => {
    expect(complete(used(), true, USED).forced).toBe(true);
    expect(complete(used({ forced: true }), false, USED).forced).toBe(true);
    expect(complete(used(), false, USED).forced).toBe(false);
  });

  test("rolling back is open within the undo window alone, to the millisecond", () => {
    const completed = complete(used(), false, USED);
    expect(rollback(completed, USED + DAY - 1)).toEqual(used({ completion: "manual" }));
    expect(refusalIn(() => rollback(completed, USED + DAY)).code).toBe("rotation_state");
    expect(statesWhere((rotation) => rollback(rotation, USED))).toEqual(["completed"]);
  });

  test("a rolled back rotation completes by nobody but a person", () => {
    const back = rollback(complete(used({ completion: "at_deadline" }), false, USED), USED);
    expect(
      nextStep({ ...back, state: "adopted", overdueAt: DUE }, sampleAssessment(), USED, DUE + 100 * DAY),
    ).toBeNull();
  });

  test("rolled back before the successor was ever used, it is issued again, and its overlap has not started", () => {
    const back = rollback(complete(sampleRotation(), true, USED), USED);
    expect(back.state).toBe("issued");
    expect(dueAt(back)).toBe(START + 30 * DAY);
  });

  test("cancelling is for the overlap alone; a completed rotation says to roll back first", () => {
    expect(cancel(used(), false, DUE)).toEqual(used({ state: "cancelled", endedAt: DUE }));
    expect(cancel(used(), true, DUE).forced).toBe(true);
    expect(statesWhere((rotation) => cancel(rotation, false, USED))).toEqual([
      "issued",
      "adopting",
      "adopted",
    ]);
    expect(refusalIn(() => cancel(inState("completed"), false, USED)).message).toContain(
      "roll it back first",
    );
  });

  test("extending is for the overlap alone", () => {
    expect(statesWhere((rotation) => extend(rotation, {}, USED))).toEqual(["issued", "adopting", "adopted"]);
  });

  test("extending goes later, never sooner, to the unit", () => {
    const { overlapSeconds, deadlineAt } = used();
    expect(extend(used(), { overlapSeconds: overlapSeconds + 1 }, USED).overlapSeconds).toBe(
      overlapSeconds + 1,
    );
    expect(extend(used(), { overlapSeconds, deadlineAt }, USED)).toEqual(used());
    expect(
      refusalIn(() => extend(used(), { overlapSeconds: overlapSeconds - 1 }, USED)).errors[0]?.field,
    ).toBe("overlap");
    expect(extend(used(), { deadlineAt: deadlineAt + 1 }, USED).deadlineAt).toBe(deadlineAt + 1);
    expect(refusalIn(() => extend(used(), { deadlineAt: deadlineAt - 1 }, USED)).errors[0]?.field).toBe(
      "deadline",
    );
  });

  test("extending beyond now takes the overdue flag away; extending too little leaves it", () => {
    const late = used({ overdueAt: DUE });
    expect(extend(late, { overlapSeconds: late.overlapSeconds + 2 }, DUE + SECOND).overdueAt).toBeNull();
    expect(extend(late, { overlapSeconds: late.overlapSeconds + 1 }, DUE + SECOND).overdueAt).toBe(DUE);
  });

  test("extending never moves the due instant beyond the old key's own end", () => {
    const cut = used({ oldKeyEndsAt: DUE });
    expect(dueAt(extend(cut, { overlapSeconds: 100 * 86_400, deadlineAt: START + 300 * DAY }, USED))).toBe(
      DUE,
    );
  });

  test("extending can change how it completes", () => {
    expect(extend(used(), { completion: "manual" }, USED).completion).toBe("manual");
  });
});
