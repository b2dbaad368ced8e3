extension SchemaQuery {
    /// A column as in CREATE TABLE and ADD COLUMN, over `col` as `c`.
    private static let columnText = """
        c.name || ' ' || c.type || coalesce((
                select case c.attgenerated when 's'
                    then ' generated always as (' || pg_get_expr(d.adbin, d.adrelid) || ') stored'
                    else ' default ' || pg_get_expr(d.adbin, d.adrelid) end
                from pg_attrdef d where d.adrelid = c.attrelid and d.adnum = c.attnum), '')
            || coalesce((select ' generated ' || i.text from (\(identities)) as i
                where i.attrelid = c.attrelid and i.attnum = c.attnum), '')
            || case when c.attnotnull then ' not null' else '' end
        """

    /// The identity of each column that has one.
    private static let identities = """
        select k.attrelid, k.attnum, case k.attidentity when 'a' then 'always' else 'by default' end
            || ' as identity (' || \(sequenceText) || ')' as text, q.seqincrement as increment,
            q.seqstart as start
        from col k
        join pg_depend e on e.refclassid = 1259 and e.refobjid = k.attrelid
            and e.refobjsubid = k.attnum and e.classid = 1259 and e.deptype = 'i'
        join pg_sequence q on q.seqrelid = e.objid
        where k.attidentity <> ''
        """

    static let sequenceText = """
        'start with ' || q.seqstart || ' increment by ' || q.seqincrement || ' minvalue '
            || q.seqmin || ' maxvalue ' || q.seqmax || ' cache ' || q.seqcache
            || case when q.seqcycle then ' cycle' else ' no cycle' end
        """

    private static let storage = """
        case c.storage when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main'
            when 'x' then 'extended' end
        """
    private static let compression = "case c.compression when 'l' then 'lz4' else 'pglz' end"

    /// Brings type and settings of `c` to what they are here.
    private static let columnChanges = """
        array[
            'alter table ' || c.relation || ' alter column ' || c.name || ' type ' || c.type,
            'alter table ' || c.relation || ' alter column ' || c.name || ' set storage '
                || coalesce(\(storage), (select case t.typstorage when 'p' then 'plain'
                    when 'e' then 'external' when 'm' then 'main' else 'extended' end
                    from pg_type t join pg_attribute a on t.oid = a.atttypid
                    where a.attrelid = c.attrelid and a.attnum = c.attnum)),
            'alter table ' || c.relation || ' alter column ' || c.name || ' set statistics '
                || coalesce(c.target, -1),
            'alter table ' || c.relation || ' alter column ' || c.name || ' set compression '
                || case when c.compression is null then 'default' else \(compression) end,
            'alter table ' || c.relation || ' alter column ' || c.name
                || coalesce(' set (' || array_to_string(c.options, ', ') || ')',
                    ' reset (n_distinct, n_distinct_inherited)')]
        """

    private static let heirs = """
        (select string_agg(h.inhparent::regclass::text, ', ' order by h.inhseqno)
            from pg_inherits h where h.inhrelid = r.oid)
        """

    /// Tables, columns and what columns have.
    static let tables: [SchemaPart] = [
        SchemaPart(
            kind: .table, from: "rel r where r.relkind in ('r', 'p', 'f')", name: "r.name",
            definition: """
                case r.relpersistence when 'u' then 'unlogged' else 'permanent' end
                || case when r.relkind = 'f' then ' foreign' else '' end
                || case when r.relkind = 'p'
                    then ' partition by ' || pg_get_partkeydef(r.oid) else '' end
                || coalesce(case when r.relispartition
                    then ' partition of ' || \(heirs) || ' ' || pg_get_expr(r.relpartbound, r.oid)
                    else ' inherits (' || \(heirs) || ')' end, '')
                """, parent: "r.space",
            creation: """
                array['create ' || case r.relpersistence when 'u' then 'unlogged ' else '' end
                    || 'table ' || r.name || case when r.relispartition
                        then ' partition of ' || \(heirs) || ' '
                            || pg_get_expr(r.relpartbound, r.oid)
                        else ' (' || coalesce((select string_agg(
                                e'\\n    ' || \(columnText), ',' order by c.attnum)
                                from col c where c.attrelid = r.oid), '') || ')'
                            || coalesce(' inherits (' || \(heirs) || ')', '') end
                    || case when r.relkind = 'p'
                        then ' partition by ' || pg_get_partkeydef(r.oid) else '' end]
                """, removal: "array['drop table ' || r.name]",
            alteration: """
                array['alter table ' || r.name || case r.relpersistence when 'u'
                    then ' set unlogged' else ' set logged' end]
                """),
        SchemaPart(
            kind: .column, from: "col c where c.relkind in ('r', 'p', 'f')", name: "c.full_name",
            definition: """
                c.type || coalesce(' storage ' || \(storage), '')
                || case when c.compression is null then '' else ' compression ' || \(compression) end
                || coalesce(' statistics ' || c.target, '')
                || coalesce(' options ' || array_to_string(c.options, ', '), '')
                """, parent: "c.table_label",
            creation: """
                array['alter table ' || c.relation || ' add column ' || \(columnText)]
                || (\(columnChanges))[2:]
                """,
            removal: "array['alter table ' || c.relation || ' drop column ' || c.name]",
            alteration: columnChanges),
        SchemaPart(
            kind: .notNull, from: "col c where c.attnotnull and c.relkind in ('r', 'p', 'f')",
            name: "c.full_name", definition: "''", parent: "c.label",
            // The check is validated without keeping writers out, and spares SET NOT NULL its scan.
            creation: """
                array[
                'alter table ' || c.relation || ' drop constraint if exists shardctl_not_null',
                'alter table ' || c.relation || ' add constraint shardctl_not_null check ('
                    || c.name || ' is not null) not valid',
                'alter table ' || c.relation || ' validate constraint shardctl_not_null',
                'alter table ' || c.relation || ' alter column ' || c.name || ' set not null',
                'alter table ' || c.relation || ' drop constraint shardctl_not_null']
                """,
            removal: """
                array['alter table ' || c.relation || ' alter column ' || c.name || ' drop not null']
                """),
        SchemaPart(
            kind: .defaultValue,
            from: """
                pg_attrdef d join col c on c.attrelid = d.adrelid and c.attnum = d.adnum
                where c.attgenerated = ''
                """, name: "c.full_name", definition: "pg_get_expr(d.adbin, d.adrelid)",
            parent: "c.label",
            creation: defaultSetting,
            removal: """
                array['alter table ' || c.relation || ' alter column ' || c.name || ' drop default']
                """, alteration: defaultSetting),
        SchemaPart(
            kind: .generated,
            from: """
                pg_attrdef d join col c on c.attrelid = d.adrelid and c.attnum = d.adnum
                where c.attgenerated <> ''
                """, name: "c.full_name", definition: "pg_get_expr(d.adbin, d.adrelid)",
            parent: "c.label",
            removal: """
                array['alter table ' || c.relation || ' alter column ' || c.name
                    || ' drop expression']
                """),
        SchemaPart(
            kind: .identity,
            from: """
                (\(identities)) as i join col c on c.attrelid = i.attrelid and c.attnum = i.attnum
                """, name: "c.full_name", definition: "i.text", parent: "c.label",
            creation: """
                array['alter table ' || c.relation || ' alter column ' || c.name
                    || ' add generated ' || i.text,
                    format('select setval(pg_get_serial_sequence(%1$L, %2$L), '
                        'coalesce(%3$s(%4$s), %5$s), %3$s(%4$s) is not null) from %1$s',
                        c.relation, (parse_ident(c.name))[1],
                        case when i.increment > 0 then 'max' else 'min' end, c.name, i.start)]
                """,
            removal: """
                array['alter table ' || c.relation || ' alter column ' || c.name
                    || ' drop identity']
                """,
            alteration: identitySetting),
    ]

    private static let defaultSetting = """
        array['alter table ' || c.relation || ' alter column ' || c.name || ' set default '
            || pg_get_expr(d.adbin, d.adrelid)]
        """

    private static let identitySetting = """
        (select array['alter table ' || c.relation || ' alter column ' || c.name
                || ' set generated ' || case c.attidentity when 'a' then 'always' else 'by default' end
                || ' set start with ' || q.seqstart || ' set increment by ' || q.seqincrement
                || ' set minvalue ' || q.seqmin || ' set maxvalue ' || q.seqmax
                || ' set cache ' || q.seqcache
                || case when q.seqcycle then ' set cycle' else ' set no cycle' end]
            from pg_depend e join pg_sequence q on q.seqrelid = e.objid
            where e.refclassid = 1259 and e.refobjid = c.attrelid and e.refobjsubid = c.attnum
                and e.classid = 1259 and e.deptype = 'i')
        """
}
