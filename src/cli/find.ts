import type { Client } from "@keyturn/sdk";
import { CliFailure, EXIT } from "./exit.ts";
import { plain } from "./table.ts";

// People know things by their names, the API by their ids. What starts like an id is one; anything else is looked up.

/** The id of a key: given as it is, or by the name of a key that is not revoked. */
export async function keyIdOf(client: Client, given: string): Promise<string> {
  if (given.startsWith("key_")) return given;
  return theOne(
    "key",
    given,
    client.keys.all({ limit: 200 }),
    (key) => key.state !== "revoked",
    (key) => key.state,
  );
}

/** The id of a service account: given as it is, or by the name of one that is not deleted. */
export async function serviceAccountIdOf(client: Client, given: string): Promise<string> {
  if (given.startsWith("sa_")) return given;
  return theOne(
    "service account",
    given,
    client.serviceAccounts.all({ limit: 200 }),
    (one) => !one.deleted,
    () => "",
  );
}

/** The id of an account: given as it is, or by its name. */
export async function accountIdOf(client: Client, given: string): Promise<string> {
  if (given.startsWith("acc_")) return given;
  return theOne(
    "account",
    given,
    client.accounts.all({ limit: 200 }),
    () => true,
    () => "",
  );
}

interface Named {
  readonly id: string;
  readonly name: string;
}

async function theOne<T extends Named>(
  kind: string,
  name: string,
  all: AsyncIterable<T>,
  isLiving: (one: T) => boolean,
  describe: (one: T) => string,
): Promise<string> {
  const found: T[] = [];
  for await (const one of all) if (one.name === name && isLiving(one)) found.push(one);
  const [first, second] = found;
  if (first === undefined)
    throw new CliFailure(EXIT.refused, `not_found: No ${kind} is called ${plain(name)}.`);
  if (second === undefined) return first.id;
  const which = found
    .map((one) => `${one.id}${describe(one) === "" ? "" : ` (${describe(one)})`}`)
    .join(", ");
  throw new CliFailure(
    EXIT.refused,
    `Several are called ${plain(name)}: ${which}. Give the id of the one that you mean.`,
  );
}
