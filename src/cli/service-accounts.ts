import type { Command } from "commander";
import { z } from "zod";
import { type Act, collect, wholeNumber } from "./context.ts";
import { misuse } from "./exit.ts";
import { serviceAccountIdOf } from "./find.ts";
import { addPageOptions, listed, pageOptions } from "./lists.ts";
import { serviceAccountCard, serviceAccountTable } from "./show.ts";
import { askTyped, needed, say } from "./terminal.ts";
import { addWaitOption, tellWait, waiting, waitOption } from "./wait.ts";

const ROLE = z.enum(["none", "viewer", "editor", "admin"], "--role: none, viewer, editor or admin");

/** The rights of an owner or a key, as options. */
export const rightsOptions = {
  role: ROLE.optional(),
  scope: z.array(z.string()).optional(),
  allowIp: z.array(z.string()).optional(),
} as const;

export function addRightsOptions(command: Command): Command {
  return command
    .option("--role <role>", "none, viewer, editor or admin")
    .option("--scope <scope>", "such as invoices:read or invoices:*; may be given several times", collect)
    .option("--allow-ip <block>", "an address or CIDR block it may be used from; several times", collect);
}

/** `keyturn service-accounts …`: owners of keys that are not people. */
export function addServiceAccounts(program: Command, act: Act): void {
  const group = program.command("service-accounts").description("owners of keys that are not people");

  const create = addRightsOptions(
    group
      .command("create")
      .description("make a service account; its rights are the ceiling of its keys")
      .argument("[name]"),
  ).addHelpText(
    "after",
    "\nExample:\n  keyturn service-accounts create billing --role editor --scope 'invoices:*'",
  );
  act(create, z.object(rightsOptions), async (context, options, [given]) => {
    const name = await needed(context.asks, given, {
      what: "the service account's name",
      example: "billing",
    });
    const made = await context.client().serviceAccounts.create({
      name,
      role: options.role,
      scopes: options.scope,
      allowed_ips: options.allowIp,
    });
    context.answer(made, () => serviceAccountCard(made));
  });

  const list = addPageOptions(group.command("list").description("list service accounts"), wholeNumber);
  act(list, z.object(pageOptions), async (context, options) => {
    const client = context.client();
    const page = await listed(options, (query) => client.serviceAccounts.list(query));
    context.answer(page, () => serviceAccountTable(page.data));
  });

  act(
    group.command("get").description("read one").argument("<id-or-name>"),
    z.object({}),
    async (context, _, [given = ""]) => {
      const client = context.client();
      const one = await client.serviceAccounts.get(await serviceAccountIdOf(client, given));
      context.answer(one, () => serviceAccountCard(one));
    },
  );

  const update = addRightsOptions(
    group
      .command("update")
      .description("change one; a cut bites all its keys at once")
      .argument("<id-or-name>")
      .option("--name <name>", "its new name"),
  )
    .option("--no-scopes", "take all its scopes away")
    .option("--any-ip", "let it be used from any address")
    .option("--force", "even if the account is left without a root key");
  const updateOptions = z.object({
    ...rightsOptions,
    name: z.string().optional(),
    scopes: z.boolean().optional(),
    anyIp: z.boolean().optional(),
    force: z.boolean().optional(),
  });
  act(update, updateOptions, async (context, options, [given = ""]) => {
    if (options.anyIp && options.allowIp !== undefined) throw misuse("Give either --allow-ip or --any-ip.");
    if (options.scopes === false && options.scope !== undefined)
      throw misuse("Give either --scope or --no-scopes.");
    const client = context.client();
    const one = await client.serviceAccounts.update(await serviceAccountIdOf(client, given), {
      name: options.name,
      role: options.role,
      scopes: options.scopes === false ? [] : options.scope,
      allowed_ips: options.anyIp ? null : options.allowIp,
      force: options.force,
    });
    context.answer(one, () => serviceAccountCard(one));
  });

  const remove = addWaitOption(
    group
      .command("delete")
      .description("delete one for good; its keys answer revoked")
      .argument("<id-or-name>")
      .option("--yes", "do not ask")
      .option("--force", "even if the account is left without a root key"),
  );
  act(
    remove,
    z.object({ ...waitOption, yes: z.boolean().optional(), force: z.boolean().optional() }),
    async (context, options, [given = ""]) => {
      const client = context.client();
      const id = await serviceAccountIdOf(client, given);
      if (!options.yes) {
        if (!context.asks) throw misuse("Deleting can't be undone. Say --yes to do it without being asked.");
        const one = await client.serviceAccounts.get(id);
        say(serviceAccountCard(one));
        await askTyped("Deleting can't be undone: all its keys are refused for ever.", one.name);
      }
      const told = await client.serviceAccounts.delete(id, { force: options.force }, waiting(options.wait));
      context.answer({ id, deleted: true, ...told }, () => `${id} is deleted; its keys answer revoked.`);
      tellWait(context, options.wait, told);
    },
  );

  const disable = addWaitOption(
    group
      .command("disable")
      .description("refuse all its keys, at once")
      .argument("<id-or-name>")
      .option("--force", "even if the account is left without a root key"),
  );
  const disableOptions = z.object({ ...waitOption, force: z.boolean().optional() });
  act(disable, disableOptions, async (context, { force, wait }, [given = ""]) => {
    const client = context.client();
    const id = await serviceAccountIdOf(client, given);
    const one = await client.serviceAccounts.disable(id, { force }, waiting(wait));
    context.answer(one, () => serviceAccountCard(one));
    tellWait(context, wait, one);
  });

  const enable = group.command("enable").description("let its keys be good again").argument("<id-or-name>");
  act(enable, z.object({}), async (context, _, [given = ""]) => {
    const client = context.client();
    const one = await client.serviceAccounts.enable(await serviceAccountIdOf(client, given));
    context.answer(one, () => serviceAccountCard(one));
  });
}
