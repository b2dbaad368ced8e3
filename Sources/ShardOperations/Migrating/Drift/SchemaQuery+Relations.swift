extension SchemaQuery {
    private static let concurrently = """
        case r.relkind when 'p' then replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ')
            else regexp_replace(
                pg_get_indexdef(i.indexrelid), '^CREATE (UNIQUE )?INDEX', '\\& CONCURRENTLY') end
        """
    private static let constraintName = "quote_ident(k.conname) || ' on ' || r.name"

    /// Makes a trigger or a rule fire as it has to; null where that is how it is anyway.
    private static func firing(
        _ state: String, _ what: String, _ name: String, isNew: Bool = true
    ) -> String {
        """
        case when r.relkind <> 'v' \(isNew ? "and \(state) <> 'O'" : "") then
            'alter table ' || r.name || case \(state) when 'D' then ' disable ' when 'R'
                then ' enable replica ' when 'A' then ' enable always ' else ' enable ' end
                || '\(what) ' || quote_ident(\(name)) end
        """
    }

    private static func firingWords(_ state: String) -> String {
        """
        case \(state) when 'D' then ' (disabled)' when 'R' then ' (on replicas)'
            when 'A' then ' (always)' else '' end
        """
    }

    /// What hangs on a table, and views.
    static let relations: [SchemaPart] = [
        SchemaPart(
            kind: .view, from: "rel r where r.relkind in ('v', 'm')", name: "r.name",
            definition: """
                case r.relkind when 'm' then 'materialized ' else '' end || pg_get_viewdef(r.oid)
                """, parent: "r.space",
            creation: """
                array['create ' || case r.relkind when 'm' then 'materialized ' else '' end
                    || 'view ' || r.name || ' as ' || rtrim(pg_get_viewdef(r.oid), ';')]
                """,
            removal: """
                array['drop ' || case r.relkind when 'm' then 'materialized ' else '' end
                    || 'view ' || r.name]
                """),
        SchemaPart(
            kind: .constraint,
            from: """
                pg_constraint k join rel r on r.oid = k.conrelid
                where k.contype in ('p', 'u', 'x', 'c', 'f') and k.conparentid = 0
                    and (k.conislocal or k.coninhcount = 0)
                """, name: constraintName, definition: "pg_get_constraintdef(k.oid)",
            parent: "r.label",
            creation: """
                case when k.contype in ('p', 'u') and r.relkind = 'r' then (
                    select array[\(concurrently),
                        'alter table ' || r.name || ' add constraint ' || quote_ident(k.conname)
                            || case k.contype when 'p' then ' primary key' else ' unique' end
                            || ' using index ' || quote_ident(k.conname)
                            || case when k.condeferrable then ' deferrable' else '' end
                            || case when k.condeferred then ' initially deferred' else '' end]
                    from pg_index i where i.indexrelid = k.conindid)
                else array['alter table ' || r.name || ' add constraint ' || quote_ident(k.conname)
                        || ' ' || pg_get_constraintdef(k.oid)
                        || case when k.contype in ('c', 'f') and k.convalidated
                            then ' not valid' else '' end]
                    || case when k.contype in ('c', 'f') and k.convalidated
                        then array['alter table ' || r.name || ' validate constraint '
                            || quote_ident(k.conname)] else '{}' end
                end
                """,
            removal: """
                array['alter table ' || r.name || ' drop constraint ' || quote_ident(k.conname)]
                """),
        SchemaPart(
            kind: .index,
            from: """
                pg_index i join rel r on r.oid = i.indrelid
                where not exists (select from pg_constraint k
                        where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x'))
                    and not exists (select from pg_inherits h where h.inhrelid = i.indexrelid)
                """, name: "i.indexrelid::regclass::text",
            definition: """
                pg_get_indexdef(i.indexrelid)
                    || case when i.indisvalid and i.indisready and i.indislive then ''
                        else ' (invalid)' end
                """, parent: "r.label", creation: "array[\(concurrently)]",
            removal: """
                array['drop index ' || case r.relkind when 'p' then '' else 'concurrently ' end
                    || i.indexrelid::regclass::text]
                """),
        SchemaPart(
            kind: .replicaIdentity,
            from: "rel r where r.relreplident in ('f', 'n', 'i') "
                + "and r.relkind in ('r', 'p')",
            name: "r.name", definition: replicaIdentity, parent: "r.label",
            creation:
                "array['alter table ' || r.name || ' replica identity ' || \(replicaIdentity)]",
            removal: "array['alter table ' || r.name || ' replica identity default']",
            alteration:
                "array['alter table ' || r.name || ' replica identity ' || \(replicaIdentity)]"),
        SchemaPart(
            kind: .options, from: "rel r where r.reloptions is not null and r.relkind <> 'c'",
            name: "r.name",
            definition: "(select string_agg(o, ', ' order by o collate \"C\") "
                + "from unnest(r.reloptions) as o)",
            parent: "r.label",
            creation: """
                array['alter ' || \(relationWord) || r.name || ' set ('
                    || array_to_string(r.reloptions, ', ') || ')']
                """,
            removal: """
                array['alter ' || \(relationWord) || r.name || ' reset (' || (
                    select string_agg(split_part(o, '=', 1), ', ') from unnest(r.reloptions) as o)
                    || ')']
                """),
        SchemaPart(
            kind: .rowSecurity, from: "rel r where r.relrowsecurity or r.relforcerowsecurity",
            name: "r.name",
            definition: """
                case when r.relrowsecurity then 'enabled' else 'disabled' end
                || case when r.relforcerowsecurity then ', forced' else '' end
                """, parent: "r.label", creation: rowSecurity,
            removal: """
                array['alter table ' || r.name || ' disable row level security',
                    'alter table ' || r.name || ' no force row level security']
                """, alteration: rowSecurity),
        SchemaPart(
            kind: .policy, from: "pg_policy p join rel r on r.oid = p.polrelid",
            name: "quote_ident(p.polname) || ' on ' || r.name", definition: policy,
            parent: "r.label",
            creation: """
                array['create policy ' || quote_ident(p.polname) || ' on ' || r.name || ' '
                    || \(policy)]
                """,
            removal: "array['drop policy ' || quote_ident(p.polname) || ' on ' || r.name]"),
        SchemaPart(
            kind: .trigger,
            from: """
                pg_trigger t join rel r on r.oid = t.tgrelid
                where not t.tgisinternal and t.tgparentid = 0
                """, name: "quote_ident(t.tgname) || ' on ' || r.name",
            definition: "pg_get_triggerdef(t.oid) || \(firingWords("t.tgenabled"))",
            parent: "r.label",
            creation: """
                array_remove(array[
                    pg_get_triggerdef(t.oid), \(firing("t.tgenabled", "trigger", "t.tgname"))], null)
                """,
            removal: "array['drop trigger ' || quote_ident(t.tgname) || ' on ' || r.name]",
            alteration: """
                case when t.tgconstraint = 0 then array_remove(array[
                    regexp_replace(pg_get_triggerdef(t.oid), '^CREATE ', 'CREATE OR REPLACE '),
                    \(firing("t.tgenabled", "trigger", "t.tgname", isNew: false))], null) end
                """),
        SchemaPart(
            kind: .trigger,
            from: """
                pg_trigger t join rel r on r.oid = t.tgrelid
                join pg_constraint k on k.oid = t.tgconstraint
                where t.tgisinternal and t.tgenabled <> 'O' group by k.conname, r.name, r.label
                """, name: "'of constraint ' || quote_ident(k.conname) || ' on ' || r.name",
            definition: "'disabled: the constraint is not enforced'", parent: "r.label",
            removal: """
                array_agg('alter table ' || r.name || ' enable trigger ' || quote_ident(t.tgname))
                """),
        SchemaPart(
            kind: .rule,
            from: """
                pg_rewrite w join rel r on r.oid = w.ev_class where w.rulename <> '_RETURN'
                """, name: "quote_ident(w.rulename) || ' on ' || r.name",
            definition: "pg_get_ruledef(w.oid) || \(firingWords("w.ev_enabled"))",
            parent: "r.label",
            creation: """
                array_remove(array[
                    pg_get_ruledef(w.oid), \(firing("w.ev_enabled", "rule", "w.rulename"))], null)
                """,
            removal: "array['drop rule ' || quote_ident(w.rulename) || ' on ' || r.name]"),
        SchemaPart(
            kind: .statistics, from: "pg_statistic_ext s join rel r on r.oid = s.stxrelid",
            name: "format('%I.%I', s.stxnamespace::regnamespace::text, s.stxname)",
            definition: "pg_get_statisticsobjdef(s.oid)", parent: "r.label",
            creation: "array[pg_get_statisticsobjdef(s.oid)]",
            removal:
                "array[format('drop statistics %s.%I', s.stxnamespace::regnamespace, s.stxname)]"
        ),
    ]

    private static let relationWord = """
        case r.relkind when 'v' then 'view ' when 'm' then 'materialized view '
            else 'table ' end
        """

    private static let replicaIdentity = """
        case r.relreplident when 'f' then 'full' when 'n' then 'nothing' else coalesce(
            (select 'using index ' || quote_ident(x.relname) from pg_index i
                join pg_class x on x.oid = i.indexrelid
                where i.indrelid = r.oid and i.indisreplident), 'using a dropped index') end
        """

    private static let rowSecurity = """
        array['alter table ' || r.name || case when r.relrowsecurity then ' enable' else ' disable'
                end || ' row level security',
            'alter table ' || r.name || case when r.relforcerowsecurity then ' force'
                else ' no force' end || ' row level security']
        """

    private static let policy = """
        'as ' || case when p.polpermissive then 'permissive' else 'restrictive' end || ' for '
            || case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update'
                when 'd' then 'delete' else 'all' end || ' to '
            || (select string_agg(case u when 0 then 'public' else u::regrole::text end, ', '
                order by u = 0, u::regrole::text collate "C") from unnest(p.polroles) as u)
            || coalesce(' using (' || pg_get_expr(p.polqual, p.polrelid) || ')', '')
            || coalesce(' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '')
        """
}
