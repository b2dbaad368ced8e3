import BenchKit
import Foundation
import Postgres
import ShardOperations
import ShardRouter

/// How much is moved, and how often.
struct Extent: Sendable {
    /// Messages that are copied, that move under load (there and back), and that are balanced.
    var rows: Int
    /// Copies beside the baseline, with the throttle and without.
    var rounds: Int
    /// Moves under load in each direction, each of ``slotsPerMove`` slots.
    var moves: Int
    var slotsPerMove = 512
    /// Of load before the first move.
    var quietSeconds: Double
    /// Small moves in a row.
    var smallMoves: Int

    static let full = Extent(
        rows: 1_000_000, rounds: 3, moves: 12, quietSeconds: 15, smallMoves: 1_000)
    static let quick = Extent(
        rows: 100_000, rounds: 1, moves: 2, quietSeconds: 4, smallMoves: 50)
}

/// The servers that the phases share.
struct MoveStage: Sendable {
    let extent: Extent
    /// The catalogs are on the last one.
    let servers: [BenchServer]
    let folder: String
    let repository: String

    private static let settings = [
        "max_slot_wal_keep_size=8GB", "wal_retrieve_retry_interval=100ms",
        "max_replication_slots=20", "max_wal_senders=20",
        // A thousand moves are minutes here and not weeks.
        "autovacuum_naptime=5s",
    ]

    static func make(
        below folder: String, repository: String, extent: Extent
    ) throws -> MoveStage {
        let servers = try ["server-1", "server-2", "catalog"].map {
            try BenchServer.start($0, below: folder, settings: settings)
        }
        return MoveStage(extent: extent, servers: servers, folder: folder, repository: repository)
    }

    /// A cluster of its own: shards alternate between two servers.
    func cluster(_ name: String, shards: Int, owning: Int) async throws -> MovingCluster {
        let places = (0..<shards).map {
            BenchCluster.Place(server: servers[$0 % 2], database: "\(name)_shard_\($0 + 1)")
        }
        let catalog = BenchCluster.Place(server: servers[2], database: "\(name)_catalog")
        let databases = BenchCluster(catalog: catalog, shards: places)
        try await databases.make(owning: owning, repository: repository)
        return MovingCluster(
            databases: databases,
            operations: Cluster(
                catalog: try ConnectionSettings(catalog.connectionString),
                migrations: URL(filePath: repository).appending(path: "migrations")))
    }
}

/// A cluster as its databases and as its operator sees it.
struct MovingCluster: Sendable {
    let databases: BenchCluster
    let operations: Cluster

    /// Empties what shards hold, old copies that wait for their purge included.
    func empty(_ place: Int) async throws {
        try await runScript(
            "truncate public.messages, public.rooms", at: databases.shards[place].connectionString)
    }

    /// What a shard's own autovacuum would have done by now, so that no phase begins in its middle.
    func settle() async throws {
        for shard in databases.shards {
            try await runScript("vacuum analyze public.messages", at: shard.connectionString)
            try await runScript("vacuum analyze public.rooms", at: shard.connectionString)
            try await runScript("checkpoint", at: shard.connectionString)
        }
    }
}

extension Topology {
    func slots(of shard: Int) -> [Int] {
        owners.indices.filter { owners[$0] == ShardID(shard) }
    }
}
