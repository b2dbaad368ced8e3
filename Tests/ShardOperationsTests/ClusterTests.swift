import Foundation
import Postgres
import ShardOperations
import ShardRouter
import TestKit
import Testing

@Suite struct ClusterTests {
    private static let migrations = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appending(path: "migrations")

    /// A new catalog, and as many empty servers as asked for.
    private func makeCluster(shards: Int) async throws -> (
        Cluster, PostgresServer, [PostgresServer]
    ) {
        let catalog = try PostgresServer.start()
        let servers = try (0..<shards).map { _ in try PostgresServer.start() }
        let cluster = Cluster(
            catalog: try ConnectionSettings(catalog.connectionString()),
            migrations: Self.migrations)
        _ = try await cluster.initialise(seed: 7)
        return (cluster, catalog, servers)
    }

    private func add(
        _ cluster: Cluster, _ name: String, _ server: PostgresServer, weight: Int = 1
    ) async throws -> Int {
        try await ShardAdding(
            cluster: cluster, name: name, endpoint: endpoint(server), weight: weight
        ).run().slots
    }

    private func endpoint(_ server: PostgresServer) -> String {
        "host=127.0.0.1 port=\(server.port) dbname=postgres"
    }

    private func run(_ server: PostgresServer, _ sql: String) async throws {
        let connection = try await PostgresConnection.connect(
            try ConnectionSettings(server.connectionString()), deadline: .now + .seconds(20))
        defer { connection.close() }
        try await connection.script(sql, deadline: .now + .seconds(20))
    }

    @Test func `added shards share the ring and agree with the catalog`() async throws {
        let (cluster, catalog, servers) = try await makeCluster(shards: 3)
        defer { withExtendedLifetime((catalog, servers)) {} }

        let taken = [
            try await add(cluster, "one", servers[0]), try await add(cluster, "two", servers[1]),
            try await add(cluster, "three", servers[2], weight: 2),
        ]

        #expect(taken == [16_384, 8_192, 8_192])
        let (topology, shards) = try await cluster.status()
        #expect(topology.epoch == Epoch(3))
        #expect(shards.map(\.slots) == [4_096, 4_096, 8_192])
        #expect(shards.allSatisfy { $0.problem == nil && $0.slots == $0.slotsAtShard })
        for number in 0..<20 {
            #expect(try await cluster.locate(RoomID("room-\(number)")).agrees)
        }
        #expect(try await FleetSurvey.take(cluster).all.allSatisfy { $0.plan.pending.isEmpty })
    }

    @Test func `with rooms stored a new shard is active and owns nothing yet`() async throws {
        let (cluster, catalog, servers) = try await makeCluster(shards: 2)
        defer { withExtendedLifetime((catalog, servers)) {} }
        _ = try await add(cluster, "one", servers[0])
        try await run(servers[0], "insert into rooms values ('lobby', 0)")
        let before = try await cluster.topology()

        #expect(try await add(cluster, "two", servers[1]) == 0)

        let (topology, shards) = try await cluster.status()
        #expect(topology.owners == before.owners)
        #expect(topology.epoch == before.epoch)
        #expect(shards.map(\.shard.state) == [.active, .active])
        #expect(shards.allSatisfy { $0.problem == nil })
        #expect(shards[1].schemaVersion == shards[0].schemaVersion)
    }

    @Test func `what cannot be a shard is refused`() async throws {
        let (cluster, catalog, servers) = try await makeCluster(shards: 1)
        defer { withExtendedLifetime((catalog, servers)) {} }
        _ = try await add(cluster, "one", servers[0])

        for (name, endpoint, reason) in [
            ("Bad", "dbname=x", "is no name"), ("x", "host=h password=y", "password"),
            ("x", "nonsense", "not a connection string"), ("one", "dbname=x", "already"),
            ("x", endpoint(servers[0]), "has this endpoint"),
            ("x", endpoint(servers[0]) + " connect_timeout=3", "is a shard of cluster"),
        ] {
            let failure = await #expect(throws: OperationError.self) {
                try await ShardAdding(cluster: cluster, name: name, endpoint: endpoint, weight: 1)
                    .run()
            }
            #expect(failure?.kind == .refused)
            #expect(
                failure?.description.contains(reason) ?? false, "\(String(describing: failure))")
        }
        await #expect(throws: OperationError.self) { try await cluster.initialise() }
    }
}
