import FoundationEssentials
import Postgres
public import ShardRouter

/// Adds a shard to a cluster.
///
/// While nothing is stored the shard takes over its share of the slots at once. With rooms stored it
/// becomes active without any: what it owns, moves bring.
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
        /// What works now but stands, or will stand, in the way of moves.
        public var warnings: [String]
        /// What the operator should know.
        public var notes: [String]
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
            try await Cluster.lockTopology(catalog, deadline: deadline)
            let before = try await cluster.topology(catalog, deadline: deadline)
            try checkPlace(before)
            let fleet = try await Fleet.survey(cluster, before, deadline)
            let migrator = try fleet.migrator(cluster)
            let findings = try await checkServer(before, fleet, deadline)
            if before.shard(named: name) == nil { try await list(catalog, deadline) }
            try reached(.listed)
            let topology = try await cluster.topology(catalog, deadline: deadline)
            guard let shard = topology.shard(named: name) else {
                throw OperationError.failed("the catalog lost the new shard")
            }
            try await initialise(shard, topology, migrator, deadline)
            try reached(.initialised)
            let isClaiming =
                try await Cluster.hasOpenMoves(catalog, deadline: deadline)
                ? false : !fleet.storesRooms
            let slots = try await claim(
                shard, topology, isClaiming: isClaiming, catalog, deadline)
            return outcome(shard, slots: slots, findings)
        }
    }

    private func outcome(
        _ shard: Shard, slots: Int, _ findings: [ServerChecks.Finding]
    ) -> Outcome {
        func texts(_ severity: ServerChecks.Finding.Severity) -> [String] {
            findings.filter { $0.severity == severity }.map { "\($0.what) – \($0.fix)" }
        }
        var shard = shard
        shard.state = .active
        return Outcome(
            shard: shard, slots: slots, warnings: texts(.warning), notes: texts(.note))
    }

    /// Why its database could not be added now; nil when it could.
    func obstacle(_ topology: Topology) async throws -> String? {
        let deadline = ContinuousClock.now + Cluster.patience
        do {
            let fleet = try await Fleet.survey(cluster, topology, deadline)
            _ = try await checkServer(topology, fleet, deadline)
            return nil
        } catch let error as OperationError {
            return error.description
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
        try Self.check(endpoint: endpoint)
    }

    /// - Throws: a refusal of what is no connection string, or holds a password.
    static func check(endpoint: String) throws {
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

    /// The row of the shard, as `joining`.
    private func list(
        _ catalog: PostgresConnection, _ deadline: ContinuousClock.Instant
    ) async throws {
        _ = try await catalog.query(
            "insert into catalog.shards (name, endpoint, weight) values ($1, $2, $3::int8::int4)",
            [name, endpoint, weight], deadline: deadline)
    }

    /// What the server lacks; nothing of it is blocking.
    private func checkServer(
        _ topology: Topology, _ fleet: Fleet, _ deadline: ContinuousClock.Instant
    ) async throws -> [ServerChecks.Finding] {
        let checks = ServerChecks(
            seed: topology.seed, needsMoves: fleet.storesRooms,
            fleetCollations: fleet.collations)
        return try await cluster.withShard(endpoint: endpoint, name: name) { connection in
            let findings = try await checks.findings(connection, deadline: deadline)
            let blocking = findings.filter { $0.severity == .blocking }
            guard blocking.isEmpty else {
                throw OperationError.refused(
                    "the database at \(endpoint) cannot be a shard: "
                        + blocking.map(\.what).joined(separator: "; "),
                    next: blocking.map(\.fix).joined(separator: "; "))
            }
            try await checkIdentity(connection, topology, deadline)
            return findings
        }
    }

    /// Nobody's shard yet, or this one, cut off before.
    private func checkIdentity(
        _ connection: PostgresConnection, _ topology: Topology,
        _ deadline: ContinuousClock.Instant
    ) async throws {
        let hasTable = try await connection.query(
            "select to_regclass('shard.identity') is not null", deadline: deadline)[0]
            .get(0, as: Bool.self)
        guard hasTable else { return }
        let identity = try await connection.query(
            "select cluster_id, shard_id from shard.identity", deadline: deadline)
        guard let identity = identity.first else { return }
        let (cluster, number): (UUID, Int) = (try identity.get(0), try identity.get(1))
        let isOwn =
            cluster == topology.clusterID
            && number == topology.shard(named: name)?.id.number
        guard isOwn else {
            throw refused("it is a shard of cluster \(cluster.uuidString.lowercased()) already")
        }
    }

    private func refused(_ why: String) -> OperationError {
        .refused("the database at \(endpoint) cannot be a shard: \(why)", next: "choose another")
    }

    /// Schema and identity.
    private func initialise(
        _ shard: Shard, _ topology: Topology, _ migrator: Migrator,
        _ deadline: ContinuousClock.Instant
    ) async throws {
        try await cluster.withShard(endpoint: endpoint, name: name) { connection in
            try await cluster.withShard(endpoint: endpoint, name: name) { observer in
                _ = try await migrator.up(connection, observer: observer)
            }
            let answers = try await connection.pipeline(
                [
                    Statement(
                        "insert into shard.identity (cluster_id, shard_id, seed) "
                            + "values ($1, $2::int8::int4, $3) on conflict do nothing",
                        [topology.clusterID, shard.id.number, topology.seed]),
                    Statement(
                        "select cluster_id = $1 and shard_id = $2 and seed = $3 "
                            + "from shard.identity",
                        [topology.clusterID, shard.id.number, topology.seed]),
                ], deadline: deadline)
            guard try answers[1][0].get(0, as: Bool.self) else {
                throw refused("it has the identity of another shard")
            }
        }
    }
}
