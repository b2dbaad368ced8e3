extension SchemaQuery {
    private static let aggregate = """
        (select 'aggregate ' || f.name || ' (sfunc = ' || g.aggtransfn::regproc::text || ', stype = '
                || format_type(g.aggtranstype, null)
                || case when g.aggfinalfn <> 0
                    then ', finalfunc = ' || g.aggfinalfn::regproc::text else '' end
                || coalesce(', initcond = ' || quote_literal(g.agginitval), '') || ')'
            from pg_aggregate g where g.aggfnoid = f.oid)
        """

    /// Functions, procedures, aggregates, and triggers of the whole database.
    static let routines: [SchemaPart] = [
        SchemaPart(
            kind: .function, from: "routine f", name: "f.name",
            definition:
                "case f.prokind when 'a' then \(aggregate) else pg_get_functiondef(f.oid) end",
            parent: "f.space",
            // Rights of everybody come by themselves; those that are wanted follow as grants.
            creation: """
                array[case f.prokind when 'a' then 'create ' || \(aggregate)
                        else pg_get_functiondef(f.oid) end,
                    'revoke all on routine ' || f.name || ' from public']
                """, removal: "array['drop routine ' || f.name]",
            alteration: """
                case f.prokind when 'a' then null else array[pg_get_functiondef(f.oid)] end
                """),
        SchemaPart(
            kind: .eventTrigger,
            from: """
                pg_event_trigger v
                where v.oid not in (select objid from belongs where classid = 3466)
                """, name: "quote_ident(v.evtname)",
            definition: "\(eventTrigger) || \(eventFiring)",
            creation: """
                array['create event trigger ' || quote_ident(v.evtname) || ' ' || \(eventTrigger),
                    'alter event trigger ' || quote_ident(v.evtname) || ' ' || \(eventFiring)]
                """, removal: "array['drop event trigger ' || quote_ident(v.evtname)]"),
    ]

    private static let eventTrigger = """
        'on ' || v.evtevent || coalesce(' when tag in (' || (
                select string_agg(quote_literal(g), ', ' order by g) from unnest(v.evttags) as g)
            || ')', '') || ' execute function ' || v.evtfoid::regprocedure::text || ' '
        """
    private static let eventFiring = """
        case v.evtenabled when 'D' then 'disable' when 'R' then 'enable replica'
            when 'A' then 'enable always' else 'enable' end
        """

    private static let owned = """
        select case r.relkind when 'S' then 'sequence' when 'v' then 'view'
                when 'm' then 'materialized view' else 'table' end, r.name, r.relowner, r.label
            from rel r where r.relkind <> 'c'
        union all select 'routine', f.name, f.proowner, f.label from routine f
        union all select 'type', t.name, t.typowner, t.label from own_type t
        union all select 'schema', s.name, s.nspowner, s.label from space s where s.oid >= 16384
        """

    private static let granted = """
        select 'table', '', r.name, r.relowner, r.label, coalesce(r.relacl,
                acldefault('r', r.relowner))
            from rel r where r.relkind not in ('c', 'S')
        union all select 'sequence', '', r.name, r.relowner, r.label,
                coalesce(r.relacl, acldefault('s', r.relowner)) from rel r where r.relkind = 'S'
        union all select 'column', c.name, c.relation, 0, c.label, c.attacl
            from col c where c.attacl is not null
        union all select 'routine', '', f.name, f.proowner, f.label,
                coalesce(f.proacl, acldefault('f', f.proowner)) from routine f
        union all select 'type', '', t.name, t.typowner, t.label,
                coalesce(t.typacl, acldefault('T', t.typowner)) from own_type t
        union all select 'schema', '', s.name, s.nspowner, s.label,
                coalesce(s.nspacl, acldefault('n', s.nspowner)) from space s
        """

    private static let grantee = """
        case p.grantee when 0 then 'public' when a.owner then '@owner'
            else p.grantee::regrole::text end
        """
    private static let target = """
        case a.word when 'column' then 'table' else a.word end || ' ' || a.name
        """
    private static func rights(_ isGrantable: String) -> String {
        """
        string_agg(p.privilege_type || case a.word when 'column' then ' (' || a.part || ')'
            else '' end, ', ' order by p.privilege_type collate "C") filter (where \(isGrantable))
        """
    }

    /// Who owns what, where that is not the owner of the history, and who may do what.
    static let rights: [SchemaPart] = [
        SchemaPart(
            kind: .owner,
            from: """
                (\(owned)) as o (word, name, owner, label), history h where o.owner <> h.owner
                """, name: "'of ' || o.word || ' ' || o.name", definition: "'other'",
            parent: "o.label",
            removal: """
                array['alter ' || o.word || ' ' || o.name || ' owner to ' || h.owner::regrole::text]
                """),
        SchemaPart(
            kind: .grant,
            from: """
                (\(granted)) as a (word, part, name, owner, label, list),
                lateral aclexplode(a.list) as p
                group by a.word, a.part, a.name, a.owner, a.label, p.grantee
                """,
            name: """
                'on ' || a.word || ' ' || a.name || case a.word when 'column' then '.' || a.part
                    else '' end || ' to ' || \(grantee)
                """,
            definition: """
                string_agg(p.privilege_type || case when p.is_grantable and p.grantee <> a.owner
                    then ' with grant option' else '' end, ', '
                    order by p.privilege_type collate "C")
                """, parent: "a.label",
            creation: """
                array_remove(array[
                    'grant ' || \(rights("not p.is_grantable or p.grantee = a.owner"))
                        || ' on ' || \(target) || ' to ' || \(grantee),
                    'grant ' || \(rights("p.is_grantable and p.grantee <> a.owner"))
                        || ' on ' || \(target) || ' to ' || \(grantee) || ' with grant option'
                    ], null)
                """,
            removal: """
                array['revoke all' || case a.word when 'column' then ' (' || a.part || ')' else '' end
                    || ' on ' || \(target) || ' from ' || \(grantee)]
                """),
    ]
}
