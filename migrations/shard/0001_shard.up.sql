-- What makes a database a shard: its identity, the slots that it owns, and the list of tables
-- whose rows move with their room.
create schema if not exists shard;

-- The history of this database's schema; whoever applies the files makes it first.
create table if not exists shard.migrations (
    version integer primary key,
    title text not null,
    checksum text not null,
    applied_at timestamptz not null default now(),
    duration_ms bigint not null
);

create table shard.identity (
    only_row boolean primary key default true check (only_row),
    cluster_id uuid not null,
    shard_id integer not null,
    seed bigint not null
);

create table shard.slots (
    slot integer primary key check (slot between 0 and 16383),
    state text not null default 'none'
        check (state in ('none', 'preparing', 'importing', 'active', 'fenced', 'moved')),
    move_id bigint,
    barred bigint not null default 0,
    attempt integer not null default 0,
    moved_to integer,
    epoch bigint not null default 0
) with (fillfactor = 50);
comment on table shard.slots is
    'Ownership: the authority, whatever the catalog or a router believes. '
    'barred is the highest move that may no longer act here; it and epoch never decrease.';

insert into shard.slots (slot) select generate_series(0, 16383);

create function shard.keep_growing() returns trigger
language plpgsql as $$
begin
    if new.barred < old.barred or new.epoch < old.epoch then
        raise exception 'slot %: barred and epoch never decrease', old.slot
            using errcode = 'integrity_constraint_violation';
    end if;
    return new;
end
$$;
create trigger keep_growing before update of barred, epoch on shard.slots
    for each row execute function shard.keep_growing();

-- The slot of a room on this cluster's ring.
create function shard.slot_of(room_id text) returns integer
language sql stable parallel safe
set search_path = pg_catalog, pg_temp as $$
    select ((hashtextextended(room_id, i.seed) >> 50) & 16383)::integer from shard.identity i
$$;

create table shard.tables (
    table_name text primary key,
    registered_at timestamptz not null default now()
);
comment on table shard.tables is 'Tables with a room_id whose rows move with their room.';

-- Makes a table move with its rooms, or says why it cannot.
create function shard.register_table(name text) returns void
language plpgsql
set search_path = pg_catalog, public, pg_temp as $$
declare
    target regclass := name::regclass;
    full_name text;
    problem text;
    identity_columns smallint[];
    room_column smallint;
begin
    select format('%I.%I', n.nspname, c.relname) into full_name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = target;

    if (select relkind from pg_class where oid = target) <> 'r' then
        raise exception 'table % cannot be sharded: it is no ordinary table', full_name
            using errcode = 'feature_not_supported';
    end if;
    if (select relpersistence from pg_class where oid = target) <> 'p' then
        raise exception 'table % cannot be sharded: it is unlogged or temporary', full_name
            using errcode = 'feature_not_supported';
    end if;

    select attnum into room_column from pg_attribute
    where attrelid = target and attname = 'room_id' and not attisdropped
        and atttypid = 'text'::regtype and attnotnull;
    if room_column is null then
        raise exception 'table % cannot be sharded: it needs a column room_id text not null',
            full_name using errcode = 'undefined_column';
    end if;

    -- The replica identity must contain room_id, or updates and deletes fail while a room moves.
    select case c.relreplident
        when 'd' then (select i.indkey::smallint[] from pg_index i
                       where i.indrelid = target and i.indisprimary)
        when 'i' then (select i.indkey::smallint[] from pg_index i
                       where i.indrelid = target and i.indisreplident)
        when 'f' then (select array_agg(attnum) from pg_attribute
                       where attrelid = target and attnum > 0 and not attisdropped)
        end into identity_columns
    from pg_class c where c.oid = target;
    if identity_columns is null or not room_column = any (identity_columns) then
        raise exception 'table % cannot be sharded: its replica identity does not contain room_id',
            full_name
            using errcode = 'object_not_in_prerequisite_state',
                hint = 'Make room_id part of the primary key, or choose a unique index that has it '
                    'with ALTER TABLE … REPLICA IDENTITY USING INDEX.';
    end if;

    -- Numbers drawn on two shards collide as soon as their rooms meet on one of them.
    select string_agg(quote_ident(a.attname), ', ') into problem
    from pg_attribute a left join pg_attrdef d on d.adrelid = target and d.adnum = a.attnum
    where a.attrelid = target and a.attnum > 0 and not a.attisdropped
        and (a.attidentity <> '' or pg_get_expr(d.adbin, d.adrelid) like 'nextval(%')
        and exists (select from pg_index i where i.indrelid = target and i.indisunique
                    and a.attnum = any (i.indkey::smallint[])
                    and not room_column = any (i.indkey::smallint[]));
    if problem is not null then
        raise exception 'table % cannot be sharded: the sequence of % collides between shards',
            full_name, problem
            using errcode = 'feature_not_supported',
                hint = 'Use a UUID, or make the key unique together with room_id.';
    end if;

    select string_agg(confrelid::regclass::text, ', ') into problem
    from pg_constraint
    where contype = 'f' and conrelid = target and confrelid <> target
        and not exists (
            select from shard.tables t where t.table_name::regclass = confrelid);
    if problem is not null then
        raise exception 'table % cannot be sharded: it refers to %, which does not move with it',
            full_name, problem
            using errcode = 'foreign_key_violation',
                hint = 'Register that table first, or drop the foreign key.';
    end if;

    insert into shard.tables (table_name) values (full_name) on conflict do nothing;
end
$$;

do $$
begin
    create role chat_app nologin;
exception when duplicate_object or unique_violation then
    null;  -- Another database of this server has made it.
end
$$;
revoke all on all functions in schema shard from public;
grant usage on schema shard to chat_app;
grant select on shard.identity, shard.slots, shard.tables, shard.migrations to chat_app;
grant execute on function shard.slot_of(text) to chat_app;
