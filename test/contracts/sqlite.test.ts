import { openThrowawayPair, openThrowawayStorage } from "../support/storage.ts";
import { clusterContract } from "./cluster-contract.ts";
import { storageContract } from "./storage-contract.ts";

storageContract("SQLite", openThrowawayStorage);
clusterContract("SQLite", openThrowawayPair);
