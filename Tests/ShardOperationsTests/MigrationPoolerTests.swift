import Postgres
import TestKit
import Testing

@testable import ShardOperations

/// What stands between a migration and its server: nothing, a proxy, a real PgBouncer.
@Suite(.timeLimit(.minutes(2))) struct MigrationPoolerTests {
    private static let script =
        "\(MigrationStage.off)create index concurrently i on t (a);\ninsert into t values (1);"

    /// Applies a file over connections to `address`, twice, so that the second finds used sessions.
    private func apply(_ stage: MigrationStage, at address: String) async throws -> [Int] {
        let one = try await MigrationStage.connect(address)
        defer { one.close() }
        let other = try await MigrationStage.connect(address)
        defer { other.close() }
        return try await stage.migrator([(Self.script, nil)]).up(one, observer: other)
    }

    private func stage() async throws -> MigrationStage {
        let stage = try await MigrationStage.start()
        try await stage.run("create table t (a int4)")
        return stage
    }

    @Test(arguments: ["transaction", "statement"], [1, 2, 5])
    func `a pooler that gives each transaction another session is refused by name`(
        mode: String, sessions: Int
    ) async throws {
        for isInTurn in ["0", "1"] {
            let stage = try await stage()
            let pooler = try PgBouncer(
                to: stage.server, mode: mode, settings: ["server_round_robin": isInTurn])
            // Its pool has so many sessions, which are free now.
            let others = try await sleepers(sessions, at: pooler.connectionString())
            defer { for one in others { one.close() } }

            let failure = await #expect(throws: OperationError.self) {
                try await apply(stage, at: pooler.connectionString())
            }

            let what = "\(mode), \(sessions) sessions, in turn \(isInTurn): \(failure as Any)"
            #expect(failure?.kind == .refused, "\(what)")
            #expect(failure?.description.contains("PgBouncer's pool_mode") == true, "\(what)")
            #expect(try await stage.value("select to_regclass('i')::text") == nil)
            #expect(try await stage.value("select count(*)::text from t") == "0")
        }
    }

    /// Clients that have all worked at the same time, and are idle.
    private func sleepers(_ count: Int, at address: String) async throws -> [PostgresConnection] {
        var all: [PostgresConnection] = []
        for _ in 0..<count { all.append(try await MigrationStage.connect(address)) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for one in all {
                group.addTask {
                    _ = try await one.query(
                        Statement("select pg_sleep(0.2)", isPrepared: false),
                        deadline: .now + .seconds(20))
                }
            }
            try await group.waitForAll()
        }
        return all
    }

    @Test func `a run over the fleet leaves no lock behind in a pooler of the catalog`()
        async throws
    {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["a"])
        let pooler = try PgBouncer(to: server, mode: "transaction")
        let catalog = pooler.connectionString(database: "\(databases.prefix)_catalog")
        let cluster = Cluster(
            catalog: try ConnectionSettings(catalog), migrations: Databases.migrations)

        let failure = await #expect(throws: OperationError.self) {
            try await FleetMigration(cluster: cluster).up()
        }

        #expect(failure?.kind == .refused)
        let locks: Int = try await databases.value(
            "catalog", "select count(*) from pg_locks where locktype = 'advisory'")
        #expect(locks == 0)
    }

    @Test func `a pooler that gives each client a session is as good as the server`()
        async throws
    {
        let stage = try await stage()
        let pooler = try PgBouncer(to: stage.server, mode: "session")

        #expect(try await apply(stage, at: pooler.connectionString()) == [2])

        #expect(try await stage.file("i") != nil)
    }

    @Test func `a proxy that only passes bytes on is as good as the server`() async throws {
        let stage = try await stage()
        let proxy = try FaultProxy(to: stage.server.port).start()
        defer { proxy.stop() }
        let address = "host=127.0.0.1 port=\(proxy.port) user=postgres dbname=postgres"

        #expect(try await apply(stage, at: address) == [2])
        #expect(try await apply(stage, at: stage.server.connectionString()) == [])

        #expect(try await stage.file("i") != nil)
    }
}
