import Crypto
import FoundationEssentials
import Postgres

/// The two questions about a whole schema: its fingerprint, and all of its objects.
///
/// Both are one statement. `search_path` is empty meanwhile, so that PostgreSQL qualifies every name
/// that is not its own. A cold backend pays for each catalogue that is opened and for each join that
/// is planned: the fingerprint takes about 15 ms of a processor there, most of it for planning.
enum SchemaQuery {
    /// Comes before either in the same pipeline and holds for its transaction.
    static let preparation = Statement(
        """
        select set_config('search_path', '', true), set_config('jit', 'off', true),
            set_config('join_collapse_limit', '1', true),
            set_config('quote_all_identifiers', 'off', true),
            set_config('enable_seqscan', 'on', true)
        """, isPrepared: false)

    /// One row: the fingerprint.
    static let fingerprint = Statement(
        """
        \(common)
        select \(hash) from (\(union(withDetails: false))) as o (kind, name, definition)
        """, isPrepared: false)

    /// Rows of kind, name, definition, parent, creation, removal, alteration.
    static let objects = Statement(
        "\(common)\n\(union(withDetails: true))", isPrepared: false)

    /// Changes with every change of the queries: what was cached by others is of no use then.
    static let format = String(
        SHA256.hash(data: Data((fingerprint.sql + objects.sql).utf8)).hexadecimal.prefix(12))

    /// The name of the role that owns the history, quoted.
    static let owner = Statement(
        "with \(history) select owner::regrole::text from history", isPrepared: false)

    static let hash = """
        encode(sha256(convert_to(coalesce(string_agg(
            o.kind || e'\\x1f' || o.name || e'\\x1f' || o.definition, e'\\x1e'
            order by o.kind collate "C", o.name collate "C", o.definition collate "C"), ''),
            'UTF8')), 'hex')
        """

    private static func union(withDetails: Bool) -> String {
        (tables + relations + types + routines + rights + registrations)
            .map { $0.query(withDetails: withDetails) }.joined(separator: "\nunion all ")
    }

    private static let history = """
        history as materialized (
            select coalesce(
                (select c.relowner from pg_class c where c.oid = coalesce(
                    to_regclass('shard.migrations'), to_regclass('catalog.migrations'))),
                (select d.datdba from pg_database d where d.datname = current_database())) as owner
        )
        """

    /// `belongs`: members of extensions. Numbers below 16384 are PostgreSQL's own.
    private static let common = """
        with \(history),
        belongs as materialized (
            select d.classid, d.objid from pg_depend d
            where d.refclassid = 3079 and d.deptype = 'e'
        ),
        space as materialized (
            select n.oid, n.nspowner, n.nspacl, quote_ident(n.nspname) as name,
                'schema ' || quote_ident(n.nspname) as label
            from pg_namespace n
            where (n.oid >= 16384 or n.nspname = 'public') and n.nspname not like 'pg\\_%'
                and n.oid not in (select objid from belongs where classid = 2615)
        ),
        rel as materialized (
            select c.oid, c.oid::regclass::text as name, c.relname, c.relkind, c.relpersistence,
                c.relowner, c.relacl, c.reloptions, c.relreplident, c.relrowsecurity,
                c.relforcerowsecurity, c.relispartition, c.relpartbound, c.reltype,
                case when c.relkind in ('r', 'p', 'f') then 'table '
                    when c.relkind = 'S' then 'sequence '
                    when c.relkind = 'c' then 'type ' else 'view ' end
                    || c.oid::regclass::text as label,
                s.label as space
            from pg_class c join space s on s.oid = c.relnamespace
            where c.oid >= 16384 and c.relkind in ('r', 'p', 'f', 'v', 'm', 'S', 'c')
                and c.oid not in (select objid from belongs where classid = 1259)
                and not (c.relkind = 'S' and exists (select from pg_depend e  -- An identity's.
                    where e.classid = 1259 and e.objid = c.oid and e.deptype = 'i'))
        ),
        col as materialized (
            select a.attrelid, a.attnum, a.attnotnull, a.attidentity, a.attgenerated, a.attacl,
                r.name as relation, r.relkind, r.label as table_label,
                quote_ident(a.attname) as name, r.name || '.' || quote_ident(a.attname) as full_name,
                'column ' || r.name || '.' || quote_ident(a.attname) as label,
                format_type(a.atttypid, a.atttypmod)
                    || case when a.attcollation in (0, 100) or a.atttypid = 19 then ''
                        else ' collate ' || a.attcollation::regcollation::text end as type,
                case when a.attstorage = t.typstorage then null else a.attstorage end as storage,
                nullif(a.attcompression, '') as compression,
                nullif(a.attstattarget, -1) as target, a.attoptions as options
            from pg_attribute a join rel r on r.oid = a.attrelid
            join pg_type t on t.oid = a.atttypid
            where a.attnum > 0 and not a.attisdropped
        ),
        routine as materialized (
            select p.oid, p.oid::regprocedure::text as name, p.prokind, p.proowner, p.proacl,
                'function ' || p.oid::regprocedure::text as label, s.label as space
            from pg_proc p join space s on s.oid = p.pronamespace
            where p.oid >= 16384 and p.oid not in (select objid from belongs where classid = 1255)
                and not exists (select from pg_depend e  -- A range type's.
                    where e.classid = 1255 and e.objid = p.oid and e.deptype = 'i')
        ),
        own_type as materialized (
            select t.oid, format_type(t.oid, null) as name, t.typtype, t.typowner, t.typacl,
                t.typbasetype, t.typtypmod, t.typnotnull, t.typdefault, t.typcollation, t.typrelid,
                'type ' || format_type(t.oid, null) as label, s.label as space
            from pg_type t join space s on s.oid = t.typnamespace
            where t.oid >= 16384 and t.typtype in ('e', 'd', 'r', 'c')
                and (t.typtype <> 'c' or t.typrelid in (select oid from rel where relkind = 'c'))
                and t.oid not in (select objid from belongs where classid = 1247)
        )
        """
}
