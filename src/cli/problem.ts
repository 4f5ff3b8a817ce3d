import type { KeyturnError } from "@keyturn/sdk";
import { plain } from "./table.ts";

/** The code first, because scripts and search engines look for it. */
export function problemText(error: KeyturnError): string {
  const fields =
    error.errors.length > 1
      ? error.errors.map(({ field, message }) => `\n  ${plain(field)}: ${plain(message)}`)
      : [];
  return `keyturn: ${error.code}: ${plain(error.detail)}${fields.join("")}`;
}
