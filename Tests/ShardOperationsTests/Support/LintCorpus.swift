@testable import ShardOperations

/// A statement, where it stands, and what the linter has to say about it.
struct LintEntry: Sendable, CustomStringConvertible {
    /// Statements before it in the same file; nothing is expected of them.
    var before: String = ""
    var sql: String
    var rules: Set<String>
    var isTransactional = true
    var isContract = false

    init(
        _ sql: String, _ rules: String..., before: String = "", isTransactional: Bool = true,
        isContract: Bool = false
    ) {
        self.sql = sql
        self.rules = Set(rules)
        self.before = before
        self.isTransactional = isTransactional
        self.isContract = isContract
    }

    var description: String { sql }

    /// What ran on the shard before: two tables that move, and some that do not.
    static let context = """
        create table public.rooms (room_id text primary key, head bigint not null default 0);
        create table public.messages (
            room_id text not null, seq bigint not null, id uuid not null, body text not null,
            code bigint, primary key (room_id, seq), unique (room_id, id)
        );
        select shard.register_table('public.rooms');
        select shard.register_table('public.messages');
        create table public.plans (id bigint primary key, name text, code bigint, note text);
        create index plans_name on public.plans (name);
        """
}

/// Statements that hurt, each with exactly the rules that say so.
enum LintCorpus {
    static let dangerous = columns + types + constraints + indexes + tables

    static let columns: [LintEntry] = [
        LintEntry(
            "alter table public.plans add column a uuid default gen_random_uuid()",
            "adding-field-with-default"),
        LintEntry(
            "alter table public.plans add column a timestamptz default clock_timestamp()",
            "adding-field-with-default"),
        LintEntry(
            "alter table public.plans add column a float not null default random()",
            "adding-field-with-default"),
        LintEntry(
            "alter table public.plans add column a text default public.unheard_of()",
            "adding-field-with-default"),
        LintEntry(
            "alter table public.plans add column a bigint generated always as (code + 1) stored",
            "adding-field-with-default"),
        LintEntry(
            "alter table public.plans add column a bigint generated always as identity",
            "adding-field-with-default"),
        LintEntry(
            "alter table public.plans add column a bigserial", "adding-field-with-default",
            "prefer-identity"),
        LintEntry(
            "alter table public.plans add column a text not null", "adding-required-field"),
        LintEntry(
            "alter table public.plans alter column name set not null",
            "adding-not-nullable-field"),
        LintEntry(
            "alter table public.plans alter column code type numeric", "changing-column-type"),
        LintEntry(
            "alter table public.plans alter column name type varchar(20)",
            "changing-column-type", "prefer-text-field"),
        LintEntry(
            "alter table public.plans alter column name type text using lower(name)",
            "changing-column-type"),
        LintEntry(
            "alter table public.unheard_of alter column a type text", "changing-column-type"),
        LintEntry("alter table public.plans drop column name", "ban-drop-column"),
        LintEntry(
            "alter table public.plans drop column name cascade", "drop-cascade", isContract: true),
        LintEntry("alter table public.plans rename column name to title", "renaming-column"),
        LintEntry(
            "alter table public.plans alter column name drop not null", "ban-drop-not-null"),
        LintEntry("alter domain public.d drop not null", "ban-drop-not-null"),
        LintEntry("alter type public.pair drop attribute a", "ban-drop-column"),
        LintEntry("alter type public.pair alter attribute a type text", "changing-column-type"),
        LintEntry("alter type public.pair rename attribute a to b", "renaming-column"),
        LintEntry("alter table public.plans alter column name drop default", "ban-drop-default"),
        LintEntry(
            "alter table public.plans alter column id add generated always as identity",
            "ban-alter-identity"),
        LintEntry(
            "alter table public.plans alter column code drop expression",
            "ban-drop-generated-expression"),
        LintEntry(
            "alter table public.plans add column a text check (a <> '')", "blocking-scan"),
    ]

    static let types: [LintEntry] = [
        LintEntry("create table public.t (a int primary key)", "prefer-bigint-over-int"),
        LintEntry("create table public.t (a int[] not null)", "prefer-bigint-over-int"),
        LintEntry("create table public.t (a smallint)", "prefer-bigint-over-smallint"),
        LintEntry(
            "create table public.t (a serial primary key)", "prefer-bigint-over-int",
            "prefer-identity"),
        LintEntry("create table public.t (a varchar(20))", "prefer-text-field"),
        LintEntry("create table public.t (a timestamp)", "prefer-timestamptz"),
        LintEntry("create table public.t (a char(3))", "ban-char-field"),
        LintEntry("alter table public.plans add column a int", "prefer-bigint-over-int"),
        LintEntry("create table t (a bigint)", "require-table-schema"),
        LintEntry(
            "create table public.t (a_name_that_is_so_long_that_postgresql_cuts_it_without_any_word_of_warning bigint)",
            "identifier-too-long"),
        LintEntry(
            "create domain public.d as text check (value <> '')",
            "ban-create-domain-with-constraint"),
        LintEntry(
            "alter domain public.d add constraint c check (value <> '')",
            "ban-alter-domain-with-add-constraint"),
        LintEntry(
            "alter type public.mood add value 'good'", "cannot-run-in-transaction",
            "require-enum-value-ordering"),
        LintEntry("alter type public.mood rename value 'good' to 'fine'", "renaming-object"),
    ]

    static let constraints: [LintEntry] = [
        LintEntry(
            "alter table public.plans add constraint c check (code > 0)",
            "constraint-missing-not-valid"),
        LintEntry(
            "alter table public.plans validate constraint c", "constraint-missing-not-valid",
            before: "alter table public.plans add constraint c check (code > 0) not valid;"),
        LintEntry(
            "alter table public.plans add constraint c foreign key (code) references public.plans",
            "adding-foreign-key-constraint"),
        LintEntry(
            "alter table public.plans add column a bigint references public.plans (id)",
            "adding-foreign-key-constraint"),
        LintEntry(
            "alter table public.plans add primary key (id)", "adding-serial-primary-key-field"),
        LintEntry(
            "alter table public.plans add constraint u unique (name)",
            "disallowed-unique-constraint"),
        LintEntry(
            "alter table public.plans add column a text unique", "disallowed-unique-constraint"),
        LintEntry(
            "alter table public.plans add constraint x exclude (name with =)",
            "adding-exclusion-constraint"),
        LintEntry("alter table public.plans drop constraint c", "ban-drop-constraint"),
    ]

    static let indexes: [LintEntry] = [
        LintEntry(
            "create index plans_code on public.plans (code)", "require-concurrent-index-creation"),
        LintEntry(
            "create index concurrently plans_code on public.plans (code)",
            "ban-concurrent-index-creation-in-transaction"),
        LintEntry(
            "create index concurrently if not exists plans_code on public.plans (code)",
            "concurrent-if-not-exists", isTransactional: false),
        LintEntry("drop index public.plans_name", "require-concurrent-index-deletion"),
        LintEntry(
            "drop index concurrently public.plans_name", "cannot-run-in-transaction"),
        LintEntry(
            "drop index concurrently public.plans_name", "prefer-robust-stmts",
            isTransactional: false),
        LintEntry("reindex table public.plans", "require-concurrent-reindex"),
        LintEntry(
            "reindex index concurrently public.plans_name", "cannot-run-in-transaction"),
    ]

    static let tables: [LintEntry] = [
        LintEntry("drop table public.plans", "ban-drop-table"),
        LintEntry("drop foreign table public.far", "ban-drop-table"),
        LintEntry("drop table public.plans cascade", "drop-cascade", isContract: true),
        LintEntry("alter table public.plans rename to offers", "renaming-table"),
        LintEntry("alter table public.plans set schema other", "ban-set-schema"),
        LintEntry("truncate public.plans", "ban-truncate"),
        LintEntry("truncate public.plans cascade", "ban-truncate-cascade"),
        LintEntry("alter table public.plans set unlogged", "set-unlogged"),
        LintEntry("alter table public.unheard_of set logged", "set-logged"),
        LintEntry("alter table public.plans set tablespace fast", "table-rewrite"),
        LintEntry("alter table public.plans set access method other", "table-rewrite"),
        LintEntry(
            "alter table public.plans attach partition public.part for values in (1)",
            "blocking-scan"),
        LintEntry("vacuum full public.plans", "prefer-repack", isTransactional: false),
        LintEntry("vacuum public.plans", "cannot-run-in-transaction"),
        LintEntry("cluster public.plans using plans_name", "prefer-repack"),
        LintEntry("refresh materialized view public.sums", "refresh-without-concurrently"),
        LintEntry("lock table public.plans", "lock-table"),
        LintEntry("lock table public.plans in share mode", "lock-table"),
        LintEntry("alter table public.plans disable trigger all", "ban-disable-trigger"),
        LintEntry(
            "create rule r as on insert to public.plans do also select 1", "ban-create-rule"),
        LintEntry(
            "alter table public.plans detach partition public.part",
            "require-concurrent-partition-detach"),
        LintEntry("alter table public.plans no inherit public.base", "ban-detach-inheritance"),
        LintEntry(
            "alter table public.plans enable row level security", "ban-alter-row-level-security"),
    ]
}
