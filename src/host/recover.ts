import { perform } from "../authority/operation.ts";
import { HOST, recover } from "../authority/setup/setup.ts";
import type { HostCommands } from "../cli/host-commands.ts";
import type { Config } from "../config.ts";
import { withInstallation } from "./open.ts";

/**
 * `keyturn setup --recover`: a root key for whoever has the machine. A server on the same folder goes on serving: the
 * write lock queues this behind its changes, and it follows the log. Test: test/cli/host.txt.
 */
export function recoverRootKey(config: Config): ReturnType<HostCommands["recover"]> {
  return withInstallation(config, async ({ authority }) => {
    const { output } = await perform(authority, recover, HOST, {});
    return { keyId: output.key.id, hint: output.key.hint, secret: output.secret };
  });
}
