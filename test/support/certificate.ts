import { join } from "node:path";
import { findProgram } from "./gateways.ts";
import { keyFolder } from "./traces.ts";

/** A certificate that the test made itself, outside of what the canary scan keeps. */
export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
}

const openssl = findProgram("openssl");
export const NO_CERTIFICATES = openssl === null;

/** For localhost; null on a machine without openssl. */
export function makeCertificate(): Certificate | null {
  if (openssl === null) return null;
  const folder = keyFolder();
  const [certFile, keyFile] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const made = Bun.spawnSync(
    [openssl, "req", "-x509", ...kind, "-subj", "/CN=localhost", "-keyout", keyFile, "-out", certFile],
    { stdout: "ignore", stderr: "pipe" },
  );
  if (made.exitCode !== 0) throw new Error(made.stderr.toString());
  return { certFile, keyFile };
}
