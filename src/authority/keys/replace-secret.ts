import type { KeyId } from "../ids.ts";
import type { Operation } from "../operation.ts";
import { findKey } from "./find-key.ts";
import { type Issued, replaceSecretOf } from "./issue.ts";

/** `POST /v1/keys/{id}/secret`: for a secret that got lost before anybody used it. Throws `already_in_use`. */
export const replaceSecret: Operation<{ readonly id: KeyId }, Issued> = {
  name: "keys.replace-secret",
  permission: "keyturn:keys.rotate",
  issuesCredential: true,
  needsEvidence: true,
  async run(change, input) {
    const { key, owner } = await findKey(change.tx, change.account(), input.id);
    return replaceSecretOf(change, key, owner);
  },
};
