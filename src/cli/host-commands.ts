// What the command line asks of the machine it runs on. main.ts hands these in: the CLI itself knows neither the
// database nor the server. Each throws `CliFailure` for what people can do something about.

export interface HostCommands {
  /** Serves until a signal. */
  serve(): Promise<void>;
  /** A new root key, for people who lost theirs. Works beside a running server. */
  recover(): Promise<{ readonly keyId: string; readonly hint: string; readonly secret: string }>;
  verifyAudit(question: AuditQuestion): Promise<AuditAnswer>;
  /** Calls `write` with each line of the export. Returns how many there were, and the newest. */
  exportAudit(account: string | undefined, write: (line: string) => void): Promise<AuditHead>;
  backup(target: string): Promise<AuditHead>;
  restore(plan: RestorePlan): Promise<RestoreAnswer>;
  doctor(acceptClock: boolean): Promise<readonly Finding[]>;
  /** Brings a PostgreSQL database to the newest schema, and gives a role what `serve` needs of it. Tells what it waits for. */
  migrate(runtimeRole: string | undefined, tell: (message: string) => void): Promise<void>;
  /** Moves the embedded database to PostgreSQL; tells of each step. */
  migrateStore(plan: MovePlan, tell: MoveTold): Promise<void>;
}

export interface MovePlan {
  /** Absent: KEYTURN_DATABASE_URL. */
  readonly to: string | undefined;
  readonly runtimeRole: string | undefined;
  /** Opens the embedded database again instead. */
  readonly cancel: boolean;
  /** Answers for what the database lacks that the folder was moved to before, and that is lost. */
  readonly acceptLoss: boolean;
}

export type MoveStep =
  /** Anew: for another copy before, from which processes may still serve. */
  | { readonly step: "closed"; readonly isAnew: boolean }
  | { readonly step: "copied"; readonly rows: Readonly<Record<string, number>>; readonly head: AuditHead }
  /** For the old server to be stopped. */
  | { readonly step: "waiting" }
  | { readonly step: "opened"; readonly seq: number; readonly closedSeconds: number }
  | { readonly step: "called off"; readonly seq: number };

export type MoveTold = (step: MoveStep) => void;

/** The newest entry of an audit log, as `--head` takes it. */
export interface AuditHead {
  readonly seq: number;
  readonly chainHash: string;
}

export interface AuditQuestion {
  readonly head: AuditHead | undefined;
  readonly witnessFile: string | undefined;
  /** An exported log in place of the database. */
  readonly file: string | undefined;
}

export type AuditAnswer =
  | {
      readonly ok: true;
      readonly entries: number;
      readonly head: AuditHead;
      /** What the log was held against. Without any, a cut-off tail can't be seen. */
      readonly comparedWith: { readonly head: boolean; readonly witnessLines: number };
    }
  | { readonly ok: false; readonly seq: number; readonly problem: string };

export interface RestorePlan {
  readonly from: string | undefined;
  readonly witnessFile: string | undefined;
  readonly acceptLoss: boolean;
}

export interface RestoreAnswer {
  readonly head: AuditHead | null;
  /** Revocations that the witness knew of and the backup did not. */
  readonly merged: number | null;
  readonly lossAccepted: boolean;
  /** Whether a server may serve it now. */
  readonly servable: boolean;
}

export interface Finding {
  readonly check: string;
  readonly state: "ok" | "warning" | "wrong";
  readonly message: string;
}
