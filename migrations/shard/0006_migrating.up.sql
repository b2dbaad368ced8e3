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
