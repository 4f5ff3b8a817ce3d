import { type BrakedKey, type Client, type Key, KeyturnError } from "@keyturn/sdk";
import type { Command } from "commander";
import { z } from "zod";
import { type Act, type Context, collectPair, wholeNumber } from "./context.ts";
import { EXIT, misuse } from "./exit.ts";
import { keyIdOf, serviceAccountIdOf } from "./find.ts";
import { addPageOptions, listed, pageOptions } from "./lists.ts";
import { problemText } from "./problem.ts";
import { addRotate } from "./rotate.ts";
import { addRightsOptions, rightsOptions } from "./service-accounts.ts";
import { callerTable, inUseText, keyCard, keyTable, usageTable } from "./show.ts";
import { plain } from "./table.ts";
import { askChoice, askText, askTyped, needed, say, tell } from "./terminal.ts";
import { addWaitOption, tellWait, waiting, waitOption } from "./wait.ts";

/** `keyturn keys …`. */
export function addKeys(program: Command, act: Act): void {
  const keys = program.command("keys").description("API keys: issue, list, narrow, rotate, suspend, revoke");
  addCreate(keys, act);
  addReadings(keys, act);
  addUpdate(keys, act);
  addRotate(keys, act);
  addBrakes(keys, act);
}

const FRESHNESS = z.enum(["strict", "bounded", "static"], "--freshness: strict, bounded or static");

const createOptions = z.object({
  ...rightsOptions,
  freshness: FRESHNESS.optional(),
  owner: z.string().optional(),
  ttl: z.string().optional(),
  expiresAt: z.string().optional(),
  metadata: z.record(z.string(), z.string()).optional(),
});

function addCreate(keys: Command, act: Act): void {
  const create = addRightsOptions(
    keys
      .command("create")
      .description("issue a key; its secret goes to standard output, this once")
      .argument("[name]", "what people call it; asked for when left out")
      .option("--owner <id-or-name>", "the service account that owns it; asked for when left out")
      .option("--ttl <span>", "how long it lives, such as 90d or 1d12h, or never (90d)")
      .option("--expires-at <instant>", "when it ends, such as 2027-01-31T12:00:00Z"),
  )
    .option("--metadata <name=value>", "a note kept with it; several times", collectPair)
    .option(
      "--freshness <freshness>",
      "how soon a revocation bites where nothing is heard of it: strict, bounded or static (bounded)",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  keyturn keys create\n  keyturn keys create ci --owner billing --ttl 30d --scope invoices:read > ci.key",
    );
  act(create, createOptions, async (context, options, [given]) => {
    const client = context.client();
    const asked = given === undefined && context.asks;
    const name = await needed(context.asks, given, {
      what: "the key's name",
      example: "billing-worker",
    });
    const owner_id =
      options.owner === undefined
        ? await askOwner(context, client)
        : await serviceAccountIdOf(client, options.owner);
    const lifetime = { ttl: options.ttl, expires_at: options.expiresAt };
    const made = await client.keys.create({
      name,
      owner_id,
      ...(asked && lifetime.ttl === undefined && lifetime.expires_at === undefined
        ? { ttl: await askLifetime() }
        : lifetime),
      role: options.role,
      scopes: options.scope,
      allowed_ips: options.allowIp,
      metadata: options.metadata,
      freshness: options.freshness,
    });
    context.answerSecret(made, made.secret, () => keyCard(made.key, Date.now()));
  });

  const replace = keys
    .command("replace-secret")
    .description("a new secret for a key that nobody has used yet; the earlier one dies")
    .argument("<id-or-name>");
  act(replace, z.object({}), async (context, _, [given = ""]) => {
    const client = context.client();
    const made = await client.keys.replaceSecret(await keyIdOf(client, given));
    context.answerSecret(made, made.secret, () => keyCard(made.key, Date.now()));
  });
}

const NEW_OWNER = "new";

async function askOwner(context: Context, client: Client): Promise<string> {
  if (!context.asks) throw misuse("Give the service account that owns the key (--owner).");
  const { data } = await client.serviceAccounts.list({ limit: 200 });
  // Those with every right last: a key of theirs is rarely what is meant.
  const owners = data
    .filter((one) => !one.deleted)
    .toSorted((a, b) => Number(a.scopes.includes("*")) - Number(b.scopes.includes("*")));
  const chosen = await askChoice("Who owns the key?", [
    ...owners.map((one) => ({
      value: one.id,
      label: plain(one.name),
      hint: `role ${one.role}, scopes ${one.scopes.map(plain).join(" ") || "none"}`,
    })),
    { value: NEW_OWNER, label: "a new service account" },
  ]);
  if (chosen !== NEW_OWNER) return chosen;
  const made = await client.serviceAccounts.create({
    name: await askText("What is the service account's name?", "billing"),
  });
  return made.id;
}

async function askLifetime(): Promise<string> {
  const chosen = await askChoice("How long does it live?", [
    { value: "90d", label: "90 days" },
    { value: "30d", label: "30 days" },
    { value: "1y", label: "a year" },
    { value: "never", label: "for ever", hint: "until somebody revokes it" },
    { value: "other", label: "something else" },
  ]);
  return chosen === "other" ? askText("How long, such as 12h or 1d12h?", "12h") : chosen;
}

const keyStates = z.enum(
  ["active", "suspended", "expired", "revoked"],
  "--state: active, suspended, expired or revoked",
);

function addReadings(keys: Command, act: Act): void {
  const list = addPageOptions(
    keys
      .command("list")
      .description("list keys, tombstones included")
      .option("--state <state>", "active, suspended, expired or revoked")
      .option("--expiring-within <span>", "only those that end within, such as 7d")
      .option("--owner <id-or-name>", "only those of a service account"),
    wholeNumber,
  ).addHelpText("after", "\nExample:\n  keyturn keys list --state active --expiring-within 7d");
  const listOptions = z.object({
    ...pageOptions,
    state: keyStates.optional(),
    expiringWithin: z.string().optional(),
    owner: z.string().optional(),
  });
  act(list, listOptions, async (context, options) => {
    const client = context.client();
    const owner_id =
      options.owner === undefined ? undefined : await serviceAccountIdOf(client, options.owner);
    const filter = { state: options.state, expiring_within: options.expiringWithin, owner_id };
    const page = await listed(options, (query) => client.keys.list({ ...query, ...filter }));
    context.answer(page, () => keyTable(page.data, Date.now()));
  });

  act(
    keys.command("get").description("read one").argument("<id-or-name>"),
    z.object({}),
    async (context, _, [given = ""]) => {
      const client = context.client();
      const key = await client.keys.get(await keyIdOf(client, given));
      context.answer(key, () => keyCard(key, Date.now()));
    },
  );

  act(
    keys.command("self").description("the key that asks: what it is and may do"),
    z.object({}),
    async (context) => {
      const key = await context.client().keys.self();
      context.answer(key, () => keyCard(key, Date.now()));
    },
  );

  const callers = keys
    .command("callers")
    .description("who presents a key, and how often it was refused")
    .argument("<id-or-name>");
  act(callers, z.object({}), async (context, _, [given = ""]) => {
    const client = context.client();
    const page = await client.keys.callers(await keyIdOf(client, given));
    context.answer(page, () =>
      page.data.length === 0 ? "Nobody was seen with this key." : callerTable(page.data, Date.now()),
    );
  });

  const usage = keys
    .command("usage")
    .description("uses by verdict; of the last 24 hours unless said")
    .argument("<id-or-name>")
    .option("--unit <unit>", "minute or hour (hour)")
    .option("--from <instant>")
    .option("--until <instant>");
  const usageOptions = z.object({
    unit: z.enum(["minute", "hour"], "--unit: minute or hour").optional(),
    from: z.string().optional(),
    until: z.string().optional(),
  });
  act(usage, usageOptions, async (context, options, [given = ""]) => {
    const client = context.client();
    const page = await client.keys.usage(await keyIdOf(client, given), options);
    context.answer(page, () =>
      page.data.length === 0 ? "It was not used in this time." : usageTable(page.data),
    );
  });
}

function addUpdate(keys: Command, act: Act): void {
  const update = addRightsOptions(
    keys
      .command("update")
      .description("rename a key or narrow it; it never widens or lengthens")
      .argument("<id-or-name>")
      .option("--name <name>", "its new name"),
  )
    .option("--no-scopes", "take all its scopes away")
    .option("--expires-at <instant>", "let it end sooner")
    .option(
      "--metadata <name=value>",
      "its new notes, in place of all the old ones; several times",
      collectPair,
    )
    .option("--freshness <freshness>", "strict or bounded; never less than it was")
    .option("--force", "even if the account is left without a root key");
  const updateOptions = z.object({
    ...rightsOptions,
    freshness: FRESHNESS.optional(),
    name: z.string().optional(),
    scopes: z.boolean().optional(),
    expiresAt: z.string().optional(),
    metadata: z.record(z.string(), z.string()).optional(),
    force: z.boolean().optional(),
  });
  act(update, updateOptions, async (context, options, [given = ""]) => {
    if (options.scopes === false && options.scope !== undefined)
      throw misuse("Give either --scope or --no-scopes.");
    const client = context.client();
    const key = await client.keys.update(await keyIdOf(client, given), {
      name: options.name,
      role: options.role,
      scopes: options.scopes === false ? [] : options.scope,
      allowed_ips: options.allowIp,
      expires_at: options.expiresAt,
      metadata: options.metadata,
      freshness: options.freshness,
      force: options.force,
    });
    context.answer(key, () => keyCard(key, Date.now()));
  });
}

const brakeOptions = z.object({
  ...waitOption,
  reason: z.string().optional(),
  force: z.boolean().optional(),
  yes: z.boolean().optional(),
});

function addBrakes(keys: Command, act: Act): void {
  const suspend = addWaitOption(
    keys
      .command("suspend")
      .description("refuse keys at once, until they are reinstated")
      .argument("<id-or-name...>")
      .option("--reason <text>", "for the audit log")
      .option("--force", "even the account's last root key"),
  );
  act(suspend, brakeOptions, async (context, { reason, force, wait }, given) => {
    const client = context.client();
    const ids = await keyIdsOf(client, given);
    const work = (id: string) => client.keys.suspend(id, { reason, force }, waiting(wait));
    await each(context, ids, work, brakedText("suspended"), wait);
  });

  const reinstate = keys
    .command("reinstate")
    .description("lift an operator's suspension")
    .argument("<id-or-name...>");
  act(reinstate, z.object({}), async (context, _, given) => {
    const client = context.client();
    const ids = await keyIdsOf(client, given);
    await each(
      context,
      ids,
      (id) => client.keys.reinstate(id),
      (key) => `${key.id} is ${key.state}.`,
    );
  });

  const revoke = addWaitOption(
    keys
      .command("revoke")
      .description("refuse keys for ever, at once; this can't be undone")
      .argument("<id-or-name...>")
      .option("--reason <text>", "for the audit log")
      .option("--yes", "do not ask")
      .option("--force", "even the account's last root key")
      .addHelpText(
        "after",
        "\nExample:\n  keyturn keys revoke key_01… key_02… --reason 'leaked in a build log' --yes",
      ),
  );
  act(revoke, brakeOptions, async (context, { reason, force, yes, wait }, given) => {
    const client = context.client();
    const ids = await keyIdsOf(client, given);
    if (!yes) await confirmRevocation(context, client, ids);
    const work = (id: string) => client.keys.revoke(id, { reason, force }, waiting(wait));
    await each(context, ids, work, brakedText("revoked for ever"), wait);
  });

  const remove = addWaitOption(
    keys
      .command("delete")
      .description("the same as revoke; the tombstone stays readable")
      .argument("<id-or-name...>")
      .option("--yes", "do not ask")
      .option("--force", "even the account's last root key"),
  );
  act(remove, brakeOptions, async (context, { force, yes, wait }, given) => {
    const client = context.client();
    const ids = await keyIdsOf(client, given);
    if (!yes) await confirmRevocation(context, client, ids);
    await each(
      context,
      ids,
      async (id) => ({ id, deleted: true, ...(await client.keys.delete(id, { force }, waiting(wait))) }),
      ({ id }) => `${id} is revoked for ever.`,
      wait,
    );
  });
}

/** Before anything is done: a name that can't be found must not leave half of them revoked. */
function keyIdsOf(client: Client, given: readonly string[]): Promise<readonly string[]> {
  return Promise.all(given.map((one) => keyIdOf(client, one)));
}

const brakedText = (done: string) => (key: BrakedKey) =>
  `${key.id} (${plain(key.name)}) is ${done}. ${inUseText(key.in_use_by, Date.now())}`;

const DAY_MS = 86_400_000;

/** Shows who would notice, and lets a person type that it is meant. */
async function confirmRevocation(context: Context, client: Client, ids: readonly string[]): Promise<void> {
  if (!context.asks) throw misuse("Revoking can't be undone. Say --yes to do it without being asked.");
  const found: Key[] = [];
  for (const id of ids) {
    const key = await client.keys.get(id);
    found.push(key);
    say(`${key.id} (${plain(key.name)}), ${key.state}. ${await usersOf(client, id)}`);
  }
  const [only] = found;
  const word = found.length === 1 && only !== undefined ? only.name : `revoke ${found.length} keys`;
  await askTyped("Revoking can't be undone: whoever uses it is refused from the next request on.", word);
}

async function usersOf(client: Client, id: string): Promise<string> {
  const now = Date.now();
  const { data } = await client.keys.callers(id);
  const users = data.filter(
    ({ last_valid_at }) => last_valid_at !== null && now - Date.parse(last_valid_at) < DAY_MS,
  );
  return inUseText(users, now);
}

/** Does the same to each; one refusal does not keep the others from being done. With `--json` a line for each. */
async function each<T>(
  context: Context,
  ids: readonly string[],
  work: (id: string) => Promise<T>,
  text: (done: T) => string,
  wait?: boolean,
): Promise<void> {
  const [only] = ids;
  if (ids.length === 1 && only !== undefined) {
    const done = await work(only);
    context.answer(done, () => text(done));
    tellWait(context, wait, done);
    return;
  }
  let isRefused = false;
  for (const id of ids) {
    try {
      const done = await work(id);
      tell(context.json ? JSON.stringify(done) : text(done));
      tellWait(context, wait, done);
    } catch (error) {
      // No key or no connection will not be better for the next one.
      if (!(error instanceof KeyturnError) || error.status === 0 || error.status === 401) throw error;
      say(context.json ? JSON.stringify({ id, ...error.problem }) : `${problemText(error)} (${plain(id)})`);
      isRefused = true;
    }
  }
  if (isRefused) context.endWith(EXIT.refused);
}
