import Foundation
import Postgres
import ShardRouter
import TestKit
import Testing

@testable import ShardOperations

@Suite struct DevClusterTests {
    /// A place that PostgreSQL's user can enter.
    private let folder = URL(filePath: "/tmp/dev-cluster-\(UUID().uuidString.prefix(8))")

    private func cluster(_ layout: DevLayout) -> DevCluster {
        DevCluster(folder: folder, layout: layout, migrations: Databases.migrations)
    }

    @Test func `a cluster starts, stops, and finds its data again`() async throws {
        let layout = try freeLayout(shards: 2)
        let cluster = cluster(layout)
        do {
            try await live(cluster)
        } catch {
            Issue.record("\(error)")
        }
        _ = try await cluster.wipe()
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path()).isEmpty)
        try FileManager.default.removeItem(at: folder)
    }

    private func live(_ cluster: DevCluster) async throws {
        // Left by a start that was cut off.
        try FileManager.default.createDirectory(
            at: folder.appending(path: "catalog.new/base"), withIntermediateDirectories: true)

        #expect(try await cluster.up() == ["catalog", "shard-a", "shard-b", "redis"])
        #expect(try await cluster.up() == [])
        #expect(cluster.servers.allSatisfy { $0.pid != nil })
        #expect(try DevLayout.saved(in: folder) == cluster.layout)
        try await expectChatdCanRead(cluster)
        let operation = Cluster(
            catalog: try ConnectionSettings(cluster.catalog), migrations: Databases.migrations)
        let before = try await operation.topology()
        #expect(before.slotCounts.values.sorted() == [8_192, 8_192])

        #expect(try await cluster.down(only: ["shard-a", "redis"]) == ["shard-a", "redis"])
        #expect(cluster.servers.filter { $0.pid != nil }.map(\.name) == ["catalog", "shard-b"])
        #expect(try await cluster.up() == ["shard-a", "redis"])
        #expect(try await operation.topology() == before)

        let other = DevCluster(
            folder: folder.appending(path: "other"), layout: cluster.layout,
            migrations: Databases.migrations)
        let failure = await #expect(throws: OperationError.self) { try await other.up() }
        #expect(failure?.kind == .refused)
        #expect(failure?.description.contains("port \(cluster.layout.portBase)") == true)
        #expect(other.servers.allSatisfy { $0.pid == nil })
        try FileManager.default.removeItem(at: other.folder)

        #expect(
            try await cluster.down() == ["catalog", "shard-a", "shard-b", "redis"])
        #expect(cluster.servers.allSatisfy { $0.pid == nil })
        #expect(!ServerProcess.isListening(cluster.layout.portBase))
    }

    private func expectChatdCanRead(_ cluster: DevCluster) async throws {
        let connection = try await PostgresConnection.connect(
            try ConnectionSettings(cluster.chatdCatalog), deadline: .now + .seconds(20))
        defer { connection.close() }
        let deadline = ContinuousClock.now + .seconds(20)
        #expect(
            try await connection.query("select id from catalog.cluster", deadline: deadline).count
                == 1)
        await #expect(throws: PostgresError.self) {
            try await connection.query("delete from catalog.slots", deadline: deadline)
        }
    }

    @Test func `a process id that belongs to somebody else is left alone`() async throws {
        let catalog = folder.appending(path: "catalog")
        try FileManager.default.createDirectory(at: catalog, withIntermediateDirectories: true)
        try Data("\(getpid())\n".utf8).write(to: catalog.appending(path: "postmaster.pid"))

        let stopped = try await cluster(DevLayout()).down()

        #expect(stopped.isEmpty)
        try FileManager.default.removeItem(at: folder)
    }

    @Test func `the ports of a cluster stay and its shards only grow`() {
        let saved = DevLayout(portBase: 5_000, redisPort: 6_000, shardCount: 3)
        var (moved, fewer, more) = (saved, saved, saved)
        moved.portBase = 5_001
        fewer.shardCount = 2
        more.shardCount = 4

        #expect(moved.refusal(from: saved) != nil)
        #expect(fewer.refusal(from: saved) != nil)
        #expect(more.refusal(from: saved) == nil)
        #expect(saved.refusal(from: saved) == nil)
    }

    @Test(arguments: [
        DevLayout(shardCount: 0), DevLayout(shardCount: 27), DevLayout(portBase: 0),
        DevLayout(portBase: 65_533), DevLayout(redisPort: 70_000), DevLayout(redisPort: 54_322),
    ])
    func `a layout that cannot be is refused`(layout: DevLayout) async throws {
        let failure = await #expect(throws: OperationError.self) { try await cluster(layout).up() }

        #expect(failure?.kind == .refused)
        #expect(!FileManager.default.fileExists(atPath: folder.path()))
    }

    @Test func `the program behind a port is named`() throws {
        let server = try PostgresServer.start()

        withExtendedLifetime(server) {
            let owner = ServerProcess.owner(ofPort: server.port)
            #expect(owner?.hasPrefix("postgres, process ") == true)
        }
    }

    /// Ports in a row that nobody listens at now.
    private func freeLayout(shards: Int) throws -> DevLayout {
        let count = shards + 2
        let bases = stride(from: 20_000, to: 30_000, by: count).shuffled()
        let base = try #require(
            bases.first { !($0..<$0 + count).contains(where: ServerProcess.isListening) })
        return DevLayout(portBase: base, redisPort: base + shards + 1, shardCount: shards)
    }
}
