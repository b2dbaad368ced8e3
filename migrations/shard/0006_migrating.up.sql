-- What `shardctl migrate` writes down here about files that cannot run in one transaction
-- (docs/migrations.md). A file that is complete has its row in shard.migrations and none here.
create table shard.migration_steps (
    version integer not null check (version > 0),
    direction text not null check (direction in ('up', 'down')),
    step integer not null check (step > 0),
    statement text not null,
    state text not null check (state in ('started', 'done')),
    started_at timestamptz not null default clock_timestamp(),
    done_at timestamptz,
    primary key (version, direction, step)
);
comment on column shard.migration_steps.statement is 'SHA-256 of the statement''s text.';
comment on column shard.migration_steps.state is
    'started without done: its runner is at it, or was stopped in it; the database is looked at.';

alter table shard.migrations add column if not exists origin text not null default 'applied'
    check (origin in ('applied', 'baseline', 'repaired'));
comment on column shard.migrations.origin is
    'applied: the file ran here. baseline: it was taken as done. repaired: a human said so.';

grant select on shard.migration_steps to chat_app;

-- The way back of register_table: for files that drop a table, or that no longer let it move.
create function shard.unregister_table(name text) returns void
language plpgsql
set search_path = pg_catalog, public, pg_temp as $$
declare
    target regclass := name::regclass;
begin
    delete from shard.tables t where to_regclass(t.table_name) = target;
    if not found then
        raise exception 'table % is not registered', name using errcode = 'undefined_object';
    end if;
end
$$;
revoke all on function shard.unregister_table(text) from public;
