public import Postgres

extension SchemaFacts {
    /// Reads what predictions need: all tables outside of PostgreSQL's own schemas.
    ///
    /// - Note: two round trips. The size of a table waits for whoever holds ACCESS EXCLUSIVE on
    ///   it, until `deadline`; nobody else waits for this.
    public static func read(
        _ connection: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> SchemaFacts {
        let answers = try await connection.pipeline(
            [
                Statement(relationsSQL), Statement(columnsSQL), Statement(constraintsSQL),
                Statement(indexesSQL), Statement(domainsSQL), Statement(functionsSQL),
                Statement(viewsSQL),
            ], deadline: deadline)
        var facts = SchemaFacts()
        try facts.addRelations(answers[0], columns: answers[1])
        try facts.addConstraints(answers[2])
        for row in answers[3] {
            facts.indexes[try row.get("name")] = Index(
                table: try row.get("table_name"), columns: try row.get("columns"),
                isUnique: try row.get("is_unique"))
        }
        try facts.addTypes(answers[4], functions: answers[5])
        for row in answers[6] {
            let relation: String = try row.get("relation")
            if try row.get("is_child") {
                facts.children[relation, default: []].insert(try row.get("other"))
            } else {
                facts.views[relation, default: []].insert(try row.get("other"))
            }
        }
        if facts.relations["shard.tables"] != nil {
            let tables = try await connection.query(
                "select table_name from shard.tables", deadline: deadline)
            for row in tables {
                // Written as SQL would write it; here names are bare.
                let name: String = try row.get(0)
                facts.registered.insert(name.filter { $0 != "\"" })
            }
        }
        return facts
    }

    private mutating func addRelations(_ rows: Rows, columns: Rows) throws(PostgresError) {
        for row in rows {
            var relation = Relation()
            relation.bytes = try row.get("bytes")
            relation.isUnlogged = try row.get("is_unlogged")
            relation.isPartitioned = try row.get("is_partitioned")
            relation.accessMethod = try row.get("access_method")
            relations[try row.get("name")] = relation
        }
        for row in columns {
            let type = ColumnType(
                name: try row.get("type_name"), packedModifier: try row.get("modifier"))
            let column: String = try row.get("column_name")
            relations[try row.get("name"), default: Relation()].columns[column] = Column(
                type: type, isNotNull: try row.get("is_not_null"))
        }
    }

    private mutating func addTypes(_ rows: Rows, functions: Rows) throws(PostgresError) {
        for row in rows {
            domains[try row.get("name")] = Domain(
                base: ColumnType(
                    name: try row.get("base"), packedModifier: try row.get("modifier")),
                isConstrained: try row.get("is_constrained"))
        }
        var names: Set<String> = []
        for row in functions {
            let name: String = try row.get("name")
            if try row.get("is_sql") {
                volatileSQLFunctions.insert(name)
            } else {
                names.insert(name)
            }
        }
        volatileFunctions = names
    }

    private mutating func addConstraints(_ rows: Rows) throws(PostgresError) {
        for row in rows {
            var constraint = Constraint(
                kind: try row.get("kind"), columns: try row.get("columns"),
                references: try row.get("references_name"), isValid: try row.get("is_valid"))
            if let check: String = try row.get("expression") {
                constraint.provesNotNull =
                    SyntaxTree.expression(check)?.columnsProvenNotNull ?? []
            }
            let name: String = try row.get("constraint_name")
            relations[try row.get("name"), default: Relation()].constraints[name] = constraint
        }
    }

    private static let userSchemas = """
        n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\\_toast%'
            and n.nspname not like 'pg\\_temp%'
        """

    private static let relationsSQL = """
        select n.nspname || '.' || c.relname as name, c.relpersistence = 'u' as is_unlogged,
            c.relkind = 'p' as is_partitioned,
            case when c.relkind in ('r', 'm') then pg_total_relation_size(c.oid) else 0 end as bytes,
            coalesce(a.amname::text, '') as access_method
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
            left join pg_am a on a.oid = c.relam
        where c.relkind in ('r', 'p', 'm', 'v') and \(userSchemas)
        """

    private static let columnsSQL = """
        select n.nspname || '.' || c.relname as name, a.attname::text as column_name,
            t.typname::text as type_name, a.atttypmod as modifier, a.attnotnull as is_not_null
        from pg_attribute a join pg_class c on c.oid = a.attrelid
            join pg_namespace n on n.oid = c.relnamespace join pg_type t on t.oid = a.atttypid
        where c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped and \(userSchemas)
        """

    private static let constraintsSQL = """
        select n.nspname || '.' || c.relname as name, k.conname::text as constraint_name,
            k.contype::text as kind, k.convalidated as is_valid,
            (select coalesce(array_agg(a.attname::text order by a.attnum), '{}') from pg_attribute a
                where a.attrelid = c.oid and a.attnum = any (k.conkey)) as columns,
            (select m.nspname || '.' || r.relname from pg_class r
                join pg_namespace m on m.oid = r.relnamespace where r.oid = k.confrelid)
                as references_name,
            case k.contype when 'c' then pg_get_expr(k.conbin, k.conrelid) end as expression
        from pg_constraint k join pg_class c on c.oid = k.conrelid
            join pg_namespace n on n.oid = c.relnamespace
        where \(userSchemas)
        """

    private static let indexesSQL = """
        select n.nspname || '.' || x.relname as name, m.nspname || '.' || c.relname as table_name,
            i.indisunique as is_unique,
            (select coalesce(array_agg(a.attname::text order by a.attnum), '{}') from pg_attribute a
                where a.attrelid = c.oid and a.attnum = any (i.indkey::int2[])) as columns
        from pg_index i join pg_class x on x.oid = i.indexrelid
            join pg_namespace n on n.oid = x.relnamespace join pg_class c on c.oid = i.indrelid
            join pg_namespace m on m.oid = c.relnamespace
        where \(userSchemas)
        """

    private static let domainsSQL = """
        select t.typname::text as name, b.typname::text as base, t.typtypmod as modifier,
            t.typnotnull or exists (select from pg_constraint k where k.contypid = t.oid)
                as is_constrained
        from pg_type t join pg_namespace n on n.oid = t.typnamespace
            join pg_type b on b.oid = t.typbasetype
        where t.typtype = 'd' and \(userSchemas)
        """

    private static let functionsSQL = """
        select p.proname::text as name, bool_and(l.lanname = 'sql') as is_sql
        from pg_proc p join pg_language l on l.oid = p.prolang
        where p.provolatile = 'v' group by 1
        """

    private static let viewsSQL = """
        select distinct n.nspname || '.' || c.relname as relation,
            m.nspname || '.' || v.relname as other, false as is_child
        from pg_depend d join pg_rewrite w on d.classid = 'pg_rewrite'::regclass and w.oid = d.objid
            join pg_class v on v.oid = w.ev_class join pg_namespace m on m.oid = v.relnamespace
            join pg_class c on d.refclassid = 'pg_class'::regclass and c.oid = d.refobjid
            join pg_namespace n on n.oid = c.relnamespace
        where c.oid <> v.oid and \(userSchemas)
        union all
        select n.nspname || '.' || c.relname, m.nspname || '.' || v.relname, true
        from pg_inherits h join pg_class v on v.oid = h.inhrelid
            join pg_namespace m on m.oid = v.relnamespace join pg_class c on c.oid = h.inhparent
            join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p') and \(userSchemas)
        """
}
