import FoundationEssentials
import Postgres
public import ShardRouter

/// Adds a shard to a cluster in which nothing is stored yet.
///
/// Every step can be repeated: an addition that was cut off goes on when it is called again.
/// The slots leave their old owners before the new one has them, so no two shards own one.
public struct ShardAdding: Sendable {
    let cluster: Cluster
    let name: String
    let endpoint: String
    let weight: Int

    public init(cluster: Cluster, name: String, endpoint: String, weight: Int) {
        self.cluster = cluster
        self.name = name
        self.endpoint = endpoint
        self.weight = weight
    }

    /// - Returns: the shard, and how many slots it took over.
    /// - Throws: ``OperationError``; a refusal changed nothing.
    public func run() async throws -> (shard: Shard, slots: Int) {
        try check()
        let deadline = ContinuousClock.now + Cluster.patience
        return try await cluster.withCatalog { catalog in
            try await lock(catalog, deadline: deadline)
            let before = try await topology(catalog, deadline)
            try await checkEmpty(before, isResuming: before.shard(named: name) != nil)
            try await prepare(catalog, before, deadline)
            let topology = try await topology(catalog, deadline)
            guard let shard = topology.shard(named: name) else {
                throw OperationError.failed("the catalog lost the new shard")
            }
            try await initialise(shard, topology, deadline)
            let slots = try await claim(shard, topology, catalog, deadline)
            return (shard, slots)
        }
    }

    private func check() throws {
        let isName = name.utf8.allSatisfy {
            (97...122).contains($0) || (48...57).contains($0) || $0 == 45
        }
        guard isName, (1...40).contains(name.utf8.count), name.first != "-" else {
            throw OperationError.refused(
                "'\(name)' is no name: 1–40 of a–z, 0–9 and hyphens",
                next: "shardctl shard add shard-d --endpoint …")
        }
        guard (1...1_000_000).contains(weight) else {
            throw OperationError.refused(
                "weight \(weight) is outside 1 … 1,000,000", next: "choose another --weight")
        }
        let settings: ConnectionSettings
        do throws(PostgresError) {
            settings = try ConnectionSettings(endpoint)
        } catch {
            throw OperationError.refused(
                "\(error)", next: "--endpoint 'host=127.0.0.1 port=5432 dbname=chat'")
        }
        guard !settings.hasPassword else {
            throw OperationError.refused(
                "the endpoint holds a password, and the catalog keeps no secrets",
                next: "use libpq's passfile, service file or PGPASSWORD instead")
        }
    }

    private func lock(
        _ catalog: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws {
        while true {
            let row = try await catalog.query(
                "select pg_try_advisory_lock($1)", [Migrator.lock + 1], deadline: deadline)[0]
            if try row.get(0, as: Bool.self) { return }
            guard ContinuousClock.now + .milliseconds(100) < deadline else {
                throw OperationError.failed("another change of the topology does not end")
            }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    private func topology(
        _ catalog: PostgresConnection, _ deadline: ContinuousClock.Instant
    ) async throws -> Topology {
        do throws(CatalogError) {
            return try await CatalogReader.topology(
                catalog, name: cluster.catalog.withoutSecrets, deadline: deadline)
        } catch {
            throw OperationError.refused("\(error)", next: "shardctl init")
        }
    }

    /// With stored rooms, slots change their shard by a move only.
    private func checkEmpty(_ topology: Topology, isResuming: Bool) async throws {
        if let known = topology.shard(named: name) {
            guard known.endpoint == endpoint, known.state == .joining else {
                throw OperationError.refused(
                    "there is a shard \(name) already, at \(known.endpoint)",
                    next: "shardctl shard show \(name)")
            }
        }
        if let taken = topology.shards.first(where: { $0.endpoint == endpoint && $0.name != name })
        {
            throw OperationError.refused(
                "shard \(taken.name) has this endpoint already",
                next: "shardctl shard show \(taken.name)")
        }
        guard !isResuming else { return }
        for shard in topology.shards where shard.state != .retired {
            let hasRooms = try await cluster.withShard(endpoint: shard.endpoint, name: shard.name) {
                try await $0.query(
                    "select exists (select from public.rooms)",
                    deadline: .now + Cluster.patience)[0].get(0, as: Bool.self)
            }
            if hasRooms {
                throw OperationError.refused(
                    "shard \(shard.name) holds rooms, so slots can only change their shard by "
                        + "moves, which this version cannot do yet", next: "shardctl plan")
            }
        }
    }

    /// The row of the shard, as `joining`.
    private func prepare(
        _ catalog: PostgresConnection, _ topology: Topology, _ deadline: ContinuousClock.Instant
    ) async throws {
        guard topology.shard(named: name) == nil else { return }
        try await cluster.withShard(endpoint: endpoint, name: name) { connection in
            try await checkServer(connection, topology, deadline)
        }
        _ = try await catalog.query(
            "insert into catalog.shards (name, endpoint, weight) values ($1, $2, $3::int8::int4)",
            [name, endpoint, weight], deadline: deadline)
    }

    private func checkServer(
        _ connection: PostgresConnection, _ topology: Topology,
        _ deadline: ContinuousClock.Instant
    ) async throws {
        let samples = ["", "lobby", "Zürich", String(repeating: "x", count: 100)]
        let row = try await connection.query(
            """
            select current_setting('server_version_num')::int4,
                current_setting('server_encoding'),
                (select array_agg(hashtextextended(t, $2) order by place)
                 from unnest($1::text[]) with ordinality as s (t, place)),
                to_regclass('shard.identity') is not null
            """, [samples, topology.seed], deadline: deadline)[0]
        let version: Int = try row.get(0)
        let encoding: String = try row.get(1)
        let hashes: [Int64] = try row.get(2)
        let expected = samples.map { topology.ringHash.hash(RoomID($0)) }
        guard version >= 150_000 else {
            throw refused("PostgreSQL \(version / 10_000) is too old; 15 is needed")
        }
        guard encoding == "UTF8" else { throw refused("its encoding is \(encoding), not UTF8") }
        guard hashes == expected else { throw refused("it hashes room names differently") }
        if try row.get(3, as: Bool.self) {
            let identity = try await connection.query(
                "select cluster_id::text from shard.identity", deadline: deadline)
            if let cluster = try identity.first?.get(0, as: String.self) {
                throw refused("it is a shard of cluster \(cluster.lowercased()) already")
            }
        }
    }

    private func refused(_ why: String) -> OperationError {
        .refused("the database at \(endpoint) cannot be a shard: \(why)", next: "choose another")
    }

    /// Schema and identity.
    private func initialise(
        _ shard: Shard, _ topology: Topology, _ deadline: ContinuousClock.Instant
    ) async throws {
        let migrator = try cluster.migrator(.shard)
        try await cluster.withShard(endpoint: endpoint, name: name) { connection in
            _ = try await migrator.up(connection, deadline: deadline)
            let answers = try await connection.pipeline(
                [
                    Statement(
                        "insert into shard.identity (cluster_id, shard_id, seed) "
                            + "values ($1, $2::int8::int4, $3) on conflict do nothing",
                        [topology.clusterID, shard.id.number, topology.seed]),
                    Statement(
                        "select cluster_id = $1 and shard_id = $2 from shard.identity",
                        [topology.clusterID, shard.id.number]),
                ], deadline: deadline)
            guard try answers[1][0].get(0, as: Bool.self) else {
                throw refused("it has the identity of another shard")
            }
        }
    }
}
