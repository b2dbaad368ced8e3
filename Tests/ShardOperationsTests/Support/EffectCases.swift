/// Statements whose effect is predicted and then seen on a real server.
enum EffectCases {
    /// Tables with rows, constraints, indexes, triggers and partitions.
    static let schema = """
        create table public.parent (id bigint primary key, name text);
        create table public.notes (
            id bigint primary key, room_id text not null, parent_id bigint, body varchar(20),
            price numeric(10, 2), made_at timestamp(3), seen_at timestamptz, address cidr,
            flags varbit(8), code char(3), amount int, state text, proven text,
            checked varchar(10) check (checked <> 'x'), span interval, free_number numeric,
            constraint notes_proven check (proven is not null and amount is not null),
            constraint notes_parent foreign key (parent_id) references public.parent (id),
            mark text check (mark <> 'x')
        );
        alter table public.notes add constraint notes_state check (state <> 'x') not valid;
        alter table public.notes add constraint notes_again foreign key (parent_id)
            references public.parent (id) not valid;
        create table public.bare (a int, b text, c text not null);
        create index bare_a on public.bare (a);
        create unique index bare_c on public.bare (c);
        create unique index bare_b on public.bare (b);
        create table public.other (a int, b text);
        create unlogged table public.light (a int);
        create table public.parted (a int, b text) partition by list (a);
        create table public.parted_1 partition of public.parted for values in (1);
        create table public.loose (a int, b text);
        create table public.child (extra text) inherits (public.other);
        create table public.orphan (a int, b text, extra text);
        create materialized view public.summary as select a, count(*) as n from public.bare group by a;
        create unique index summary_a on public.summary (a);
        create view public.glance as select a from public.bare;
        create domain public.positive as int check (value > 0);
        create domain public.plain as int;
        create type public.mood as enum ('good');
        create function public.fresh() returns int language plpgsql volatile as
            'begin return 1; end';
        create function public.inlined() returns int language sql volatile as 'select 1';
        create function public.steady() returns int language sql stable as 'select 1';
        create function public.nothing() returns trigger language plpgsql as
            'begin return new; end';
        create trigger watch before insert on public.bare for each row
            execute function public.nothing();
        create policy mine on public.bare;
        create rule ignore as on delete to public.other do instead nothing;
        create publication changes for table public.parent;
        insert into public.parent values (1, 'a');
        insert into public.notes (id, room_id, parent_id, amount, proven, body)
            select n, 'r', 1, 1, 'p', 'b' from generate_series(1, 100) n;
        insert into public.bare select n, n::text, n::text from generate_series(1, 100) n;
        insert into public.other values (1, 'x');
        insert into public.child values (1, 'x', 'y');
        insert into public.parted values (1, 'x');
        insert into public.loose values (2, 'x');
        insert into public.light values (1);
        refresh materialized view public.summary;
        """

    static let columns = [
        "alter table public.bare add column d text",
        "alter table public.bare add column d int not null default 5",
        "alter table public.bare add column d timestamptz default now()",
        "alter table public.bare add column d timestamptz default clock_timestamp()",
        "alter table public.bare add column d uuid default gen_random_uuid()",
        "alter table public.bare add column d float default random()",
        "alter table public.bare add column d int default public.fresh()",
        "alter table public.bare add column d int default public.steady()",
        "alter table public.bare add column d int default public.inlined()",
        "alter table public.other add column d int", "alter table public.other add check (a > 0)",
        "alter table only public.other alter column a set statistics 7",
        "alter table public.parted alter column b set default 'x'",
        "alter table public.bare add column d bigserial",
        "alter table public.bare add column d bigint generated always as identity",
        "alter table public.bare add column d int generated always as (a + 1) stored",
        "alter table public.bare add column d int check (d > 0)",
        "alter table public.bare add column d int unique",
        "alter table public.bare add column d public.positive default 1",
        "alter table public.bare add column d public.plain default 1",
        "alter table public.bare add column d bigint references public.parent (id)",
        "alter table public.bare add column d bigint default 1 references public.parent (id)",
        "alter table public.bare drop column b",
        "alter table public.notes drop column parent_id",
        "alter table public.bare alter column a set not null",
        "alter table public.bare alter column c set not null",
        "alter table public.notes alter column proven set not null",
        "alter table public.notes alter column amount set not null",
        "alter table public.notes alter column room_id drop not null, alter body drop default",
        "alter table public.bare alter column a set default 1",
        "alter table public.bare alter column a set statistics 100",
        "alter table public.bare alter column b set storage external",
        "alter table public.bare alter column b set compression pglz",
        "alter table public.bare alter column a set (n_distinct = 5)",
        "alter table public.bare alter column c set not null, alter c drop not null",
        "alter table public.bare rename column a to z",
        "alter table public.bare rename to naked",
        "alter table public.bare set schema elsewhere",
    ]

    static let types = [
        ("body", "varchar(40)"), ("body", "varchar(10)"), ("body", "text"), ("body", "varchar"),
        ("body", "char(20)"), ("state", "varchar"), ("state", "varchar(20)"), ("state", "text"),
        ("mark", "varchar"), ("mark", "text"),
        ("price", "numeric(12, 2)"), ("price", "numeric(12, 3)"), ("price", "numeric"),
        ("free_number", "numeric(12, 2)"), ("made_at", "timestamp"), ("made_at", "timestamp(6)"),
        ("made_at", "timestamp(1)"), ("seen_at", "timestamptz(6)"), ("seen_at", "timestamptz(2)"),
        ("seen_at", "timestamp"), ("made_at", "timestamptz"), ("address", "inet"),
        ("address", "text"), ("flags", "varbit(16)"), ("flags", "varbit"), ("flags", "varbit(4)"),
        ("code", "text"), ("code", "char(5)"), ("code", "varchar(3)"), ("amount", "bigint"),
        ("amount", "oid using amount::oid"), ("amount", "numeric"), ("checked", "varchar(20)"),
        ("checked", "text"), ("span", "interval(6)"), ("span", "interval(2)"),
        ("body", "text using body::text"), ("body", "text using lower(body)"),
        ("state", "text collate \"C\""), ("flags", "bit(8) using flags::bit(8)"),
        ("code", "bpchar"), ("amount", "public.positive"), ("amount", "public.plain"),
    ].map { "alter table public.notes alter column \($0) type \($1)" }

    static let constraints = [
        "alter table public.bare add constraint d check (a > 0)",
        "alter table public.bare add constraint d check (a > 0) not valid",
        "alter table public.bare add constraint d foreign key (a) references public.parent (id)"
            + " not valid",
        "alter table public.loose add constraint d foreign key (a) references public.parent (id)"
            + " deferrable not valid",
        "alter table public.child add constraint d foreign key (a) references public.parent (id)",
        "alter table public.notes validate constraint notes_state",
        "alter table public.notes validate constraint notes_again",
        "alter table public.notes validate constraint notes_parent",
        "alter table public.notes drop constraint notes_parent",
        "alter table public.notes drop constraint notes_state",
        "alter table public.notes alter constraint notes_parent deferrable",
        "alter table public.bare add constraint d unique (a)",
        "alter table public.bare add constraint d primary key (a)",
        "alter table public.bare add constraint d unique using index bare_c",
        "alter table public.bare add constraint d primary key using index bare_c",
        "alter table public.bare add constraint d primary key using index bare_b",
        "alter table public.bare add constraint d exclude (a with =)",
        "alter table public.notes rename constraint notes_state to other_name",
        "alter table public.notes replica identity full",
    ]

    static let tables = [
        "alter table public.bare set (fillfactor = 70)",
        "alter table public.bare set (autovacuum_enabled = false, vacuum_truncate = off)",
        "alter table public.bare reset (fillfactor)",
        "alter table public.bare set (user_catalog_table = true)",
        "alter table public.bare set unlogged",
        "alter table public.bare set logged",
        "alter table public.light set logged",
        "alter table public.bare set access method heap",
        "alter table public.bare set access method heap2",
        "alter table public.bare set tablespace spare",
        "alter table public.bare disable trigger watch",
        "alter table public.bare enable trigger watch",
        "alter table public.bare enable row level security",
        "alter table public.bare cluster on bare_a",
        "alter table public.bare owner to current_user",
        "alter table public.parted attach partition public.loose for values in (2)",
        "alter table public.parted detach partition public.parted_1",
        "alter table public.orphan inherit public.other",
        "alter table public.child no inherit public.other",
        "create table public.fresh (a bigint references public.parent (id), b text)",
        "create table public.fresh (like public.bare including all)",
        "create table public.fresh () inherits (public.other)",
        "create table public.parted_3 partition of public.parted for values in (3)",
        "create table public.fresh as select * from public.bare",
        "drop table public.bare cascade", "drop table public.notes", "drop view public.glance",
        "drop table public.parent cascade",
        "truncate public.bare", "truncate public.parent cascade",
        "lock table public.bare in share mode", "lock table public.bare",
        "lock table public.bare, public.other in row exclusive mode",
    ]

    static let others = [
        "create index on public.bare (b)", "create unique index named on public.bare (a, b)",
        "drop index public.bare_a", "alter index public.bare_a rename to bare_z",
        "alter index public.bare_a set (fillfactor = 70)",
        "reindex table public.bare", "reindex index public.bare_a",
        "cluster public.bare using bare_a", "analyze public.bare",
        "create trigger second after insert on public.bare for each row"
            + " execute function public.nothing()",
        "drop trigger watch on public.bare", "alter trigger watch on public.bare rename to look",
        "create rule r as on insert to public.bare do also select 1",
        "drop rule ignore on public.other",
        "create policy yours on public.bare", "drop policy mine on public.bare",
        "alter policy mine on public.bare using (true)",
        "create statistics public.st on a, b from public.bare",
        "comment on table public.bare is 'x'", "comment on column public.bare.a is 'x'",
        "create publication more for table public.bare, public.other",
        "alter publication changes add table public.other",
        "refresh materialized view public.summary",
        "refresh materialized view concurrently public.summary",
        "create view public.look as select b from public.bare",
        "create or replace view public.glance as select a from public.bare where a > 1",
        "drop materialized view public.summary",
        "insert into public.loose values (1, 'x')", "update public.loose set b = 'y' where a = 1",
        "delete from public.loose where a = 1",
        "insert into public.loose select * from public.other",
        "with gone as (delete from public.loose returning a) select count(*) from gone",
        "merge into public.loose l using public.parent p on p.id = l.a"
            + " when matched then update set b = p.name",
        "select * from public.bare where a = 1", "select * from public.bare for update",
        "select * from public.loose l, public.parent p where p.id = l.a for update of l",
        "explain analyze update public.loose set b = 'z'",
        "grant select on public.bare to public",
        "alter type public.mood rename value 'good' to 'g'",
        "create function public.one() returns int language sql as 'select 1'",
    ]

    static let partitions = [
        "drop table public.parted_1", "drop table public.child", "drop table public.parted",
        "create index on public.parted (a)", "create index on public.other (a)",
        "alter table public.parted add column c int default random()",
        "alter table public.parted alter column a set not null",
        "alter table public.parted add primary key (a)",
        "alter table public.parted add constraint f foreign key (a)"
            + " references public.parent (id)",
        "alter table public.parted add constraint c check (a > 0)",
        "alter table public.parted alter column b type varchar",
        "alter table public.parted rename column b to z",
        "alter table public.other rename column b to z",
        "alter table public.parted disable trigger all",
        "alter table public.parted owner to current_user",
        "alter table public.parted_1 add check (b <> '')",
        "truncate public.parted", "truncate public.other",
        "create trigger t after insert on public.parted for each row"
            + " execute function public.nothing()",
        "reindex table public.parted_1", "drop table public.other cascade",
        "create unique index on public.parted (a)",
        "lock table only public.other",
        "create policy p on public.parted", "comment on table public.parted is 'x'",
        "alter table public.parted drop column b", "alter table public.parted rename to p2",
        "alter table public.parted replica identity full",
        "alter table public.parted alter column b set statistics 9",
        "alter table public.parted alter column b set storage external",
    ]

    /// How they read is the choice of the planner.
    static let rows =
        others.filter { sql in
            ["insert", "update", "delete", "with", "merge", "select", "explain"]
                .contains { sql.hasPrefix($0) }
        } + ["create table public.fresh as select * from public.bare"]

    static let all = columns + types + constraints + tables + partitions + others

    static let outsideTransactions = [
        "create index concurrently on public.bare (b)", "drop index concurrently public.bare_a",
        "reindex table concurrently public.bare", "reindex index concurrently public.bare_a",
        "vacuum public.bare", "vacuum full public.bare", "vacuum", "cluster",
        "create database elsewhere", "drop database elsewhere",
        "create tablespace more location '/nowhere'", "drop tablespace spare",
        "alter system set work_mem = '1MB'", "reindex schema public",
        "alter table public.parted detach partition public.parted_1 concurrently",
        "create subscription s connection 'host=127.0.0.1' publication p",
    ]
}
