@testable import ShardOperations

extension LintCorpus {
    static let rest = sharding + objects + transactions + comments + rows

    static let sharding: [LintEntry] = [
        LintEntry(
            "create table public.notes (room_id text not null, id uuid)",
            "unregistered-room-table"),
        LintEntry(
            "alter table public.plans add column room_id text", "unregistered-room-table"),
        LintEntry("drop table public.messages", "drop-registered-table", isContract: true),
        LintEntry(
            "alter table public.messages rename to mails", "drop-registered-table",
            isContract: true),
        LintEntry(
            "alter table public.messages set schema other", "drop-registered-table",
            isContract: true),
        LintEntry(
            "alter table public.messages drop column room_id", "room-id-changed",
            isContract: true),
        LintEntry(
            "alter table public.messages rename column room_id to room", "room-id-changed",
            "renaming-column"),
        LintEntry("alter table public.messages replica identity full", "ban-replica-identity"),
        LintEntry(
            "alter table public.messages drop constraint messages_pkey", "ban-replica-identity",
            isContract: true),
        LintEntry(
            "create trigger t after insert on public.messages for each row execute function f()",
            "trigger-on-registered-table"),
        LintEntry(
            "alter table public.messages enable always trigger t", "trigger-on-registered-table"),
        LintEntry(
            "alter table public.messages add column number bigint generated always as identity",
            "sequence-on-registered-table", "adding-field-with-default"),
        LintEntry(
            "alter table public.messages alter column code set default nextval('s')",
            "sequence-on-registered-table"),
        LintEntry(
            """
            create table public.notes (
                room_id text not null, number bigint generated always as identity,
                primary key (room_id, number)
            ); select shard.register_table('public.notes')
            """, "sequence-on-registered-table"),
        LintEntry(
            "create unique index concurrently messages_code on public.messages (code)",
            "unique-without-room-id", isTransactional: false),
        LintEntry(
            """
            create table public.notes (room_id text not null, id uuid primary key);
            select shard.register_table('public.notes')
            """, "unique-without-room-id"),
        LintEntry(
            "alter table public.messages add constraint f foreign key (code) "
                + "references public.plans (id) not valid", "foreign-key-to-unregistered"),
        LintEntry(
            "create table public.counts (room text references public.rooms (room_id))",
            "foreign-key-to-registered"),
        LintEntry(
            "alter table public.rooms add column topic text", "ddl-on-several-registered-tables",
            before: "alter table public.messages add column mark text;"),
        LintEntry(
            "update public.messages set code = 1 where code is null", "rows-with-ddl",
            before: "alter table public.messages add column mark text;"),
    ]

    static let objects: [LintEntry] = [
        LintEntry("drop view public.v", "ban-drop-view"),
        LintEntry("drop function public.f(int)", "ban-drop-function"),
        LintEntry("drop routine public.f(int)", "ban-drop-function"),
        LintEntry("drop type public.mood", "ban-drop-type"),
        LintEntry("drop cast (public.d as text)", "ban-drop-type"),
        LintEntry("drop domain public.d", "ban-drop-domain"),
        LintEntry(
            "alter domain public.d set not null", "ban-alter-domain-with-add-constraint"),
        LintEntry("alter domain public.d drop constraint c", "ban-drop-constraint"),
        LintEntry("drop schema other", "ban-drop-schema"),
        LintEntry("drop schema other cascade", "drop-cascade", isContract: true),
        LintEntry("drop sequence public.s", "ban-drop-sequence"),
        LintEntry("drop extension hstore", "ban-drop-extension"),
        LintEntry("drop trigger t on public.plans", "ban-drop-trigger"),
        LintEntry("drop policy p on public.plans", "ban-drop-policy"),
        LintEntry("drop database other", "ban-drop-database", isTransactional: false),
        LintEntry("alter view public.v rename to w", "renaming-object"),
        LintEntry("alter table public.plans rename constraint a to b", "renaming-object"),
        LintEntry("alter function public.f(int) set schema other", "ban-set-schema"),
        LintEntry("revoke select on public.plans from someone", "ban-revoke"),
        LintEntry("alter sequence public.s restart 1", "ban-alter-sequence-values"),
        LintEntry(
            "alter system set work_mem = '1MB'", "ban-alter-system-options",
            isTransactional: false),
        LintEntry(
            "alter database other set work_mem = '1MB'", "ban-alter-database-options"),
        LintEntry("alter role someone superuser", "ban-alter-role-options"),
    ]

    static let transactions: [LintEntry] = [
        LintEntry("commit", "transaction-nesting"),
        LintEntry("savepoint a", "transaction-nesting"),
        LintEntry("begin", "transaction-nesting", "ban-uncommitted-transaction"),
        LintEntry("begin; commit", "transaction-control", isTransactional: false),
        LintEntry(
            "alter table public.plans add column if not exists a text", "mixed-transaction-off",
            before: "create index concurrently plans_code on public.plans (code);",
            isTransactional: false),
        LintEntry(
            "alter table public.plans add column a text", "prefer-robust-stmts",
            isTransactional: false),
        LintEntry(
            "create table public.t (a bigint)", "prefer-robust-stmts", isTransactional: false),
        LintEntry("set lock_timeout = 0", "require-lock-timeout"),
        LintEntry("set local statement_timeout to '0'", "require-statement-timeout"),
        LintEntry("reset statement_timeout", "require-statement-timeout"),
        LintEntry("set lock_timeout = '5s'", "require-timeout-settings"),
    ]

    static let rows: [LintEntry] = [
        LintEntry("update public.plans set code = 1", "update-without-where"),
        LintEntry("delete from public.plans", "delete-without-where"),
        LintEntry(
            "insert into public.plans (id, id) values (1, 2)", "ban-duplicate-column-assignments"),
        LintEntry(
            "merge into public.plans p using public.rooms r on r.head = p.id"
                + " when matched then update set code = 1, code = 2",
            "ban-duplicate-column-assignments"),
        LintEntry(
            "create table public.t (a bigint, a text)", "ban-duplicate-column-assignments"),
        LintEntry(
            "create view public.v as select id as a, code as a from public.plans",
            "ban-duplicate-column-assignments"),
        LintEntry(
            "update public.plans set code = 1, code = 2 where id = 1",
            "ban-duplicate-column-assignments"),
    ]

    static let comments: [LintEntry] = [
        LintEntry("alter table public.plans make it faster", "unreadable"),
        LintEntry(
            "-- shardctl: allow=ban-drop-column\nalter table public.plans drop column name",
            "allow-without-reason"),
        LintEntry(
            "-- shardctl: allow=ban-drop-column reason=\" \"\n"
                + "alter table public.plans drop column name", "allow-without-reason"),
        LintEntry(
            "-- shardctl: allow=ban-columns reason=\"unused\"\n"
                + "alter table public.plans drop column name", "unknown-rule", "ban-drop-column"),
        LintEntry(
            "-- shardctl: allow=ban-drop-column reason=\"unused\"\nselect 1", "unused-allow"),
    ]

    /// Nothing is to be said about these.
    static let harmless: [LintEntry] =
        [
            "alter table public.plans add column a text",
            "alter table public.plans add column if not exists a bigint not null default 5",
            "alter table public.plans add column a timestamptz not null default now()",
            "alter table public.plans add column a jsonb not null default '{}'",
            "alter table public.plans alter column name set default 'x'",
            "alter table public.plans alter column name set statistics 500",
            "alter table public.plans alter column name set (n_distinct = 10)",
            "alter table public.plans alter column name type text",
            "alter table public.plans add constraint c check (code > 0) not valid",
            "alter table public.plans validate constraint c",
            "alter table public.plans add constraint c foreign key (code)"
                + " references public.plans (id) not valid",
            "alter table public.messages add constraint c foreign key (room_id)"
                + " references public.rooms (room_id) not valid",
            "alter table public.plans add constraint c unique using index plans_name",
            "alter table public.plans set (fillfactor = 80)",
            "alter table public.plans set (autovacuum_vacuum_scale_factor = 0.01)",
            "alter table public.plans owner to someone",
            "create table public.t (id bigint generated always as identity primary key, name text)",
            "create table public.t (id uuid primary key, at timestamptz not null default now())",
            "create table public.t as select id, name from public.plans",
            "create unlogged table public.t (id uuid primary key)",
            "create temporary table t (a int, room_id text)",
            "create type public.mood as enum ('good', 'bad')",
            "create view public.v as select id from public.plans",
            "create or replace view public.v as select id from public.plans",
            "create materialized view public.m as select count(*) from public.plans",
            "refresh materialized view concurrently public.m",
            "create function public.f() returns trigger language plpgsql as 'begin return new; end'",
            "create or replace function public.f(a int) returns int language sql as 'select a'",
            "create function public.g(a bigint) returns bigint language sql"
                + " begin atomic select case when a > 0 then a else 0 end; end",
            "create trigger t before insert on public.plans for each row execute function f()",
            "create statistics public.s on name, code from public.plans",
            "create sequence public.s",
            "create schema other", "create extension if not exists pgcrypto",
            "create domain public.d as text", "create policy p on public.plans using (true)",
            "comment on table public.plans is 'what a plan costs; and more'",
            "grant select on public.plans to someone",
            "revoke all on all functions in schema public from public",
            "insert into public.plans (id, name) values (1, 'free') on conflict do nothing",
            "update public.plans set name = 'x' where id = 1",
            "delete from public.plans where id = 1", "select 1", "analyze public.plans",
            "do $$ begin perform 1; end $$", "set search_path to public",
            "lock table public.plans in row exclusive mode",
            "explain select * from public.plans",
            "-- shardctl: allow=ban-drop-column reason=\"nobody reads it\"\n"
                + "alter table public.plans drop column name",
            "-- shardctl: allow=ban-drop-column,drop-cascade reason=\"nobody reads it\"\n"
                + "alter table public.plans drop column name cascade",
        ].map { LintEntry($0) } + harmlessWhereTheyStand

    static let harmlessWhereTheyStand: [LintEntry] = [
        LintEntry(
            "create table public.notes (room_id text not null, id uuid not null, "
                + "primary key (room_id, id)); select shard.register_table('public.notes')"),
        LintEntry(
            "alter table public.unheard_of drop constraint u_pkey, "
                + "add constraint u_pkey primary key using index u_new"),
        LintEntry(
            "drop trigger t on public.plans; create trigger t after update on public.plans"
                + " for each row execute function f()"),
        LintEntry(
            "drop view public.v; create view public.v as select name, id from public.plans"),
        LintEntry(
            "drop function public.f(int); create function public.f(int, int default 0)"
                + " returns int language sql as 'select $1'"),
        LintEntry("create index t_a on public.t (a)", before: "create table public.t (a text);"),
        LintEntry(
            "alter table public.t add constraint c check (a <> '')",
            before: "create table public.t (a text);"),
        LintEntry(
            "alter table public.t alter column a type bytea using a::bytea",
            before: "create table public.t (a text);"),
        LintEntry("update public.t set a = 'x'", before: "create table public.t (a text);"),
        LintEntry("drop table public.t", before: "create table public.t (a text);"),
        LintEntry(
            "alter table public.plans add constraint c check (code > 0) not valid",
            before: "alter table public.plans drop constraint c;"),
        LintEntry(
            "create index concurrently plans_code on public.plans (code)", isTransactional: false),
        LintEntry(
            "create unique index concurrently m on public.messages (room_id, code)",
            isTransactional: false),
        LintEntry("drop index concurrently if exists public.plans_name", isTransactional: false),
        LintEntry("reindex index concurrently public.plans_name", isTransactional: false),
        LintEntry("vacuum (analyze) public.plans", isTransactional: false),
        LintEntry(
            "alter type public.mood add value 'fine' after 'good'", isTransactional: false),
        LintEntry(
            "alter table public.parts detach partition public.part concurrently",
            isTransactional: false),
        LintEntry("drop table public.plans", isContract: true),
        LintEntry("alter table public.plans drop column name", isContract: true),
        LintEntry("drop view public.v", isContract: true),
        LintEntry("drop function if exists public.f(int)", isContract: true),
    ]
}
