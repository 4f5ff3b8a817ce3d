-- Usage and callers. On the embedded database a file of its own, synchronous=NORMAL.

create table callers (
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
create index callers_by_age on callers (last_seen_at);

create table caller_counts (
  key_id text not null,
  caller text not null,
  code text not null,
  count bigint not null,
  primary key (key_id, caller, code)
);

create table key_uses (
  key_id text primary key,
  first_valid_at bigint,
  last_valid_at bigint,
  last_seen_at bigint not null
);

create table usage_minutes (
  key_id text not null,
  minute bigint not null,
  code text not null,
  count bigint not null,
  primary key (key_id, minute, code)
);
create index usage_minutes_by_age on usage_minutes (minute);

create table usage_hours (
  key_id text not null,
  hour bigint not null,
  code text not null,
  count bigint not null,
  primary key (key_id, hour, code)
);
create index usage_hours_by_age on usage_hours (hour);

-- A row a session of a verifying process. Without an end, and not the living one, it stopped uncleanly.
create table reporters (
  id text primary key,
  batch_seq bigint not null,
  covers_from bigint not null,
  covers_until bigint not null,
  ended text
);
create index reporters_by_start on reporters (covers_from);
