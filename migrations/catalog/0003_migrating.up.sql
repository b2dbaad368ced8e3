-- The journal of migrations over the whole fleet, and what `shardctl migrate` writes down about files
-- for the catalog itself that cannot run in one transaction (docs/migrations.md).
create table catalog.migration_steps (
    version integer not null check (version > 0),
    direction text not null check (direction in ('up', 'down')),
    step integer not null check (step > 0),
    statement text not null,
    state text not null check (state in ('started', 'done')),
    started_at timestamptz not null default clock_timestamp(),
    done_at timestamptz,
    primary key (version, direction, step)
);
comment on column catalog.migration_steps.statement is 'SHA-256 of the statement''s text.';

alter table catalog.migrations add column origin text not null default 'applied'
    check (origin in ('applied', 'baseline', 'repaired'));

-- One call of `shardctl migrate up` or `down`. Its files are pinned by their sum: whoever goes on with
-- it has the same files.
create table catalog.migration_runs (
    id bigint primary key generated always as identity,
    direction text not null check (direction in ('up', 'down')),
    files_sum text not null,
    versions integer[] not null,
    canary text,
    check_query text,
    state text not null default 'open' check (state in ('open', 'done', 'replaced')),
    runner text not null,
    started_at timestamptz not null default clock_timestamp(),
    ended_at timestamptz
);
comment on column catalog.migration_runs.versions is 'What every shard has, or has no more, at the end.';
comment on column catalog.migration_runs.state is
    'open: it runs, or was stopped and waits to be resumed. replaced: a run with other files came.';
create unique index one_open_run on catalog.migration_runs ((true)) where state = 'open';

create table catalog.migration_run_shards (
    run_id bigint not null references catalog.migration_runs (id) on delete cascade,
    shard text not null,
    state text not null default 'pending'
        check (state in ('pending', 'running', 'done', 'failed')),
    problem text,
    started_at timestamptz,
    ended_at timestamptz,
    primary key (run_id, shard)
);

-- What a database looks like that has a set of files and nothing else, as `shardctl migrate verify`
-- found it in a scratch database. Only a cache.
create table catalog.schema_references (
    key text primary key,
    snapshot text not null,
    made_at timestamptz not null default now()
);

grant select on catalog.migration_steps, catalog.migration_runs, catalog.migration_run_shards
    to chat_app;
