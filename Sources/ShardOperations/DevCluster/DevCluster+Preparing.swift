import Postgres
import ShardRouter

extension DevCluster {
    /// Databases, roles, catalog, shards: whatever of it is missing.
    func prepare() async throws {
        for server in servers where !server.isRedis {
            try await makeDatabase(server.name == "catalog" ? "catalog" : "chat", on: server)
        }
        let cluster = Cluster(
            catalog: try ConnectionSettings(catalog), migrations: migrations)
        do {
            _ = try await cluster.initialise()
        } catch let error as OperationError where error.kind == .refused {
            // There is one already: this is not the first time.
            _ = try await cluster.topology()
        }
        var options = FleetOptions()
        options.acceptsFindings = true
        let result = try await FleetMigration(cluster: cluster, options: options).up()
        guard result.isComplete else {
            throw OperationError.failed(
                "the schema of a shard could not be brought up", next: "shardctl migrate up")
        }
        let known = try await cluster.topology().shards.filter { $0.state == .active }
        for server in servers where !server.isRedis && server.name != "catalog" {
            guard !known.contains(where: { $0.name == server.name }) else { continue }
            _ = try await ShardAdding(
                cluster: cluster, name: server.name,
                endpoint: "host=127.0.0.1 port=\(server.port) dbname=chat", weight: 1
            ).run()
        }
        for server in servers where !server.isRedis {
            try await makeLogin(on: server)
        }
    }

    private func makeDatabase(_ name: String, on server: Server) async throws {
        try await withServer(server) { connection, deadline in
            let rows = try await connection.query(
                "select 1 from pg_database where datname = $1", [name], deadline: deadline)
            if rows.isEmpty {
                try await connection.script("create database \(name)", deadline: deadline)
            }
        }
    }

    private func makeLogin(on server: Server) async throws {
        try await withServer(server) { connection, deadline in
            let rows = try await connection.query(
                "select 1 from pg_roles where rolname = 'chatd'", deadline: deadline)
            if rows.isEmpty {
                try await connection.script(
                    "create role chatd login in role chat_app", deadline: deadline)
            }
        }
    }

    private func withServer(
        _ server: Server,
        _ body: (PostgresConnection, ContinuousClock.Instant) async throws -> Void
    ) async throws {
        let deadline = ContinuousClock.now + .seconds(30)
        let settings = try ConnectionSettings(
            connection(port: server.port, user: "postgres", database: "postgres"))
        let connection = try await PostgresConnection.connect(settings, deadline: deadline)
        defer { connection.close() }
        try await body(connection, deadline)
    }
}
