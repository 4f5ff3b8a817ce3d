import { openThrowawayStorage } from "../support/storage.ts";
import { storageContract } from "./storage-contract.ts";

storageContract("SQLite", openThrowawayStorage);
