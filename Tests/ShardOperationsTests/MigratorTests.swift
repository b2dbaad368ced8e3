import Postgres
import TestKit
import Testing

@testable import ShardOperations

@Suite struct MigratorTests {
    private var soon: ContinuousClock.Instant { .now + .seconds(30) }

    private static let history = Migration(
        version: 1, title: "history",
        sql: """
            create schema shard; create table shard.migrations (version int primary key,
            title text, checksum text, applied_at timestamptz default now(), duration_ms bigint);
            create table public.a (n int4);
            """, checksum: "1")

    @Test func `an edit of an applied file is refused by the database's own history`()
        async throws
    {
        let server = try PostgresServer.start()
        let connection = try await connect(server)
        defer { connection.close() }
        _ = try await Migrator(kind: .shard, migrations: [Self.history])
            .up(connection, deadline: soon)
        var edited = Self.history
        edited.checksum = "2"

        let failure = await #expect(throws: OperationError.self) {
            try await Migrator(kind: .shard, migrations: [edited]).up(connection, deadline: soon)
        }

        #expect(failure?.kind == .refused)
        #expect(failure?.description.contains("(history) was edited after it was applied") == true)
    }

    @Test func `files of a newer release in the database are refused`() async throws {
        let server = try PostgresServer.start()
        let connection = try await connect(server)
        defer { connection.close() }
        _ = try await Migrator(kind: .shard, migrations: [Self.history])
            .up(connection, deadline: soon)

        await #expect(throws: OperationError.self) {
            try await Migrator(kind: .shard, migrations: []).applied(connection, deadline: soon)
        }
    }

    @Test func `a lock that is not free is given up in time and tried again`() async throws {
        let server = try PostgresServer.start()
        let connection = try await connect(server)
        defer { connection.close() }
        let holder = try await connect(server)
        defer { holder.close() }
        _ = try await Migrator(kind: .shard, migrations: [Self.history])
            .up(connection, deadline: soon)
        let change = Migration(
            version: 2, title: "change", sql: "alter table public.a add m int4;", checksum: "2",
            directives: MigrationDirectives(lockTimeoutMilliseconds: 50))
        let migrator = Migrator(kind: .shard, migrations: [Self.history, change])

        try await holder.script("begin; lock table public.a", deadline: soon)
        let failure = await #expect(throws: OperationError.self) {
            try await migrator.up(connection, deadline: soon)
        }
        #expect(failure?.description.contains("55P03") == true)
        #expect(!connection.isInTransaction)
        try await holder.script("commit", deadline: soon)

        #expect(try await migrator.up(connection, deadline: soon) == [2])
        #expect(try await migrator.applied(connection, deadline: soon) == [1, 2])
    }

    private func connect(_ server: PostgresServer) async throws -> PostgresConnection {
        try await .connect(try ConnectionSettings(server.connectionString()), deadline: soon)
    }
}

@Suite struct MigrationDirectivesTests {
    @Test(arguments: [
        ("create table a ();", 2_000), ("-- a comment\nselect 1;", 2_000),
        ("-- shardctl: lock_timeout=500ms\nselect 1;", 500),
        ("-- shardctl: transaction=on lock_timeout=3s\nselect 1;", 3_000),
    ])
    func `the first line sets the lock time-out`(sql: String, milliseconds: Int) throws {
        #expect(try MigrationDirectives(sql: sql).lockTimeoutMilliseconds == milliseconds)
    }

    @Test(arguments: [
        ("-- shardctl: transaction=off", "in one transaction"),
        ("-- shardctl: lock_timeout=soon", "no time such as"),
        ("-- shardctl: lock_timeout=0s", "no time such as"),
        ("-- shardctl: canary=shard-a", "'canary=shard-a'"),
    ])
    func `what cannot be followed is refused by name`(sql: String, reason: String) throws {
        let problem = #expect(throws: MigrationDirectives.Problem.self) {
            try MigrationDirectives(sql: sql)
        }
        #expect(problem?.description.contains(reason) == true)
    }
}
