-- Several processes report what they saw, and know of each other. Nothing in here is a state of the domain.

-- The process a session belongs to, and when it was given up. Sessions from before were followed by the next one's.
alter table reporters add column process text not null default '';
alter table reporters add column ended_at bigint;
update reporters set ended_at = coalesce(
  (select min(later.covers_from) from reporters as later where later.covers_from >= reporters.covers_until),
  covers_until
) where ended = 'unclean';

create table processes (
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

-- Work that one process does for all of them.
create table claims (
  work text primary key,
  process_id text not null,
  until bigint not null
);

create table brownout_tallies (
  brownout_id text not null,
  caller text not null,
  refusals bigint not null,
  primary key (brownout_id, caller)
);

-- One row: the token that was offered last.
create table setup_tokens (
  place integer primary key check (place = 1),
  digest text not null,
  expires_at bigint not null
);
