import type { ColumnType } from "kysely";

/** A member that is never updated. */
type Fixed<T> = ColumnType<T, T, never>;

interface OwnRightsColumns {
  role: string | null;
  scopes: string | null;
  allowed_ips: string | null;
}

export interface AccountTable {
  id: Fixed<string>;
  name: string;
  operator: number;
  suspended_at: number | null;
  created_at: Fixed<number>;
}

export interface ServiceAccountTable extends OwnRightsColumns {
  id: Fixed<string>;
  account_id: Fixed<string>;
  name: string;
  disabled_at: number | null;
  deleted_at: number | null;
  created_at: Fixed<number>;
}

export interface KeyTable extends OwnRightsColumns {
  id: Fixed<string>;
  account_id: Fixed<string>;
  owner_id: Fixed<string>;
  lineage_id: Fixed<string>;
  kind: string;
  name: string;
  hint: string;
  metadata: string;
  suspensions: string;
  created_at: Fixed<number>;
  expires_at: number | null;
  revoked_at: number | null;
  freshness: string;
  rotation_id: string | null;
}

export interface DigestTable {
  key_id: Fixed<string>;
  ordinal: Fixed<number>;
  algorithm: Fixed<string>;
  selector: Fixed<string | null>;
  digest: Fixed<string>;
  replaced_at: number | null;
}

export interface RotationTable {
  id: Fixed<string>;
  account_id: Fixed<string>;
  owner_id: Fixed<string>;
  lineage_id: Fixed<string>;
  old_key_id: Fixed<string>;
  successor_key_id: Fixed<string>;
  state: string;
  completion: string;
  reason: string | null;
  overlap_seconds: number;
  quiet_period_seconds: number;
  look_back_seconds: number;
  undo_window_seconds: number;
  deadline_at: number;
  old_key_ends_at: number | null;
  started_at: Fixed<number>;
  first_used_at: number | null;
  adopted_at: number | null;
  overdue_at: number | null;
  completed_at: number | null;
  undo_until: number | null;
  ended_at: number | null;
  forced: number;
}

export interface DismissalTable {
  rotation_id: string;
  position: number;
  caller: string;
  reason: string;
  at: number;
}

export interface BrownoutTable {
  id: Fixed<string>;
  rotation_id: Fixed<string>;
  starts_at: number;
  ends_at: number;
  stop_after_callers: number;
  stop_after_refusals: number;
  stopped_at: number | null;
  stop_reason: string | null;
  refusals: number;
  callers_hit: string;
}

export interface AuditEntryTable {
  seq: Fixed<number>;
  account_id: Fixed<string | null>;
  at: Fixed<number>;
  actor_id: Fixed<string>;
  operation: Fixed<string>;
  entry: Fixed<string>;
  entry_hash: Fixed<string>;
  chain_hash: Fixed<string>;
}

/** On PostgreSQL alone: one row, locked by whoever appends. */
export interface AuditHeadTable {
  seq: number;
  chain_hash: string;
  at: number;
}

export interface AuditSubjectTable {
  subject_id: string;
  seq: number;
  kind: string;
}

export interface AuditHiddenTextTable {
  seq: number;
  hash: string;
  salt: string;
  text: string | null;
}

export interface IdempotencyTable {
  actor_id: string;
  key: string;
  operation: string;
  request_hash: string;
  result: string;
  seq: number;
  created_at: number;
}

export interface FactTable {
  name: string;
  value: string;
}

export interface CallerTable {
  key_id: string;
  caller: string;
  name: string | null;
  address: string | null;
  agent: string | null;
  first_seen_at: number;
  last_seen_at: number;
  first_valid_at: number | null;
  last_valid_at: number | null;
}

export interface CallerCountTable {
  key_id: string;
  caller: string;
  code: string;
  count: number;
}

export interface KeyUseTable {
  key_id: string;
  first_valid_at: number | null;
  last_valid_at: number | null;
  last_seen_at: number;
}

export interface UsageMinuteTable {
  key_id: string;
  minute: number;
  code: string;
  count: number;
}

export interface UsageHourTable {
  key_id: string;
  hour: number;
  code: string;
  count: number;
}

export interface ReporterTable {
  id: string;
  batch_seq: number;
  covers_from: number;
  covers_until: number;
  ended: string | null;
  process: Fixed<string>;
  ended_at: number | null;
}

export interface ProcessTable {
  id: Fixed<string>;
  name: Fixed<string>;
  version: Fixed<string>;
  started_at: Fixed<number>;
  bounded_seconds: Fixed<number>;
  applied_seq: number;
  staleness_ms: number | null;
  flushed_at: number | null;
  reported_at: number;
}

export interface ClaimTable {
  work: Fixed<string>;
  process_id: string;
  until: number;
}

export interface BrownoutTallyTable {
  brownout_id: Fixed<string>;
  caller: Fixed<string>;
  refusals: number;
}

export interface SetupTokenTable {
  place: Fixed<1>;
  digest: string;
  expires_at: number;
}

/** What stands in the authority's database. */
export interface AuthorityTables {
  accounts: AccountTable;
  service_accounts: ServiceAccountTable;
  keys: KeyTable;
  digests: DigestTable;
  rotations: RotationTable;
  dismissals: DismissalTable;
  brownouts: BrownoutTable;
  audit_entries: AuditEntryTable;
  audit_subjects: AuditSubjectTable;
  audit_hidden_texts: AuditHiddenTextTable;
  idempotency_records: IdempotencyTable;
  facts: FactTable;
}

/** What stands in the evidence file (on PostgreSQL: beside the other tables). */
export interface EvidenceTables {
  callers: CallerTable;
  caller_counts: CallerCountTable;
  key_uses: KeyUseTable;
  usage_minutes: UsageMinuteTable;
  usage_hours: UsageHourTable;
  reporters: ReporterTable;
  processes: ProcessTable;
  claims: ClaimTable;
  brownout_tallies: BrownoutTallyTable;
  setup_tokens: SetupTokenTable;
}
