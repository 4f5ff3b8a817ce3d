/** What an import of a file that is no module gives, where Bun's own types don't say. */

declare module "*.sql" {
  const text: string;
  export default text;
}

/** The path of Scalar's program, from an import `with { type: "file" }`; inside the executable too. */
declare module "@scalar/api-reference/browser/standalone.js" {
  const path: string;
  export default path;
}

/** Prose that is served as it is. */
declare module "*.md" {
  const text: string;
  export default text;
}
