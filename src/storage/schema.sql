-- Made by scripts/check-schema.ts from the migrations; not to be edited.

-- keyturn.db

CREATE TABLE accounts (
  id text primary key,
  name text not null unique,
  operator integer not null,
  suspended_at bigint,
  created_at bigint not null
);
CREATE TABLE audit_entries (
  seq bigint primary key,
  account_id text,
  at bigint not null,
  actor_id text not null,
  operation text not null,
  entry text not null,
  entry_hash text not null,
  chain_hash text not null
);
CREATE INDEX audit_entries_by_account on audit_entries (account_id, seq);
CREATE TABLE audit_hidden_texts (
  seq bigint not null references audit_entries (seq),
  hash text not null,
  salt text not null,
  text text,
  primary key (seq, hash)
);
CREATE TABLE audit_subjects (
  subject_id text not null,
  seq bigint not null references audit_entries (seq),
  kind text not null,
  primary key (subject_id, seq)
);
CREATE INDEX audit_subjects_by_seq on audit_subjects (seq);
CREATE TABLE brownouts (
  id text primary key,
  rotation_id text not null references rotations (id),
  starts_at bigint not null,
  ends_at bigint not null,
  stop_after_callers integer not null,
  stop_after_refusals integer not null,
  stopped_at bigint,
  stop_reason text,
  refusals integer not null,
  callers_hit text not null
);
CREATE INDEX brownouts_by_rotation on brownouts (rotation_id, ends_at);
CREATE INDEX brownouts_open on brownouts (id) where stopped_at is null;
CREATE TABLE digests (
  key_id text not null references keys (id),
  ordinal integer not null,
  algorithm text not null,
  selector text,
  digest text not null,
  replaced_at bigint,
  primary key (key_id, ordinal)
);
CREATE UNIQUE INDEX digests_by_digest on digests (digest, algorithm);
CREATE TABLE dismissals (
  rotation_id text not null references rotations (id),
  position integer not null,
  caller text not null,
  reason text not null,
  at bigint not null,
  primary key (rotation_id, position)
);
CREATE TABLE facts (
  name text primary key,
  value text not null
);
CREATE TABLE idempotency_records (
  actor_id text not null,
  key text not null,
  operation text not null,
  request_hash text not null,
  result text not null,
  seq bigint not null,
  created_at bigint not null,
  primary key (actor_id, key)
);
CREATE INDEX idempotency_records_by_age on idempotency_records (created_at);
CREATE TABLE keys (
  id text primary key,
  account_id text not null references accounts (id),
  owner_id text not null references service_accounts (id),
  lineage_id text not null,
  kind text not null,
  name text not null,
  hint text not null,
  role text,
  scopes text,
  allowed_ips text,
  metadata text not null,
  suspensions text not null,
  created_at bigint not null,
  expires_at bigint,
  revoked_at bigint,
  rotation_id text
, freshness text not null default 'bounded');
CREATE INDEX keys_by_account on keys (account_id, id);
CREATE INDEX keys_by_end on keys (account_id, expires_at) where expires_at is not null;
CREATE INDEX keys_by_lineage on keys (lineage_id);
CREATE INDEX keys_by_owner on keys (owner_id, name);
CREATE INDEX keys_roots on keys (account_id, id) where revoked_at is null and scopes like '%"keyturn:*"%';
CREATE TABLE rotations (
  id text primary key,
  account_id text not null references accounts (id),
  owner_id text not null,
  lineage_id text not null,
  old_key_id text not null,
  successor_key_id text not null,
  state text not null,
  completion text not null,
  reason text,
  overlap_seconds integer not null,
  quiet_period_seconds integer not null,
  look_back_seconds integer not null,
  undo_window_seconds integer not null,
  deadline_at bigint not null,
  old_key_ends_at bigint,
  started_at bigint not null,
  first_used_at bigint,
  adopted_at bigint,
  overdue_at bigint,
  completed_at bigint,
  undo_until bigint,
  ended_at bigint,
  forced integer not null
);
CREATE INDEX rotations_by_account on rotations (account_id, id);
CREATE INDEX rotations_by_owner on rotations (owner_id) where ended_at is null;
CREATE UNIQUE INDEX rotations_one_per_old_key on rotations (old_key_id) where ended_at is null;
CREATE UNIQUE INDEX rotations_one_per_successor on rotations (successor_key_id);
CREATE INDEX rotations_open on rotations (id) where ended_at is null;
CREATE TABLE service_accounts (
  id text primary key,
  account_id text not null references accounts (id),
  name text not null,
  role text,
  scopes text,
  allowed_ips text,
  disabled_at bigint,
  deleted_at bigint,
  created_at bigint not null
);
CREATE UNIQUE INDEX service_accounts_living_name on service_accounts (account_id, name) where deleted_at is null;

-- evidence.db

CREATE TABLE brownout_tallies (
  brownout_id text not null,
  caller text not null,
  refusals bigint not null,
  primary key (brownout_id, caller)
);
CREATE TABLE caller_counts (
  key_id text not null,
  caller text not null,
  code text not null,
  count bigint not null,
  primary key (key_id, caller, code)
);
CREATE TABLE callers (
  key_id text not null,
  caller text not null,
  name text,
  address text,
  agent text,
  first_seen_at bigint not null,
  last_seen_at bigint not null,
  first_valid_at bigint,
  last_valid_at bigint,
  primary key (key_id, caller)
);
CREATE INDEX callers_by_age on callers (last_seen_at);
CREATE TABLE claims (
  work text primary key,
  process_id text not null,
  until bigint not null
);
CREATE TABLE key_uses (
  key_id text primary key,
  first_valid_at bigint,
  last_valid_at bigint,
  last_seen_at bigint not null
);
CREATE TABLE processes (
  id text primary key,
  name text not null,
  version text not null,
  started_at bigint not null,
  bounded_seconds bigint not null,
  applied_seq bigint not null,
  staleness_ms bigint,
  flushed_at bigint,
  reported_at bigint not null
);
CREATE TABLE reporters (
  id text primary key,
  batch_seq bigint not null,
  covers_from bigint not null,
  covers_until bigint not null,
  ended text
, process text not null default '', ended_at bigint);
CREATE INDEX reporters_by_start on reporters (covers_from);
CREATE TABLE setup_tokens (
  place integer primary key check (place = 1),
  digest text not null,
  expires_at bigint not null
);
CREATE TABLE usage_hours (
  key_id text not null,
  hour bigint not null,
  code text not null,
  count bigint not null,
  primary key (key_id, hour, code)
);
CREATE INDEX usage_hours_by_age on usage_hours (hour);
CREATE TABLE usage_minutes (
  key_id text not null,
  minute bigint not null,
  code text not null,
  count bigint not null,
  primary key (key_id, minute, code)
);
CREATE INDEX usage_minutes_by_age on usage_minutes (minute);
