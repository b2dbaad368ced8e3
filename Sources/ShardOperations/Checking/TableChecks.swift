import Postgres

/// Whether the tables of a shard still keep the rules by which rows move with their room.
///
/// `shard.register_table` checks a table once; a later migration may break what it checked.
struct TableChecks: Sendable {
    enum Kind: String, Sendable {
        /// A registered table that breaks a rule.
        case broken
        /// A table that refers to a registered one and is not registered.
        case refers
        /// A table with a `room_id` that is not registered.
        case unregistered
    }

    struct Problem: Sendable {
        var kind: Kind
        /// With its schema, quoted where it has to be.
        var table: String
        var what: String
    }

    /// Asks one shard; changes nothing.
    static func problems(
        _ connection: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> [Problem] {
        let answers = try await connection.pipeline(
            [Statement(brokenSQL), Statement(refersSQL), Statement(unregisteredSQL)],
            deadline: deadline)
        var problems: [Problem] = []
        for (kind, rows) in zip([Kind.broken, .refers, .unregistered], answers) {
            for row in rows {
                problems.append(
                    Problem(kind: kind, table: try row.get(0), what: try row.get(1)))
            }
        }
        return problems
    }

    /// The rules of `shard.register_table`, in its order.
    private static let brokenSQL = """
        with registered as (
            select t.table_name, to_regclass(t.table_name)::oid as id from shard.tables t
        ),
        judged as (
            select r.table_name, r.id, c.relkind, c.relpersistence, c.relreplident,
                (select a.attnum from pg_attribute a
                 where a.attrelid = r.id and a.attname = 'room_id' and not a.attisdropped
                    and a.atttypid = 'text'::regtype and a.attnotnull) as room
            from registered r left join pg_class c on c.oid = r.id
        )
        select j.table_name, p.problem
        from judged j
        cross join lateral (values
            (case when j.id is null then 'it does not exist any more' end),
            (case when j.relkind <> 'r' then 'it is no ordinary table' end),
            (case when j.relpersistence <> 'p' then 'it is unlogged or temporary' end),
            (case when j.id is not null and j.room is null
                then 'it has no column room_id text not null' end),
            (case when j.room is not null and not j.room = any (coalesce(case j.relreplident
                when 'd' then (select i.indkey::smallint[] from pg_index i
                               where i.indrelid = j.id and i.indisprimary)
                when 'i' then (select i.indkey::smallint[] from pg_index i
                               where i.indrelid = j.id and i.indisreplident)
                when 'f' then array[j.room]
                end, '{}'))
                then 'its replica identity does not contain room_id' end),
            ((select 'the sequence of ' || string_agg(quote_ident(a.attname), ', ')
                    || ' collides between shards'
              from pg_attribute a
              left join pg_attrdef d on d.adrelid = j.id and d.adnum = a.attnum
              where a.attrelid = j.id and a.attnum > 0 and not a.attisdropped
                and (a.attidentity <> '' or pg_get_expr(d.adbin, d.adrelid) like 'nextval(%')
                and exists (select from pg_index i where i.indrelid = j.id and i.indisunique
                            and a.attnum = any (i.indkey::smallint[])
                            and not j.room = any (i.indkey::smallint[])))),
            ((select 'it refers to ' || string_agg(k.confrelid::regclass::text, ', ')
                    || ', which does not move with it'
              from pg_constraint k
              where k.contype = 'f' and k.conrelid = j.id and k.confrelid <> j.id
                and not exists (select from registered r where r.id = k.confrelid)))
        ) as p (problem)
        where p.problem is not null
        order by 1, 2
        """

    private static let refersSQL = """
        select format('%I.%I', n.nspname, c.relname),
            'it refers to ' || string_agg(distinct k.confrelid::regclass::text, ', ')
        from pg_constraint k
        join pg_class c on c.oid = k.conrelid
        join pg_namespace n on n.oid = c.relnamespace
        where k.contype = 'f' and k.conparentid = 0
            and k.confrelid in (select to_regclass(t.table_name)::oid from shard.tables t)
            and k.conrelid not in (select to_regclass(t.table_name)::oid from shard.tables t
                where to_regclass(t.table_name) is not null)
        group by 1 order by 1
        """

    private static let unregisteredSQL = """
        select format('%I.%I', n.nspname, c.relname), 'it has a column room_id'
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = c.oid and a.attname = 'room_id' and not a.attisdropped
        where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
            and n.nspname not in ('pg_catalog', 'information_schema', 'shard')
            and c.oid not in (select to_regclass(t.table_name)::oid from shard.tables t
                where to_regclass(t.table_name) is not null)
        order by 1
        """
}
