import FoundationEssentials
import Postgres
import ShardRouter

/// The first look at a database: one round trip, however large its schema.
///
/// A cold backend takes 10 ms and more of a processor for the canonical fingerprint, so that is asked
/// for only when something may have changed. The state names the versions of all rows that make up
/// the schema: every change of a catalogue's row makes a row version with another `xmin`. Only who
/// has renamed a role is not seen by it; a thorough check looks at everything.
struct SchemaSight: Sendable {
    /// Names this state of this database on this server; equal ones have equal fingerprints.
    var state: String
    var history: [HistoryEntry]
    /// How many steps of files outside of transactions are written down, by version.
    var leftovers: [Int: Int]
    /// Such as 150014.
    var serverVersion: Int
    /// Of a shard.
    var clusterID: UUID?
    var shardID: Int?

    static func read(
        _ kind: SchemaKind, _ connection: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> SchemaSight {
        do throws(PostgresError) {
            return try await read(kind, hasSteps: true, connection, deadline: deadline)
        } catch {
            // The schema is older than the journal of steps, or there is none at all.
            guard ["42P01", "3F000"].contains(error.sqlState) else { throw error }
            return try await read(kind, hasSteps: false, connection, deadline: deadline)
        }
    }

    private static func read(
        _ kind: SchemaKind, hasSteps: Bool, _ connection: PostgresConnection,
        deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> SchemaSight {
        let schema = kind.rawValue
        let steps =
            hasSteps
            ? "array(select version::int8 from \(schema).migration_steps)" : "'{}'::int8[]"
        let identity = kind == .shard ? "(select cluster_id from shard.identity)" : "null::uuid"
        let registered =
            kind == .shard
            ? "|| md5(array(select row(xmin, ctid) from shard.tables)::text)" : ""
        let number = kind == .shard ? "(select shard_id::int8 from shard.identity)" : "null::int8"
        let row = try await connection.pipeline(
            [
                preparation,
                Statement(
                    """
                    select \(state) \(registered), array_agg(m.version::int8), array_agg(m.title),
                        array_agg(m.checksum), array_agg(m.applied_at),
                        array_agg(coalesce(to_jsonb(m)->>'origin', 'applied')), \(steps), \(identity),
                        \(number),
                        current_setting('server_version_num')::int8
                    from \(schema).migrations m
                    """, isPrepared: false),
            ], deadline: deadline)[1][0]
        let versions = try row.get(1, as: [Int]?.self) ?? []
        let titles = try row.get(2, as: [String]?.self) ?? []
        let checksums = try row.get(3, as: [String]?.self) ?? []
        let times = try row.get(4, as: [Timestamp]?.self) ?? []
        let origins = try row.get(5, as: [String]?.self) ?? []
        return SchemaSight(
            state: try row.get(0),
            history: versions.indices.map {
                HistoryEntry(
                    version: versions[$0], title: titles[$0], checksum: checksums[$0],
                    appliedAt: times[$0], isRun: origins[$0] == "applied")
            },
            leftovers: try row.get(6, as: [Int].self).reduce(into: [:]) { $0[$1, default: 0] += 1 },
            serverVersion: try row.get(9), clusterID: try row.get(7), shardID: try row.get(8))
    }

    private static let preparation = Statement(
        "select set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true)",
        isPrepared: false)

    /// Where rows are, and which transaction wrote them. Catalogues are left out whose changes all
    /// leave traces in `pg_depend`: defaults, policies, inheritance, statistics, aggregates.
    private static let catalogues = [
        ("pg_class", "oid >= 16384"), ("pg_attribute", "attrelid >= 16384"),
        ("pg_proc", "oid >= 16384"), ("pg_constraint", "oid >= 16384"),
        ("pg_index", "indexrelid >= 16384"), ("pg_trigger", "oid >= 16384"),
        ("pg_type", "oid >= 16384"), ("pg_depend", "objid >= 16384"), ("pg_namespace", "true"),
        ("pg_rewrite", "oid >= 16384"), ("pg_enum", "true"), ("pg_sequence", "true"),
        ("pg_extension", "true"), ("pg_event_trigger", "true"),
    ]

    /// The timeline is there because a server that took over after another one was lost gives out
    /// the same numbers of transactions again.
    private static let state = """
        md5(concat_ws(' ', (select system_identifier from pg_control_system()),
            case when pg_is_in_recovery() then 'standby'
                else left(pg_walfile_name(pg_current_wal_lsn()), 8) end,
            current_setting('server_version_num'),
            (select oid from pg_database where datname = current_database()),
            \(catalogues.map { "array(select row(xmin, ctid) from \($0.0) where \($0.1))::text" }
                .joined(separator: ",\n    "))))
        """
}
