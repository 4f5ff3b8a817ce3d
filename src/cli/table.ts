/** What comes from callers and clients may hold control characters; on a terminal those would be commands. */
export function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "�");
}

/** A caller as people read it: what is in brackets is said of it, not by it. */
export function callerText({ name, unnamed }: { readonly name: string; readonly unnamed: boolean }): string {
  const label = plain(name);
  return unnamed && !label.startsWith("(") ? `${label} (unnamed)` : label;
}

/** Columns a text takes on a terminal. */
export function widthOf(text: string): number {
  return Bun.stringWidth(text);
}

/** Pads with spaces on the right. */
function pad(text: string, width: number): string {
  return text + " ".repeat(Math.max(0, width - widthOf(text)));
}

/** Rows under their headings, columns aligned, two spaces apart. Cells must be `plain`. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = headings.map((heading, column) =>
    Math.max(widthOf(heading), ...rows.map((row) => widthOf(row[column] ?? ""))),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => pad(cell, widths[column] ?? 0))
      .join("  ")
      .trimEnd();
  return [headings, ...rows].map(line).join("\n");
}

/** Names and values, one under the other. */
export function card(pairs: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${pad(name, width)}  ${value}`.trimEnd()).join("\n");
}
