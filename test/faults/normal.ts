/**
 * Preloaded into a server, this makes it run with `synchronous=NORMAL` where it asks for FULL: what the power-loss test
 * must catch. There is no setting for it, and must not be.
 */
import { Database } from "bun:sqlite";

const run = Database.prototype.run;

Database.prototype.run = function (this: Database, ...statement: Parameters<typeof run>) {
  const changes = run.apply(this, statement);
  if (/^pragma synchronous\b/.test(statement[0])) run.call(this, "pragma synchronous = normal");
  return changes;
};
