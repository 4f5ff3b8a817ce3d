-- How long a key may still be accepted where its revocation is not heard of: strict, bounded or static.
alter table keys add column freshness text not null default 'bounded';
