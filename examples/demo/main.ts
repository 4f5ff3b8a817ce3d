/**
 * `npm run demo`: one key is turned over while three clients keep calling, on this machine alone. Real Keyturn, real
 * nginx where it is installed, temporary data and free ports. Ends in less than a minute, with 1 if a request failed.
 */
import { type AuditEntry, type Client, createClient, KeyturnError, type Rotation } from "@keyturn/sdk";
import { type CallerView, type Line, storyLines, type View } from "./frame.ts";
import { type House, openHouse } from "./processes.ts";
import { openScreen, type Screen } from "./screen.ts";
import { FULL_RATE, startTraffic, type Traffic } from "./traffic.ts";

const NAMES = ["web-shop", "mobile-app", "nightly-report"] as const;
const LAGGARD = NAMES[2];
const FRAME_MS = 100;
const LOOK_MS = 300;
/** How long a condition may take before the demo gives up. */
const LIMIT_MS = 20_000;
/** Hours and days in real life; the shortest that evidence allows here. */
const PLAN = {
  completion: "manual",
  quiet_period: "2s",
  undo_window: "5s",
  reason: "its 90 days are nearly over",
} as const;

/** Who stands in the audit trail, by key id. */
type People = ReadonlyMap<string, string>;

interface Stage {
  readonly house: House;
  readonly alice: Client;
  readonly people: People;
  readonly traffic: Traffic;
  readonly oldKey: { readonly id: string; readonly hint: string };
  readonly secrets: { readonly old: string; new: string | null };
  newHint: string | null;
  rotation: Rotation | null;
  readonly story: Line[];
  readonly screen: Screen;
  readonly began: number;
}

/** The key of the API's clients, Alice who turns it over, and a key for whoever stands in front of the API. */
async function setStage(house: House, screen: Screen, began: number): Promise<Stage> {
  const root = createClient({ url: house.keyturnUrl, key: house.rootKey });
  const issue = async (name: string, scopes: string[]) => {
    const owner = await root.serviceAccounts.create({ name, scopes });
    return root.keys.create({ name, owner_id: owner.id, scopes });
  };
  const gateway = await issue("gateway", ["keyturn:keys.verify"]);
  await house.openDoors(gateway.secret);
  const billing = await issue("billing", ["invoices:read"]);
  // Whoever rotates a key is told its successor, so Alice must hold the rights that come with it.
  const rights = ["keys.rotate", "keys.read", "rotations.read", "rotations.manage", "audit.read"];
  const alice = await issue("alice", ["invoices:read", ...rights.map((right) => `keyturn:${right}`)]);
  const secrets = { old: billing.secret, new: null };
  return {
    house,
    screen,
    began,
    alice: createClient({ url: house.keyturnUrl, key: alice.secret }),
    people: new Map([[alice.key.id, "alice"]]),
    traffic: startTraffic(house.apiUrl, NAMES, () => secrets),
    oldKey: { id: billing.key.id, hint: billing.key.hint },
    secrets,
    newHint: null,
    rotation: null,
    story: [],
  };
}

const secondsOf = (stage: Stage) => (performance.now() - stage.began) / 1000;

function tell(stage: Stage, kind: Line["kind"], text: string): void {
  const line = { kind, text, at: secondsOf(stage) };
  stage.story.push(line);
  stage.screen.tell(line);
}

function viewOf(stage: Stage): View {
  const { traffic, rotation } = stage;
  const way = stage.house.hasNginx ? "nginx ──▶ a small API" : "a small API (without nginx)";
  return {
    seconds: secondsOf(stage),
    route: `3 clients ──▶ ${way}; Keyturn judges every request`,
    oldHint: stage.oldKey.hint,
    newHint: stage.newHint,
    state: rotation?.state ?? null,
    callers: traffic.callers.map((caller) => {
      const known = rotation?.callers.find((one) => one.name === caller.name);
      const rates = { old: caller.rate("old"), new: caller.rate("new") };
      return {
        name: caller.name,
        ...rates,
        status: statusOf(known, rates),
        moved: known?.status === "moved",
      };
    }),
    fullRate: FULL_RATE,
    requests: traffic.requests(),
    failed: traffic.failures().length,
    story: stage.story,
  };
}

function statusOf(
  known: Rotation["callers"][number] | undefined,
  rates: Pick<CallerView, "old" | "new">,
): string {
  if (known === undefined) return "";
  if (known.status === "moved") return "moved";
  if (rates.new === 0) return "on the old key";
  // Off the old key is not enough: it must stay off for the quiet period.
  return rates.old > 0 ? "moving" : "being watched";
}

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + LIMIT_MS;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`This did not come about: ${what}`);
    await Bun.sleep(LOOK_MS);
  }
}

/** An id as far as a reader wants to see it: what it is of, and its end. */
const short = (id: string) => `${id.slice(0, id.indexOf("_") + 1)}…${id.slice(-4)}`;
const pause = (seconds: number) => Bun.sleep(seconds * 1000);

/** The story: what happens, in this order. */
async function play(stage: Stage): Promise<void> {
  const { alice, traffic } = stage;
  tell(
    stage,
    "step",
    "Three clients share an API key. It has to be turned over, and none of them may notice.",
  );
  await pause(3);

  tell(stage, "step", "Alice rotates the key. Its successor is issued, and from now on both are good.");
  tell(stage, "command", `keyturn keys rotate ${short(stage.oldKey.id)} --completion manual`);
  const started = await alice.keys.rotate(stage.oldKey.id, PLAN);
  const { id } = started.rotation;
  stage.rotation = started.rotation;
  stage.secrets.new = started.secret;
  stage.newHint = started.key.hint;
  await pause(2);

  tell(stage, "step", "web-shop and mobile-app deploy the new key, one instance after the other.");
  const [shop, app, report] = traffic.callers;
  await shop?.move();
  await app?.move();
  tell(
    stage,
    "note",
    "A caller counts as moved once it stayed off the old key for 2 s (a day, in real life).",
  );
  const moved = (name: string) =>
    stage.rotation?.callers.find((caller) => caller.name === name)?.status === "moved";
  await until("two clients have moved", () => moved(NAMES[0]) && moved(NAMES[1]));
  tell(stage, "good", "Both have moved.");
  await pause(1);

  tell(stage, "step", `Alice wants to be done with it. But ${LAGGARD} was not told.`);
  tell(stage, "command", `keyturn rotations complete ${short(id)}`);
  await tellRefusal(stage, () => alice.rotations.complete(id));
  await pause(3);

  tell(stage, "step", `${LAGGARD} gets the new key as well.`);
  await report?.move();
  await until("everybody has adopted it", () => stage.rotation?.state === "adopted");
  tell(stage, "good", "Nobody is left on the old key, and the evidence says so.");
  await pause(1);

  tell(
    stage,
    "step",
    "Now completing is safe. The old key is suspended, not gone: for 5 s it can come back.",
  );
  tell(stage, "command", `keyturn rotations complete ${short(id)}`);
  await alice.rotations.complete(id);
  await tellProbe(stage, 401);
  await pause(2);

  tell(stage, "step", "Second thoughts? One command brings it back.");
  tell(stage, "command", `keyturn rotations rollback ${short(id)}`);
  await alice.rotations.rollback(id);
  await tellProbe(stage, 200);
  await pause(1.5);
  await until("it is adopted again", () => stage.rotation?.state === "adopted");

  tell(stage, "step", "It was a false alarm. Alice completes once more, and lets the 5 s pass.");
  tell(stage, "command", `keyturn rotations complete ${short(id)}`);
  await alice.rotations.complete(id);
  await tellProbe(stage, 401);
  await until("the rotation is closed", () => stage.rotation?.state === "closed");
  tell(stage, "step", "The rotation is closed: the old key is revoked, for ever.");
  await tellProbe(stage, 401);
  await pause(2);
}

/** Somebody tries the old key: outside the count, because a refusal is what it is for. */
async function tellProbe(stage: Stage, expected: 200 | 401): Promise<void> {
  const { status, verdict } = await stage.traffic.probe("old", LAGGARD);
  if (status !== expected)
    throw new Error(`the old key was answered with ${status} ${verdict}, not ${expected}`);
  if (status === 200) tell(stage, "good", `A request with the old key: ${status}. It is good again.`);
  else tell(stage, "refused", `A request with the old key: ${status} ${verdict}`);
}

async function tellRefusal(stage: Stage, attempt: () => Promise<unknown>): Promise<void> {
  try {
    await attempt();
  } catch (error) {
    if (!(error instanceof KeyturnError) || error.code !== "not_safe_to_complete") throw error;
    tell(stage, "refused", `${error.status} ${error.code}: ${error.detail}`);
    return;
  }
  throw new Error("completing was not refused, though a client was still on the old key");
}

/** Redraws, and looks how the rotation stands, until told to stop. */
function watch(stage: Stage): () => void {
  let looking = false;
  const look = async () => {
    if (stage.rotation === null || looking) return;
    looking = true;
    try {
      stage.rotation = await stage.alice.rotations.get(stage.rotation.id);
    } finally {
      looking = false;
    }
  };
  const drawing = setInterval(() => stage.screen.show(viewOf(stage)), FRAME_MS);
  // A look that fails is followed by another; a Keyturn that is gone shows in the traffic.
  const looks = setInterval(() => void look().catch(() => undefined), LOOK_MS);
  return () => {
    clearInterval(drawing);
    clearInterval(looks);
  };
}

/** What stays on the terminal: the story, who did what when, and the count. */
async function report(stage: Stage, out: NodeJS.WriteStream): Promise<void> {
  const { ink } = stage.screen;
  if (out.isTTY) {
    out.write(`${ink.title("Keyturn: one key was turned over while its callers kept calling")}\n\n`);
    const columns = Math.min(out.columns || 80, 120) - 1;
    for (const line of stage.story) out.write(`${storyLines(line, columns, ink, true).join("\n")}\n`);
  }
  const { data } = await stage.alice.audit.list({ limit: 200 });
  out.write(`\n${ink.bold("The audit trail of the rotation")}\n`);
  for (const entry of data.toReversed()) {
    const what = auditText(entry, stage);
    if (what !== null) out.write(`  ${ink.dim(entry.at.slice(11, 19))}  ${what}\n`);
  }
  const failures = stage.traffic.failures();
  for (const failure of failures.slice(0, 10)) out.write(`${ink.bad("failed:")} ${failure}\n`);
  const count = `${stage.traffic.requests().toLocaleString("en-US")} requests, ${failures.length} failed`;
  out.write(`\n${failures.length === 0 ? ink.new(ink.bold(count)) : ink.bad(count)}\n`);
}

/** One entry as a line: who, what, and how the state of the rotation changed. Null for what belongs elsewhere. */
function auditText(entry: AuditEntry, { people, rotation }: Stage): string | null {
  const subject = entry.subjects.find((one) => one.id === rotation?.id);
  const isRefusal = entry.outcome === "refused" && entry.operation.startsWith("rotations.");
  if (subject === undefined && !isRefusal) return null;
  const who = entry.actor.kind === "system" ? "Keyturn" : (people.get(entry.actor.id) ?? entry.actor.id);
  const what = `${who.padEnd(8)} ${entry.operation.padEnd(19)}`;
  if (subject === undefined) return `${what} refused: ${String(entry.details.code ?? "")}`;
  const [before, after] = [subject.before?.state, subject.after?.state];
  const reason = entry.details.reason;
  const change = before === undefined ? String(after) : `${String(before)} → ${String(after)}`;
  return `${what} ${change}${reason === undefined ? "" : `  (${String(reason)})`}`;
}

/** Ends everything when somebody presses Ctrl-C; a second time without waiting. */
function endOnSignals(house: House, screen: Screen): { readonly ending: boolean } {
  const state = { ending: false };
  // Whatever happens, nothing is left running and the terminal is as it was.
  process.on("exit", () => {
    screen.close();
    house.closeNow();
  });
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const) {
    process.on(signal, () => {
      if (state.ending) process.exit(code);
      state.ending = true;
      screen.close();
      void house.close().finally(() => process.exit(code));
    });
  }
  return state;
}

async function main(): Promise<number> {
  const began = performance.now();
  const house = await openHouse();
  const screen = openScreen(process.stdout);
  const signals = endOnSignals(house, screen);
  let stopWatching = () => {};
  try {
    const stage = await setStage(house, screen, began);
    stopWatching = watch(stage);
    await play(stage);
    stopWatching();
    await stage.traffic.stop();
    screen.close();
    await report(stage, process.stdout);
    return stage.traffic.failures().length === 0 ? 0 : 1;
  } catch (error) {
    // What is being ended fails, and nobody needs to hear of it.
    if (signals.ending) return new Promise(() => {});
    screen.close();
    process.stderr.write(`The demo stopped: ${error instanceof Error ? error.message : String(error)}\n`);
    process.stderr.write(house.complaints());
    return 1;
  } finally {
    stopWatching();
    if (!signals.ending) await house.close();
  }
}

process.exit(await main());
