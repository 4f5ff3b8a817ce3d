import type { Client } from "@keyturn/sdk";
import { type Command, InvalidArgumentError } from "commander";
import { z } from "zod";
import {
  type ConnectionOptions,
  connect,
  connectOpenly,
  type Environment,
  ownKey,
  urlOf,
} from "./connection.ts";
import type { Exit } from "./exit.ts";
import type { HostCommands } from "./host-commands.ts";
import { canAsk, say, tell } from "./terminal.ts";

export interface CliParts {
  readonly version: string;
  readonly environment: Environment;
  host(): Promise<HostCommands>;
}

/** What a command has at hand. */
export interface Context {
  readonly environment: Environment;
  host(): Promise<HostCommands>;
  readonly json: boolean;
  /** Somebody can be asked, and did not ask for JSON. */
  readonly asks: boolean;
  readonly url: string;
  client(): Client;
  openClient(): Client;
  key(): string | undefined;
  /** The answer: as JSON or as people read it. */
  answer(value: unknown, text: () => string): void;
  /** An answer with a secret: the secret alone goes to standard output, what it is to standard error. */
  answerSecret(value: unknown, secret: string, text: () => string): void;
  endWith(exit: Exit | number): void;
}

const globals = z.object({
  url: z.string().optional(),
  keyFile: z.string().optional(),
  json: z.boolean().optional(),
});

/** Reads the options that every command has. */
export function contextOf(command: Command, parts: CliParts, endWith: (exit: number) => void): Context {
  const given = globals.parse(command.optsWithGlobals());
  const connection: ConnectionOptions = { url: given.url, keyFile: given.keyFile };
  const json = given.json ?? false;
  return {
    environment: parts.environment,
    host: parts.host,
    json,
    asks: !json && canAsk(),
    url: urlOf(connection, parts.environment),
    client: () => connect(connection, parts.environment),
    openClient: () => connectOpenly(connection, parts.environment),
    key: () => ownKey(connection, parts.environment),
    answer: (value, text) => tell(json ? JSON.stringify(value) : text()),
    answerSecret: (value, secret, text) => {
      if (json) return tell(JSON.stringify(value));
      say(text());
      say("");
      // On a terminal both streams meet: the secret follows its own heading.
      say(
        process.stdout.isTTY
          ? "The secret, told this once:"
          : "The secret is on standard output; it is told this once.",
      );
      tell(secret);
    },
    endWith,
  };
}

/** Registers what a command does. Its options are parsed by a schema, never trusted as they come. */
export type Act = <Options>(
  command: Command,
  options: z.ZodType<Options>,
  run: (context: Context, options: Options, args: readonly string[]) => Promise<void>,
) => void;

/** `--scope a --scope b`. */
export function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}

/** `--metadata team=billing`. */
export function collectPair(
  value: string,
  before: Readonly<Record<string, string>> | undefined,
): Readonly<Record<string, string>> {
  const at = value.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("Write name=value.");
  return { ...before, [value.slice(0, at)]: value.slice(at + 1) };
}

export function wholeNumber(value: string): number {
  if (!/^[0-9]{1,9}$/.test(value)) throw new InvalidArgumentError("Write a whole number.");
  return Number(value);
}
