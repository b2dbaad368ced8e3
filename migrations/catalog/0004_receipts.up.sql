-- The keys that sign receipts (docs/protocol.md), for clusters whose servers have no file of them.
--
-- The one secret in the catalog, hence a table of its own that only the servers' role may read. The
-- first server puts a key here that it has drawn; none can change or remove one.
create table catalog.receipt_keys (
    place smallint primary key check (place in (1, 2)),
    key bytea not null check (octet_length(key) = 32),
    created_at timestamptz not null default now()
);
comment on column catalog.receipt_keys.place is '1 signs. 2 is only accepted: the key before it.';

revoke all on catalog.receipt_keys from public;
grant select, insert on catalog.receipt_keys to chat_app;
