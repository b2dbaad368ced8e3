import Postgres
public import ShardRouter

/// What the databases of a fleet have and lack.
public struct FleetSurvey: Sendable {
    /// One database.
    public struct Database: Sendable {
        /// The shard's name, or `catalog`.
        public var name: String
        /// nil for the catalog.
        public var shard: Shard?
        public var state = MigrationState()
        public var plan: MigrationPlan
        /// Why it could not be asked; nil when it answered.
        public var problem: String?
    }

    public var catalog: Database
    /// In the order of their numbers; those that are retired are left out.
    public var shards: [Database]

    public var all: [Database] { [catalog] + shards }

    /// Asks the catalog and all shards at once.
    ///
    /// - Throws: when the catalog does not answer, or the files are not in order.
    public static func take(_ cluster: Cluster, upTo: Int? = nil) async throws -> FleetSurvey {
        let files = try FleetFiles(cluster)
        let (catalog, topology) = try await cluster.withCatalog { connection in
            let state = try await Migrator(kind: .catalog, migrations: files.catalog)
                .state(connection, deadline: .now + Cluster.patience)
            return (
                state,
                state.hasHistory
                    ? try await cluster.topology(connection, deadline: .now + Cluster.patience)
                    : nil
            )
        }
        guard let topology else {
            throw OperationError.refused("the database holds no catalog", next: "shardctl init")
        }
        return FleetSurvey(
            catalog: Database(
                name: "catalog", state: catalog,
                plan: MigrationPlan(files: files.catalog, state: catalog, upTo: upTo)),
            shards: await shards(of: topology, cluster, files.shard, upTo: upTo))
    }

    static func shards(
        of topology: Topology, _ cluster: Cluster, _ files: [Migration], upTo: Int?
    ) async -> [Database] {
        await topology.shards.filter { $0.state != .retired }
            .concurrently(atMost: 16) { shard in
                await look(shard, topology, cluster, files, upTo: upTo)
            }
    }

    private static func look(
        _ shard: Shard, _ topology: Topology, _ cluster: Cluster, _ files: [Migration], upTo: Int?
    ) async -> Database {
        do {
            let state = try await cluster.withMember(shard, of: topology) { connection in
                try await Migrator(kind: .shard, migrations: files, database: shard.name)
                    .state(connection, deadline: .now + Cluster.patience)
            }
            return Database(
                name: shard.name, shard: shard, state: state,
                plan: MigrationPlan(files: files, state: state, upTo: upTo))
        } catch {
            return Database(
                name: shard.name, shard: shard,
                plan: MigrationPlan(files: [], state: MigrationState()), problem: "\(error)")
        }
    }
}

extension Cluster {
    /// Runs `body` on a connection to `shard`, after making sure that it is that shard; one that is
    /// being added need not know yet who it is.
    func withMember<Value>(
        _ shard: Shard, of topology: Topology,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        guard shard.state == .joining else {
            return try await withShard(shard, of: topology, body)
        }
        return try await withShard(endpoint: shard.endpoint, name: shard.name) { connection in
            let deadline = ContinuousClock.now + Self.patience
            let hasTable: Bool = try await connection.query(
                Statement("select to_regclass('shard.identity') is not null", isPrepared: false),
                deadline: deadline)[0].get(0)
            if hasTable {
                let identity = try await connection.query(
                    Statement(
                        "select cluster_id, shard_id from shard.identity", isPrepared: false),
                    deadline: deadline)
                if let row = identity.first,
                    let wrong = try Self.difference(row, shard, topology)
                {
                    throw OperationError.failed(
                        "the endpoint of shard \(shard.name) leads to another database: it is "
                            + wrong, next: "shardctl shard show \(shard.name)")
                }
            }
            return try await body(connection)
        }
    }
}
