-- Instants are milliseconds since the Unix epoch; lists and maps are JSON text; ids are TypeIDs.

create table accounts (
  id text primary key,
  name text not null unique,
  operator integer not null,
  suspended_at bigint,
  created_at bigint not null
);

create table service_accounts (
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
-- A deleted one gives its name free.
create unique index service_accounts_living_name on service_accounts (account_id, name) where deleted_at is null;

create table keys (
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
);
create index keys_by_account on keys (account_id, id);
create index keys_by_owner on keys (owner_id, name);
create index keys_by_lineage on keys (lineage_id);
create index keys_by_end on keys (account_id, expires_at) where expires_at is not null;

-- Apart from the keys, because a key can have several: replaced secrets stay, marked as dead.
create table digests (
  key_id text not null references keys (id),
  ordinal integer not null,
  algorithm text not null,
  selector text,
  digest text not null,
  replaced_at bigint,
  primary key (key_id, ordinal)
);
create unique index digests_by_digest on digests (digest, algorithm);

create table rotations (
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
create index rotations_by_account on rotations (account_id, id);
create index rotations_open on rotations (id) where ended_at is null;
create index rotations_by_owner on rotations (owner_id) where ended_at is null;
-- The last line of defence for "one successor each": a key is in at most one open rotation.
create unique index rotations_one_per_old_key on rotations (old_key_id) where ended_at is null;
create unique index rotations_one_per_successor on rotations (successor_key_id);

create table dismissals (
  rotation_id text not null references rotations (id),
  position integer not null,
  caller text not null,
  reason text not null,
  at bigint not null,
  primary key (rotation_id, position)
);

create table brownouts (
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
create index brownouts_by_rotation on brownouts (rotation_id, ends_at);
create index brownouts_open on brownouts (id) where stopped_at is null;

create table audit_entries (
  seq bigint primary key,
  account_id text,
  at bigint not null,
  actor_id text not null,
  operation text not null,
  entry text not null,
  entry_hash text not null,
  chain_hash text not null
);
create index audit_entries_by_account on audit_entries (account_id, seq);

create table audit_subjects (
  subject_id text not null,
  seq bigint not null references audit_entries (seq),
  kind text not null,
  primary key (subject_id, seq)
);
create index audit_subjects_by_seq on audit_subjects (seq);

-- Addresses, agents and such: they can be erased here without breaking the chain.
create table audit_hidden_texts (
  seq bigint not null references audit_entries (seq),
  hash text not null,
  salt text not null,
  text text,
  primary key (seq, hash)
);

create table idempotency_records (
  actor_id text not null,
  key text not null,
  operation text not null,
  request_hash text not null,
  result text not null,
  seq bigint not null,
  created_at bigint not null,
  primary key (actor_id, key)
);
create index idempotency_records_by_age on idempotency_records (created_at);

create table facts (
  name text primary key,
  value text not null
);
