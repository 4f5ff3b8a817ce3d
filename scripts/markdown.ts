/** Reads what the checks need of a Markdown page: its headings, its links, its fenced blocks. */

export interface Link {
  readonly line: number;
  readonly target: string;
}
export interface Heading {
  readonly line: number;
  readonly text: string;
  /** The fragment that leads to it, as GitHub makes it. */
  readonly anchor: string;
}
export interface FencedBlock {
  readonly line: number;
  readonly info: string;
  readonly text: string;
}
export interface Page {
  readonly headings: readonly Heading[];
  /** Further fragments: `<a id="…">` and `<a name="…">`. */
  readonly anchors: readonly string[];
  readonly links: readonly Link[];
  readonly blocks: readonly FencedBlock[];
  /** The lines with fenced blocks left empty, and without comments; inline code is still there. */
  readonly prose: readonly string[];
}

/** GitHub's rule: lower case, spaces to hyphens, all but letters, digits, hyphens and underscores dropped. */
function slug(heading: string): string {
  return heading
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{M}\p{N}\p{Pc}\- ]/gu, "")
    .replaceAll(" ", "-");
}

/** Line numbers count from 1, as editors do. */
export function readPage(text: string): Page {
  const prose: string[] = [];
  const blocks: FencedBlock[] = [];
  let open: { fence: string; indent: number; line: number; info: string; lines: string[] } | undefined;
  // Comments keep their line breaks, so that line numbers stay true.
  const visible = text.replace(/<!--[\s\S]*?-->/g, (comment) => comment.replace(/[^\n]/g, ""));
  visible.split("\n").forEach((line, i) => {
    const fence = line.match(/^( *)(`{3,}|~{3,})(.*)$/);
    if (open === undefined && fence) {
      const [, indent = "", marks = "", info = ""] = fence;
      open = { fence: marks, indent: indent.length, line: i + 1, info: info.trim(), lines: [] };
      prose.push("");
    } else if (open !== undefined) {
      const isEnd = fence?.[2]?.startsWith(open.fence) && fence[3]?.trim() === "";
      if (isEnd) {
        blocks.push({ line: open.line, info: open.info, text: open.lines.join("\n") });
        open = undefined;
      } else {
        open.lines.push(line.slice(0, open.indent).trim() === "" ? line.slice(open.indent) : line);
      }
      prose.push("");
    } else {
      prose.push(line);
    }
  });

  const seen = new Map<string, number>();
  const headings = prose.flatMap((line, i): Heading[] => {
    const text = line.match(/^#{1,6} +(.*?)(?: +#+)?$/)?.[1];
    if (text === undefined) return [];
    const base = slug(text);
    const before = seen.get(base) ?? 0;
    seen.set(base, before + 1);
    return [{ line: i + 1, text, anchor: before === 0 ? base : `${base}-${before}` }];
  });

  const links = prose.flatMap((line, i): Link[] => {
    const plain = line.replace(/(`+)[^`]*\1/g, "");
    const inline = [...plain.matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g)];
    const defined = [...plain.matchAll(/^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)>?/g)];
    return [...inline, ...defined].map(([, target = ""]) => ({ line: i + 1, target }));
  });

  const anchors = prose.flatMap((line) =>
    [...line.matchAll(/<a\s+(?:id|name)="([^"]+)"/g)].map(([, name = ""]) => name),
  );
  return { headings, anchors, links, blocks, prose };
}
