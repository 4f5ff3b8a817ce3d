import errorsText from "../../docs/errors.md" with { type: "text" };

/** The reference page: Scalar over `/openapi.json`, its script served by us. */
export const REFERENCE_PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Keyturn API</title>
</head>
<body>
<script id="api-reference" data-url="/openapi.json"></script>
<script src="/docs/reference.js"></script>
</body>
</html>
`;

/** docs/errors.md as a page whose anchors are the problem codes, so that a problem's `type` leads to its section. */
export function errorsPage(): string {
  const body = errorsText.split("\n").map(line).join("\n");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Keyturn: problems</title>
<style>body{max-width:48rem;margin:2rem auto;padding:0 1rem;font:16px/1.5 system-ui,sans-serif}pre{white-space:pre-wrap;font:inherit}:target{background:#ffef9e}</style>
</head>
<body><pre>${body}</pre></body>
</html>
`;
}

function line(text: string): string {
  const heading = /^(#{1,6}) (.*)$/.exec(text);
  if (heading === null) return escape(text);
  const level = heading[1]?.length ?? 1;
  const title = (heading[2] ?? "").replaceAll("`", "");
  return `<h${level} id="${escape(title.toLowerCase().replaceAll(" ", "-"))}">${escape(title)}</h${level}>`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
