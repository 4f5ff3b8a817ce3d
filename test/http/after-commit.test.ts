import { expect, test } from "bun:test";
import { Refusal } from "../../src/authority/errors.ts";
import type { Storage } from "../../src/authority/storage.ts";
import { ROUTES } from "../../src/http/routes.ts";
import { startHttp } from "../support/http.ts";
import { goodRequest, nameOf, operatorOf } from "./requests.ts";

/** A store that goes away as soon as a change is made, before its answer is put together. */
function goneAfterCommit(line: { isArmed: boolean; isAway: boolean }) {
  const away = () => Promise.reject(new Refusal("storage_unavailable", "Nothing was changed."));
  const cut = <T extends object>(part: T): T =>
    new Proxy(part, {
      get: (target, name) => {
        const member: unknown = Reflect.get(target, name);
        if (typeof member === "object" && member !== null) return cut(member);
        if (typeof member !== "function" || name === "close") return member;
        return (...args: unknown[]) => (line.isAway ? away() : Reflect.apply(member, target, args));
      },
    });
  return (storage: Storage): Storage => ({
    ...cut(storage),
    close: storage.close,
    change: async (work, scope) => {
      const done = await storage.change(work, scope);
      line.isAway = line.isArmed;
      return done;
    },
  });
}

for (const route of ROUTES.filter((one) => one.method !== "get")) {
  test(`R39: ${nameOf(route)}, made and then not read back, is never told as not made`, async () => {
    const line = { isArmed: false, isAway: false };
    const http = await startHttp({ through: goneAfterCommit(line) });
    const { path, body, key } = await goodRequest(route, operatorOf(http));
    const { seq } = await http.world.authority.storage.read.audit.head();
    line.isArmed = true;
    const told = await http.call(route.method.toUpperCase(), path, { body, key });
    expect(["outcome_unknown", undefined]).toContain(told.code);
    if (told.code === undefined) expect(Number(told.headers.get("keyturn-seq"))).toBeGreaterThan(seq);
    line.isAway = false;
    await http.close();
  });
}
