public import FoundationEssentials
public import Postgres
public import ShardRouter

/// A catalog and shards on real servers, migrated and claimed, for one suite.
public final class TestCluster: Sendable {
    public let catalog: PostgresServer
    public let servers: [PostgresServer]
    /// In front of each server, in their order: the catalog's endpoints lead here.
    public let proxies: [FaultProxy]
    public let clusterID = UUID()
    public let seed: Int64

    /// Starts `shards` shards of equal weight; shard 1 … n are named `shard-1` ….
    ///
    /// - Parameters:
    ///   - spares: shards behind the others that own nothing and are not in the catalog yet.
    ///   - isProxied: whether the shards are reached by way of ``proxies``.
    public static func start(
        shards: Int, seed: Int64 = 42, spares: Int = 0, isProxied: Bool = false
    ) async throws -> TestCluster {
        try await start(
            on: (0..<shards + spares).map { _ in try PostgresServer.start() }, seed: seed,
            spares: spares, isProxied: isProxied)
    }

    /// The same on servers that were started before.
    public static func start(
        on servers: [PostgresServer], seed: Int64 = 42, spares: Int = 0, isProxied: Bool = false
    ) async throws -> TestCluster {
        let cluster = try TestCluster(servers, seed: seed, isProxied: isProxied)
        try await cluster.migrate(spares: spares)
        return cluster
    }

    private init(_ servers: [PostgresServer], seed: Int64, isProxied: Bool) throws {
        self.seed = seed
        self.servers = servers
        catalog = try PostgresServer.start()
        proxies = isProxied ? try servers.map { try FaultProxy(to: $0.port).start() } : []
    }

    /// Where the catalog says that shard `number`, from 1, is.
    public func endpoint(shard number: Int) -> String {
        let port = proxies.isEmpty ? servers[number - 1].port : proxies[number - 1].port
        return "host=127.0.0.1 port=\(port) dbname=postgres"
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

    private func migrate(spares: Int) async throws {
        let active = servers.count - spares
        let weights = Dictionary(uniqueKeysWithValues: (1...active).map { (ShardID($0), 1) })
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
            guard number <= active else { continue }
            shardRows += """
                insert into catalog.shards (name, endpoint, state) values ('shard-\(number)',
                    '\(endpoint(shard: number))', 'active');
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
