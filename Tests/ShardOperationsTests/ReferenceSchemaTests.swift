import Foundation
import Postgres
import TestKit
import Testing

@testable import ShardOperations

@Suite struct ReferenceSchemaTests {
    private var soon: ContinuousClock.Instant { .now + .seconds(60) }

    @Test func `a reference is made once, and anew for other files`() async throws {
        let databases = try await Databases.make(on: try PostgresServer.start(), shards: [])
        let catalog = try await databases.connect("catalog")
        defer { catalog.close() }
        let files = try databases.cluster().migrator(.shard).migrations
        var other = files
        other[other.count - 1].up.statements.append(
            SQLStatement(text: "create table public.other (n int)"))
        other[other.count - 1].checksum = "other"

        let first = try await reference(files, databases, catalog)
        let before = try await lastDatabase(catalog)
        let again = try await reference(files, databases, catalog)
        let after = try await lastDatabase(catalog)
        let changed = try await reference(other, databases, catalog)

        #expect(first == again)
        #expect(before == after)
        #expect(
            SchemaDifference.differences(found: first, wanted: changed)
                .map(\.object.description) == ["table public.other"])
        #expect(try await scratchDatabases(catalog) == 0)
    }

    @Test func `the scratch database goes when a file fails and when the task is cancelled`()
        async throws
    {
        let databases = try await Databases.make(on: try PostgresServer.start(), shards: [])
        let catalog = try await databases.connect("catalog")
        defer { catalog.close() }
        var failing = try databases.cluster().migrator(.shard).migrations
        failing[failing.count - 1].up.statements = [SQLStatement(text: "select 1 / 0")]
        var sleeping = failing
        sleeping[failing.count - 1].up.statements = [SQLStatement(text: "select pg_sleep(60)")]
        let (broken, slow) = (failing, sleeping)

        await #expect(throws: OperationError.self) {
            try await reference(broken, databases, catalog)
        }
        let afterFailure = try await scratchDatabases(catalog)
        let task = Task { try await reference(slow, databases, catalog) }
        let other = try await databases.connect("catalog")
        defer { other.close() }
        let limit = soon
        while try await sleepers(other) == 0 {
            try #require(ContinuousClock.now < limit, "the slow file never ran")
        }
        task.cancel()

        await #expect(throws: (any Error).self) { try await task.value }
        #expect(afterFailure == 0)
        #expect(try await scratchDatabases(catalog) == 0)
    }

    @Test func `what a killed run left behind goes after an hour, unless somebody is in it`()
        async throws
    {
        let databases = try await Databases.make(on: try PostgresServer.start(), shards: [])
        let catalog = try await databases.connect("catalog")
        defer { catalog.close() }
        let now: Int = try await databases.value(
            "catalog", "select extract(epoch from now())::int8")
        let (old, used, young) = (
            "shardctl_reference_\(now - 4_000)_a", "shardctl_reference_\(now - 5_000)_b",
            "shardctl_reference_\(now - 100)_c"
        )
        for name in [old, used, young] {
            try await catalog.script("create database \(name)", deadline: soon)
        }
        let guest = try await PostgresConnection.connect(
            try ConnectionSettings(databases.server.connectionString(database: used)),
            deadline: soon)
        defer { guest.close() }

        _ = try await reference(
            try databases.cluster().migrator(.shard).migrations, databases, catalog)

        let left: [String] = try await databases.value(
            "catalog",
            "select array_agg(datname::text order by datname) from pg_database "
                + "where datname like 'shardctl%'")
        #expect(left == [used, young].sorted())
    }

    @Test func `a role that may not create databases is told what to do`() async throws {
        let databases = try await Databases.make(on: try PostgresServer.start(), shards: [])
        try await databases.script(
            "catalog",
            "create role modest login; grant usage on schema catalog to modest; "
                + "grant select on all tables in schema catalog to modest")
        var settings = try databases.cluster().catalog
        settings["user"] = "modest"
        let modest = try await PostgresConnection.connect(settings, deadline: soon)
        defer { modest.close() }

        let refusal = await #expect(throws: OperationError.self) {
            try await ReferenceSchema(
                kind: .shard, migrations: try databases.cluster().migrator(.shard).migrations
            ).snapshot(modest, settings: settings, deadline: soon)
        }

        #expect(refusal?.kind == .refused)
        #expect(refusal?.next.contains("--against SHARD") == true)
    }

    private func reference(
        _ files: [Migration], _ databases: Databases, _ catalog: PostgresConnection
    ) async throws -> SchemaSnapshot {
        try await ReferenceSchema(kind: .shard, migrations: files).snapshot(
            catalog, settings: try databases.cluster().catalog, deadline: soon)
    }

    /// When the last snapshot was stored.
    private func lastDatabase(_ connection: PostgresConnection) async throws -> Timestamp {
        try await connection.query(
            "select max(made_at) from catalog.schema_references", deadline: soon)[0].get(0)
    }

    private func scratchDatabases(_ connection: PostgresConnection) async throws -> Int {
        try await connection.query(
            "select count(*) from pg_database where datname like 'shardctl%'", deadline: soon)[0]
            .get(0)
    }

    private func sleepers(_ connection: PostgresConnection) async throws -> Int {
        try await connection.query(
            """
            select count(*) from pg_stat_activity
            where wait_event = 'PgSleep' and datname like 'shardctl%'
            """, deadline: soon)[0].get(0)
    }
}
