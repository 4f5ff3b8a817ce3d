/**
 * Generated from the OpenAPI document by scripts/check-sdk.ts; do not edit. After a change of the API:
 * node scripts/bun.mjs scripts/check-sdk.ts --write
 */
export interface paths {
    readonly "/v1/setup": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        /** Redeem the set-up token for the first root key */
        readonly post: operations["setup.redeem"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/accounts": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        /** List accounts: the operator all, everybody else their own */
        readonly get: operations["accounts.list"];
        readonly put?: never;
        /** Make an account, with its own root key */
        readonly post: operations["accounts.create"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/accounts/{id}/suspend": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        /** Refuse all keys of an account, at once */
        readonly post: operations["accounts.suspend"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/accounts/{id}/reinstate": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        /** Lift an account's suspension */
        readonly post: operations["accounts.reinstate"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/service-accounts": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        /** List service accounts */
        readonly get: operations["service-accounts.list"];
        readonly put?: never;
        /** Make a service account */
        readonly post: operations["service-accounts.create"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/service-accounts/{id}": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        /** Read a service account */
        readonly get: operations["service-accounts.read"];
        readonly put?: never;
        readonly post?: never;
        /** Delete a service account for good; its keys answer revoked */
        readonly delete: operations["service-accounts.delete"];
        readonly options?: never;
        readonly head?: never;
        /** Change a service account; a cut bites all its keys at once */
        readonly patch: operations["service-accounts.update"];
        readonly trace?: never;
    };
    readonly "/v1/service-accounts/{id}/disable": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        /** Refuse all keys of a service account, at once */
        readonly post: operations["service-accounts.disable"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/service-accounts/{id}/enable": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        /** Let the keys of a service account be good again */
        readonly post: operations["service-accounts.enable"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/keys": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        /** List keys, tombstones included */
        readonly get: operations["keys.list"];
        readonly put?: never;
        /** Issue a key; the secret is told once */
        readonly post: operations["keys.create"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/keys/self": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        /** Read the asking key: what it is and may do */
        readonly get: operations["self.read"];
        readonly put?: never;
        readonly post?: never;
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/keys/self/rotations": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        /** Rotate the asking key itself */
        readonly post: operations["self.rotate"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/keys/{id}": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        /** Read a key */
        readonly get: operations["keys.read"];
        readonly put?: never;
        readonly post?: never;
        /** Revoke a key for ever; its tombstone stays readable */
        readonly delete: operations["keys.delete"];
        readonly options?: never;
        readonly head?: never;
        /** Rename a key or narrow it; it never widens or lengthens */
        readonly patch: operations["keys.update"];
        readonly trace?: never;
    };
    readonly "/v1/keys/{id}/suspend": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        /** Refuse a key at once, until it is reinstated */
        readonly post: operations["keys.suspend"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/keys/{id}/reinstate": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        /** Lift an operator's suspension */
        readonly post: operations["keys.reinstate"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/keys/{id}/revoke": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        /** Revoke a key for ever, at once */
        readonly post: operations["keys.revoke"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/keys/{id}/secret": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        /** Replace a secret that nobody has used yet */
        readonly post: operations["keys.replace-secret"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/keys/{id}/callers": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        /** Who presents the key */
        readonly get: operations["keys.callers"];
        readonly put?: never;
        readonly post?: never;
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/keys/{id}/usage": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        /** Uses by verdict, per minute or hour */
        readonly get: operations["keys.usage"];
        readonly put?: never;
        readonly post?: never;
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/keys/{id}/rotations": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        /** Start a rotation: both keys are good from now on */
        readonly post: operations["keys.rotate"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/rotations": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        /** List rotations, newest first */
        readonly get: operations["rotations.list"];
        readonly put?: never;
        readonly post?: never;
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/rotations/{id}": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        /** Read a rotation: who has moved, who has not, and whether completing is safe */
        readonly get: operations["rotations.read"];
        readonly put?: never;
        readonly post?: never;
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        /** Extend a rotation, or change how it completes */
        readonly patch: operations["rotations.extend"];
        readonly trace?: never;
    };
    readonly "/v1/rotations/{id}/complete": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        /** Suspend the old key, on evidence or with force */
        readonly post: operations["rotations.complete"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/rotations/{id}/rollback": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        /** Within the undo window: the old key is good again */
        readonly post: operations["rotations.rollback"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/rotations/{id}/cancel": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        /** Give the successor up */
        readonly post: operations["rotations.cancel"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/rotations/{id}/dismissals": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        /** Vouch that a caller gone quiet need not be waited for */
        readonly post: operations["rotations.dismiss"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/rotations/{id}/brownouts": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        /** Announce a short window in which the old key is refused */
        readonly post: operations["rotations.brownout"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/audit": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        /** Read the account's audit log, newest first */
        readonly get: operations["audit.read"];
        readonly put?: never;
        readonly post?: never;
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/cluster": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        /** The processes that serve, and how far each has followed the log */
        readonly get: operations["cluster.read"];
        readonly put?: never;
        readonly post?: never;
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/cluster/processes/{name}": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        readonly post?: never;
        /** Take a process that died without a word off the list */
        readonly delete: operations["cluster.forget"];
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/keys/verify": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        /** Is this key good, for this, now? */
        readonly post: operations["keys.verify"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/keys/verify/batch": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly get?: never;
        readonly put?: never;
        /** Up to 100 verdicts at once */
        readonly post: operations["keys.verify-batch"];
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/v1/forward-auth": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        /** For nginx auth_request, Caddy forward_auth and their like */
        readonly get: operations["forward-auth"];
        readonly put?: never;
        readonly post?: never;
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
    readonly "/readyz": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        /** Ready for traffic, and what is out of order */
        readonly get: operations["readyz"];
        readonly put?: never;
        readonly post?: never;
        readonly delete?: never;
        readonly options?: never;
        readonly head?: never;
        readonly patch?: never;
        readonly trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        readonly Problem: {
            readonly type: string;
            readonly title: string;
            readonly status: number;
            /** @enum {string} */
            readonly code: "invalid_input" | "unauthenticated" | "insufficient_scope" | "operator_only" | "rights_exceeded" | "not_found" | "name_taken" | "key_revoked" | "key_not_active" | "rotation_open" | "rotation_state" | "not_safe_to_complete" | "successor_in_use" | "caller_active" | "account_protected" | "already_in_use" | "last_root_key" | "process_alive" | "setup_token_invalid" | "idempotency_conflict" | "idempotency_in_progress" | "outcome_unknown" | "storage_unavailable" | "invalid_json" | "unsupported_media_type" | "body_too_large" | "body_too_slow" | "ambiguous_header" | "credential_in_url" | "route_not_found" | "method_not_allowed" | "key_not_allowed" | "proxy_key_refused" | "verdict_stale" | "internal_error";
            readonly detail: string;
            readonly errors?: readonly {
                readonly field: string;
                readonly message: string;
            }[];
        };
        readonly IssuedKey: {
            readonly key: components["schemas"]["Key"];
            /** @description The key's plain text. It is told once. */
            readonly secret: string;
        };
        readonly Key: {
            readonly id: string;
            readonly lineage_id: string;
            readonly account_id: string;
            readonly owner_id: string;
            /** @enum {string} */
            readonly kind: "user" | "service" | "legacy";
            readonly name: string;
            /** @enum {string} */
            readonly state: "active" | "suspended" | "expired" | "revoked";
            readonly hint: string;
            /**
             * @description Effective: the key's and its owner's.
             * @enum {string}
             */
            readonly role: "none" | "viewer" | "editor" | "admin";
            /** @description Effective: what the key and its owner both have. */
            readonly scopes: readonly string[];
            /** @description Effective; null is any address. */
            readonly allowed_ips: readonly string[] | null;
            /** @description What the key leaves to its owner. */
            readonly inherits: readonly ("role" | "scopes" | "allowed_ips")[];
            readonly metadata: {
                readonly [key: string]: string;
            };
            /**
             * @description Effective: a key with a `keyturn:` scope other than `keyturn:keys.verify` is strict.
             * @enum {string}
             */
            readonly freshness: "static" | "bounded" | "strict";
            /** Format: date-time */
            readonly created_at: string;
            /** Format: date-time */
            readonly expires_at: string | null;
            readonly rotation_id: string | null;
            readonly expires_in_seconds: number | null;
            /** Format: date-time */
            readonly last_used_at: string | null;
        };
        readonly Setup: {
            readonly token: string;
        };
        readonly IssuedAccount: {
            readonly account: components["schemas"]["Account"];
            readonly key: components["schemas"]["Key"];
            /** @description The key's plain text. It is told once. */
            readonly secret: string;
        };
        readonly Account: {
            readonly id: string;
            readonly name: string;
            readonly operator: boolean;
            readonly suspended: boolean;
            /** Format: date-time */
            readonly created_at: string;
        };
        readonly AccountCreate: {
            /**
             * @description 1 to 120 characters on one line.
             * @example billing-worker
             */
            readonly name: string;
        };
        readonly AccountPage: {
            readonly data: readonly components["schemas"]["Account"][];
            readonly next_cursor: string | null;
        };
        readonly ServiceAccount: {
            readonly id: string;
            readonly account_id: string;
            readonly name: string;
            /** @enum {string} */
            readonly role: "none" | "viewer" | "editor" | "admin";
            readonly scopes: readonly string[];
            readonly allowed_ips: readonly string[] | null;
            readonly disabled: boolean;
            readonly deleted: boolean;
            /** Format: date-time */
            readonly created_at: string;
        };
        readonly ServiceAccountCreate: {
            /**
             * @description 1 to 120 characters on one line.
             * @example billing-worker
             */
            readonly name: string;
            /** @enum {string|null} */
            readonly role?: "none" | "viewer" | "editor" | "admin" | null;
            readonly scopes?: readonly string[] | null;
            readonly allowed_ips?: readonly string[] | null;
        };
        readonly ServiceAccountPage: {
            readonly data: readonly components["schemas"]["ServiceAccount"][];
            readonly next_cursor: string | null;
        };
        readonly ServiceAccountUpdate: {
            /**
             * @description 1 to 120 characters on one line.
             * @example billing-worker
             */
            readonly name?: string;
            /** @enum {string|null} */
            readonly role?: "none" | "viewer" | "editor" | "admin" | null;
            readonly scopes?: readonly string[] | null;
            readonly allowed_ips?: readonly string[] | null;
            /** @description Insists against the evidence; audited as forced. */
            readonly force?: boolean;
        };
        readonly Force: {
            /** @description Insists against the evidence; audited as forced. */
            readonly force?: boolean;
        };
        readonly KeyCreate: {
            /**
             * @description 1 to 120 characters on one line.
             * @example billing-worker
             */
            readonly name: string;
            /** @description The service account that will own the key. */
            readonly owner_id: string;
            /**
             * @description A span, or `never` by name. 90d unless said.
             * @example 90d
             */
            readonly ttl?: string;
            /** Format: date-time */
            readonly expires_at?: string;
            /** @enum {string|null} */
            readonly role?: "none" | "viewer" | "editor" | "admin" | null;
            readonly scopes?: readonly string[] | null;
            readonly allowed_ips?: readonly string[] | null;
            /** @description Up to 20 pairs; names up to 40, values up to 500 characters. */
            readonly metadata?: {
                readonly [key: string]: string;
            };
            /**
             * @description How long a revoked key may still be accepted by a process that hears nothing of it: strict 1.5 s, bounded 10 s unless the installation says otherwise, static without end.
             * @enum {string}
             */
            readonly freshness?: "static" | "bounded" | "strict";
        };
        readonly KeyPage: {
            readonly data: readonly components["schemas"]["Key"][];
            readonly next_cursor: string | null;
        };
        readonly StartedRotation: {
            readonly rotation: components["schemas"]["Rotation"];
            readonly key: components["schemas"]["Key"];
            /** @description The key's plain text. It is told once. */
            readonly secret: string;
        };
        readonly Rotation: {
            readonly id: string;
            readonly account_id: string;
            readonly owner_id: string;
            readonly lineage_id: string;
            readonly old_key_id: string;
            readonly successor_key_id: string;
            /** @enum {string} */
            readonly state: "issued" | "adopting" | "adopted" | "completed" | "closed" | "cancelled";
            readonly overdue: boolean;
            /** @enum {string} */
            readonly completion: "when_adopted" | "manual" | "at_deadline";
            readonly reason: string | null;
            readonly overlap_seconds: number;
            readonly quiet_period_seconds: number;
            readonly look_back_seconds: number;
            readonly undo_window_seconds: number;
            /** Format: date-time */
            readonly started_at: string;
            /** Format: date-time */
            readonly deadline_at: string;
            /** Format: date-time */
            readonly first_used_at: string | null;
            /** Format: date-time */
            readonly due_at: string;
            /** Format: date-time */
            readonly old_key_ends_at: string | null;
            /** Format: date-time */
            readonly adopted_at: string | null;
            /** Format: date-time */
            readonly completed_at: string | null;
            /** Format: date-time */
            readonly undo_until: string | null;
            /** Format: date-time */
            readonly ended_at: string | null;
            readonly forced: boolean;
            readonly warnings: readonly string[];
            readonly safe_to_complete: boolean;
            readonly reasons: readonly {
                readonly code: string;
                readonly message: string;
                readonly callers: readonly string[];
            }[];
            readonly callers: readonly {
                readonly name: string;
                readonly unnamed: boolean;
                /** @enum {string} */
                readonly status: "moved" | "still_on_old" | "silent" | "dismissed";
                readonly blocking: boolean;
                /** Format: date-time */
                readonly last_seen_old_at: string;
                /** Format: date-time */
                readonly first_seen_new_at: string | null;
                /** Format: date-time */
                readonly last_seen_new_at: string | null;
                /** Format: date-time */
                readonly quiet_at: string | null;
                readonly address: string | null;
                readonly user_agent: string | null;
            }[];
            /** @description Callers of the successor that the old key never saw. */
            readonly new_callers: readonly string[];
            readonly dismissals: readonly {
                readonly caller: string;
                readonly reason: string;
                /** Format: date-time */
                readonly at: string;
            }[];
            readonly brownouts: readonly {
                readonly id: string;
                /** @enum {string} */
                readonly state: "coming" | "running" | "over";
                /** Format: date-time */
                readonly starts_at: string;
                /** Format: date-time */
                readonly ends_at: string;
                readonly stop_after_callers: number;
                readonly stop_after_refusals: number;
                readonly refusals: number;
                readonly callers_hit: readonly string[];
                /** Format: date-time */
                readonly stopped_at: string | null;
                readonly stop_reason: string | null;
            }[];
        };
        readonly RotationStart: {
            /**
             * @description A span: whole numbers with s m h d w M (30 d) or y.
             * @example 7d
             * @example 1d12h
             */
            readonly overlap?: string;
            /**
             * @example 30d
             * @example 2027-01-31T12:00:00Z
             */
            readonly deadline?: string;
            /** @enum {string} */
            readonly completion?: "when_adopted" | "manual" | "at_deadline";
            /**
             * @description A span: whole numbers with s m h d w M (30 d) or y.
             * @example 7d
             * @example 1d12h
             */
            readonly quiet_period?: string;
            /**
             * @description A span: whole numbers with s m h d w M (30 d) or y.
             * @example 7d
             * @example 1d12h
             */
            readonly look_back?: string;
            /**
             * @description A span: whole numbers with s m h d w M (30 d) or y.
             * @example 7d
             * @example 1d12h
             */
            readonly undo_window?: string;
            readonly reason?: string;
        };
        readonly KeyUpdate: {
            /**
             * @description 1 to 120 characters on one line.
             * @example billing-worker
             */
            readonly name?: string;
            /** @description Up to 20 pairs; names up to 40, values up to 500 characters. */
            readonly metadata?: {
                readonly [key: string]: string;
            };
            /** @enum {string} */
            readonly role?: "none" | "viewer" | "editor" | "admin";
            readonly scopes?: readonly string[];
            readonly allowed_ips?: readonly string[];
            /** Format: date-time */
            readonly expires_at?: string;
            /**
             * @description How long a revoked key may still be accepted by a process that hears nothing of it: strict 1.5 s, bounded 10 s unless the installation says otherwise, static without end.
             * @enum {string}
             */
            readonly freshness?: "static" | "bounded" | "strict";
            /** @description Insists against the evidence; audited as forced. */
            readonly force?: boolean;
        };
        readonly BrakedKey: components["schemas"]["Key"] & {
            readonly in_use_by: readonly {
                readonly name: string;
                readonly unnamed: boolean;
                /** Format: date-time */
                readonly last_seen_at: string;
            }[];
        };
        readonly Brake: {
            readonly reason?: string;
            /** @description Insists against the evidence; audited as forced. */
            readonly force?: boolean;
        };
        readonly CallerPage: {
            readonly data: readonly components["schemas"]["Caller"][];
            readonly next_cursor: string | null;
        };
        readonly Caller: {
            readonly name: string;
            readonly unnamed: boolean;
            readonly address: string | null;
            readonly user_agent: string | null;
            /** Format: date-time */
            readonly first_seen_at: string;
            /** Format: date-time */
            readonly last_seen_at: string;
            /** Format: date-time */
            readonly first_valid_at: string | null;
            /** Format: date-time */
            readonly last_valid_at: string | null;
            /** @description Uses by verdict code. */
            readonly counts: {
                readonly [key: string]: number;
            };
        };
        readonly UsagePage: {
            readonly data: readonly components["schemas"]["UsageCount"][];
            readonly next_cursor: string | null;
        };
        readonly UsageCount: {
            /** Format: date-time */
            readonly from: string;
            /** @enum {string} */
            readonly code: "malformed" | "wrong_region" | "unknown" | "revoked" | "retired" | "owner_disabled" | "suspended" | "expired" | "stale" | "brownout" | "ip_not_allowed" | "insufficient_scope" | "insufficient_role" | "rate_limited" | "valid";
            readonly count: number;
        };
        readonly RotationPage: {
            readonly data: readonly components["schemas"]["Rotation"][];
            readonly next_cursor: string | null;
        };
        readonly RotationExtend: {
            /**
             * @description A span: whole numbers with s m h d w M (30 d) or y.
             * @example 7d
             * @example 1d12h
             */
            readonly overlap?: string;
            /**
             * @example 30d
             * @example 2027-01-31T12:00:00Z
             */
            readonly deadline?: string;
            /** @enum {string} */
            readonly completion?: "when_adopted" | "manual" | "at_deadline";
        };
        readonly Dismissal: {
            readonly caller: string;
            readonly reason: string;
        };
        readonly BrownoutAnnounce: {
            /** Format: date-time */
            readonly starts_at?: string;
            /**
             * @description A span: whole numbers with s m h d w M (30 d) or y.
             * @example 7d
             * @example 1d12h
             */
            readonly duration?: string;
            readonly stop_after_callers?: number;
            readonly stop_after_refusals?: number;
        };
        readonly AuditPage: {
            readonly data: readonly components["schemas"]["AuditEntry"][];
            readonly next_cursor: string | null;
        };
        readonly AuditEntry: {
            readonly seq: number;
            /** Format: date-time */
            readonly at: string;
            readonly account_id: string | null;
            readonly actor: {
                readonly kind: string;
                readonly id: string;
                readonly account_id: string | null;
            };
            readonly operation: string;
            /** @enum {string} */
            readonly outcome: "performed" | "refused";
            readonly subjects: readonly {
                readonly kind: string;
                readonly id: string;
                readonly before: {
                    readonly [key: string]: unknown;
                } | null;
                readonly after: {
                    readonly [key: string]: unknown;
                } | null;
            }[];
            readonly details: {
                readonly [key: string]: unknown;
            };
            readonly chain_hash: string;
        };
        readonly Cluster: {
            /** @description The newest entry of the log. */
            readonly seq: number;
            readonly ceilings: components["schemas"]["Ceilings"];
            readonly processes: readonly {
                readonly name: string;
                readonly version: string;
                /** Format: date-time */
                readonly started_at: string;
                /** @description Its own ceiling for `bounded` keys; all should have one. */
                readonly bounded_ceiling_seconds: number;
                readonly applied_seq: number;
                /** @description Entries that it had not applied when it last told. */
                readonly behind: number;
                /** @description How old what the process knows of the log is; null when its clocks can't tell. */
                readonly staleness_seconds: number | null;
                /** Format: date-time */
                readonly reported_at: string;
                readonly silent_for_seconds: number;
                /**
                 * @description Whether what the process knows is fresh enough for strict keys.
                 * @enum {string}
                 */
                readonly lease: "held" | "lost";
                /** Format: date-time */
                readonly last_flush_at: string | null;
            }[];
        };
        /** @description Of the keys of each freshness; null is none. */
        readonly Ceilings: {
            readonly strict_seconds: number | null;
            readonly bounded_seconds: number | null;
            readonly static_seconds: number | null;
        };
        readonly Verdict: {
            readonly valid: boolean;
            /** @enum {string} */
            readonly code: "malformed" | "wrong_region" | "unknown" | "revoked" | "retired" | "owner_disabled" | "suspended" | "expired" | "stale" | "brownout" | "ip_not_allowed" | "insufficient_scope" | "insufficient_role" | "rate_limited" | "valid";
            readonly key?: {
                readonly id: string;
                readonly lineage_id: string;
                readonly account_id: string;
                readonly owner_id: string;
                /** @enum {string} */
                readonly kind: "user" | "service" | "legacy";
                readonly name: string;
                /** @enum {string} */
                readonly state: "active" | "suspended" | "expired" | "revoked";
                readonly hint: string;
                /**
                 * @description Effective: the key's and its owner's.
                 * @enum {string}
                 */
                readonly role: "none" | "viewer" | "editor" | "admin";
                /** @description Effective: what the key and its owner both have. */
                readonly scopes: readonly string[];
                /** @description Effective; null is any address. */
                readonly allowed_ips: readonly string[] | null;
                /** @description What the key leaves to its owner. */
                readonly inherits: readonly ("role" | "scopes" | "allowed_ips")[];
                readonly metadata: {
                    readonly [key: string]: string;
                };
                /**
                 * @description Effective: a key with a `keyturn:` scope other than `keyturn:keys.verify` is strict.
                 * @enum {string}
                 */
                readonly freshness: "static" | "bounded" | "strict";
                /** Format: date-time */
                readonly created_at: string;
                /** Format: date-time */
                readonly expires_at: string | null;
                readonly rotation_id: string | null;
            };
            /** @description The open rotation that the key takes part in. */
            readonly rotation?: {
                readonly id: string;
                /** @enum {string} */
                readonly position: "old" | "successor";
                /** @enum {string} */
                readonly state: "issued" | "adopting" | "adopted" | "completed" | "closed" | "cancelled";
                /** Format: date-time */
                readonly due_at: string;
                readonly brownout?: {
                    /** Format: date-time */
                    readonly starts_at: string;
                    /** Format: date-time */
                    readonly ends_at: string;
                };
            };
            /** Format: date-time */
            readonly expires_at?: string | null;
        };
        readonly Verification: {
            readonly key: string;
            readonly scopes?: readonly string[];
            /** @enum {string} */
            readonly role?: "none" | "viewer" | "editor" | "admin";
            readonly caller?: {
                readonly name?: string;
                readonly ip?: string;
                readonly user_agent?: string;
            };
            /** @description The sequence number that the answer must take into account; `stale` when it can't. */
            readonly at_least?: number;
        };
        readonly VerdictBatch: {
            readonly results: readonly components["schemas"]["Verdict"][];
        };
        readonly VerificationBatch: {
            readonly keys: readonly components["schemas"]["VerificationItem"][];
            /** @description The sequence number that the answer must take into account; `stale` when it can't. */
            readonly at_least?: number;
        };
        readonly VerificationItem: {
            readonly key: string;
            readonly scopes?: readonly string[];
            /** @enum {string} */
            readonly role?: "none" | "viewer" | "editor" | "admin";
            readonly caller?: {
                readonly name?: string;
                readonly ip?: string;
                readonly user_agent?: string;
            };
        };
        readonly Readiness: {
            /** @enum {string} */
            readonly status: "ready" | "degraded";
            readonly seq: number;
            /** @description How old what the process knows of the log is; null when its clocks can't tell. */
            readonly staleness_seconds: number | null;
            /**
             * @description Whether what the process knows is fresh enough for strict keys.
             * @enum {string}
             */
            readonly lease: "held" | "lost";
            readonly ceilings: components["schemas"]["Ceilings"];
            readonly warnings: readonly string[];
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    readonly "setup.redeem": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly requestBody: {
            readonly content: {
                readonly "application/json": components["schemas"]["Setup"];
            };
        };
        readonly responses: {
            /** @description Redeem the set-up token for the first root key */
            readonly 201: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["IssuedKey"];
                };
            };
        };
    };
    readonly "accounts.list": {
        readonly parameters: {
            readonly query?: {
                readonly limit?: number;
                readonly cursor?: string;
            };
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description List accounts: the operator all, everybody else their own */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["AccountPage"];
                };
            };
        };
    };
    readonly "accounts.create": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: {
                /** @description Kept for 24 hours. */
                readonly "Idempotency-Key"?: string;
            };
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly requestBody: {
            readonly content: {
                readonly "application/json": components["schemas"]["AccountCreate"];
            };
        };
        readonly responses: {
            /** @description Make an account, with its own root key */
            readonly 201: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["IssuedAccount"];
                };
            };
        };
    };
    readonly "accounts.suspend": {
        readonly parameters: {
            readonly query?: {
                /** @description Answer once the change is in force everywhere, or 202 when that can't be said. */
                readonly wait?: "all";
            };
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description Refuse all keys of an account, at once */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["Account"];
                };
            };
            /** @description With `wait=all`: done, and not known to be in force everywhere. `silent_processes` have not said that they know. */
            readonly 202: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["Account"] & {
                        /** @description By their names. */
                        readonly silent_processes: readonly string[];
                    };
                };
            };
        };
    };
    readonly "accounts.reinstate": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description Lift an account's suspension */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["Account"];
                };
            };
        };
    };
    readonly "service-accounts.list": {
        readonly parameters: {
            readonly query?: {
                readonly limit?: number;
                readonly cursor?: string;
            };
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description List service accounts */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["ServiceAccountPage"];
                };
            };
        };
    };
    readonly "service-accounts.create": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: {
                /** @description Kept for 24 hours. */
                readonly "Idempotency-Key"?: string;
            };
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly requestBody: {
            readonly content: {
                readonly "application/json": components["schemas"]["ServiceAccountCreate"];
            };
        };
        readonly responses: {
            /** @description Make a service account */
            readonly 201: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["ServiceAccount"];
                };
            };
        };
    };
    readonly "service-accounts.read": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description Read a service account */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["ServiceAccount"];
                };
            };
        };
    };
    readonly "service-accounts.delete": {
        readonly parameters: {
            readonly query?: {
                readonly force?: "true" | "false";
                /** @description Answer once the change is in force everywhere, or 202 when that can't be said. */
                readonly wait?: "all";
            };
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description With `wait=all`: done, and not known to be in force everywhere. `silent_processes` have not said that they know. */
            readonly 202: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": {
                        /** @description By their names. */
                        readonly silent_processes: readonly string[];
                    };
                };
            };
            /** @description Delete a service account for good; its keys answer revoked */
            readonly 204: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    readonly "service-accounts.update": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: {
            readonly content: {
                readonly "application/json": components["schemas"]["ServiceAccountUpdate"];
            };
        };
        readonly responses: {
            /** @description Change a service account; a cut bites all its keys at once */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["ServiceAccount"];
                };
            };
        };
    };
    readonly "service-accounts.disable": {
        readonly parameters: {
            readonly query?: {
                /** @description Answer once the change is in force everywhere, or 202 when that can't be said. */
                readonly wait?: "all";
            };
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: {
            readonly content: {
                readonly "application/json": components["schemas"]["Force"];
            };
        };
        readonly responses: {
            /** @description Refuse all keys of a service account, at once */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["ServiceAccount"];
                };
            };
            /** @description With `wait=all`: done, and not known to be in force everywhere. `silent_processes` have not said that they know. */
            readonly 202: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["ServiceAccount"] & {
                        /** @description By their names. */
                        readonly silent_processes: readonly string[];
                    };
                };
            };
        };
    };
    readonly "service-accounts.enable": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description Let the keys of a service account be good again */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["ServiceAccount"];
                };
            };
        };
    };
    readonly "keys.list": {
        readonly parameters: {
            readonly query?: {
                readonly limit?: number;
                readonly cursor?: string;
                readonly owner_id?: string;
                readonly state?: "active" | "suspended" | "expired" | "revoked";
                /** @description A span: whole numbers with s m h d w M (30 d) or y. */
                readonly expiring_within?: string;
            };
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description List keys, tombstones included */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["KeyPage"];
                };
            };
        };
    };
    readonly "keys.create": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: {
                /** @description Kept for 24 hours. */
                readonly "Idempotency-Key"?: string;
            };
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly requestBody: {
            readonly content: {
                readonly "application/json": components["schemas"]["KeyCreate"];
            };
        };
        readonly responses: {
            /** @description Issue a key; the secret is told once */
            readonly 201: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["IssuedKey"];
                };
            };
        };
    };
    readonly "self.read": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description Read the asking key: what it is and may do */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["Key"];
                };
            };
        };
    };
    readonly "self.rotate": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: {
                /** @description Kept for 24 hours. */
                readonly "Idempotency-Key"?: string;
            };
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly requestBody?: {
            readonly content: {
                readonly "application/json": components["schemas"]["RotationStart"];
            };
        };
        readonly responses: {
            /** @description Rotate the asking key itself */
            readonly 201: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["StartedRotation"];
                };
            };
        };
    };
    readonly "keys.read": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description Read a key */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["Key"];
                };
            };
        };
    };
    readonly "keys.delete": {
        readonly parameters: {
            readonly query?: {
                readonly force?: "true" | "false";
                /** @description Answer once the change is in force everywhere, or 202 when that can't be said. */
                readonly wait?: "all";
            };
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description With `wait=all`: done, and not known to be in force everywhere. `silent_processes` have not said that they know. */
            readonly 202: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": {
                        /** @description By their names. */
                        readonly silent_processes: readonly string[];
                    };
                };
            };
            /** @description Revoke a key for ever; its tombstone stays readable */
            readonly 204: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    readonly "keys.update": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: {
            readonly content: {
                readonly "application/json": components["schemas"]["KeyUpdate"];
            };
        };
        readonly responses: {
            /** @description Rename a key or narrow it; it never widens or lengthens */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["Key"];
                };
            };
        };
    };
    readonly "keys.suspend": {
        readonly parameters: {
            readonly query?: {
                /** @description Answer once the change is in force everywhere, or 202 when that can't be said. */
                readonly wait?: "all";
            };
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: {
            readonly content: {
                readonly "application/json": components["schemas"]["Brake"];
            };
        };
        readonly responses: {
            /** @description Refuse a key at once, until it is reinstated */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["BrakedKey"];
                };
            };
            /** @description With `wait=all`: done, and not known to be in force everywhere. `silent_processes` have not said that they know. */
            readonly 202: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["BrakedKey"] & {
                        /** @description By their names. */
                        readonly silent_processes: readonly string[];
                    };
                };
            };
        };
    };
    readonly "keys.reinstate": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description Lift an operator's suspension */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["Key"];
                };
            };
        };
    };
    readonly "keys.revoke": {
        readonly parameters: {
            readonly query?: {
                /** @description Answer once the change is in force everywhere, or 202 when that can't be said. */
                readonly wait?: "all";
            };
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: {
            readonly content: {
                readonly "application/json": components["schemas"]["Brake"];
            };
        };
        readonly responses: {
            /** @description Revoke a key for ever, at once */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["BrakedKey"];
                };
            };
            /** @description With `wait=all`: done, and not known to be in force everywhere. `silent_processes` have not said that they know. */
            readonly 202: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["BrakedKey"] & {
                        /** @description By their names. */
                        readonly silent_processes: readonly string[];
                    };
                };
            };
        };
    };
    readonly "keys.replace-secret": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description Replace a secret that nobody has used yet */
            readonly 201: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["IssuedKey"];
                };
            };
        };
    };
    readonly "keys.callers": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description Who presents the key */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["CallerPage"];
                };
            };
        };
    };
    readonly "keys.usage": {
        readonly parameters: {
            readonly query?: {
                readonly unit?: "minute" | "hour";
                readonly from?: string;
                readonly until?: string;
            };
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description Uses by verdict, per minute or hour */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["UsagePage"];
                };
            };
        };
    };
    readonly "keys.rotate": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: {
                /** @description Kept for 24 hours. */
                readonly "Idempotency-Key"?: string;
            };
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: {
            readonly content: {
                readonly "application/json": components["schemas"]["RotationStart"];
            };
        };
        readonly responses: {
            /** @description Start a rotation: both keys are good from now on */
            readonly 201: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["StartedRotation"];
                };
            };
        };
    };
    readonly "rotations.list": {
        readonly parameters: {
            readonly query?: {
                readonly limit?: number;
                readonly cursor?: string;
                readonly state?: "issued" | "adopting" | "adopted" | "completed" | "closed" | "cancelled";
                readonly key_id?: string;
            };
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description List rotations, newest first */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["RotationPage"];
                };
            };
        };
    };
    readonly "rotations.read": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description Read a rotation: who has moved, who has not, and whether completing is safe */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["Rotation"];
                };
            };
        };
    };
    readonly "rotations.extend": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: {
            readonly content: {
                readonly "application/json": components["schemas"]["RotationExtend"];
            };
        };
        readonly responses: {
            /** @description Extend a rotation, or change how it completes */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["Rotation"];
                };
            };
        };
    };
    readonly "rotations.complete": {
        readonly parameters: {
            readonly query?: {
                /** @description Answer once the change is in force everywhere, or 202 when that can't be said. */
                readonly wait?: "all";
            };
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: {
            readonly content: {
                readonly "application/json": components["schemas"]["Force"];
            };
        };
        readonly responses: {
            /** @description Suspend the old key, on evidence or with force */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["Rotation"];
                };
            };
            /** @description With `wait=all`: done, and not known to be in force everywhere. `silent_processes` have not said that they know. */
            readonly 202: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["Rotation"] & {
                        /** @description By their names. */
                        readonly silent_processes: readonly string[];
                    };
                };
            };
        };
    };
    readonly "rotations.rollback": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description Within the undo window: the old key is good again */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["Rotation"];
                };
            };
        };
    };
    readonly "rotations.cancel": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: {
            readonly content: {
                readonly "application/json": components["schemas"]["Force"];
            };
        };
        readonly responses: {
            /** @description Give the successor up */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["Rotation"];
                };
            };
        };
    };
    readonly "rotations.dismiss": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody: {
            readonly content: {
                readonly "application/json": components["schemas"]["Dismissal"];
            };
        };
        readonly responses: {
            /** @description Vouch that a caller gone quiet need not be waited for */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["Rotation"];
                };
            };
        };
    };
    readonly "rotations.brownout": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path: {
                readonly id: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: {
            readonly content: {
                readonly "application/json": components["schemas"]["BrownoutAnnounce"];
            };
        };
        readonly responses: {
            /** @description Announce a short window in which the old key is refused */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["Rotation"];
                };
            };
        };
    };
    readonly "audit.read": {
        readonly parameters: {
            readonly query?: {
                readonly limit?: number;
                readonly cursor?: string;
                readonly operation?: string;
                readonly subject_id?: string;
                readonly actor_id?: string;
                readonly from?: string;
                readonly until?: string;
            };
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description Read the account's audit log, newest first */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["AuditPage"];
                };
            };
        };
    };
    readonly "cluster.read": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description The processes that serve, and how far each has followed the log */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["Cluster"];
                };
            };
        };
    };
    readonly "cluster.forget": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path: {
                readonly name: string;
            };
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description Take a process that died without a word off the list */
            readonly 204: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    readonly "keys.verify": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly requestBody: {
            readonly content: {
                readonly "application/json": components["schemas"]["Verification"];
            };
        };
        readonly responses: {
            /** @description The verdict, for good keys and bad ones alike. */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["Verdict"];
                };
            };
        };
    };
    readonly "keys.verify-batch": {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly requestBody: {
            readonly content: {
                readonly "application/json": components["schemas"]["VerificationBatch"];
            };
        };
        readonly responses: {
            /** @description One verdict for each, in the same order. */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["VerdictBatch"];
                };
            };
        };
    };
    readonly "forward-auth": {
        readonly parameters: {
            readonly query?: {
                /** @description Required of the key; may be given several times. */
                readonly scope?: string;
                readonly role?: "none" | "viewer" | "editor" | "admin";
            };
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description Let through. Keyturn-Key-Id, -Owner, -Account, -Role and -Scopes tell the upstream who it is. */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    readonly readyz: {
        readonly parameters: {
            readonly query?: never;
            readonly header?: never;
            readonly path?: never;
            readonly cookie?: never;
        };
        readonly requestBody?: never;
        readonly responses: {
            /** @description Ready for traffic, and what is out of order */
            readonly 200: {
                headers: {
                    readonly [name: string]: unknown;
                };
                content: {
                    readonly "application/json": components["schemas"]["Readiness"];
                };
            };
        };
    };
}
