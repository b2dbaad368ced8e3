-- The catalog: who owns which slot, since when and why. No secrets live here.
create schema if not exists catalog;

-- The history of this database's schema; whoever applies the files makes it first.
create table if not exists catalog.migrations (
    version integer primary key,
    title text not null,
    checksum text not null,
    applied_at timestamptz not null default now(),
    duration_ms bigint not null
);

create table catalog.cluster (
    only_row boolean primary key default true check (only_row),
    id uuid not null,
    seed bigint not null,
    created_at timestamptz not null default now()
);
comment on table catalog.cluster is
    'The identity of the cluster and the seed of its ring; both are fixed for ever.';

create table catalog.shards (
    id integer primary key generated always as identity check (id between 1 and 65535),
    name text not null unique check (name ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    endpoint text not null unique,
    weight integer not null default 1 check (weight between 0 and 1000000),
    state text not null default 'joining'
        check (state in ('joining', 'active', 'draining', 'retired')),
    added_at timestamptz not null default now()
);
comment on column catalog.shards.endpoint is
    'A libpq connection string without user and without secrets.';

create table catalog.topology (
    epoch bigint primary key check (epoch > 0),
    reason text not null,
    changed_at timestamptz not null default now()
);
comment on table catalog.topology is 'Every change of ownership makes the next epoch.';

create table catalog.slots (
    slot integer primary key check (slot between 0 and 16383),
    shard_id integer not null references catalog.shards (id),
    epoch bigint not null references catalog.topology (epoch)
);
comment on column catalog.slots.epoch is 'The epoch in which the slot got this owner.';

-- Routers listen for this and load the catalog again.
create function catalog.announce_topology() returns trigger
language plpgsql as $$
begin
    notify topology;
    return null;
end
$$;
create trigger announce_topology after insert on catalog.topology
    for each statement execute function catalog.announce_topology();
create trigger announce_shards after insert or update or delete on catalog.shards
    for each statement execute function catalog.announce_topology();

do $$
begin
    create role chat_app nologin;
exception when duplicate_object or unique_violation then
    null;  -- Another database of this server has made it.
end
$$;
grant usage on schema catalog to chat_app;
grant select on catalog.cluster, catalog.shards, catalog.topology, catalog.slots,
    catalog.migrations to chat_app;
