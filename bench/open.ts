import { readConfig } from "../src/config.ts";
import { type OpenInstallation, openInstallation } from "../src/host/open.ts";

/** Whether this process of the bench was given a PostgreSQL database, or a folder. */
export const DATABASE_URL = process.env.KEYTURN_DATABASE_URL;
export const FOLDER = process.env.KEYTURN_DATA ?? "";

/** Opens the store that this process was given. `cacheKeys` may be less than a server would take. */
export function openStore(cacheKeys = 200_000): Promise<OpenInstallation> {
  const place =
    DATABASE_URL === undefined ? { KEYTURN_DATA: FOLDER } : { KEYTURN_DATABASE_URL: DATABASE_URL };
  return openInstallation({ ...readConfig(place), cacheKeys });
}
