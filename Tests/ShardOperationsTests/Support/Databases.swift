import Foundation
import Postgres
import ShardOperations
import TestKit

/// A cluster whose catalog and shards are databases of one server: made in a moment.
struct Databases {
    static let migrations = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "migrations")

    let server: PostgresServer
    let prefix = "c" + UUID().uuidString.prefix(8).lowercased()

    /// A catalog with the ring's seed, and empty databases for shards.
    static func make(on server: PostgresServer, shards: [String]) async throws -> Databases {
        let databases = Databases(server: server)
        for name in ["catalog"] + shards {
            try await databases.run("postgres", "create database \(databases.prefix)_\(name)")
        }
        _ = try await databases.cluster().initialise(seed: 7)
        return databases
    }

    func cluster() throws -> Cluster {
        Cluster(
            catalog: try ConnectionSettings(
                server.connectionString(database: "\(prefix)_catalog")),
            migrations: Self.migrations)
    }

    func endpoint(_ name: String) -> String {
        "host=127.0.0.1 port=\(server.port) dbname=\(prefix)_\(name)"
    }

    /// Runs a script in the database of a shard, or in the catalog.
    func script(_ name: String, _ sql: String) async throws {
        try await run("\(prefix)_\(name)", sql)
    }

    func connect(_ name: String) async throws -> PostgresConnection {
        try await .connect(
            try ConnectionSettings(server.connectionString(database: "\(prefix)_\(name)")),
            deadline: .now + .seconds(20))
    }

    private func run(_ database: String, _ sql: String) async throws {
        let connection = try await PostgresConnection.connect(
            try ConnectionSettings(server.connectionString(database: database)),
            deadline: .now + .seconds(20))
        defer { connection.close() }
        try await connection.script(sql, deadline: .now + .seconds(20))
    }
}
