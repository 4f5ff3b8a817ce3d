-- Nearly every brake asks whether the account keeps a root key. Without this it read all keys of the account, twice: with a
-- million 140 ms each time, on the embedded database while nobody was verified; with it 0.03 ms.
create index keys_roots on keys (account_id, id) where revoked_at is null and scopes like '%"keyturn:*"%';
