import { describe } from "bun:test";
import { NO_POSTGRES, openThrowawayPostgres, openThrowawayPostgresPair } from "../support/postgres.ts";
import { clusterContract } from "./cluster-contract.ts";
import { storageContract } from "./storage-contract.ts";

describe.skipIf(NO_POSTGRES)("with a database of its own", () => {
  storageContract("PostgreSQL", openThrowawayPostgres);
  clusterContract("PostgreSQL", openThrowawayPostgresPair);
});
