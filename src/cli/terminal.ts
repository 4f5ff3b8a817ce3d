import { type CANCEL_SYMBOL, cancel, isCancel, password, select, text } from "@clack/prompts";
import { CliFailure, EXIT } from "./exit.ts";

// Answers go to standard output; everything that is said to a person goes to standard error, so that
// `keyturn keys create … > key.txt` leaves the secret alone in the file.

/** A line of the answer. */
export function tell(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** A line for the person who watches. */
export function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Whether somebody is there who can be asked. */
export function canAsk(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

const ASKING = { output: process.stderr } as const;

/** A line of text that must not be empty. */
export async function askText(message: string, placeholder?: string): Promise<string> {
  const answer = await text({
    ...ASKING,
    message,
    ...(placeholder === undefined ? {} : { placeholder }),
    validate: (given) => (given === undefined || given.trim() === "" ? "Please type something." : undefined),
  });
  return answered(answer).trim();
}

/** What was given, or what a person says when asked. `what` reads like "the key's name". */
export async function needed(
  asks: boolean,
  given: string | undefined,
  { what, option, example }: { readonly what: string; readonly option?: string; readonly example: string },
): Promise<string> {
  if (given !== undefined) return given;
  if (asks) return askText(`What is ${what}?`, example);
  throw new CliFailure(EXIT.usage, `Give ${what}${option === undefined ? "" : ` (${option})`}.`);
}

/** A text that is not shown while it is typed. */
export async function askSecret(message: string): Promise<string> {
  return answered(await password({ ...ASKING, message, mask: "•" })).trim();
}

export async function askChoice<T extends string>(
  message: string,
  options: readonly { readonly value: T; readonly label: string; readonly hint?: string }[],
): Promise<T> {
  const choices: { value: string; label: string; hint?: string }[] = [...options];
  const chosen = answered(await select<string>({ ...ASKING, message, options: choices }));
  const found = options.find((option) => option.value === chosen);
  if (found === undefined) throw new CliFailure(EXIT.refused, "Nothing was chosen.");
  return found.value;
}

/** For what can't be undone: the word must be typed. */
export async function askTyped(message: string, word: string): Promise<void> {
  const answer = await text({
    ...ASKING,
    message: `${message}\nType ${word} to go on.`,
    validate: (given) => (given?.trim() === word ? undefined : `Type ${word}, or press Ctrl-C to leave it.`),
  });
  answered(answer);
}

/** Escape and Ctrl-C end the command, and nothing was done. */
function answered<T>(answer: T | typeof CANCEL_SYMBOL): T {
  if (!isCancel(answer)) return answer;
  cancel("Left as it was.", ASKING);
  throw new CliFailure(EXIT.refused, "");
}

const LONGEST_INPUT = 65_536;

/** All of standard input, which must be one line. */
export async function readInput(what: string): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin) {
    const bytes = Buffer.from(chunk);
    size += bytes.length;
    if (size > LONGEST_INPUT) throw new CliFailure(EXIT.usage, `Standard input is too long to be ${what}.`);
    chunks.push(bytes);
  }
  return oneLine(Buffer.concat(chunks).toString("utf8"), what);
}

/** A text from a file or a pipe, where a line break at the end is nobody's intention. */
export function oneLine(given: string, what: string): string {
  const line = given.trim();
  if (line === "") throw new CliFailure(EXIT.usage, `There is no ${what}: the input is empty.`);
  if (/[\r\n]/.test(line))
    throw new CliFailure(EXIT.usage, `There must be one ${what} and nothing else, on one line.`);
  return line;
}
