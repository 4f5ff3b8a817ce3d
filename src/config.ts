import { hostname } from "node:os";
import { z } from "zod";
import { canonicalBlock } from "./authority/access/addresses.ts";
import type { AddressKept } from "./authority/callers/caller.ts";
import { LONGEST_FLUSH_SECONDS } from "./authority/callers/recorder.ts";
import { BOUNDED_SECONDS } from "./authority/freshness.ts";
import { isBrand, isRegion, type SecretFormat } from "./authority/secret.ts";
import { parseSpan, type Seconds } from "./authority/time.ts";

/** Every variable that the server reads, with what it means when it is absent. docs/running.md explains each. */
export const SERVER_VARIABLES = [
  "KEYTURN_HOST",
  "KEYTURN_PORT",
  "KEYTURN_DATA",
  "KEYTURN_DATABASE_URL",
  "KEYTURN_DATABASE_POOL",
  "KEYTURN_DATABASE_CONNECT_TIMEOUT",
  "KEYTURN_DATABASE_STATEMENT_TIMEOUT",
  "KEYTURN_DATABASE_START_TIMEOUT",
  "KEYTURN_WORKERS",
  "KEYTURN_PROCESS_NAME",
  "KEYTURN_BOUNDED_CEILING",
  "KEYTURN_PUBLIC_URL",
  "KEYTURN_REGION",
  "KEYTURN_KEY_BRAND",
  "KEYTURN_RETIRED_KEY_BRANDS",
  "KEYTURN_ROOT_KEY_FILE",
  "KEYTURN_WITNESS_FILE",
  "KEYTURN_TRUSTED_PROXIES",
  "KEYTURN_CALLER_ADDRESS",
  "KEYTURN_FLUSH_INTERVAL",
  "KEYTURN_CACHE_KEYS",
  "KEYTURN_METRICS_PORT",
  "KEYTURN_LOG_LEVEL",
  "KEYTURN_TLS",
  "KEYTURN_TLS_CERT_FILE",
  "KEYTURN_TLS_KEY_FILE",
] as const;

/** Read by the command line and the SDK, not by the server. */
const CLIENT_VARIABLES = [
  "KEYTURN_URL",
  "KEYTURN_KEY",
  "KEYTURN_KEY_FILE",
  "KEYTURN_VERIFY_KEY_FILE",
] as const;

export interface Config {
  readonly host: string;
  readonly port: number;
  readonly dataFolder: string;
  /** Null: the embedded database in the data folder. */
  readonly database: DatabaseConfig | null;
  /** Processes that serve one port over the embedded database. */
  readonly workers: number;
  /** How this process is called among those of the installation. */
  readonly processName: string;
  readonly boundedSeconds: Seconds;
  readonly publicUrl: string | null;
  readonly format: SecretFormat;
  readonly rootKeyFile: string | null;
  readonly witnessFile: string | null;
  /** CIDR blocks whose forwarding headers are believed. */
  readonly trustedProxies: readonly string[];
  readonly callerAddress: AddressKept;
  readonly flushSeconds: Seconds;
  readonly cacheKeys: number;
  /** Null: `/metrics` is served beside everything else. */
  readonly metricsPort: number | null;
  readonly logLevel: "debug" | "info" | "warn" | "error" | "silent";
  readonly tls: { readonly certFile: string; readonly keyFile: string } | null;
}

/** A PostgreSQL server, and how long it is waited for. What is absent is the storage's to say. */
export interface DatabaseConfig {
  readonly url: string;
  readonly poolSize: number | undefined;
  readonly connectTimeoutSeconds: Seconds | undefined;
  readonly statementTimeoutSeconds: Seconds | undefined;
  /** How long a start waits for a database that is not there yet. */
  readonly startTimeoutSeconds: Seconds | undefined;
}

/** The settings are wrong; every problem is named, with its variable. */
export class ConfigError extends Error {
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super(`The settings are wrong:\n${problems.map((problem) => `  ${problem}`).join("\n")}`);
    this.name = "ConfigError";
    this.problems = problems;
  }
}

const port = z.coerce.number("must be a port number").int().min(0).max(65_535, "must be at most 65535");
const list = z.string().transform((text) =>
  text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== ""),
);
const span = (least: Seconds, most: Seconds) =>
  z.string().transform((text, context) => {
    const parsed = parseSpan(text);
    if (parsed.ok && parsed.seconds >= least && parsed.seconds <= most) return parsed.seconds;
    const message = parsed.ok ? `must be ${least}s to ${most}s` : parsed.message;
    context.addIssue({ code: "custom", message });
    return least;
  });
const brand = z.string().refine(isBrand, "must be 1 to 16 of a-z 0-9, starting with a letter");

const schema = z.object({
  KEYTURN_HOST: z.string().default("127.0.0.1"),
  KEYTURN_PORT: port.default(8420),
  KEYTURN_DATA: z.string().default("./data"),
  KEYTURN_PUBLIC_URL: z.url({ protocol: /^https?$/, error: "must be an http or https URL" }).optional(),
  KEYTURN_REGION: z
    .string()
    .refine(isRegion, "must be 1 to 16 of a-z 0-9 -, starting with a letter")
    .optional(),
  KEYTURN_KEY_BRAND: brand.default("kt"),
  KEYTURN_RETIRED_KEY_BRANDS: list.pipe(z.array(brand)).default([]),
  KEYTURN_ROOT_KEY_FILE: z.string().optional(),
  KEYTURN_WITNESS_FILE: z.string().optional(),
  KEYTURN_TRUSTED_PROXIES: list
    .transform((blocks, context) =>
      blocks.map((text) => {
        const parsed = canonicalBlock(text);
        if (parsed.ok) return parsed.block;
        context.addIssue({ code: "custom", message: `${text}: ${parsed.message}` });
        return text;
      }),
    )
    .default([]),
  KEYTURN_CALLER_ADDRESS: z.enum(["full", "prefix", "none"], "must be full, prefix or none").default("full"),
  KEYTURN_FLUSH_INTERVAL: span(1, LONGEST_FLUSH_SECONDS).default(1),
  KEYTURN_BOUNDED_CEILING: span(2, 60).default(BOUNDED_SECONDS),
  KEYTURN_DATABASE_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\//, "must start with postgres://")
    .refine((text) => URL.canParse(text), "must be a URL")
    .optional(),
  KEYTURN_DATABASE_POOL: z.coerce.number("must be a number").int().min(2).max(200).optional(),
  KEYTURN_DATABASE_CONNECT_TIMEOUT: span(1, 60).optional(),
  KEYTURN_DATABASE_STATEMENT_TIMEOUT: span(1, 300).optional(),
  KEYTURN_DATABASE_START_TIMEOUT: span(1, 3600).optional(),
  KEYTURN_WORKERS: z.coerce.number("must be a number").int().min(1).max(64, "must be at most 64").default(1),
  KEYTURN_PROCESS_NAME: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._:#-]{0,99}$/, "must be 1 to 100 of A-Z a-z 0-9 . _ : # -")
    .optional(),
  KEYTURN_CACHE_KEYS: z.coerce
    .number("must be a number")
    .int()
    .min(1_000, "must be at least 1000")
    .default(200_000),
  KEYTURN_METRICS_PORT: port.optional(),
  KEYTURN_LOG_LEVEL: z.enum(["debug", "info", "warn", "error", "silent"]).default("info"),
  KEYTURN_TLS: z.literal("terminated-elsewhere", "the only value is terminated-elsewhere").optional(),
  KEYTURN_TLS_CERT_FILE: z.string().optional(),
  KEYTURN_TLS_KEY_FILE: z.string().optional(),
} satisfies Record<(typeof SERVER_VARIABLES)[number], z.ZodType>);

const LOOPBACK = new Set(["127.0.0.1", "::1", "localhost"]);

export type Environment = Readonly<Record<string, string | undefined>>;

/** The checked settings. An empty variable counts as absent. Throws `ConfigError`. */
export function readConfig(environment: Environment): Config {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ""));
  const parsed = schema.safeParse(given);
  const problems = parsed.success
    ? []
    : parsed.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
  if (!parsed.success) throw new ConfigError(problems);
  const env = parsed.data;
  const certFile = env.KEYTURN_TLS_CERT_FILE;
  const keyFile = env.KEYTURN_TLS_KEY_FILE;
  if ((certFile === undefined) !== (keyFile === undefined)) {
    problems.push("KEYTURN_TLS_CERT_FILE and KEYTURN_TLS_KEY_FILE: give both or neither");
  }
  const tls = certFile === undefined || keyFile === undefined ? null : { certFile, keyFile };
  if (!LOOPBACK.has(env.KEYTURN_HOST) && tls === null && env.KEYTURN_TLS === undefined) {
    problems.push(
      `KEYTURN_HOST: ${env.KEYTURN_HOST} is reachable from elsewhere, and keys would travel in clear. Give KEYTURN_TLS_CERT_FILE and KEYTURN_TLS_KEY_FILE, or say KEYTURN_TLS=terminated-elsewhere`,
    );
  }
  if (env.KEYTURN_WORKERS > 1 && env.KEYTURN_DATABASE_URL !== undefined) {
    problems.push(
      "KEYTURN_WORKERS: is for the embedded database; on PostgreSQL start as many processes as you like",
    );
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return {
    host: env.KEYTURN_HOST,
    port: env.KEYTURN_PORT,
    dataFolder: env.KEYTURN_DATA,
    database: databaseOf(env),
    workers: env.KEYTURN_WORKERS,
    processName: env.KEYTURN_PROCESS_NAME ?? defaultName(env),
    boundedSeconds: env.KEYTURN_BOUNDED_CEILING,
    publicUrl: env.KEYTURN_PUBLIC_URL ?? null,
    format: {
      brand: env.KEYTURN_KEY_BRAND,
      retiredBrands: env.KEYTURN_RETIRED_KEY_BRANDS,
      region: env.KEYTURN_REGION ?? null,
    },
    rootKeyFile: env.KEYTURN_ROOT_KEY_FILE ?? null,
    witnessFile: env.KEYTURN_WITNESS_FILE ?? null,
    trustedProxies: env.KEYTURN_TRUSTED_PROXIES,
    callerAddress: env.KEYTURN_CALLER_ADDRESS,
    flushSeconds: env.KEYTURN_FLUSH_INTERVAL,
    cacheKeys: env.KEYTURN_CACHE_KEYS,
    metricsPort: env.KEYTURN_METRICS_PORT ?? null,
    logLevel: env.KEYTURN_LOG_LEVEL,
    tls,
  };
}

/** One address and port is served by one server; of several on free ports none may take another one's name. */
function defaultName(env: z.output<typeof schema>): string {
  const isAmongOthers = env.KEYTURN_DATABASE_URL !== undefined;
  const place = isAmongOthers && env.KEYTURN_PORT === 0 ? `0#${process.pid}` : env.KEYTURN_PORT;
  return `${hostname()}:${place}`;
}

/** Where a database is, for a log: never with what opens it. */
export function placeOf({ database, dataFolder }: Pick<Config, "database" | "dataFolder">): string {
  if (database === null) return dataFolder;
  const { host, pathname } = new URL(database.url);
  return `postgres://${host}${pathname}`;
}

function databaseOf(env: z.output<typeof schema>): DatabaseConfig | null {
  if (env.KEYTURN_DATABASE_URL === undefined) return null;
  return {
    url: env.KEYTURN_DATABASE_URL,
    poolSize: env.KEYTURN_DATABASE_POOL,
    connectTimeoutSeconds: env.KEYTURN_DATABASE_CONNECT_TIMEOUT,
    statementTimeoutSeconds: env.KEYTURN_DATABASE_STATEMENT_TIMEOUT,
    startTimeoutSeconds: env.KEYTURN_DATABASE_START_TIMEOUT,
  };
}

/** Variables that look like ours and are not: most likely a typing error, which could open what was to be closed. */
export function unknownVariables(environment: Environment): readonly string[] {
  const known = new Set<string>([...SERVER_VARIABLES, ...CLIENT_VARIABLES]);
  return Object.keys(environment).filter(
    (name) => name.startsWith("KEYTURN_") && !name.startsWith("KEYTURN_TEST_") && !known.has(name),
  );
}
