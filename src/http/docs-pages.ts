import errorsText from "../../docs/errors.md" with { type: "text" };

// Off is whatever would ask a host that is not ours; the page's policy refuses it as well.
const CONFIGURATION = {
  withDefaultFonts: false,
  telemetry: false,
  agent: { disabled: true },
  mcp: { disabled: true },
  showDeveloperTools: "never",
  hideClientButton: true,
  authentication: { preferredSecurityScheme: "key" },
};

/** The reference page: Scalar over `/openapi.json`, its program served by us and no font fetched from anywhere. */
export const REFERENCE_PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Keyturn API</title>
</head>
<body>
<script id="api-reference" data-url="/openapi.json" data-configuration='${JSON.stringify(CONFIGURATION)}'></script>
<script src="/docs/reference.js"></script>
</body>
</html>
`;

const STYLE = `
:root { color-scheme: light dark; }
body { max-width: 48rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.55 system-ui, sans-serif; }
h1, h2 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #8884; padding-bottom: .3rem; }
h3 { font: 600 1.05rem/1.3 ui-monospace, monospace; margin: 1.8rem 0 .4rem; scroll-margin-top: 1rem; }
h3:target { background: #ffd54a66; box-shadow: 0 0 0 .4rem #ffd54a66; }
p { margin: .4rem 0 .8rem; }
code { font: .92em ui-monospace, monospace; background: #8882; padding: .1em .25em; border-radius: 3px; }
pre { overflow-x: auto; padding: .8rem 1rem; background: #8882; border-radius: 6px; }
pre code { background: none; padding: 0; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #8884; }
`;

/** docs/errors.md as a page whose anchors are the problem codes, so that a problem's `type` leads to its section. */
export const ERRORS_PAGE = errorsPage();

function errorsPage(): string {
  // The text is ours, so its HTML is as good as it; ids are ours too, because Bun's drop the underscores of the codes.
  const body = Bun.markdown
    .html(errorsText)
    .replaceAll(
      /<h([1-6])>(.*?)<\/h\1>/g,
      (_, level: string, title: string) => `<h${level} id="${anchorOf(title)}">${title}</h${level}>`,
    );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Keyturn: problems</title>
<style>${STYLE}</style>
</head>
<body>
${body}</body>
</html>
`;
}

/** As GitHub makes them, so that the links inside the text lead to the same places in both. */
function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replaceAll(/[^a-z0-9_\- ]/g, "")
    .replaceAll(" ", "-");
}
