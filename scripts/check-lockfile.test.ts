import { expect, test } from "bun:test";
import { completed, missingEntries, placedEntries } from "./check-lockfile.ts";

const lockfile = {
  packages: {
    "node_modules/a": {
      version: "1.0.0",
      dev: true,
      optionalDependencies: { "a-linux-x64": "1.0.0", "@s/a-darwin-aarch64": "1.0.0" },
    },
    "node_modules/a-linux-x64": { version: "1.0.0", optional: true },
    "node_modules/b/node_modules/c": { optionalDependencies: { d: "1.0.0" } },
    "node_modules/b/node_modules/d": { version: "1.0.0" },
  },
};

test("a platform that npm left out is found and filled in for npm to skip elsewhere", () => {
  expect(missingEntries(lockfile)).toEqual([
    { dependent: "node_modules/a", name: "@s/a-darwin-aarch64", version: "1.0.0" },
  ]);
  const fixed = completed(lockfile);
  expect(fixed.packages["node_modules/@s/a-darwin-aarch64"]).toEqual({
    version: "1.0.0",
    cpu: ["arm64"],
    dev: true,
    optional: true,
    os: ["darwin"],
  });
  expect(missingEntries(fixed)).toEqual([]);
});

test("a name that tells no platform is not guessed at", () => {
  const unclear = { packages: { "node_modules/a": { optionalDependencies: { extras: "1.0.0" } } } };
  expect(() => completed(unclear)).toThrow("does not tell its platform");
});

test("an entry that says where it was fetched from is found, a workspace is not", () => {
  const packages = {
    "node_modules/a": { resolved: "https://packages.example/a.tgz" },
    "node_modules/sdk": { resolved: "sdk", link: true },
  };
  expect(placedEntries({ packages })).toEqual(["node_modules/a"]);
});
