import Foundation
package import Postgres
import ShardRouter

/// A catalog and its shards, each a database of its own.
package struct BenchCluster: Sendable {
    /// A shard's database and where it runs.
    package struct Place: Sendable {
        package var server: BenchServer
        package var database: String
        package var connectionString: String { server.place(database) }

        package init(server: BenchServer, database: String) {
            (self.server, self.database) = (server, database)
        }
    }

    package let catalog: Place
    package let shards: [Place]

    package init(catalog: Place, shards: [Place]) {
        (self.catalog, self.shards) = (catalog, shards)
    }

    /// The router's own connection: a role that may read and append, and no more.
    package var routerSettings: ConnectionSettings {
        get throws {
            try ConnectionSettings(catalog.server.place(catalog.database, user: "chatd"))
        }
    }

    /// Each server once.
    package var servers: [BenchServer] {
        var seen: Set<Int> = []
        return ([catalog] + shards).map(\.server).filter { seen.insert($0.port).inserted }
    }

    /// CPU seconds that the servers have used so far.
    package var cpuSeconds: Double { servers.map(\.cpuSeconds).reduce(0, +) }

    /// Makes the databases, with the repository's own migrations and equal shares.
    package static func make(
        _ name: String, on servers: [BenchServer], shards count: Int, repository: String
    ) async throws -> BenchCluster {
        let cluster = BenchCluster(
            catalog: Place(server: servers[0], database: "\(name)_catalog"),
            shards: (0..<count).map {
                Place(server: servers[$0 % servers.count], database: "\(name)_shard_\($0 + 1)")
            })
        try await cluster.make(owning: count, repository: repository)
        return cluster
    }

    /// Makes the databases.
    ///
    /// - Parameter owning: so many shards, the first ones, get equal shares, the others nothing.
    package func make(owning: Int, repository: String) async throws {
        try await ClusterMaker(cluster: self, owning: owning, repository: repository).make()
    }
}

/// Runs statements of the operator on one database.
package func withDatabase<Value: Sendable>(
    _ place: String, _ body: (PostgresConnection) async throws -> Value
) async throws -> Value {
    let connection = try await PostgresConnection.connect(
        ConnectionSettings(place), deadline: .now + .seconds(20))
    defer { connection.close() }
    return try await body(connection)
}

/// Runs a script of the operator on one database.
package func runScript(_ sql: String, at place: String) async throws {
    try await withDatabase(place) {
        try await $0.script(sql, deadline: .now + .seconds(120))
    }
}

/// The steps to a new cluster.
private struct ClusterMaker {
    let cluster: BenchCluster
    let owning: Int
    let repository: String
    private let clusterID = UUID()
    private let seed: Int64 = 42

    init(cluster: BenchCluster, owning: Int, repository: String) {
        self.cluster = cluster
        self.owning = owning
        self.repository = repository
    }

    func make() async throws {
        let weights = Dictionary(
            uniqueKeysWithValues: (1...owning).map { (ShardID($0), 1) })
        let owners = try Claim.owners(
            current: Array(repeating: nil, count: Slot.count), weights: weights)
        let numbers = owners.map { String($0.number) }.joined(separator: ",")
        let template = try await makeTemplate()
        for (index, shard) in cluster.shards.enumerated() {
            try await createDatabase(shard, template: template(shard.server))
            try await runScript(
                """
                insert into shard.identity values (true, '\(clusterID)', \(index + 1), \(seed));
                update shard.slots s set state = 'active', epoch = 1
                from unnest(array[\(numbers)]) with ordinality as o (owner, place)
                where s.slot = o.place - 1 and o.owner = \(index + 1);
                """, at: shard.connectionString)
        }
        try await makeCatalog(numbers)
    }

    /// One migrated database for each server; the shards are copies of it.
    private func makeTemplate() async throws -> (BenchServer) -> String {
        let name = "shard_template"
        for server in cluster.servers {
            let isThere = try await withDatabase(server.place("postgres")) {
                try await $0.query(
                    "select 1 from pg_database where datname = $1", [name],
                    deadline: .now + .seconds(20)
                ).first != nil
            }
            if isThere { continue }
            let place = BenchCluster.Place(server: server, database: name)
            try await createDatabase(place, template: "template0")
            try await apply("shard", place)
            try await runScript(
                "create role chatd login in role chat_app", at: place.connectionString)
        }
        return { _ in name }
    }

    private func makeCatalog(_ numbers: String) async throws {
        try await createDatabase(cluster.catalog, template: "template0")
        try await apply("catalog", cluster.catalog)
        let shards = cluster.shards.enumerated().map { index, shard in
            """
            insert into catalog.shards (name, endpoint, state) values ('shard-\(index + 1)',
                'host=127.0.0.1 port=\(shard.server.port) dbname=\(shard.database)', 'active');
            """
        }
        try await runScript(
            """
            insert into catalog.cluster values (true, '\(clusterID)', \(seed));
            \(shards.joined())
            insert into catalog.topology values (1, 'benchmark');
            insert into catalog.slots
            select place - 1, owner, 1
            from unnest(array[\(numbers)]) with ordinality as o (owner, place);
            """, at: cluster.catalog.connectionString)
    }

    private func createDatabase(_ place: BenchCluster.Place, template: String) async throws {
        try await runScript(
            "create database \(place.database) template \(template)",
            at: place.server.place("postgres"))
    }

    /// Applies the repository's migrations and records them as their runner would, with the sums
    /// that are recorded beside them.
    private func apply(_ kind: String, _ place: BenchCluster.Place) async throws {
        let folder = URL(filePath: repository).appending(path: "migrations/\(kind)")
        let files = try String(
            contentsOf: folder.appending(path: "migrations.sum"), encoding: .utf8
        ).split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
        try await withDatabase(place.connectionString) { connection in
            for file in files where file.count == 2 && file[1].hasSuffix(".up.sql") {
                let sql = try String(
                    contentsOf: folder.appending(path: file[1]), encoding: .utf8)
                let title = file[1].dropFirst(5).dropLast(".up.sql".count)
                try await connection.script(
                    sql + """
                        ;insert into \(kind).migrations (version, title, checksum, duration_ms)
                        values (\(Int(file[1].prefix(4)) ?? 0), '\(title)', '\(file[0])', 0);
                        """, deadline: .now + .seconds(60))
            }
        }
    }
}
