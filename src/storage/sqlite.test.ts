import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { cleanUp, newFolder } from "../../test/support/traces.ts";
import { Refusal } from "../authority/errors.ts";
import { openFile, transactionsOn } from "./sqlite.ts";

afterAll(cleanUp);

/** A file that two processes write to: each connection is as foreign to the other as those of two processes are. */
function twoWriters(limitMs?: number) {
  const path = join(newFolder("writers"), "file.db");
  const [one, other] = [openFile(path, "normal"), openFile(path, "normal")];
  one.run("create table lines (text text)");
  const write = (file: typeof one) => {
    const { transact, settled } = transactionsOn(file, file, limitMs);
    const line = (text: string) =>
      transact(async (tx) => void tx.query("insert into lines values (?)").run(text));
    return { transact, settled, line };
  };
  const lines = () =>
    one
      .query<{ text: string }, []>("select text from lines order by rowid")
      .all()
      .map(({ text }) => text);
  const close = () => {
    one.close();
    other.close();
  };
  return { one, other, write, lines, close };
}

describe("while another process writes", () => {
  test("the thread goes on with other things, and the changes are made in their order when it has ended", async () => {
    const { one, other, write, lines, close } = twoWriters();
    other.run("begin immediate");
    const { line } = write(one);
    const made: string[] = [];
    const asked = ["a", "b", "c"].map((text) => line(text).then(() => made.push(text)));
    // Held up, the thread would not come here at all.
    for (let turn = 0; turn < 20; turn += 1) await Bun.sleep(1);
    expect(made).toEqual([]);
    other.run("insert into lines values ('other')");
    other.run("commit");
    await Promise.all(asked);
    expect(lines()).toEqual(["other", "a", "b", "c"]);
    close();
  });

  test("for longer than the limit, a change is refused as not made, and the next one is made when it has ended", async () => {
    const { one, other, write, lines, close } = twoWriters(50);
    other.run("begin immediate");
    const { line, settled } = write(one);
    let begun = false;
    const { transact } = write(one);
    const refused = await transact(async () => {
      begun = true;
    }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(Refusal);
    expect(refused).toMatchObject({ code: "storage_unavailable" });
    expect(begun).toBe(false);
    // What has waited in the queue for as long is refused with it, and not after as long again for each.
    const many = await Promise.allSettled(Array.from({ length: 50 }, (_, index) => line(`${index}`)));
    expect(many.filter(({ status }) => status === "fulfilled")).toEqual([]);
    await settled();
    other.run("rollback");
    await line("after");
    expect(lines()).toEqual(["after"]);
    close();
  });

  test("one after another without a pause, a change gets its turn all the same", async () => {
    const { one, other, write, lines, close } = twoWriters();
    const busy = write(one);
    const queue = Array.from({ length: 400 }, (_, index) =>
      busy.transact(async (tx) => {
        tx.query("insert into lines values (?)").run(`${index}`);
        await Bun.sleep(1);
      }),
    );
    await queue[0];
    await write(other).line("other");
    // Before the queue was done, by far.
    expect(lines().indexOf("other")).toBeLessThan(300);
    await Promise.all(queue);
    expect(lines()).toHaveLength(401);
    close();
  });

  test("what fails in a change leaves nothing behind, and the lock free for others", async () => {
    const { one, other, write, lines, close } = twoWriters();
    const { transact } = write(one);
    const failed = transact(async (tx) => {
      tx.run("insert into lines values ('half')");
      await Promise.reject(new Error("in the middle"));
    });
    expect(failed).rejects.toThrow("in the middle");
    await write(other).line("other");
    expect(lines()).toEqual(["other"]);
    close();
  });
});
