import { createAccount } from "./accounts/create-account.ts";
import { listAccounts } from "./accounts/read-accounts.ts";
import { reinstateAccount, suspendAccount } from "./accounts/suspend-account.ts";
import { readAudit } from "./audit/read-audit.ts";
import { forgetProcess } from "./cluster/forget-process.ts";
import { readCluster } from "./cluster/read-cluster.ts";
import { createKey } from "./keys/create-key.ts";
import { listCallers, listKeys, readKey, readSelf, readUsage } from "./keys/read-keys.ts";
import { replaceSecret } from "./keys/replace-secret.ts";
import { revokeKey } from "./keys/revoke-key.ts";
import { reinstateKey, suspendKey } from "./keys/suspend-key.ts";
import { updateKey } from "./keys/update-key.ts";
import { advanceRotation } from "./rotations/advance-rotation.ts";
import { announceBrownout } from "./rotations/announce-brownout.ts";
import { cancelRotation } from "./rotations/cancel-rotation.ts";
import { completeRotation } from "./rotations/complete-rotation.ts";
import { dismissCaller } from "./rotations/dismiss-caller.ts";
import { endBrownout } from "./rotations/end-brownout.ts";
import { extendRotation } from "./rotations/extend-rotation.ts";
import { listRotations, readRotation } from "./rotations/read-rotations.ts";
import { rollbackRotation } from "./rotations/rollback-rotation.ts";
import { rotateKey, rotateSelf } from "./rotations/rotate-key.ts";
import { createServiceAccount } from "./service-accounts/create-service-account.ts";
import {
  deleteServiceAccount,
  disableServiceAccount,
  enableServiceAccount,
} from "./service-accounts/disable-service-account.ts";
import { listServiceAccounts, readServiceAccount } from "./service-accounts/read-service-accounts.ts";
import { updateServiceAccount } from "./service-accounts/update-service-account.ts";
import {
  acceptClock,
  acceptLoss,
  closeStore,
  mergeWitness,
  noteDatabase,
  openStore,
} from "./setup/installation.ts";
import { recover, redeemSetupToken } from "./setup/setup.ts";

/** Everything that changes state. There is no other way. */
export const OPERATIONS = {
  redeemSetupToken,
  recover,
  createAccount,
  suspendAccount,
  reinstateAccount,
  createServiceAccount,
  updateServiceAccount,
  disableServiceAccount,
  enableServiceAccount,
  deleteServiceAccount,
  createKey,
  updateKey,
  suspendKey,
  reinstateKey,
  revokeKey,
  replaceSecret,
  rotateKey,
  rotateSelf,
  extendRotation,
  completeRotation,
  cancelRotation,
  rollbackRotation,
  dismissCaller,
  announceBrownout,
  advanceRotation,
  endBrownout,
  forgetProcess,
  acceptClock,
  mergeWitness,
  acceptLoss,
  noteDatabase,
  closeStore,
  openStore,
} as const;

/** Everything that can be asked for. */
export const READINGS = {
  listAccounts,
  readServiceAccount,
  listServiceAccounts,
  readKey,
  readSelf,
  listKeys,
  listCallers,
  readUsage,
  readRotation,
  listRotations,
  readAudit,
  readCluster,
} as const;
