import {
  type CallOptions,
  createTransport,
  type Outgoing,
  TIMEOUT_SECONDS,
  type TransportOptions,
} from "./transport.ts";
import type {
  Account,
  AnswerOf,
  AuditEntry,
  BodyOf,
  Creates,
  Key,
  Method,
  Page,
  ParamsOf,
  PathOf,
  QueryOf,
  Rotation,
  ServiceAccount,
  Verdict,
} from "./types.ts";

export interface ClientOptions extends TransportOptions {}

type Given<Name extends string, T> = [T] extends [never] ? unknown : { readonly [N in Name]?: T | undefined };
/** What a call is made of. Only what the document says can be given, and a call that creates must say so. */
type Parts<M extends Method, P extends PathOf<M>> = Given<"query", QueryOf<M, P>> &
  Given<"body", BodyOf<M, P>> &
  ([ParamsOf<M, P>] extends [never] ? unknown : { readonly params: ParamsOf<M, P> }) & {
    readonly repeats: Creates<M, P> extends true ? "create" : Exclude<Outgoing["repeats"], "create">;
    readonly options: CallOptions | undefined;
  };

type KeyQuery = QueryOf<"get", "/v1/keys">;
type RotationQuery = QueryOf<"get", "/v1/rotations">;
type AuditQuery = QueryOf<"get", "/v1/audit">;
type PageQuery = QueryOf<"get", "/v1/accounts">;
type Force = { readonly force?: boolean | undefined };

/** Of changes that can be waited for. */
export interface WaitOptions extends CallOptions {
  /**
   * The answer comes when the change is in force everywhere, which may take a minute where a process keeps silent; or it
   * names in `silent_processes` those of which nobody knows.
   */
  readonly wait?: "all" | undefined;
}

/** As a change, and the longest ceiling. */
const WAIT_SECONDS = TIMEOUT_SECONDS.change + 65;

function patient(options: WaitOptions | undefined): CallOptions | undefined {
  if (options?.wait === undefined) return options;
  return { ...options, timeoutSeconds: options.timeoutSeconds ?? WAIT_SECONDS };
}

/** A client of one Keyturn installation. See the options' own comments; every call throws `KeyturnError`. */
export function createClient(clientOptions: ClientOptions) {
  const send = createTransport(clientOptions);

  function call<M extends Method, P extends PathOf<M>>(
    method: M,
    path: P,
    parts: Parts<M, P>,
  ): Promise<AnswerOf<M, P>> {
    const { params, query, body, repeats, options } = parts as AnyParts;
    const filled = path.replaceAll(/\{(\w+)\}/g, (_, name: string) => segment(params?.[name]));
    // What the API answers is what its document says: the types are generated from it.
    return send({ method, path: filled, query, body, repeats, options }) as Promise<AnswerOf<M, P>>;
  }

  const listAccounts = (query?: PageQuery, options?: CallOptions) =>
    call("get", "/v1/accounts", { query, repeats: "read", options });
  const listServiceAccounts = (query?: PageQuery, options?: CallOptions) =>
    call("get", "/v1/service-accounts", { query, repeats: "read", options });
  const listKeys = (query?: KeyQuery, options?: CallOptions) =>
    call("get", "/v1/keys", { query, repeats: "read", options });
  const listRotations = (query?: RotationQuery, options?: CallOptions) =>
    call("get", "/v1/rotations", { query, repeats: "read", options });
  const listAudit = (query?: AuditQuery, options?: CallOptions) =>
    call("get", "/v1/audit", { query, repeats: "read", options });

  return {
    /** Whether the server is ready for traffic, and what is out of order. Needs no key. */
    health: (options?: CallOptions) => call("get", "/readyz", { repeats: "read", options }),

    /** Redeems the one-time set-up token for the first root key. Needs no key. */
    setup: (token: string, options?: CallOptions) =>
      call("post", "/v1/setup", { body: { token }, repeats: "change", options }),

    accounts: {
      /** The new account with its own root key, whose secret is told once. */
      create: (body: BodyOf<"post", "/v1/accounts">, options?: CallOptions) =>
        call("post", "/v1/accounts", { body, repeats: "create", options }),
      list: listAccounts,
      all: (query?: PageQuery, options?: CallOptions) =>
        walk<Account, PageQuery>(listAccounts, query, options),
      suspend: (id: string, options?: WaitOptions) =>
        call("post", "/v1/accounts/{id}/suspend", {
          params: { id },
          query: { wait: options?.wait },
          repeats: "change",
          options: patient(options),
        }),
      reinstate: (id: string, options?: CallOptions) =>
        call("post", "/v1/accounts/{id}/reinstate", { params: { id }, repeats: "change", options }),
    },

    serviceAccounts: {
      create: (body: BodyOf<"post", "/v1/service-accounts">, options?: CallOptions) =>
        call("post", "/v1/service-accounts", { body, repeats: "create", options }),
      list: listServiceAccounts,
      all: (query?: PageQuery, options?: CallOptions) =>
        walk<ServiceAccount, PageQuery>(listServiceAccounts, query, options),
      get: (id: string, options?: CallOptions) =>
        call("get", "/v1/service-accounts/{id}", { params: { id }, repeats: "read", options }),
      update: (id: string, body: BodyOf<"patch", "/v1/service-accounts/{id}">, options?: CallOptions) =>
        call("patch", "/v1/service-accounts/{id}", { params: { id }, body, repeats: "change", options }),
      /** For good: its keys answer `revoked` from now on. */
      delete: (id: string, { force }: Force = {}, options?: WaitOptions) =>
        call("delete", "/v1/service-accounts/{id}", {
          params: { id },
          query: { force: force ? "true" : undefined, wait: options?.wait },
          repeats: "change",
          options: patient(options),
        }),
      disable: (id: string, body: Force = {}, options?: WaitOptions) =>
        call("post", "/v1/service-accounts/{id}/disable", {
          params: { id },
          query: { wait: options?.wait },
          body,
          repeats: "change",
          options: patient(options),
        }),
      enable: (id: string, options?: CallOptions) =>
        call("post", "/v1/service-accounts/{id}/enable", { params: { id }, repeats: "change", options }),
    },

    keys: {
      /** The key with its secret, which is told once. */
      create: (body: BodyOf<"post", "/v1/keys">, options?: CallOptions) =>
        call("post", "/v1/keys", { body, repeats: "create", options }),
      list: listKeys,
      all: (query?: KeyQuery, options?: CallOptions) => walk<Key, KeyQuery>(listKeys, query, options),
      get: (id: string, options?: CallOptions) =>
        call("get", "/v1/keys/{id}", { params: { id }, repeats: "read", options }),
      /** The asking key: what it is and may do. */
      self: (options?: CallOptions) => call("get", "/v1/keys/self", { repeats: "read", options }),
      /** Renames or narrows; never widens or lengthens. */
      update: (id: string, body: BodyOf<"patch", "/v1/keys/{id}">, options?: CallOptions) =>
        call("patch", "/v1/keys/{id}", { params: { id }, body, repeats: "change", options }),
      /** Refused at once, until it is reinstated. The answer says who used it in the last 24 hours. */
      suspend: (id: string, body: BodyOf<"post", "/v1/keys/{id}/suspend"> = {}, options?: WaitOptions) =>
        call("post", "/v1/keys/{id}/suspend", {
          params: { id },
          query: { wait: options?.wait },
          body,
          repeats: "change",
          options: patient(options),
        }),
      reinstate: (id: string, options?: CallOptions) =>
        call("post", "/v1/keys/{id}/reinstate", { params: { id }, repeats: "change", options }),
      /** For ever, at once. The answer says who used it in the last 24 hours. */
      revoke: (id: string, body: BodyOf<"post", "/v1/keys/{id}/revoke"> = {}, options?: WaitOptions) =>
        call("post", "/v1/keys/{id}/revoke", {
          params: { id },
          query: { wait: options?.wait },
          body,
          repeats: "change",
          options: patient(options),
        }),
      /** The same as `revoke`, without an answer. */
      delete: (id: string, { force }: Force = {}, options?: WaitOptions) =>
        call("delete", "/v1/keys/{id}", {
          params: { id },
          query: { force: force ? "true" : undefined, wait: options?.wait },
          repeats: "change",
          options: patient(options),
        }),
      /** A new secret for a key that nobody has used yet; the earlier text dies. */
      replaceSecret: (id: string, options?: CallOptions) =>
        call("post", "/v1/keys/{id}/secret", { params: { id }, repeats: "change", options }),
      /** Is this key good, for this, now? A bad key is an answer with `valid: false`, not an error. */
      verify: (body: BodyOf<"post", "/v1/keys/verify">, options?: CallOptions): Promise<Verdict> =>
        call("post", "/v1/keys/verify", { body, repeats: "verify", options }),
      /** Up to 100 at once; the verdicts come in the same order. */
      verifyBatch: async (
        body: BodyOf<"post", "/v1/keys/verify/batch">,
        options?: CallOptions,
      ): Promise<readonly Verdict[]> =>
        (await call("post", "/v1/keys/verify/batch", { body, repeats: "verify", options })).results,
      callers: (id: string, options?: CallOptions) =>
        call("get", "/v1/keys/{id}/callers", { params: { id }, repeats: "read", options }),
      usage: (id: string, query?: QueryOf<"get", "/v1/keys/{id}/usage">, options?: CallOptions) =>
        call("get", "/v1/keys/{id}/usage", { params: { id }, query, repeats: "read", options }),
      /** Issues the successor: both keys are good from now on. */
      rotate: (id: string, body: BodyOf<"post", "/v1/keys/{id}/rotations"> = {}, options?: CallOptions) =>
        call("post", "/v1/keys/{id}/rotations", { params: { id }, body, repeats: "create", options }),
      /** The asking key rotates itself. */
      rotateSelf: (body: BodyOf<"post", "/v1/keys/self/rotations"> = {}, options?: CallOptions) =>
        call("post", "/v1/keys/self/rotations", { body, repeats: "create", options }),
    },

    rotations: {
      list: listRotations,
      all: (query?: RotationQuery, options?: CallOptions) =>
        walk<Rotation, RotationQuery>(listRotations, query, options),
      get: (id: string, options?: CallOptions) =>
        call("get", "/v1/rotations/{id}", { params: { id }, repeats: "read", options }),
      extend: (id: string, body: BodyOf<"patch", "/v1/rotations/{id}">, options?: CallOptions) =>
        call("patch", "/v1/rotations/{id}", { params: { id }, body, repeats: "change", options }),
      /** Suspends the old key. Refused with `not_safe_to_complete`, naming the callers, unless forced. */
      complete: (id: string, body: Force = {}, options?: WaitOptions) =>
        call("post", "/v1/rotations/{id}/complete", {
          params: { id },
          query: { wait: options?.wait },
          body,
          repeats: "change",
          options: patient(options),
        }),
      cancel: (id: string, body: Force = {}, options?: CallOptions) =>
        call("post", "/v1/rotations/{id}/cancel", { params: { id }, body, repeats: "change", options }),
      rollback: (id: string, options?: CallOptions) =>
        call("post", "/v1/rotations/{id}/rollback", { params: { id }, repeats: "change", options }),
      /** Vouches that a silent caller need not be waited for. */
      dismiss: (id: string, body: BodyOf<"post", "/v1/rotations/{id}/dismissals">, options?: CallOptions) =>
        call("post", "/v1/rotations/{id}/dismissals", { params: { id }, body, repeats: "change", options }),
      announceBrownout: (
        id: string,
        body: BodyOf<"post", "/v1/rotations/{id}/brownouts"> = {},
        options?: CallOptions,
      ) => call("post", "/v1/rotations/{id}/brownouts", { params: { id }, body, repeats: "change", options }),
    },

    audit: {
      /** Newest first, the account's own entries alone. */
      list: listAudit,
      all: (query?: AuditQuery, options?: CallOptions) =>
        walk<AuditEntry, AuditQuery>(listAudit, query, options),
    },

    cluster: {
      /** The processes that serve, and how far each has followed the log. For the operator's account. */
      read: (options?: CallOptions) => call("get", "/v1/cluster", { repeats: "read", options }),
      /** Takes a process that died without a word off that list. Refused with `process_alive` while it is heard of. */
      forget: (name: string, options?: CallOptions) =>
        call("delete", "/v1/cluster/processes/{name}", { params: { name }, repeats: "change", options }),
    },
  };
}

export type Client = ReturnType<typeof createClient>;

/** `Parts` of whatever call, once the types have done their work. */
interface AnyParts {
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, unknown>>;
  readonly body?: unknown;
  readonly repeats: Outgoing["repeats"];
  readonly options: CallOptions | undefined;
}

function segment(value: string | undefined): string {
  // An empty id would turn "one" into "all".
  if (value === undefined || value === "" || value === "." || value === "..")
    throw new TypeError("An id is missing.");
  return encodeURIComponent(value);
}

/** All of a list, page by page as it is read. */
async function* walk<Item, Query extends { readonly cursor?: string | undefined }>(
  list: (query: Query, options?: CallOptions) => Promise<Page<Item>>,
  query: Query | undefined,
  options: CallOptions | undefined,
): AsyncGenerator<Item, void, void> {
  let cursor = query?.cursor;
  for (;;) {
    const page: Page<Item> = await list({ ...query, cursor } as Query, options);
    yield* page.data;
    if (page.next_cursor === null) return;
    cursor = page.next_cursor;
  }
}
