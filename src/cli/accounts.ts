import type { Command } from "commander";
import { z } from "zod";
import { type Act, wholeNumber } from "./context.ts";
import { accountIdOf } from "./find.ts";
import { addPageOptions, listed, pageOptions } from "./lists.ts";
import { accountTable, keyCard } from "./show.ts";
import { needed } from "./terminal.ts";
import { addWaitOption, tellWait, waiting, waitOption } from "./wait.ts";

/** `keyturn accounts …`: tenants, for the operator. */
export function addAccounts(program: Command, act: Act): void {
  const accounts = program.command("accounts").description("tenants; open to keys of the operator's account");

  const create = accounts
    .command("create")
    .description("make an account; prints the secret of its own root key")
    .argument("[name]", "asked for when left out")
    .addHelpText("after", "\nExample:\n  keyturn accounts create acme > acme-root.key");
  act(create, z.object({}), async (context, _, [name]) => {
    const body = { name: await needed(context.asks, name, { what: "the account's name", example: "acme" }) };
    const made = await context.client().accounts.create(body);
    context.answerSecret(
      made,
      made.secret,
      () => `Account ${made.account.id} with its root key\n${keyCard(made.key, Date.now())}`,
    );
  });

  const list = addPageOptions(accounts.command("list").description("list accounts"), wholeNumber);
  act(list, z.object(pageOptions), async (context, options) => {
    const client = context.client();
    const page = await listed(options, (query) => client.accounts.list(query));
    context.answer(page, () => accountTable(page.data));
  });

  const suspend = addWaitOption(
    accounts
      .command("suspend")
      .description("refuse all keys of an account, at once")
      .argument("<id-or-name>"),
  );
  act(suspend, z.object(waitOption), async (context, { wait }, [given = ""]) => {
    const client = context.client();
    const account = await client.accounts.suspend(await accountIdOf(client, given), waiting(wait));
    context.answer(account, () => accountTable([account]));
    tellWait(context, wait, account);
  });

  const reinstate = accounts
    .command("reinstate")
    .description("lift an account's suspension")
    .argument("<id-or-name>");
  act(reinstate, z.object({}), async (context, _, [given = ""]) => {
    const client = context.client();
    const account = await client.accounts.reinstate(await accountIdOf(client, given));
    context.answer(account, () => accountTable([account]));
  });
}
