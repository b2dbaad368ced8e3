extension SchemaQuery {
    private static let labels = """
        (select string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder)
            from pg_enum e where e.enumtypid = t.oid)
        """
    private static let domain = """
        format_type(t.typbasetype, t.typtypmod)
            || case when t.typcollation in (0, 100) then ''
                else ' collate ' || t.typcollation::regcollation::text end
        """
    private static let attributes = """
        (select string_agg(c.name || ' ' || c.type, ', ' order by c.attnum)
            from col c where c.attrelid = t.typrelid)
        """
    private static let subtype = """
        (select 'subtype = ' || format_type(g.rngsubtype, null) from pg_range g
            where g.rngtypid = t.oid)
        """
    private static let removal = "array['drop type ' || t.name]"

    /// Schemas, extensions, types and sequences.
    static let types: [SchemaPart] = [
        SchemaPart(
            kind: .schema, from: "space s", name: "s.name", definition: "''",
            creation: "array['create schema ' || s.name]",
            removal: "array['drop schema ' || s.name || ' cascade']"),
        SchemaPart(
            kind: .extension, from: "pg_extension x where x.extname <> 'plpgsql'",
            name: "quote_ident(x.extname)",
            definition: """
                'version ' || x.extversion || ' in schema ' || x.extnamespace::regnamespace::text
                """,
            creation: """
                array['create extension ' || quote_ident(x.extname) || ' schema '
                    || x.extnamespace::regnamespace::text || ' version '
                    || quote_literal(x.extversion)]
                """, removal: "array['drop extension ' || quote_ident(x.extname)]",
            alteration: """
                array['alter extension ' || quote_ident(x.extname) || ' update to '
                    || quote_literal(x.extversion)]
                """),
        SchemaPart(
            kind: .type, from: "own_type t where t.typtype = 'e'", name: "t.name",
            definition: "'enum (' || coalesce(\(labels), '') || ')'", parent: "t.space",
            creation:
                "array['create type ' || t.name || ' as enum (' || coalesce(\(labels), '') || ')']",
            removal: removal),
        SchemaPart(
            kind: .type, from: "own_type t where t.typtype = 'd'", name: "t.name",
            definition: """
                'domain over ' || \(domain)
                    || coalesce(' default ' || t.typdefault, '')
                    || case when t.typnotnull then ' not null' else '' end
                """, parent: "t.space",
            creation: """
                array['create domain ' || t.name || ' as ' || \(domain)
                    || coalesce(' default ' || t.typdefault, '')
                    || case when t.typnotnull then ' not null' else '' end]
                """, removal: removal,
            alteration: """
                array['alter domain ' || t.name
                        || coalesce(' set default ' || t.typdefault, ' drop default'),
                    'alter domain ' || t.name
                        || case when t.typnotnull then ' set' else ' drop' end || ' not null']
                """),
        SchemaPart(
            kind: .type, from: "own_type t where t.typtype = 'c'", name: "t.name",
            definition: "'composite (' || coalesce(\(attributes), '') || ')'", parent: "t.space",
            creation:
                "array['create type ' || t.name || ' as (' || coalesce(\(attributes), '') || ')']",
            removal: removal),
        SchemaPart(
            kind: .type, from: "own_type t where t.typtype = 'r'", name: "t.name",
            definition: "'range (' || \(subtype) || ')'", parent: "t.space",
            creation: "array['create type ' || t.name || ' as range (' || \(subtype) || ')']",
            removal: removal),
        SchemaPart(
            kind: .constraint,
            from: """
                pg_constraint k join own_type t on t.oid = k.contypid
                """, name: "quote_ident(k.conname) || ' on ' || t.name",
            definition: "pg_get_constraintdef(k.oid)", parent: "t.label",
            creation: """
                array['alter domain ' || t.name || ' add constraint ' || quote_ident(k.conname) || ' '
                    || pg_get_constraintdef(k.oid)]
                """,
            removal: """
                array['alter domain ' || t.name || ' drop constraint ' || quote_ident(k.conname)]
                """),
        SchemaPart(
            kind: .sequence, from: "pg_sequence q join rel r on r.oid = q.seqrelid", name: "r.name",
            definition: """
                format_type(q.seqtypid, null) || ' ' || \(sequenceText)
                || case r.relpersistence when 'u' then ' unlogged' else '' end
                """, parent: "r.space",
            creation: """
                array['create ' || case r.relpersistence when 'u' then 'unlogged ' else '' end
                    || 'sequence ' || r.name || ' as ' || format_type(q.seqtypid, null) || ' '
                    || \(sequenceText)]
                """, removal: "array['drop sequence ' || r.name]",
            alteration: """
                array['alter sequence ' || r.name || ' as ' || format_type(q.seqtypid, null) || ' '
                    || \(sequenceText)]
                """),
        SchemaPart(
            kind: .sequenceOwner,
            from: """
                pg_depend e join rel r on r.oid = e.objid and r.relkind = 'S'
                join col c on c.attrelid = e.refobjid and c.attnum = e.refobjsubid
                where e.classid = 1259 and e.refclassid = 1259 and e.deptype = 'a'
                """, name: "r.name", definition: "c.full_name", parent: "c.label",
            creation: "array['alter sequence ' || r.name || ' owned by ' || c.full_name]",
            removal: "array['alter sequence ' || r.name || ' owned by none']",
            alteration: "array['alter sequence ' || r.name || ' owned by ' || c.full_name]"),
    ]
}
