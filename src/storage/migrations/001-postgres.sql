-- On PostgreSQL alone. The newest entry of the log: whoever appends locks this row last, and holds it to the commit.
create table audit_head (
  -- One row, and no second one.
  single boolean primary key default true check (single),
  seq bigint not null,
  chain_hash text not null,
  at bigint not null
);
insert into audit_head (seq, chain_hash, at)
select seq, chain_hash, at from audit_entries order by seq desc limit 1;
-- What the first entry is chained to: SHA-256 of the empty text.
insert into audit_head (seq, chain_hash, at)
values (0, 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 0)
on conflict do nothing;
