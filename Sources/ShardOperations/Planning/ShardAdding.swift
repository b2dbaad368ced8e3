import FoundationEssentials
import Postgres
public import ShardRouter

/// Adds a shard to a cluster in which nothing is stored yet.
///
/// Every step can be repeated: an addition that was cut off goes on when it is called again.
/// The slots leave their old owners before the new one has them, so no two shards own one.
public struct ShardAdding: Sendable {
    /// What was done and is durable; the work may be cut off after each of these.
    enum Step: Sendable, CaseIterable {
        case listed, initialised, oneOwnerLetGo, ownersLetGo, owned, published
    }

    /// What became of it.
    public struct Outcome: Sendable {
        public var shard: Shard
        /// How many slots it took over.
        public var slots: Int
        /// What works now but will stand in the way of moves.
        public var warnings: [String]
    }

    let cluster: Cluster
    let name: String
    let endpoint: String
    let weight: Int
    /// Called after each step; tests cut the work off by throwing.
    var reached: @Sendable (Step) throws -> Void = { _ in }

    public init(cluster: Cluster, name: String, endpoint: String, weight: Int) {
        self.cluster = cluster
        self.name = name
        self.endpoint = endpoint
        self.weight = weight
    }

    /// - Throws: ``OperationError``; a refusal moved nothing.
    public func run() async throws -> Outcome {
        try check()
        let deadline = ContinuousClock.now + Cluster.patience
        return try await cluster.withCatalog { catalog in
            try await lock(catalog, deadline: deadline)
            let before = try await topology(catalog, deadline)
            try checkPlace(before)
            if before.shard(named: name) == nil {
                try await checkEmpty(before)
                try await list(catalog, before, deadline)
            }
            try reached(.listed)
            let topology = try await topology(catalog, deadline)
            guard let shard = topology.shard(named: name) else {
                throw OperationError.failed("the catalog lost the new shard")
            }
            let warnings = try await initialise(shard, topology, deadline)
            try reached(.initialised)
            let slots = try await claim(shard, topology, catalog, deadline)
            return Outcome(shard: shard, slots: slots, warnings: warnings)
        }
    }

    /// Name, weight and endpoint by themselves, before anything is asked of a server.
    func check() throws {
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

    /// The name and the endpoint are free, or belong to this addition, cut off before.
    private func checkPlace(_ topology: Topology) throws {
        if let known = topology.shard(named: name) {
            guard known.endpoint == endpoint, known.state == .joining else {
                throw OperationError.refused(
                    "there is a shard \(name) already, at \(known.endpoint)",
                    next: "shardctl shard show \(name)")
            }
            guard known.weight == weight else {
                throw OperationError.refused(
                    "the addition of \(name) began with weight \(known.weight)",
                    next: "repeat it with --weight \(known.weight)")
            }
        }
        if let taken = topology.shards.first(where: { $0.endpoint == endpoint && $0.name != name })
        {
            throw OperationError.refused(
                "shard \(taken.name) has this endpoint already",
                next: "shardctl shard show \(taken.name)")
        }
    }

    /// With stored rooms, slots change their shard by a move only.
    private func checkEmpty(_ topology: Topology) async throws {
        for shard in topology.shards where shard.state == .active || shard.state == .draining {
            let hasRooms = try await cluster.withShard(shard, of: topology) {
                try await $0.query(
                    "select exists (select from public.rooms)",
                    deadline: .now + Cluster.patience)[0].get(0, as: Bool.self)
            }
            if hasRooms { throw Self.refusedForRooms(shard.name) }
        }
    }

    static func refusedForRooms(_ name: String) -> OperationError {
        .refused(
            "shard \(name) holds rooms. Stored rooms change their shard by moves only, and this "
                + "version cannot move rooms yet: add shards before the first message",
            next: "shardctl plan --add, in a version that moves rooms")
    }

    /// The row of the shard, as `joining`.
    private func list(
        _ catalog: PostgresConnection, _ topology: Topology, _ deadline: ContinuousClock.Instant
    ) async throws {
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
    ///
    /// - Returns: warnings about the server's settings.
    private func initialise(
        _ shard: Shard, _ topology: Topology, _ deadline: ContinuousClock.Instant
    ) async throws -> [String] {
        let migrator = try cluster.migrator(.shard)
        return try await cluster.withShard(endpoint: endpoint, name: name) { connection in
            _ = try await migrator.up(connection, deadline: deadline)
            let answers = try await connection.pipeline(
                [
                    Statement(
                        "insert into shard.identity (cluster_id, shard_id, seed) "
                            + "values ($1, $2::int8::int4, $3) on conflict do nothing",
                        [topology.clusterID, shard.id.number, topology.seed]),
                    Statement(
                        "select cluster_id = $1 and shard_id = $2 and seed = $3, "
                            + "current_setting('wal_level') from shard.identity",
                        [topology.clusterID, shard.id.number, topology.seed]),
                ], deadline: deadline)
            guard try answers[1][0].get(0, as: Bool.self) else {
                throw refused("it has the identity of another shard")
            }
            let level = try answers[1][0].get(1, as: String.self)
            guard level != "logical" else { return [] }
            return [
                "wal_level is \(level): rooms cannot be moved from or to \(name) before it is "
                    + "'logical' (a restart of that server)"
            ]
        }
    }
}
