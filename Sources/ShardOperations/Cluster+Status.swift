import FoundationEssentials
public import Postgres
public import ShardRouter

extension Cluster {
    /// One shard as the operator sees it.
    public struct ShardStatus: Sendable {
        public var shard: Shard
        /// Slots by the catalog, and by the shard's own table; nil when it does not answer.
        public var slots: Int
        public var slotsAtShard: Int?
        public var schemaVersion: Int?
        /// What keeps the shard from its work; nil when all is well.
        public var problem: String?
    }

    /// Asks every shard that is not retired, all at once.
    public func status() async throws -> (topology: Topology, shards: [ShardStatus]) {
        let (topology, moving) = try await withCatalog { catalog in
            let deadline = ContinuousClock.now + Self.patience
            return (
                try await self.topology(catalog, deadline: deadline),
                try await Self.movingSlots(catalog, deadline: deadline)
            )
        }
        let files = try migrator(.shard).migrations.map(\.version)
        let statuses = await withTaskGroup(of: ShardStatus.self) { group in
            for shard in topology.shards {
                group.addTask {
                    await status(of: shard, topology, moving, files: files)
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        return (topology, statuses.sorted { $0.shard.id < $1.shard.id })
    }

    private func status(
        of shard: Shard, _ topology: Topology, _ moving: Set<Int>, files: [Int]
    ) async -> ShardStatus {
        let listed = topology.owners.indices.filter { topology.owners[$0] == shard.id }
        var status = ShardStatus(shard: shard, slots: listed.count)
        guard shard.state != .retired else { return status }
        do {
            let (active, versions) = try await withShard(shard, of: topology) { connection in
                let row = try await connection.query(
                    """
                    select (select array_agg(slot) from shard.slots where state = 'active'),
                        (select coalesce(array_agg(version::int8), '{}') from shard.migrations)
                    """, deadline: .now + .seconds(5))[0]
                return (try row.get(0, as: [Int32]?.self) ?? [], try row.get(1, as: [Int].self))
            }
            status.slotsAtShard = active.count
            status.schemaVersion = versions.max() ?? 0
            let difference = Set(listed).symmetricDifference(active.map(Int.init))
                .subtracting(moving).count
            if difference > 0 {
                status.problem =
                    "its own table says \(active.count) slots; \(difference) differ from the catalog"
            } else if let gap = SchemaGap(has: versions, files: files) {
                status.problem = gap.words
            } else if shard.state == .joining {
                status.problem = "its addition was not finished: repeat 'shardctl shard add'"
            }
        } catch {
            status.problem = "\(error)"
        }
        return status
    }

    /// Runs `body` on a connection to `shard`, after making sure that it is that shard.
    public func withShard<Value>(
        _ shard: Shard, of topology: Topology,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        try await withShard(endpoint: shard.endpoint, name: shard.name) { connection in
            let wrong: String?
            do throws(PostgresError) {
                let rows = try await connection.query(
                    "select cluster_id, shard_id from shard.identity",
                    deadline: .now + .seconds(5))
                wrong = try Self.difference(rows.first, shard, topology)
            } catch {
                guard ["3F000", "42P01"].contains(error.sqlState) else { throw error }
                wrong = "no shard"
            }
            if let wrong {
                throw OperationError.failed(
                    "the endpoint of shard \(shard.name) leads to another database: it is \(wrong)",
                    next: "shardctl shard show \(shard.name)")
            }
            return try await body(connection)
        }
    }

    static func difference(
        _ identity: Row?, _ shard: Shard, _ topology: Topology
    ) throws(PostgresError) -> String? {
        guard let identity else { return "a shard without identity" }
        let (cluster, number): (UUID, Int) = (try identity.get(0), try identity.get(1))
        guard cluster == topology.clusterID else {
            return "a shard of cluster \(cluster.uuidString.lowercased())"
        }
        guard number == shard.id.number else { return "shard number \(number) of this cluster" }
        return nil
    }
}
