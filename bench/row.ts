import type { Lab } from "./lab.ts";

/** What was measured, beside what it was measured against in the same run. */
export interface Figure {
  /** What the budget is about; null where there is none, or nothing could be measured. */
  readonly value: number | null;
  readonly figure: string;
  readonly floor: string;
  readonly notes?: readonly string[];
}

/** What rows about PostgreSQL say on a machine without. */
export const NO_POSTGRES: Figure = {
  value: null,
  figure: "not measured",
  floor: "-",
  notes: ["PostgreSQL is not installed here"],
};

export interface Row {
  readonly name: string;
  /** Null: shown without a verdict. */
  readonly budget: Budget | null;
  measure(lab: Lab): Promise<Figure>;
}

export interface Budget {
  readonly limit: number;
  readonly is: "at least" | "at most";
  /** Behind the number: `x`, ` MB`, ` s`. */
  readonly unit: string;
}

export function atLeast(limit: number, unit: string): Budget {
  return { limit, is: "at least", unit };
}

export function atMost(limit: number, unit: string): Budget {
  return { limit, is: "at most", unit };
}

export function holds(budget: Budget, value: number): boolean {
  return budget.is === "at least" ? value >= budget.limit : value <= budget.limit;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** The values and how far they lie apart, for the notes. */
export function spread(values: readonly number[], digits = 2): string {
  return `${Math.min(...values).toFixed(digits)} to ${Math.max(...values).toFixed(digits)} over ${values.length} rounds`;
}

export function rate(perSecond: number): string {
  return `${Math.round(perSecond).toLocaleString("en")}/s`;
}

export function micros(value: number | null): string {
  return value === null ? "?" : `${value.toFixed(1)} µs`;
}
