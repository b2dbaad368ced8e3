import Postgres
import ShardRouter

/// What a server says about itself, as far as shards and moves depend on it.
struct ServerFacts: Sendable {
    /// Rooms whose hashes are compared with the ring's own.
    static let samples = ["", "lobby", "Zürich", String(repeating: "x", count: 100)]

    /// A limit of the server, and how much of it others than moves use.
    struct Capacity: Sendable {
        var name: String
        var limit: Int
        var usedByOthers: Int
        var free: Int { limit - usedByOthers }
    }

    /// Such as 150020.
    var version: Int
    var encoding: String
    var hashes: [Int64]
    var isStandby: Bool
    /// Provider and name, such as `c C.UTF-8`.
    var collation: String
    /// Not the version that the database's indexes were made with; nil when they are the same.
    var changedCollationVersion: String?
    var walLevel: String
    var capacities: [Capacity]
    var walRetrieveRetryMilliseconds: Int
    /// -1 is no limit.
    var slotKeepMegabytes: Int
    var isSuperuser: Bool
    var databaseBytes: Int

    /// Reads them; of a server before PostgreSQL 15 only its version.
    static func read(
        _ connection: PostgresConnection, seed: Int64, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> ServerFacts {
        let version = try await connection.query(
            "select current_setting('server_version_num')::int4", deadline: deadline)[0]
            .get(0, as: Int.self)
        guard version >= 150_000 else { return ServerFacts(version: version) }
        let answers = try await connection.pipeline(
            [
                Statement(identitySQL, [samples, seed]),
                Statement(capacitySQL),
            ], deadline: deadline)
        return try ServerFacts(version: version, answers[0][0], answers[1])
    }

    private init(version: Int) {
        self.version = version
        (encoding, hashes, isStandby, collation) = ("", [], false, "")
        (walLevel, capacities, walRetrieveRetryMilliseconds) = ("", [], 0)
        (slotKeepMegabytes, isSuperuser, databaseBytes) = (0, false, 0)
    }

    private init(version: Int, _ row: Row, _ limits: Rows) throws(PostgresError) {
        self.version = version
        encoding = try row.get("encoding")
        hashes = try row.get("hashes")
        isStandby = try row.get("is_standby")
        collation = try row.get("collation")
        changedCollationVersion = try row.get("changed_version")
        walLevel = try row.get("wal_level")
        walRetrieveRetryMilliseconds = try row.get("retry_ms")
        slotKeepMegabytes = try row.get("keep_mb")
        isSuperuser = try row.get("is_superuser")
        databaseBytes = try row.get("database_bytes")
        capacities = []
        for limit in limits {
            capacities.append(
                Capacity(
                    name: try limit.get(0), limit: try limit.get(1),
                    usedByOthers: try limit.get(2)))
        }
    }

    private static let identitySQL = """
        select current_setting('server_encoding') as encoding,
            (select array_agg(hashtextextended(t, $2) order by place)
             from unnest($1::text[]) with ordinality as s (t, place)) as hashes,
            pg_is_in_recovery() as is_standby,
            d.datlocprovider::text || ' ' || coalesce(
                to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', d.datcollate)
                as collation,
            case when d.datcollversion <> pg_database_collation_actual_version(d.oid)
                then d.datcollversion end as changed_version,
            current_setting('wal_level') as wal_level,
            (select setting::int8 from pg_settings where name = 'wal_retrieve_retry_interval')
                as retry_ms,
            (select setting::int8 from pg_settings where name = 'max_slot_wal_keep_size')
                as keep_mb,
            (select rolsuper from pg_roles where rolname = current_user) as is_superuser,
            pg_database_size(d.oid) as database_bytes
        from pg_database d where d.datname = current_database()
        """

    private static let capacitySQL = """
        select u.name, current_setting(u.name)::int8, u.used
        from (values
            ('max_replication_slots',
                (select count(*) from pg_replication_slots where slot_name not like 'mv\\_%')),
            ('max_wal_senders',
                (select count(*) from pg_stat_replication where application_name not like 'mv\\_%')),
            ('max_logical_replication_workers',
                (select count(*) from pg_stat_subscription
                 where pid is not null and subname not like 'mv\\_%')),
            -- The launcher is one of them.
            ('max_worker_processes',
                (select 1 + count(*) from pg_stat_subscription
                 where pid is not null and subname not like 'mv\\_%'))
        ) as u (name, used)
        """
}
