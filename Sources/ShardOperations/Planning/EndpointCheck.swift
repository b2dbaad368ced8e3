import FoundationEssentials
import Postgres
import ShardRouter

/// Whether a database may take the place of a shard's: it is that shard, and no old copy of it, and
/// the one before it takes no writes any more.
struct EndpointCheck {
    let cluster: Cluster
    let topology: Topology
    let shard: Shard
    let endpoint: String

    func run(
        _ catalog: PostgresConnection, _ deadline: ContinuousClock.Instant
    ) async throws {
        var moved = shard
        moved.endpoint = endpoint
        let moving = try await Cluster.movingSlots(catalog, deadline: deadline)
        let (server, active) = try await cluster.withShard(moved, of: topology) {
            let slots = try await $0.query(
                """
                select coalesce(array_agg(slot::int8), '{}') from shard.slots
                where state = 'active'
                """, deadline: deadline)[0].get(0, as: [Int].self)
            return (try await Server.read($0, deadline), Set(slots))
        }
        guard !server.isStandby else {
            throw OperationError.refused(
                "the server at \(endpoint) is a standby, which takes no writes",
                next: "promote it first (pg_ctl promote), or name both servers with a comma")
        }
        let listed = topology.owners.indices.filter { topology.owners[$0] == shard.id }
        let different = active.symmetricDifference(listed).subtracting(moving)
        guard different.isEmpty else {
            throw OperationError.refused(
                "the database at \(endpoint) is shard \(shard.name), but \(different.count) of its "
                    + "slots are not what the catalog says: it looks like an old copy",
                next: "shardctl doctor")
        }
        try await checkOld(server, deadline)
    }

    /// Two servers that both take writes would part for ever.
    private func checkOld(_ new: Server, _ deadline: ContinuousClock.Instant) async throws {
        let old: Server
        do {
            old = try await cluster.withShard(shard, of: topology) {
                try await Server.read($0, deadline)
            }
        } catch {
            return  // It is gone, or somebody else's: that is why the endpoint changes.
        }
        guard old.isStandby || old == new else {
            throw OperationError.refused(
                "the server at the old endpoint of shard \(shard.name) still takes writes",
                next: "stop it, then repeat the command")
        }
    }

    /// One run of a server: the same by whatever address it is reached.
    private struct Server: Equatable {
        var isStandby: Bool
        var startedAt: Timestamp
        var database: String

        static func read(
            _ connection: PostgresConnection, _ deadline: ContinuousClock.Instant
        ) async throws(PostgresError) -> Server {
            let row = try await connection.query(
                """
                select pg_is_in_recovery(), pg_postmaster_start_time(), current_database()::text
                """, deadline: deadline)[0]
            return Server(
                isStandby: try row.get(0), startedAt: try row.get(1), database: try row.get(2))
        }
    }
}
