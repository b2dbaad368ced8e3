/// One way in which a database drifts.
struct DriftCase: Sendable {
    var name: String
    var sql: String
    /// What has to be reported: `missing column public.messages.body`. Nothing else may be.
    var reported: [String]
    /// Whether its repair is commented out.
    var losesData = false
    /// Whether no statement repairs it.
    var isForPeople = false

    init(
        _ name: String, _ sql: String, _ reported: String..., losesData: Bool = false,
        isForPeople: Bool = false
    ) {
        self.name = name
        self.sql = sql
        self.reported = reported
        self.losesData = losesData
        self.isForPeople = isForPeople
    }

    /// An application's own migration, with kinds of objects that the product's files do not have.
    static let application = """
        create type public.mood as enum ('good', 'fair', 'bad');
        create domain public.short as text constraint short_length check (length(value) < 100);
        create type public.point2 as (x integer, y integer);
        create sequence public.ticket increment by 5;
        create function public.twice(n integer) returns integer language sql immutable
            as $$ select n * 2 $$;
        create procedure public.tidy() language sql as $$ select 1 $$;
        create aggregate public.total (integer) (sfunc = int4pl, stype = integer, initcond = '0');
        create table public.reactions (
            room_id text collate "C" not null references public.rooms (room_id),
            id bigint not null generated always as identity,
            emoji public.short not null default ':)',
            mood public.mood,
            doubled integer generated always as (length(emoji) * 2) stored,
            weight numeric(10, 2) default public.twice(2),
            "Odd Name" integer,
            primary key (room_id, id)
        );
        create index reactions_by_mood on public.reactions (mood) where mood is not null;
        create index reactions_lower on public.reactions (lower(emoji));
        create view public.happy with (security_barrier = true) as
            select room_id, emoji from public.reactions where mood = 'good';
        create materialized view public.counts as
            select room_id, count(*) as n from public.reactions group by room_id;
        create unique index counts_key on public.counts (room_id);
        create table public.notes (id serial primary key, body text, at timestamptz default now());
        alter table public.notes enable row level security;
        create policy own on public.notes for select to chat_app using (id > 0);
        create rule no_delete as on delete to public.notes do instead nothing;
        create statistics public.linked (dependencies) on room_id, mood from public.reactions;
        create function public.watch() returns trigger language plpgsql as $$
        begin return new; end $$;
        create trigger watch before insert on public.reactions
            for each row execute function public.watch();
        create function public.look() returns event_trigger language plpgsql as $$
        begin null; end $$;
        create event trigger looker on ddl_command_end when tag in ('CREATE SERVER')
            execute function public.look();
        create type public.span as range (subtype = time);
        create extension citext schema public;
        create table public.log (at date, note public.citext, n integer unique deferrable)
            with (fillfactor = 60);
        create table public.booked (during int4range, room text,
            exclude using gist (during with &&));
        create unlogged table public.kept (n integer, unique (n) deferrable initially deferred);
        create table public.heir (more integer) inherits (public.kept);
        create table public.days (at date not null, n integer, primary key (at))
            partition by range (at);
        create table public.a_day partition of public.days
            for values from ('2025-01-01') to ('2025-01-02');
        create index days_n on public.days (n);
        grant select on public.happy, public.reactions to chat_app;
        grant update (emoji) on public.reactions to chat_app;
        revoke execute on function public.twice(integer) from public;
        """

    static let all: [DriftCase] = tables + columns + constraints + indexes + code + rights

    private static let tables = [
        DriftCase(
            "schema extra", "create schema other; create table other.t (n int)",
            "extra schema other", losesData: true),
        DriftCase(
            "table missing", "drop table public.notes", "missing sequence public.notes_id_seq",
            "missing table public.notes"),
        DriftCase(
            "table extra", "create table public.old (id int primary key, n int default 1)",
            "extra table public.old", losesData: true),
        DriftCase(
            "table unlogged", "alter table public.notes set unlogged",
            "changed sequence public.notes_id_seq", "changed table public.notes"),
        DriftCase(
            "storage parameter changed", "alter table public.rooms set (fillfactor = 90)",
            "changed options public.rooms"),
        DriftCase(
            "storage parameters changed",
            "alter table public.rooms reset (fillfactor); "
                + "alter table public.rooms set (autovacuum_enabled = off, parallel_workers = 2)",
            "changed options public.rooms"),
        DriftCase(
            "storage parameter missing", "alter table shard.slots reset (fillfactor)",
            "missing options shard.slots"),
        DriftCase(
            "storage parameter extra", "alter table public.messages set (autovacuum_enabled = off)",
            "extra options public.messages"),
        DriftCase(
            "replica identity", "alter table public.messages replica identity full",
            "extra replica identity public.messages"),
        DriftCase(
            "row security off", "alter table public.notes disable row level security",
            "missing row security public.notes"),
        DriftCase(
            "row security forced", "alter table public.notes force row level security",
            "changed row security public.notes"),
        DriftCase(
            "policy missing", "drop policy own on public.notes",
            "missing policy own on public.notes"),
        DriftCase(
            "policy changed", "alter policy own on public.notes using (id > 1)",
            "changed policy own on public.notes"),
        DriftCase(
            "sequence changed", "alter sequence public.ticket increment by 7",
            "changed sequence public.ticket"),
        DriftCase(
            "sequence extra", "create sequence public.spare", "extra sequence public.spare",
            losesData: true),
        DriftCase(
            "sequence without its column", "alter sequence public.notes_id_seq owned by none",
            "missing sequence owner public.notes_id_seq"),
        DriftCase("view missing", "drop view public.happy", "missing view public.happy"),
        DriftCase(
            "view changed",
            "create or replace view public.happy as select room_id, emoji from public.reactions",
            "changed view public.happy", "missing options public.happy"),
        DriftCase(
            "materialized view changed",
            "drop materialized view public.counts; create materialized view public.counts as "
                + "select room_id, count(*) + 1 as n from public.reactions group by room_id",
            "changed view public.counts", "missing index public.counts_key"),
        DriftCase(
            "partition missing", "drop table public.a_day", "missing table public.a_day"),
        DriftCase(
            "partitioned table missing", "drop table public.days", "missing table public.days",
            "missing table public.a_day"),
        DriftCase(
            "heir missing", "drop table public.heir", "missing table public.heir"),
        DriftCase(
            "extension extra", "create extension pg_trgm", "extra extension pg_trgm",
            losesData: true),
        DriftCase(
            "extension missing",
            "alter table public.log alter column note type text; drop extension citext",
            "missing extension citext", "changed column public.log.note"),
        DriftCase(
            "statistics missing", "drop statistics public.linked",
            "missing statistics public.linked"),
    ]

    private static let columns = [
        DriftCase(
            "column missing", "alter table public.messages drop column author",
            "missing column public.messages.author"),
        DriftCase(
            "odd column missing", "alter table public.reactions drop column \"Odd Name\"",
            "missing column public.reactions.\"Odd Name\""),
        DriftCase(
            "column extra",
            "alter table public.messages add column spare integer not null default 3",
            "extra column public.messages.spare", losesData: true),
        DriftCase(
            "column's type", "alter table shard.migration_steps alter column step type bigint",
            "changed column shard.migration_steps.step"),
        DriftCase(
            "column's collation",
            "alter table public.messages alter column author type text collate \"C\"",
            "changed column public.messages.author"),
        DriftCase(
            "column's storage and statistics",
            "alter table public.messages alter column body set storage external, "
                + "alter column body set statistics 500, alter column body set (n_distinct = 5)",
            "changed column public.messages.body"),
        DriftCase(
            "column's compression",
            "alter table public.messages alter column body set compression pglz",
            "changed column public.messages.body"),
        DriftCase(
            "not null missing", "alter table public.messages alter column body drop not null",
            "missing not null public.messages.body"),
        DriftCase(
            "not null extra", "alter table public.notes alter column body set not null",
            "extra not null public.notes.body"),
        DriftCase(
            "default missing", "alter table public.rooms alter column head drop default",
            "missing default public.rooms.head"),
        DriftCase(
            "default changed", "alter table public.reactions alter column weight set default 9",
            "changed default public.reactions.weight"),
        DriftCase(
            "default extra", "alter table public.notes alter column body set default 'none'",
            "extra default public.notes.body"),
        DriftCase(
            "identity missing", "alter table public.reactions alter column id drop identity",
            "missing identity public.reactions.id"),
        DriftCase(
            "identity changed",
            "alter table public.reactions alter column id set generated by default "
                + "set increment by 2",
            "changed identity public.reactions.id"),
        DriftCase(
            "generated column made plain",
            "alter table public.reactions alter column doubled drop expression",
            "missing generated public.reactions.doubled", losesData: true),
    ]

    private static let constraints = [
        DriftCase(
            "primary key missing", "alter table public.notes drop constraint notes_pkey",
            "missing constraint notes_pkey on public.notes"),
        DriftCase(
            "unique key missing",
            "alter table public.messages drop constraint messages_room_id_id_key",
            "missing constraint messages_room_id_id_key on public.messages"),
        DriftCase(
            "check missing", "alter table public.rooms drop constraint rooms_head_check",
            "missing constraint rooms_head_check on public.rooms"),
        DriftCase(
            "check changed",
            "alter table public.rooms drop constraint rooms_head_check, "
                + "add constraint rooms_head_check check (head >= -1)",
            "changed constraint rooms_head_check on public.rooms"),
        DriftCase(
            "check extra", "alter table public.rooms add constraint low check (head < 1000000)",
            "extra constraint low on public.rooms"),
        DriftCase(
            "check unvalidated",
            "alter table public.rooms drop constraint rooms_head_check, "
                + "add constraint rooms_head_check check (head >= 0) not valid",
            "changed constraint rooms_head_check on public.rooms"),
        DriftCase(
            "foreign key missing",
            "alter table public.reactions drop constraint reactions_room_id_fkey",
            "missing constraint reactions_room_id_fkey on public.reactions"),
        DriftCase(
            "foreign key not enforced", "alter table public.reactions disable trigger all",
            "changed trigger watch on public.reactions",
            "extra trigger of constraint reactions_room_id_fkey on public.reactions"),
        DriftCase(
            "exclusion missing", "alter table public.booked drop constraint booked_during_excl",
            "missing constraint booked_during_excl on public.booked"),
        DriftCase(
            "deferrable key missing", "alter table public.kept drop constraint kept_n_key",
            "missing constraint kept_n_key on public.kept"),
        DriftCase(
            "domain's check", "alter domain public.short drop constraint short_length",
            "missing constraint short_length on public.short"),
    ]

    private static let indexes = [
        DriftCase(
            "index missing", "drop index public.reactions_by_mood",
            "missing index public.reactions_by_mood"),
        DriftCase(
            "index of a partitioned table missing", "drop index public.days_n",
            "missing index public.days_n"),
        DriftCase(
            "index extra", "create index spare on public.messages (author)",
            "extra index public.spare"),
        DriftCase(
            "index changed",
            "drop index public.reactions_by_mood; "
                + "create index reactions_by_mood on public.reactions (mood)",
            "changed index public.reactions_by_mood"),
        DriftCase(
            "index invalid",
            "update pg_index set indisvalid = false "
                + "where indexrelid = 'public.reactions_lower'::regclass",
            "changed index public.reactions_lower"),
        DriftCase(
            "index renamed", "alter index public.reactions_lower rename to other",
            "extra index public.other", "missing index public.reactions_lower"),
    ]

    private static let code = [
        DriftCase(
            "function and procedure missing",
            "drop procedure public.tidy; drop function public.watch cascade",
            "missing function public.tidy()", "missing function public.watch()",
            "missing trigger watch on public.reactions"),
        DriftCase(
            "function's body",
            "create or replace function shard.keep_growing() returns trigger language plpgsql "
                + "as 'begin return new; end'",
            "changed function shard.keep_growing()"),
        DriftCase(
            "function's setting",
            "alter function shard.slot_of(text) reset search_path",
            "changed function shard.slot_of(text)"),
        DriftCase(
            "function's result",
            "drop procedure public.tidy; create function public.tidy() returns integer "
                + "language sql as 'select 1'",
            "changed function public.tidy()"),
        DriftCase(
            "function extra",
            "create function public.spare() returns int language sql as "
                + "'select 1'", "extra function public.spare()"),
        DriftCase(
            "aggregate missing", "drop aggregate public.total (integer)",
            "missing function public.total(integer)"),
        DriftCase(
            "trigger missing", "drop trigger keep_growing on shard.slots",
            "missing trigger keep_growing on shard.slots"),
        DriftCase(
            "trigger disabled", "alter table shard.slots disable trigger keep_growing",
            "changed trigger keep_growing on shard.slots"),
        DriftCase(
            "trigger changed",
            "create or replace trigger keep_growing before update on shard.slots "
                + "for each row execute function shard.keep_growing()",
            "changed trigger keep_growing on shard.slots"),
        DriftCase(
            "trigger extra",
            "create trigger spare before insert on public.rooms "
                + "for each row execute function public.watch()",
            "extra trigger spare on public.rooms"),
        DriftCase(
            "rule missing", "drop rule no_delete on public.notes",
            "missing rule no_delete on public.notes"),
        DriftCase(
            "rule disabled", "alter table public.notes disable rule no_delete",
            "changed rule no_delete on public.notes"),
        DriftCase(
            "event trigger disabled", "alter event trigger looker disable",
            "changed event trigger looker"),
        DriftCase(
            "enumeration without labels",
            "drop view public.happy; drop statistics public.linked; "
                + "drop index public.reactions_by_mood; "
                + "alter table public.reactions alter column mood type text; "
                + "drop type public.mood; create type public.mood as enum ('fair'); "
                + "alter table public.reactions alter column mood type public.mood "
                + "using mood::public.mood",
            "changed type public.mood", "missing view public.happy",
            "missing statistics public.linked", "missing index public.reactions_by_mood"),
        DriftCase(
            "enumeration with another label",
            "alter type public.mood add value 'odd'", "changed type public.mood",
            isForPeople: true),
        DriftCase(
            "domain's default", "alter domain public.short set default 'x'",
            "changed type public.short"),
        DriftCase("type missing", "drop type public.point2", "missing type public.point2"),
        DriftCase("range missing", "drop type public.span", "missing type public.span"),
        DriftCase(
            "type changed", "alter type public.point2 add attribute z integer",
            "changed type public.point2"),
        DriftCase(
            "type extra", "create type public.spare as enum ('a')",
            "extra type public.spare"),
    ]

    private static let rights = [
        DriftCase(
            "grant missing", "revoke select on public.messages from chat_app",
            "missing grant on table public.messages to chat_app"),
        DriftCase(
            "grant changed", "grant insert on public.messages to chat_app",
            "changed grant on table public.messages to chat_app"),
        DriftCase(
            "grant with option", "grant select on public.messages to chat_app with grant option",
            "changed grant on table public.messages to chat_app"),
        DriftCase(
            "grant extra", "grant select on public.notes to public",
            "extra grant on table public.notes to public"),
        DriftCase(
            "grant on a column", "revoke update (emoji) on public.reactions from chat_app",
            "missing grant on column public.reactions.emoji to chat_app"),
        DriftCase(
            "grant on a function",
            "grant execute on function shard.prove_ownership(text) to public",
            "extra grant on routine shard.prove_ownership(text) to public"),
        DriftCase(
            "grant on a schema", "revoke usage on schema shard from chat_app",
            "missing grant on schema shard to chat_app"),
        DriftCase(
            "the owner's own right", "revoke update on public.notes from current_user",
            "changed grant on table public.notes to @owner"),
        DriftCase(
            "another owner", "alter table public.messages owner to stranger",
            "extra owner of table public.messages"),
        DriftCase(
            "another owner of a function",
            "alter function shard.prove_ownership(text) owner to stranger",
            "extra owner of routine shard.prove_ownership(text)"),
    ]
}
