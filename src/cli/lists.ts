import type { Page } from "@keyturn/sdk";
import type { Command } from "commander";
import { z } from "zod";
import { say } from "./terminal.ts";

export interface PageOptions {
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
  readonly all?: boolean | undefined;
}

/** The options of a list, as a schema's members. */
export const pageOptions = {
  limit: z.number().optional(),
  cursor: z.string().optional(),
  all: z.boolean().optional(),
} as const;

const LARGEST_PAGE = 200;

export function addPageOptions(command: Command, wholeNumber: (value: string) => number): Command {
  return command
    .option("--limit <n>", "how many, up to 200 (50)", wholeNumber)
    .option("--cursor <cursor>", "go on where an earlier page ended (its next_cursor)")
    .option("--all", "all there are");
}

/** One page, or all of them as one; says how to get at the rest. */
export async function listed<Item>(
  options: PageOptions,
  list: (query: {
    readonly limit?: number | undefined;
    readonly cursor?: string | undefined;
  }) => Promise<Page<Item>>,
): Promise<Page<Item>> {
  if (!options.all) {
    const page = await list({ limit: options.limit, cursor: options.cursor });
    if (page.next_cursor !== null) say(`There are more: --cursor ${page.next_cursor}, or --all.`);
    return page;
  }
  const data: Item[] = [];
  let cursor = options.cursor;
  for (;;) {
    const page = await list({ limit: options.limit ?? LARGEST_PAGE, cursor });
    data.push(...page.data);
    if (page.next_cursor === null) return { data, next_cursor: null };
    cursor = page.next_cursor;
  }
}
