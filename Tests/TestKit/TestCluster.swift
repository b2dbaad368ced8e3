public import FoundationEssentials
public import Postgres
public import ShardRouter

/// A catalog and shards on real servers, migrated and claimed, for one suite.
public final class TestCluster: Sendable {
    public let catalog: PostgresServer
    public let servers: [PostgresServer]
    public let clusterID = UUID()
    public let seed: Int64

    /// Starts `shards` shards of equal weight; shard 1 … n are named `shard-1` ….
    public static func start(shards: Int, seed: Int64 = 42) async throws -> TestCluster {
        let cluster = try TestCluster(shards: shards, seed: seed)
        try await cluster.migrate()
        return cluster
    }

    private init(shards: Int, seed: Int64) throws {
        self.seed = seed
        catalog = try PostgresServer.start()
        servers = try (0..<shards).map { _ in try PostgresServer.start() }
    }

    /// How chatd connects: a role that may read and append, and no more.
    public func routerSettings() throws -> ConnectionSettings {
        try ConnectionSettings("host=127.0.0.1 port=\(catalog.port) user=chatd dbname=postgres")
    }

    /// A connection of the superuser to shard `number`, from 1.
    public func operatorConnection(shard number: Int) async throws -> PostgresConnection {
        try await connect(servers[number - 1])
    }

    /// A connection of the superuser to the catalog.
    public func catalogConnection() async throws -> PostgresConnection {
        try await connect(catalog)
    }

    /// Rows of one shard, as the superuser sees them.
    public func rows(shard number: Int, _ sql: String) async throws -> Rows {
        let connection = try await operatorConnection(shard: number)
        defer { connection.close() }
        return try await connection.query(sql, deadline: .now + .seconds(20))
    }

    /// Hands a slot over between two empty shards, as far as the shards are concerned: the catalog
    /// and the routers do not know yet.
    public func handOver(_ slot: Slot, from source: Int, to target: Int, epoch: Int64) async throws
    {
        let connection = try await operatorConnection(shard: source)
        defer { connection.close() }
        try await connection.script(
            "update shard.slots set state = 'moved', moved_to = \(target), epoch = \(epoch) "
                + "where slot = \(slot)", deadline: .now + .seconds(20))
        let other = try await operatorConnection(shard: target)
        defer { other.close() }
        try await other.script(
            "update shard.slots set state = 'active', epoch = \(epoch) where slot = \(slot)",
            deadline: .now + .seconds(20))
    }

    private func connect(_ server: PostgresServer) async throws -> PostgresConnection {
        try await .connect(
            try ConnectionSettings(server.connectionString()), deadline: .now + .seconds(20))
    }

    private func migrate() async throws {
        let weights = Dictionary(uniqueKeysWithValues: servers.indices.map { (ShardID($0 + 1), 1) })
        let owners = try Claim.owners(
            current: Array(repeating: nil, count: Slot.count), weights: weights)
        let login = "create role chatd login in role chat_app;"
        let numbers = owners.map { String($0.number) }.joined(separator: ",")
        var shardRows = ""
        for (index, server) in servers.enumerated() {
            let number = index + 1
            let connection = try await connect(server)
            defer { connection.close() }
            let versions = try await apply("shard", connection)
            try await connection.script(
                """
                \(login)
                insert into shard.identity values (true, '\(clusterID)', \(number), \(seed));
                update shard.slots s set state = 'active', epoch = 1
                from unnest(array[\(numbers)]) with ordinality as o (owner, place)
                where s.slot = o.place - 1 and o.owner = \(number);
                """ + versions, deadline: .now + .seconds(20))
            shardRows += """
                insert into catalog.shards (name, endpoint, state) values ('shard-\(number)',
                    'host=127.0.0.1 port=\(server.port) dbname=postgres', 'active');
                """
        }
        let connection = try await connect(catalog)
        defer { connection.close() }
        let versions = try await apply("catalog", connection)
        try await connection.script(
            """
            \(login)
            insert into catalog.cluster values (true, '\(clusterID)', \(seed));
            \(shardRows)
            insert into catalog.topology values (1, 'test');
            insert into catalog.slots
            select place - 1, owner, 1
            from unnest(array[\(numbers)]) with ordinality as o (owner, place);
            """ + versions, deadline: .now + .seconds(20))
    }

    /// Applies the repository's own migrations; returns what records them in the history.
    private func apply(_ kind: String, _ connection: PostgresConnection) async throws -> String {
        let folder = URL(filePath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "migrations/\(kind)")
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path())
            .filter { $0.hasSuffix(".up.sql") }.sorted()
        var history = ""
        for file in files {
            let sql = try String(contentsOf: folder.appending(path: file), encoding: .utf8)
            try await connection.script(sql, deadline: .now + .seconds(20))
            history += """
                insert into \(kind).migrations (version, title, checksum, duration_ms)
                values (\(Int(file.prefix(4)) ?? 0), '\(file)', '', 0);
                """
        }
        return history
    }
}
