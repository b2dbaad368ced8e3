import FoundationEssentials
import Postgres
import ShardOperations
import ShardRouter
import TestKit

extension Databases {
    /// A catalog with shards that share the ring evenly, all on one server.
    static func fleet(on server: PostgresServer, _ names: [String]) async throws -> Databases {
        let databases = try await make(on: server, shards: names)
        for name in names { try await databases.add(name) }
        return databases
    }

    /// Adds a shard by the product's own way.
    func add(_ name: String, endpoint: String? = nil) async throws {
        _ = try await ShardAdding(
            cluster: try cluster(), name: name, endpoint: endpoint ?? self.endpoint(name),
            weight: 1
        ).run()
    }

    /// One value from the database of a shard, or from the catalog.
    func value<Value: PostgresDecodable>(_ name: String, _ sql: String) async throws -> Value {
        let connection = try await connect(name)
        defer { connection.close() }
        return try await connection.query(sql, deadline: .now + .seconds(20))[0].get(0)
    }

    /// What the names of moves' artefacts begin with.
    func artefactPrefix() async throws -> String {
        "mv_" + String(try await cluster().topology().clusterID.uuidString.lowercased().prefix(8))
            + "_"
    }

    /// Opens a move from the first shard to the second; the first one gets the number 1.
    func openMove(_ slots: [Int]) async throws {
        let list = slots.map(String.init).joined(separator: ",")
        try await script(
            "catalog",
            "select catalog.open_move(1, 2, array[\(list)], 'test', null, null, 1, 2)")
    }

    var shardctl: Shardctl {
        Shardctl(catalog: server.connectionString(database: "\(prefix)_catalog"))
    }
}
